//! An operator whose state by key the engine keeps: each of its callbacks can fail, and those of its state.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamwork::{At, BoxError, Emit, Instance, KeyedOperator};

use super::{Stored, World};

/// How many events of a key there were; its encoding and decoding can fail.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept(Option<Stored<u64>>);

/// Passes events on, and counts them by key.
pub(super) struct Keep {
    pub(super) world: Arc<World>,
}

impl Keep {
    pub(super) fn new(world: &Arc<World>) -> Self {
        world.panic_if_struck("keep", "factory");
        Self { world: Arc::clone(world) }
    }
}

impl KeyedOperator for Keep {
    type Key = u64;
    type In = u64;
    type Out = u64;
    type State = Kept;
    type Timer = ();

    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        self.world.strike("keep", "setup")
    }
    fn apply(
        &mut self,
        number: u64,
        at: &mut At<'_, Self>,
        out: &mut Emit<'_, u64>,
    ) -> Result<(), BoxError> {
        // Before it changes its state and after it.
        if number.is_multiple_of(2) {
            self.world.strike("keep", "apply")?;
        }
        let world = self.world.number;
        let Kept(kept) = at.state();
        kept.get_or_insert(Stored { world, component: "keep", value: 0 }).value += 1;
        if !number.is_multiple_of(2) {
            self.world.strike("keep", "apply")?;
        }
        if number.is_multiple_of(3) {
            at.set_timer_after(Duration::ZERO, ());
        }
        out.emit(number);
        Ok(())
    }
    fn on_timer(
        &mut self,
        (): (),
        at: &mut At<'_, Self>,
        _: &mut Emit<'_, u64>,
    ) -> Result<(), BoxError> {
        let _ = at.peek();
        self.world.strike("keep", "on_timer")
    }
}
