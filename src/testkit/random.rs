//! A seeded generator: the same numbers from the same seed, on every machine.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if the bound is.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// True once in `times` on average; never if `times` is 0.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        times != 0 && self.next().is_multiple_of(times)
    }

    /// A power of two between two powers, every exponent as likely as any other.
    pub(crate) fn power(&mut self, lowest: u32, highest: u32) -> u64 {
        1 << (u64::from(lowest) + self.next() % u64::from(highest - lowest + 1))
    }
}
