//! Do the places of a transaction fit each other, and the customer's home?
//!
//! Owns how often the card of a customer is present and the last foreign address that something
//! was sent to: a few numbers.
//!
//! Never looks at amounts.

use serde::{Deserialize, Serialize};

use super::super::score::{Analyzer, Evidence, Reason, Score};
use super::super::transaction::{Kind, Place, Transaction};
use super::Analyze;

/// What a customer does, as far as places tell.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Proximity {
    card_present: f32,
    card_not_present: f32,
    foreign: Option<ForeignAddress>,
}

/// An address that is not the customer's home, and when something was last sent there.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct ForeignAddress {
    place: Place,
    time_s: i64,
}

impl Analyze for Proximity {
    const ANALYZER: Analyzer = Analyzer::Proximity;

    fn analyze(&mut self, transaction: &Transaction) -> Score {
        let (evidence, reason) = match transaction.kind {
            Kind::CardPresent => card_present(transaction),
            Kind::CardNotPresent => self.card_not_present(transaction),
        };
        let evidence = evidence + self.kind(transaction.kind);
        self.learn(transaction);
        Score { transaction: transaction.id, analyzer: Self::ANALYZER, evidence, reason }
    }
}

/// How far from the customer's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// At home itself.
    Home,
    /// Where customers usually shop.
    Near,
    /// In the same region, where customers do not shop but a thief who found the card may.
    Region,
    /// Elsewhere.
    Far,
}

impl Reach {
    const HOME_KM: f32 = 0.05;
    const NEAR_KM: f32 = 10.1;
    const REGION_KM: f32 = 35.0;

    fn of(home: Place, place: Place) -> Self {
        match home.distance_km(place) {
            km if km <= Self::HOME_KM => Self::Home,
            km if km <= Self::NEAR_KM => Self::Near,
            km if km <= Self::REGION_KM => Self::Region,
            _ => Self::Far,
        }
    }
}

/// How likely something is if the transaction is genuine, and if it is a fraud of each pattern that
/// places can tell.
///
/// What was never seen gets a small number, not zero: the first of its kind must not decide alone
/// and for ever.
#[derive(Clone, Copy, Debug)]
struct Likelihood {
    genuine: f32,
    stolen_number: f32,
    stolen_card: f32,
}

impl Likelihood {
    const fn new(genuine: f32, stolen_number: f32, stolen_card: f32) -> Self {
        Self { genuine, stolen_number, stolen_card }
    }

    fn evidence(self) -> Evidence {
        Evidence {
            high_amount: 0.0,
            stolen_number: (self.stolen_number / self.genuine).ln(),
            stolen_card: (self.stolen_card / self.genuine).ln(),
        }
    }
}

// With the card, customers buy near their home and usually take the goods along. A thief always
// takes them along, and strays.
const TAKEN_ALONG: Likelihood = Likelihood::new(0.8, 0.8, 0.998);
const SENT_ELSEWHERE: Likelihood = Likelihood::new(0.2, 0.2, 0.002);
const PAID_NEAR: Likelihood = Likelihood::new(0.9998, 0.001, 0.73);
const PAID_IN_REGION: Likelihood = Likelihood::new(0.0001, 0.0001, 0.26);
const PAID_FAR: Likelihood = Likelihood::new(0.0001, 0.0001, 0.01);

// Without it, nine parcels of ten go home and the tenth near it. A thief's never go home, and all
// go to one address.
const SHIPPED_HOME: Likelihood = Likelihood::new(0.9, 0.001, 0.001);
const SHIPPED_NEAR: Likelihood = Likelihood::new(0.1, 0.01, 0.68);
const SHIPPED_IN_REGION: Likelihood = Likelihood::new(0.0001, 0.02, 0.32);
const SHIPPED_FAR: Likelihood = Likelihood::new(0.0001, 0.97, 0.001);
const SHIPPED_THERE_AGAIN: Likelihood = Likelihood::new(0.001, 0.5, 0.7);

/// Judges where the card is, and whether the goods stay there.
fn card_present(transaction: &Transaction) -> (Evidence, Option<Reason>) {
    let taken_along = transaction.shipping == transaction.terminal_place;
    let goods = if taken_along { TAKEN_ALONG } else { SENT_ELSEWHERE };
    let (place, reason) = match Reach::of(transaction.billing, transaction.terminal_place) {
        Reach::Home | Reach::Near => (PAID_NEAR, None),
        Reach::Region => (PAID_IN_REGION, Some(Reason::PaidFarFromHome)),
        Reach::Far => (PAID_FAR, Some(Reason::PaidFarFromHome)),
    };
    (goods.evidence() + place.evidence(), reason)
}

impl Proximity {
    /// For how long a second parcel to the same foreign address is striking.
    const AGAIN_S: u64 = 24 * 60 * 60;
    /// Habits are those of about the last so many transactions.
    const MEMORY: f32 = 200.0;
    /// A customer nobody has seen is taken for one seen twice, and twice in three times without the
    /// card.
    const SEEN_BEFORE: f32 = 2.0;
    const NOT_PRESENT_BEFORE: f32 = 1.3;

    /// Judges where the goods go, and whether they went there before.
    fn card_not_present(&self, transaction: &Transaction) -> (Evidence, Option<Reason>) {
        let (place, reason) = match Reach::of(transaction.billing, transaction.shipping) {
            Reach::Home => (SHIPPED_HOME, None),
            Reach::Near => (SHIPPED_NEAR, None),
            Reach::Region => (SHIPPED_IN_REGION, Some(Reason::ShippedFarFromHome)),
            Reach::Far => (SHIPPED_FAR, Some(Reason::ShippedFarFromHome)),
        };
        if self.sent_there_lately(transaction) {
            let again = SHIPPED_THERE_AGAIN.evidence();
            (place.evidence() + again, Some(Reason::SameForeignAddressAgain))
        } else {
            (place.evidence(), reason)
        }
    }

    fn sent_there_lately(&self, transaction: &Transaction) -> bool {
        self.foreign.is_some_and(|foreign| {
            foreign.place == transaction.shipping
                && transaction.time_s.abs_diff(foreign.time_s) <= Self::AGAIN_S
        })
    }

    /// A thief with the number never shows the card, one with the card does so half the time,
    /// whatever the customer's habit.
    fn kind(&self, kind: Kind) -> Evidence {
        let not_present = (self.card_not_present + Self::NOT_PRESENT_BEFORE)
            / (self.card_present + self.card_not_present + Self::SEEN_BEFORE);
        let present = 1.0 - not_present;
        match kind {
            Kind::CardPresent => Likelihood::new(present, present, 0.5).evidence(),
            Kind::CardNotPresent => Likelihood::new(not_present, 1.0, 0.5).evidence(),
        }
    }

    fn learn(&mut self, transaction: &Transaction) {
        if self.card_present + self.card_not_present >= Self::MEMORY {
            self.card_present /= 2.0;
            self.card_not_present /= 2.0;
        }
        match transaction.kind {
            Kind::CardPresent => self.card_present += 1.0,
            Kind::CardNotPresent => {
                self.card_not_present += 1.0;
                if Reach::of(transaction.billing, transaction.shipping) != Reach::Home {
                    self.foreign = Some(ForeignAddress {
                        place: transaction.shipping,
                        time_s: transaction.time_s,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Place = Place { latitude: -23.5, longitude: -46.6 };

    /// About `km` to the north of home.
    fn north(km: f32) -> Place {
        Place { latitude: HOME.latitude + km / 111.0, ..HOME }
    }

    fn shipped(to: Place, time_s: i64) -> Transaction {
        Transaction {
            id: 1,
            time_s,
            customer: 1,
            terminal: 1,
            amount_cents: 5_000,
            kind: Kind::CardNotPresent,
            shipping: to,
            billing: HOME,
            terminal_place: north(900.0),
        }
    }

    fn paid(at: Place) -> Transaction {
        Transaction {
            kind: Kind::CardPresent,
            shipping: at,
            terminal_place: at,
            ..shipped(HOME, 0)
        }
    }

    #[test]
    fn a_parcel_to_the_customers_home_speaks_against_fraud() {
        let score = Proximity::default().analyze(&shipped(HOME, 0));
        assert!(score.suspicion() <= 0.0, "{score:?}");
    }

    #[test]
    fn a_parcel_to_another_city_looks_like_a_stolen_number() {
        let score = Proximity::default().analyze(&shipped(north(400.0), 0));
        assert!(score.evidence.stolen_number > 7.0, "{score:?}");
        assert!(score.evidence.stolen_card < 3.0, "{score:?}");
        assert_eq!(score.reason, Some(Reason::ShippedFarFromHome));
    }

    #[test]
    fn the_second_parcel_to_the_same_foreign_address_is_more_suspicious_than_one_to_another() {
        let mut proximity = Proximity::default();
        proximity.analyze(&shipped(north(4.0), 0));
        let mut other = proximity;
        let again = proximity.analyze(&shipped(north(4.0), 3_600));
        assert_eq!(again.reason, Some(Reason::SameForeignAddressAgain));
        let elsewhere = other.analyze(&shipped(north(5.0), 3_600));
        assert!(again.suspicion() > elsewhere.suspicion() + 5.0);
    }

    #[test]
    fn the_same_foreign_address_two_days_later_is_not_striking() {
        let mut proximity = Proximity::default();
        proximity.analyze(&shipped(north(4.0), 0));
        let later = proximity.analyze(&shipped(north(4.0), 2 * 86_400));
        assert_eq!(later.reason, None);
    }

    #[test]
    fn a_card_at_a_terminal_out_of_its_owners_reach_looks_stolen() {
        let near = Proximity::default().analyze(&paid(north(8.0)));
        let region = Proximity::default().analyze(&paid(north(15.0)));
        assert!(near.suspicion() < 1.0, "{near:?}");
        assert!(region.evidence.stolen_card > 7.0, "{region:?}");
        assert_eq!(region.reason, Some(Reason::PaidFarFromHome));
    }

    #[test]
    fn a_customer_who_always_shows_the_card_is_suspicious_without_it() {
        let mut proximity = Proximity::default();
        let stranger = Proximity::default().analyze(&shipped(north(4.0), 0));
        for _ in 0..50 {
            proximity.analyze(&paid(north(2.0)));
        }
        let known = proximity.analyze(&shipped(north(4.0), 0));
        assert!(known.suspicion() > stranger.suspicion() + 2.0);
    }

    #[test]
    fn evidence_stays_finite_after_any_number_of_transactions() {
        let mut proximity = Proximity::default();
        for n in 0..10_000 {
            let evidence = proximity.analyze(&shipped(HOME, n)).evidence;
            assert!(evidence.stolen_card.is_finite() && evidence.stolen_number.is_finite());
        }
        assert!(proximity.analyze(&paid(HOME)).suspicion().is_finite());
    }
}
