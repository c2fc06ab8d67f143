//! [`SideOutput`]: a named output of an operator beside its main one, with events of its own type.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;

use crate::api::columns::{Columns, Row};
use crate::api::event::Event;

/// A named output beside the main one, with events of its own type.
///
/// An operator declares its side outputs, so that a job that reads one that does not exist, or reads it as
/// another type, is refused before it starts. A side output without a reader is allowed: its events are
/// discarded.
///
/// ```
/// use streamwork::{BoxError, Collector, DeclaredOutput, Guarantee, Job, Operator, SideOutput};
///
/// const REJECTED: SideOutput<String> = SideOutput::new("rejected");
///
/// struct Parse;
/// impl Operator for Parse {
///     type In = String;
///     type Out = i64;
///     const SIDE_OUTPUTS: &'static [DeclaredOutput] = &[REJECTED.declared()];
///
///     fn apply(&mut self, text: String, out: &mut Collector<i64>) -> Result<(), BoxError> {
///         match text.parse() {
///             Ok(number) => out.emit(number),
///             Err(_) => out.emit_to(REJECTED, text),
///         }
///         Ok(())
///     }
/// }
///
/// let job = Job::new("parse");
/// let numbers = job.from_iter("texts", || ["1", "x"].map(String::from)).operator("parse", || Parse);
/// numbers.side_output(REJECTED).for_each(|text| println!("not a number: {text}"));
/// numbers.for_each(|n| println!("{n}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SideOutput<T> {
    pub(crate) name: &'static str,
    event: PhantomData<fn(T)>,
}

impl<T: Event> SideOutput<T> {
    /// A side output of this name. The operator that declares and emits, and the stream that reads, use the
    /// same constant.
    pub const fn new(name: &'static str) -> Self {
        Self { name, event: PhantomData }
    }

    /// What an operator lists in its `SIDE_OUTPUTS`: the name, and the type of the events.
    pub const fn declared(self) -> DeclaredOutput {
        DeclaredOutput { name: self.name, event: || (TypeId::of::<T>(), type_name::<T>()) }
    }
}

impl<T> Clone for SideOutput<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SideOutput<T> {}

impl<T> fmt::Debug for SideOutput<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SideOutput({:?})", self.name)
    }
}

/// A side output as an operator declares it; see [`SideOutput::declared`].
#[derive(Clone, Copy)]
pub struct DeclaredOutput {
    pub(crate) name: &'static str,
    event: fn() -> (TypeId, &'static str),
}

impl DeclaredOutput {
    /// The type of the events, and its name.
    pub(crate) fn event_type(&self) -> (TypeId, &'static str) {
        (self.event)()
    }
}

impl fmt::Debug for DeclaredOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeclaredOutput({:?} of {})", self.name, self.event_type().1)
    }
}

/// The events emitted on one side output, with their type erased.
pub(crate) trait SideEvents {
    fn name(&self) -> &'static str;
    fn as_any(&mut self) -> &mut dyn Any;
    /// Discards what the event of this ordinal emitted.
    fn take_back(&mut self, ordinal: u64);
}

impl dyn SideEvents {
    /// Itself, with its event type, if it is a side output of that type.
    pub(crate) fn batch_of<T: 'static>(&mut self) -> Option<&mut SideBatch<T>> {
        self.as_any().downcast_mut()
    }
}

/// The ordinal of outputs that stay even if the event at hand fails: no event has it.
pub(crate) const STAYS: u64 = u64::MAX;

/// The events emitted on one side output.
pub(crate) struct SideBatch<T> {
    name: &'static str,
    pub(crate) copies: u32,
    pub(crate) events: Vec<T>,
    pub(crate) columns: Columns,
    /// The event that emitted last, and the first of its outputs.
    ordinal: u64,
    first_output: usize,
}

impl<T> SideBatch<T> {
    pub(crate) fn new(name: &'static str, copies: u32) -> Self {
        let (events, columns) = (Vec::new(), Columns::default());
        Self { name, copies, events, columns, ordinal: 0, first_output: 0 }
    }

    /// Takes an event that the event of this ordinal emitted.
    pub(crate) fn push(&mut self, event: T, row: Row, ordinal: u64) {
        if self.ordinal != ordinal {
            self.ordinal = ordinal;
            self.first_output = self.events.len();
        }
        self.events.push(event);
        self.columns.push(row);
    }
}

impl<T: 'static> SideEvents for SideBatch<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn take_back(&mut self, ordinal: u64) {
        if self.ordinal == ordinal {
            self.events.truncate(self.first_output);
            self.columns.truncate(self.first_output);
        }
    }
}
