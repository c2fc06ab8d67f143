//! Checks of a single component, without a job: an operator must not depend on how its input is
//! split, a source must continue at its position, and a sink's transactions must be complete.

use std::sync::Arc;

use crate::api::accounts::InstanceContext;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::state::State;
use crate::api::token::Holder;
use crate::api::waker::Waker;
use crate::channel::frame::{Batch, Control};
use crate::channel::push::{Context, InstanceCall, Push, Stage};
use crate::checkpoint::{CodecError, CodecId, EncodedState, Shape, StateCodec};
use crate::clock::Timestamp;
use crate::delivery::account::Account;
use crate::id::{ExecutionId, InstanceName};

mod fed;
mod keyed;
mod operator;
mod source;
mod transactional;

pub use keyed::{KeyedHarness, StateLeft};
pub use operator::OperatorHarness;
pub use source::{check_source, check_split_source};
pub use transactional::check_transactional_sink;

fn instance(component: &str, index: usize, parallelism: usize) -> Instance {
    Instance {
        name: InstanceName::new(component, index),
        parallelism,
        execution: ExecutionId(1),
        waker: Waker::default(),
    }
}

fn context(instance: &Instance, holder: Arc<dyn Holder>) -> InstanceContext {
    let account = Account::Untracked { alarm: None, on_drop: None, closed: Arc::default() };
    InstanceContext {
        answers: account.answers(0),
        counters: Arc::default(),
        instance: instance.name.clone(),
        holder,
        tracked: false,
        timed: false,
    }
}

/// A state after it was encoded and decoded.
fn through_the_store<S: State>(state: &S) -> Result<S, CodecError> {
    EncodedState::of(state, codec_of::<S>())?.decode()
}

/// The codec that a job chooses for a state of this type.
fn codec_of<S: State>() -> CodecId {
    let codec = StateCodec::Auto.settle(Shape::of::<S>().is_some());
    codec.unwrap_or(StateCodec::POSITIONAL)
}

/// The end of a stage, which keeps the events.
struct Capture<T>(std::rc::Rc<std::cell::RefCell<Vec<T>>>);

impl<T> Stage for Capture<T> {
    fn control(&mut self, _: Control, _: &mut Context) {}

    fn call_instance(&mut self, _: InstanceCall, _: &mut Context) {}

    fn tick(&mut self, _: &mut Context) {}

    fn flush(&mut self, _: &mut Context) -> bool {
        false
    }

    fn blocked(&self) -> bool {
        false
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }
}

impl<T: Event> Push<T> for Capture<T> {
    fn push(&mut self, batch: &mut Batch<T>, _: &mut Context) {
        self.0.borrow_mut().append(&mut batch.events);
    }

    fn copies(&self) -> u32 {
        1
    }

    fn room(&self) -> usize {
        usize::MAX
    }
}
