//! Random numbers and places for the generator of transactions.

use super::transaction::Place;

/// Random numbers that are the same everywhere: SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// In `0..end`.
    pub fn below(&mut self, end: u32) -> u32 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u32
    }

    /// True once in so many times.
    pub fn one_in(&mut self, many: u32) -> bool {
        self.below(many) == 0
    }

    /// In 0..1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    /// Nearly a normal distribution of mean 0 and variance 1: the sum of four uniform numbers.
    pub fn bell(&mut self) -> f32 {
        let bits = self.bits();
        let sum: u32 = (0..4).map(|n| (bits >> (16 * n)) as u32 & 0xFFFF).sum();
        (sum as f32 / 65_536.0 - 2.0) * 3.0_f32.sqrt()
    }

    /// A place in a country some 3,000 km wide.
    pub fn town(&mut self) -> Place {
        Place { latitude: -30.0 + 27.0 * self.unit(), longitude: -60.0 + 22.0 * self.unit() }
    }

    /// A place within `reach_km` of `centre`.
    pub fn around(&mut self, centre: Place, reach_km: f32) -> Place {
        const KM_PER_DEGREE: f32 = 111.195;
        // A square whose corners are `reach_km` away; a degree of longitude is never wider than one
        // of latitude.
        let half_degrees = reach_km / 2.0_f32.sqrt() / KM_PER_DEGREE;
        Place {
            latitude: centre.latitude + half_degrees * (2.0 * self.unit() - 1.0),
            longitude: centre.longitude + half_degrees * (2.0 * self.unit() - 1.0),
        }
    }
}
