//! Frees the memory of state whose time is over, a few entries at a time, whether anybody asks for its keys or not
//! (state B9.2).

use std::hash::Hash;
use std::time::Duration;

use crate::api::state::State;
use crate::clock::Timestamp;
use crate::state::store::{Found, KeyedStore};
use crate::state::time_to_live::{Expiry, Since};

/// The whole store is looked through in so many steps, in more if they would be large.
const STEPS: usize = 64;

/// Places of entries in one step at most: as much work as some events.
const PLACES: usize = 4096;

/// The store is looked through in this time at most; for a short time to live, within that.
const ROUND: Duration = Duration::from_secs(16);

/// Where the next step begins, and when.
#[derive(Debug, Default)]
pub(super) struct Cleanup {
    segment: usize,
    bucket: usize,
    pub(super) due: Timestamp,
}

impl<K: State + Hash + Eq, V: State> KeyedStore<K, V> {
    /// When the next step is due; none without a time to live.
    pub(crate) fn cleanup_due(&self) -> Option<Timestamp> {
        self.saves.expiry.map(|_| self.cleanup.due)
    }

    /// Looks at the next entries if it is time, and lets those expire whose time is over.
    pub(crate) fn clean_up(&mut self, now: Timestamp) {
        let Some(expiry) = self.saves.expiry.as_mut().filter(|_| self.cleanup.due <= now) else {
            return;
        };
        expiry.clock(now);
        let round = expiry.lives().clamp(Duration::from_millis(1), ROUND);
        let all = self.tables.iter().map(|table| table.num_buckets()).sum::<usize>().max(1);
        let places = (all / STEPS).clamp(1, PLACES);
        let steps = u32::try_from(all.div_ceil(places)).unwrap_or(u32::MAX);
        self.cleanup.due = now.after((round / steps).max(Duration::from_millis(1)));
        let mut left = places;
        while left > 0 {
            let Cleanup { segment, bucket, .. } = self.cleanup;
            let end = self.tables[segment].num_buckets().min(bucket + left);
            for bucket in bucket..end {
                self.expire(Found { segment, bucket });
            }
            left -= end - bucket;
            if end < self.tables[segment].num_buckets() {
                self.cleanup.bucket = end;
                return;
            }
            (self.cleanup.segment, self.cleanup.bucket) = (segment + 1, 0);
            if self.cleanup.segment == self.tables.len() {
                self.cleanup.segment = 0;
                return;
            }
        }
    }

    /// Lets the entry at a place expire if there is one and its time is over.
    fn expire(&mut self, found: Found) {
        if !self.is_over(found) {
            return;
        }
        let expires = self.expires;
        match self.at_mut(found).is_some_and(expires) {
            true => drop(self.remove(found)),
            // There is nothing left to expire for as long again.
            false => self.touch(found, Since::Created),
        }
    }
}

impl<K, V> KeyedStore<K, V> {
    /// Whether there is a time to live in event time.
    pub(crate) fn expires_in_event_time(&self) -> bool {
        self.saves.expiry.is_some_and(|expiry| expiry.is_in_event_time())
    }

    /// What time it is, and with that the time of what is touched from now on.
    pub(crate) fn expiry(&mut self) -> Option<&mut Expiry> {
        self.saves.expiry.as_mut()
    }
}
