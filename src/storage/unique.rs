//! Unique numbers: identities of logs and writers, and names of files that must never be used twice.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

/// The time in milliseconds since the Unix epoch above 64 drawn bits; never zero. The standard library seeds its hashers from the
/// system's source of randomness, once per thread; time and process tell apart what was forked since then.
pub(super) fn draw() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u128(since.as_nanos());
    hasher.write_u32(process::id());
    let milliseconds = since.as_millis() & 0xffff_ffff_ffff;
    (milliseconds << 64 | u128::from(hasher.finish())).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_drawn_twice_on_any_thread() {
        let draw = || (0..1000).map(|_| draw()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let drawn = threads.into_iter().flat_map(|thread| thread.join().expect("it draws"));
        let different: std::collections::HashSet<_> = drawn.collect();
        assert_eq!(different.len(), 4000);
    }

    #[test]
    fn later_numbers_are_greater_once_a_millisecond_has_passed() {
        let (first, began) = (draw(), std::time::Instant::now());
        while began.elapsed().as_millis() < 2 {}
        assert!(first < draw());
    }
}
