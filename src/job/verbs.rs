//! The functional verbs: thin operators around closures. Each takes a plain function, is stateless,
//! and is fused to what it reads.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::api::operator::Operator;
use crate::api::sink::Sink;
use crate::error::BoxError;
use crate::executor::verb::{Filter, Map};
use crate::job::stream::{SinkHandle, Stream};

/// An operator that is a function from an event and a collector.
struct Verb<F, In, Out> {
    apply: Arc<F>,
    types: PhantomData<fn(In) -> Out>,
}

impl<F, In: Event, Out: Event> Operator for Verb<F, In, Out>
where
    F: Fn(In, &mut Collector<Out>) -> Result<(), BoxError> + 'static,
{
    type In = In;
    type Out = Out;

    #[inline]
    fn apply(&mut self, event: In, out: &mut Collector<Out>) -> Result<(), BoxError> {
        (self.apply)(event, out)
    }
}

struct ForEach<F, In> {
    each: Arc<F>,
    types: PhantomData<fn(In)>,
}

impl<F: Fn(In) -> Result<(), BoxError> + 'static, In: Event> Sink for ForEach<F, In> {
    type In = In;

    #[inline]
    fn write(&mut self, event: In) -> Result<(), BoxError> {
        (self.each)(event)
    }
}

impl<T: Event> Stream<T> {
    fn verb<Out: Event>(
        &self,
        name: &'static str,
        apply: impl Fn(T, &mut Collector<Out>) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Stream<Out> {
        let apply = Arc::new(apply);
        let name = self.verb_name(name);
        self.operator(name, move || Verb { apply: Arc::clone(&apply), types: PhantomData })
    }

    /// Each event becomes another. As for every verb, all instances share the function, so it cannot change
    /// its captured values. If it has to remember something, use an operator with state
    /// ([`stateful`](Stream::stateful)).
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("map");
    /// job.from_iter("numbers", || 0..3).map(|n| n * 2).for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map<U: Event>(&self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Stream<U> {
        let f = Arc::new(f);
        self.add_operator(self.verb_name("map"), move || Map::new(Arc::clone(&f)))
    }

    /// Each event becomes another, or fails.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("try_map");
    /// job.from_iter("texts", || ["1", "x"].map(String::from))
    ///     .try_map(|text| Ok(text.parse::<u32>()?))
    ///     .for_each(|n| println!("{n}"));
    /// let report = job.run(Guarantee::default())?;
    /// assert_eq!(report.metrics.sum("texts", |m| m.dead_lettered), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_map<U: Event>(
        &self,
        f: impl Fn(T) -> Result<U, BoxError> + Send + Sync + 'static,
    ) -> Stream<U> {
        self.verb("try_map", move |event, out| {
            out.emit(f(event)?);
            Ok(())
        })
    }

    /// Keeps the events for which `f` is true.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("filter");
    /// job.from_iter("numbers", || 0..9).filter(|n| n % 3 == 0).for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn filter(&self, f: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        let f = Arc::new(f);
        self.add_operator(self.verb_name("filter"), move || Filter::new(Arc::clone(&f)))
    }

    /// Each event becomes any number of others.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("flat_map");
    /// job.from_iter("numbers", || 1..4_u32).flat_map(|n| 0..n).for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flat_map<U: Event, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> Stream<U> {
        self.verb("flat_map", move |event, out| {
            out.emit_all(f(event));
            Ok(())
        })
    }

    /// Calls a function with a reference to each event and passes the event on.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("inspect");
    /// job.from_iter("numbers", || 0..3).inspect(|n| println!("saw {n}")).for_each(|_| ());
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inspect(&self, f: impl Fn(&T) + Send + Sync + 'static) -> Self {
        let keeps_all = Arc::new(move |event: &T| {
            f(event);
            true
        });
        self.add_operator(self.verb_name("inspect"), move || Filter::new(Arc::clone(&keeps_all)))
    }

    /// Ends the stream in a function.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("for_each");
    /// job.from_iter("numbers", || 0..3).for_each(|n| println!("{n}"));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each(&self, f: impl Fn(T) + Send + Sync + 'static) -> SinkHandle {
        self.try_for_each(move |event| {
            f(event);
            Ok(())
        })
    }

    /// Ends the stream in a function that may fail.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// use std::io::Write;
    /// let job = Job::new("try_for_each");
    /// job.from_iter("numbers", || 0..3).try_for_each(|n| Ok(writeln!(std::io::stdout(), "{n}")?));
    /// job.run(Guarantee::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_for_each(
        &self,
        f: impl Fn(T) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> SinkHandle {
        let each = Arc::new(f);
        let name = self.verb_name("for_each");
        self.sink(name, move || ForEach { each: Arc::clone(&each), types: PhantomData })
    }
}
