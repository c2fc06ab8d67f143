//! [`Aggregate`]: a value over many events, made of parts that can be merged, and those that are built in.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::api::event::Event;
use crate::api::state::State;

/// A value over many events of type `T`, such as their number. Up to eight of them as a tuple are one as well: they
/// are kept together, and give one row (state K8).
///
/// In any grouping the result must be the same: adding events one by one, or merging what was added apart.
///
/// ```
/// use streamwork::{Aggregate, Aggregates};
///
/// let of = Aggregates::<u64>::new();
/// let both = (of.count(), of.max(|n| *n));
/// let (mut one, mut other) = (both.empty(), both.empty());
/// both.add(&mut one, &7);
/// both.add(&mut other, &9);
/// both.merge(&mut one, other);
/// assert_eq!(both.value(&one), (2, Some(9)));
/// ```
pub trait Aggregate<T>: Send + Sync + 'static {
    /// What is kept of the events: the accumulator.
    type Accumulator: State;
    /// What is shown of it.
    type Value: Event;

    /// Of no event.
    fn empty(&self) -> Self::Accumulator;
    /// Takes in an event.
    fn add(&self, accumulator: &mut Self::Accumulator, event: &T);
    /// Takes in what was kept of other events, which came later.
    fn merge(&self, accumulator: &mut Self::Accumulator, later: Self::Accumulator);
    /// What is shown.
    fn value(&self, accumulator: &Self::Accumulator) -> Self::Value;
}

/// The aggregates that are built in, over events of type `T`; see [`KeyedStream::aggregate`](crate::KeyedStream::aggregate).
pub struct Aggregates<T>(PhantomData<fn(T)>);

impl<T> Default for Aggregates<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Aggregates<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aggregates")
    }
}

impl<T> Aggregates<T> {
    /// All of them.
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// The number of events.
    pub fn count(&self) -> Count {
        Count(())
    }

    /// The sum of a number of each event. Sums of floating-point numbers depend on their grouping, so there are none;
    /// count in a smaller unit.
    ///
    /// # Panics
    /// If it does not fit into the type; the event then fails like one whose closure panics.
    pub fn sum<N: Integer>(&self, of: impl Fn(&T) -> N + Send + Sync + 'static) -> Sum<T, N> {
        Sum(Arc::new(of))
    }

    /// The mean of a number of each event, rounded down; none of no event.
    pub fn mean<N: Integer>(&self, of: impl Fn(&T) -> N + Send + Sync + 'static) -> Mean<T, N> {
        Mean(Arc::new(of))
    }

    /// The largest value; none of no event.
    pub fn max<V: State + Event + Ord>(
        &self,
        of: impl Fn(&T) -> V + Send + Sync + 'static,
    ) -> Max<T, V> {
        Max(Arc::new(of))
    }

    /// The least value; none of no event.
    pub fn min<V: State + Event + Ord>(
        &self,
        of: impl Fn(&T) -> V + Send + Sync + 'static,
    ) -> Min<T, V> {
        Min(Arc::new(of))
    }
}

/// What an aggregate takes of an event.
type Of<T, V> = Arc<dyn Fn(&T) -> V + Send + Sync>;

/// See [`Aggregates::count`].
#[derive(Clone, Copy, Debug)]
pub struct Count(());

impl<T> Aggregate<T> for Count {
    type Accumulator = u64;
    type Value = u64;
    fn empty(&self) -> u64 {
        0
    }
    #[inline]
    fn add(&self, accumulator: &mut u64, _: &T) {
        *accumulator += 1;
    }
    fn merge(&self, accumulator: &mut u64, later: u64) {
        *accumulator += later;
    }
    fn value(&self, accumulator: &u64) -> u64 {
        *accumulator
    }
}

/// See [`Aggregates::sum`].
pub struct Sum<T, N>(Of<T, N>);

impl<T: 'static, N: Integer> Aggregate<T> for Sum<T, N> {
    type Accumulator = N;
    type Value = N;
    fn empty(&self) -> N {
        N::default()
    }
    fn add(&self, accumulator: &mut N, event: &T) {
        *accumulator = accumulator.plus((self.0)(event));
    }
    fn merge(&self, accumulator: &mut N, later: N) {
        *accumulator = accumulator.plus(later);
    }
    fn value(&self, accumulator: &N) -> N {
        *accumulator
    }
}

/// See [`Aggregates::mean`].
pub struct Mean<T, N>(Of<T, N>);

impl<T: 'static, N: Integer> Aggregate<T> for Mean<T, N> {
    type Accumulator = (i128, u64);
    type Value = Option<N>;
    fn empty(&self) -> (i128, u64) {
        (0, 0)
    }
    fn add(&self, (sum, count): &mut (i128, u64), event: &T) {
        *sum += (self.0)(event).wide();
        *count += 1;
    }
    fn merge(&self, (sum, count): &mut (i128, u64), later: (i128, u64)) {
        *sum += later.0;
        *count += later.1;
    }
    fn value(&self, (sum, count): &(i128, u64)) -> Option<N> {
        (*count > 0).then(|| N::narrow(sum.div_euclid(i128::from(*count))))
    }
}

/// See [`Aggregates::max`].
pub struct Max<T, V>(Of<T, V>);

impl<T: 'static, V: State + Event + Ord> Aggregate<T> for Max<T, V> {
    type Accumulator = Option<V>;
    type Value = Option<V>;
    fn empty(&self) -> Option<V> {
        None
    }
    fn add(&self, accumulator: &mut Option<V>, event: &T) {
        self.merge(accumulator, Some((self.0)(event)));
    }
    fn merge(&self, accumulator: &mut Option<V>, later: Option<V>) {
        // Nothing is less than everything.
        if later > *accumulator {
            *accumulator = later;
        }
    }
    fn value(&self, accumulator: &Option<V>) -> Option<V> {
        accumulator.clone()
    }
}

/// See [`Aggregates::min`].
pub struct Min<T, V>(Of<T, V>);

impl<T: 'static, V: State + Event + Ord> Aggregate<T> for Min<T, V> {
    type Accumulator = Option<V>;
    type Value = Option<V>;
    fn empty(&self) -> Option<V> {
        None
    }
    fn add(&self, accumulator: &mut Option<V>, event: &T) {
        self.merge(accumulator, Some((self.0)(event)));
    }
    fn merge(&self, accumulator: &mut Option<V>, later: Option<V>) {
        if later.is_some() && (accumulator.is_none() || later < *accumulator) {
            *accumulator = later;
        }
    }
    fn value(&self, accumulator: &Option<V>) -> Option<V> {
        accumulator.clone()
    }
}

macro_rules! debug {
    ($($name:ident)*) => {$(
        impl<T, V> fmt::Debug for $name<T, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

debug!(Sum Mean Max Min);

/// The integers that can be summed.
pub trait Integer: State + Event + Copy + Default + sealed::Sealed {
    #[doc(hidden)]
    fn plus(self, other: Self) -> Self;
    #[doc(hidden)]
    fn wide(self) -> i128;
    #[doc(hidden)]
    fn narrow(wide: i128) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl sealed::Sealed for $integer {}
        impl Integer for $integer {
            fn plus(self, other: Self) -> Self {
                self.checked_add(other).unwrap_or_else(|| {
                    panic!("a sum does not fit into {}", stringify!($integer))
                })
            }
            fn wide(self) -> i128 {
                i128::from(self)
            }
            fn narrow(wide: i128) -> Self {
                // A mean lies between numbers of this type.
                wide as Self
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 i8 i16 i32 i64);

macro_rules! tuples {
    ($(($($name:ident $at:tt),+))*) => {$(
        impl<T, $($name: Aggregate<T>),+> Aggregate<T> for ($($name,)+) {
            type Accumulator = ($($name::Accumulator,)+);
            type Value = ($($name::Value,)+);
            fn empty(&self) -> Self::Accumulator {
                ($(self.$at.empty(),)+)
            }
            #[inline]
            fn add(&self, accumulator: &mut Self::Accumulator, event: &T) {
                $(self.$at.add(&mut accumulator.$at, event);)+
            }
            fn merge(&self, accumulator: &mut Self::Accumulator, later: Self::Accumulator) {
                $(self.$at.merge(&mut accumulator.$at, later.$at);)+
            }
            fn value(&self, accumulator: &Self::Accumulator) -> Self::Value {
                ($(self.$at.value(&accumulator.$at),)+)
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
