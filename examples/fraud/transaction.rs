//! One card transaction.
//!
//! Owns what is known about a transaction when it is made ([`Transaction`]), and, apart from it,
//! what is only known much later: whether it was a fraud ([`Labelled`]). The two are separate types
//! so that no analyzer can see the truth: an analyzer takes a [`Transaction`], and a transaction
//! does not know.

use serde::{Deserialize, Serialize};

/// Where on Earth: degrees of latitude and longitude.
///
/// 32 bits resolve half a metre, far below the five decimals of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// Degrees north.
    pub latitude: f32,
    /// Degrees east.
    pub longitude: f32,
}

impl Place {
    /// The distance to `other` in kilometres, on a map that is flat between the two.
    ///
    /// Right to a metre within a city, and to a few per cent across a country, where only "far"
    /// matters.
    pub fn distance_km(self, other: Place) -> f32 {
        const KM_PER_DEGREE: f32 = 111.195;
        let north = other.latitude - self.latitude;
        let middle = (self.latitude + other.latitude) / 2.0;
        let east = (other.longitude - self.longitude) * middle.to_radians().cos();
        KM_PER_DEGREE * north.hypot(east)
    }
}

/// How the card was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The card was at the terminal.
    CardPresent,
    /// Only the card's number was used: goods go to the shipping address.
    CardNotPresent,
}

/// What is known about a transaction when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    /// Unique, and roughly chronological.
    pub id: u64,
    /// Event time in seconds since the start of the file. Not sorted everywhere.
    pub time_s: i64,
    /// The account that pays.
    pub customer: u32,
    /// The terminal, or the web shop, that is paid.
    pub terminal: u32,
    /// The amount in cents.
    pub amount_cents: u64,
    /// Card present or not.
    pub kind: Kind,
    /// Where the goods go.
    pub shipping: Place,
    /// The customer's home.
    pub billing: Place,
    /// Where the terminal stands.
    pub terminal_place: Place,
}

/// A transaction and the truth about it, which is for measuring only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// What the analyzers may see.
    pub transaction: Transaction,
    /// Was it a fraud?
    pub fraud: bool,
    /// 0 genuine, 1 very high amount, 2 compromised terminal, 3 stolen card number, 4 stolen card.
    pub scenario: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_distance_is_measured_right() {
        let rio = Place { latitude: -22.9068, longitude: -43.1729 };
        let sao_paulo = Place { latitude: -23.5505, longitude: -46.6333 };
        assert!((rio.distance_km(sao_paulo) - 361.0).abs() < 3.0);
        assert_eq!(rio.distance_km(rio), 0.0);
    }
}
