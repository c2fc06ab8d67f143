//! [`EventTime`]: when an event happened, as the event itself says.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When an event happened, in milliseconds since the beginning of 1970 (UTC), negative before. The time
/// comes from the event: no clock of the machine is read for it.
///
/// Sums with a [`Duration`] saturate: beyond the range of `i64` they become [`EventTime::MIN`] or
/// [`EventTime::MAX`]. Fractions of a millisecond are cut off.
///
/// ```
/// use std::time::Duration;
/// use streamwork::EventTime;
///
/// let noon = EventTime::from_unix_ms(1_700_000_000_000);
/// let later = noon + Duration::from_secs(2);
/// assert_eq!(later.unix_ms() - noon.unix_ms(), 2_000);
/// assert!(later > noon);
/// assert_eq!(EventTime::MAX + Duration::from_millis(1), EventTime::MAX);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(i64);

impl EventTime {
    /// The earliest time.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time. It also stands for a time that was too far in the future to be believed; see
    /// [`Stream::event_time`](crate::Stream::event_time).
    pub const MAX: Self = Self(i64::MAX);

    /// The time this many milliseconds after the beginning of 1970.
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        Self(unix_ms)
    }

    /// Milliseconds since the beginning of 1970.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }
}

impl fmt::Display for EventTime {
    /// The number of milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Add<Duration> for EventTime {
    type Output = Self;
    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(whole_ms(time)))
    }
}

impl Sub<Duration> for EventTime {
    type Output = Self;
    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(whole_ms(time)))
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_with_any_duration_stay_in_range_and_lose_nothing_within_it() {
        assert_eq!(EventTime::MIN - Duration::from_millis(1), EventTime::MIN);
        assert_eq!(EventTime::MAX + Duration::MAX, EventTime::MAX);
        assert_eq!(EventTime::MAX - Duration::MAX, EventTime::MIN + Duration::from_millis(0));
        assert_eq!(EventTime::MIN + Duration::from_millis(u64::MAX), EventTime::MAX);
        let before_1970 = EventTime::from_unix_ms(500) - Duration::from_secs(1);
        assert_eq!(before_1970.unix_ms(), -500);
    }
}
