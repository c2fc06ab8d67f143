//! An operator that holds events in tokens, and its events: each of their callbacks can fail.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use streamwork::{BoxError, Collector, EventTime, HeldEvents, Instance, Operator, Output, Token};

use super::{Stored, WORLDS, World};

/// A number whose clone can fail, and its encoding and decoding.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeldNumber(Stored<u64>);

impl HeldNumber {
    pub(super) fn new(world: &World, value: u64) -> Self {
        Self(Stored { world: world.number, component: "hold", value })
    }
}

impl Clone for HeldNumber {
    fn clone(&self) -> Self {
        let world = WORLDS.lock().get(&self.0.world).cloned();
        if let Some(world) = world {
            world.panic_if_struck("hold", "clone");
        }
        Self(self.0.clone())
    }
}

/// Emits its held events when there are three, when a timer fires, or when the input is over.
pub(super) struct Hold {
    pub(super) world: Arc<World>,
    held: Vec<(u64, Token)>,
}

impl Hold {
    pub(super) fn new(world: &Arc<World>) -> Self {
        world.panic_if_struck("hold", "factory");
        Self { world: Arc::clone(world), held: Vec::new() }
    }

    fn emit(&mut self, out: &mut Output<u64>) {
        self.held.drain(..).for_each(|(number, token)| out.emit_anchored(number, [token]));
    }
}

impl Operator for Hold {
    type In = HeldNumber;
    type Out = u64;
    const HELD_EVENTS: HeldEvents<HeldNumber> = HeldEvents::stored();
    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        self.world.strike("hold", "setup")
    }
    fn apply(&mut self, number: HeldNumber, out: &mut Collector<u64>) -> Result<(), BoxError> {
        let number = number.0.value;
        // Before it defers and after it.
        if number.is_multiple_of(2) {
            self.world.strike("hold", "apply")?;
        }
        let token = out.defer();
        if !number.is_multiple_of(2) {
            self.world.strike("hold", "apply")?;
        }
        self.held.push((number, token));
        if self.held.len() == 3 {
            self.emit(out);
        } else if number.is_multiple_of(9) {
            out.set_timer(std::time::Duration::ZERO, number);
        }
        Ok(())
    }
    fn on_timer(&mut self, _: u64, out: &mut Output<u64>) -> Result<(), BoxError> {
        self.world.strike("hold", "on_timer")?;
        self.emit(out);
        Ok(())
    }
    fn on_watermark(&mut self, _: EventTime, _: &mut Output<u64>) -> Result<(), BoxError> {
        self.world.strike("hold", "on_watermark")
    }
    fn finish(&mut self, out: &mut Output<u64>) -> Result<(), BoxError> {
        self.world.strike("hold", "finish")?;
        self.emit(out);
        Ok(())
    }
}
