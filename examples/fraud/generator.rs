//! Endless transactions for those who want more of them than a file holds.
//!
//! The same seed gives the same transactions, on every machine. Customers have a home, a usual
//! amount and a habit of showing the card or not; a few are robbed of their card or its number. The
//! patterns are those of the file except the compromised terminal, which leaves no trace in a
//! transaction.
//!
//! Never stores what it has generated, and allocates nothing per transaction.

use super::random::Random;
use super::transaction::{Kind, Labelled, Place, Transaction};

const DAY_S: f64 = 86_400.0;
/// Transactions that a customer makes a day, on average over the customers.
const PER_CUSTOMER_AND_DAY: f64 = 2.0;
/// A thief spends this many times what the customer does.
const INFLATION: f32 = 5.0;
/// Honest customers stay below.
const LIMIT_CENTS: f32 = 22_000.0;
/// Customers shop within this distance of their home.
const SHOPPING_KM: f32 = 10.0;

/// The generator. Iterate over it; it never ends.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    towns: Vec<Place>,
    terminals: Vec<Place>,
    customers: Vec<Customer>,
    /// Each customer, as many times as it is active: a uniform draw here is a weighted draw of a
    /// customer.
    active: Vec<u32>,
    robberies: Vec<Robbery>,
    gap_s: f64,
    clock_s: f64,
    next_id: u64,
}

impl Generator {
    /// One number in so many transactions is stolen, and misused for [`Self::NUMBER_USED_DAYS`].
    const NUMBER_STOLEN_EVERY: u32 = 1400;
    const NUMBER_USED_DAYS: f64 = 14.0;
    /// One card in so many transactions is stolen.
    const CARD_STOLEN_EVERY: u32 = 800;
    /// One amount in so many is above the limit.
    const HIGH_AMOUNT_EVERY: u32 = 2000;
    /// One transaction in so many arrives a little late.
    const LATE_EVERY: u32 = 100;
    const ROBBERIES_MAX: usize = 1024;
    const TERMINALS_PER_TOWN: usize = 20;

    /// A generator of transactions of `customers` at `terminals`, at least one of each.
    pub fn new(seed: u64, customers: u32, terminals: u32) -> Self {
        let mut random = Random::new(seed);
        let (customers, terminals) = (customers.max(1), terminals.max(1) as usize);
        let towns: Vec<Place> =
            (0..terminals.div_ceil(Self::TERMINALS_PER_TOWN)).map(|_| random.town()).collect();
        let terminals =
            (0..terminals).map(|n| random.around(towns[n % towns.len()], 8.0)).collect();
        let customers: Vec<Customer> =
            (0..customers).map(|_| Customer::new(&mut random, &towns)).collect();
        let active: Vec<u32> = (0..customers.len() as u32)
            .flat_map(|n| (0..=random.below(6)).map(move |_| n))
            .collect();
        Self {
            gap_s: DAY_S / (PER_CUSTOMER_AND_DAY * customers.len() as f64),
            random,
            towns,
            terminals,
            customers,
            active,
            robberies: Vec::new(),
            clock_s: 0.0,
            next_id: 0,
        }
    }

    /// What the thief with a card does next, if it is time.
    fn robbery(&mut self) -> Option<Labelled> {
        let turn = (self.next_id as usize).checked_rem(self.robberies.len())?;
        let robbery = &mut self.robberies[turn];
        if robbery.next_s > self.clock_s {
            return None;
        }
        robbery.next_s = self.clock_s + 600.0 + 3000.0 * f64::from(self.random.unit());
        robbery.left -= 1;
        let Robbery { customer, hideout, left, .. } = *robbery;
        if left == 0 {
            self.robberies.swap_remove(turn);
        }

        let robbed = self.customers[customer as usize];
        let amount = INFLATION * robbed.amount(&mut self.random);
        let purchase = if self.random.unit() < 0.5 {
            let terminal = self.terminal_in(robbed.town);
            self.at_terminal(terminal, None)
        } else {
            self.by_number(hideout)
        };
        Some(self.labelled(customer, amount, purchase, 4))
    }

    fn steal(&mut self) {
        let victim = self.random.below(self.customers.len() as u32);
        if self.random.one_in(Self::NUMBER_STOLEN_EVERY) {
            let town = self.towns[self.random.below(self.towns.len() as u32) as usize];
            let until_s = self.clock_s + Self::NUMBER_USED_DAYS * DAY_S;
            let address = self.random.around(town, 8.0);
            self.customers[victim as usize].number_stolen = Some(NumberStolen { until_s, address });
        }
        if self.random.one_in(Self::CARD_STOLEN_EVERY) && self.robberies.len() < Self::ROBBERIES_MAX
        {
            let town = self.towns[self.customers[victim as usize].town as usize];
            self.robberies.push(Robbery {
                customer: victim,
                hideout: self.random.around(town, 12.0),
                left: 4 + self.random.below(9),
                next_s: self.clock_s,
            });
        }
    }

    /// What a customer does next, or the thief of its card number.
    fn ordinary(&mut self) -> Labelled {
        let customer = self.active[self.random.below(self.active.len() as u32) as usize];
        let profile = self.customers[customer as usize];
        let amount = profile.amount(&mut self.random);
        if let Some(stolen) = profile.number_stolen.filter(|stolen| stolen.until_s > self.clock_s)
            && self.random.one_in(3)
        {
            let purchase = self.by_number(stolen.address);
            return self.labelled(customer, INFLATION * amount, purchase, 3);
        }
        let purchase = self.purchase_of(&profile);
        if self.random.one_in(Self::HIGH_AMOUNT_EVERY) {
            let amount = LIMIT_CENTS + 100.0 + 30_000.0 * self.random.unit();
            return self.labelled(customer, amount, purchase, 1);
        }
        self.labelled(customer, amount.min(LIMIT_CENTS), purchase, 0)
    }

    fn purchase_of(&mut self, customer: &Customer) -> Purchase {
        if self.random.unit() >= customer.card_not_present {
            let terminal = self.terminal_in(customer.town);
            if self.terminals[terminal as usize].distance_km(customer.home) <= SHOPPING_KM {
                let shipped = if self.random.unit() < 0.2 { Some(customer.home) } else { None };
                return self.at_terminal(terminal, shipped);
            }
        }
        let shipping = if self.random.one_in(10) {
            self.random.around(customer.home, 6.0)
        } else {
            customer.home
        };
        self.by_number(shipping)
    }

    /// A terminal of `town`: terminal `n` stands in town `n` modulo the number of towns.
    fn terminal_in(&mut self, town: u32) -> u32 {
        let towns = self.towns.len() as u32;
        let here = (self.terminals.len() as u32 - town).div_ceil(towns);
        town + towns * self.random.below(here)
    }

    /// The goods are taken along, or sent somewhere.
    fn at_terminal(&self, terminal: u32, shipped: Option<Place>) -> Purchase {
        let shipping = shipped.unwrap_or(self.terminals[terminal as usize]);
        Purchase { terminal, kind: Kind::CardPresent, shipping }
    }

    fn by_number(&mut self, shipping: Place) -> Purchase {
        let terminal = self.random.below(self.terminals.len() as u32);
        Purchase { terminal, kind: Kind::CardNotPresent, shipping }
    }

    fn labelled(
        &mut self,
        customer: u32,
        amount: f32,
        purchase: Purchase,
        scenario: u8,
    ) -> Labelled {
        let id = self.next_id;
        self.next_id += 1;
        let late_s = if self.random.one_in(Self::LATE_EVERY) { self.random.below(120) } else { 0 };
        let transaction = Transaction {
            id,
            time_s: (self.clock_s as i64 - i64::from(late_s)).max(0),
            customer,
            terminal: purchase.terminal,
            amount_cents: amount as u64,
            kind: purchase.kind,
            shipping: purchase.shipping,
            billing: self.customers[customer as usize].home,
            terminal_place: self.terminals[purchase.terminal as usize],
        };
        Labelled { transaction, fraud: scenario != 0, scenario }
    }
}

impl Iterator for Generator {
    type Item = Labelled;

    fn next(&mut self) -> Option<Labelled> {
        self.clock_s += 2.0 * self.gap_s * f64::from(self.random.unit());
        self.steal();
        Some(self.robbery().unwrap_or_else(|| self.ordinary()))
    }
}

/// Where, how, and what becomes of the goods.
struct Purchase {
    terminal: u32,
    kind: Kind,
    shipping: Place,
}

/// Who a customer is.
#[derive(Clone, Copy, Debug)]
struct Customer {
    home: Place,
    town: u32,
    usual_cents: f32,
    /// The share of transactions without the card.
    card_not_present: f32,
    number_stolen: Option<NumberStolen>,
}

/// A thief has the number of a card and has things sent to an address.
#[derive(Clone, Copy, Debug)]
struct NumberStolen {
    until_s: f64,
    address: Place,
}

/// A thief has a card and spends as fast as possible.
#[derive(Debug)]
struct Robbery {
    customer: u32,
    hideout: Place,
    left: u32,
    next_s: f64,
}

impl Customer {
    fn new(random: &mut Random, towns: &[Place]) -> Self {
        let town = random.below(towns.len() as u32);
        Self {
            home: random.around(towns[town as usize], 6.0),
            town,
            usual_cents: 500.0 + 9_500.0 * random.unit(),
            card_not_present: random.unit(),
            number_stolen: None,
        }
    }

    /// Scatters around the usual amount by half of it.
    fn amount(&self, random: &mut Random) -> f32 {
        let amount = self.usual_cents * (1.0 + random.bell() / 2.0);
        if amount > 0.0 { amount } else { 2.0 * self.usual_cents * random.unit() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(seed: u64, count: usize) -> Vec<Labelled> {
        Generator::new(seed, 1000, 2000).take(count).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_transactions_and_another_gives_others() {
        assert_eq!(take(1, 1000), take(1, 1000));
        assert_ne!(take(1, 1000), take(2, 1000));
    }

    #[test]
    fn ids_count_up_and_times_run_forward_but_for_the_late_ones() {
        let rows = take(3, 20_000);
        assert!(rows.iter().enumerate().all(|(n, row)| row.transaction.id == n as u64));
        let backward = rows
            .windows(2)
            .filter(|pair| pair[1].transaction.time_s < pair[0].transaction.time_s)
            .count();
        assert!((20..600).contains(&backward), "{backward}");
    }

    #[test]
    fn every_pattern_but_the_compromised_terminal_occurs_and_few_transactions_are_frauds() {
        let rows = take(4, 100_000);
        let of = |scenario| rows.iter().filter(|row| row.scenario == scenario).count();
        assert!(of(1) > 20);
        assert_eq!(of(2), 0);
        assert!(of(3) > 200);
        assert!(of(4) > 400);
        assert!(of(0) > 95_000);
        assert!(rows.iter().all(|row| row.fraud == (row.scenario != 0)));
    }

    #[test]
    fn a_customer_makes_about_two_transactions_a_day() {
        let rows = take(5, 100_000);
        let days = rows[rows.len() - 1].transaction.time_s as f64 / DAY_S;
        assert!((45.0..55.0).contains(&days), "{days}");
    }

    #[test]
    fn one_customer_at_one_terminal_is_enough() {
        assert!(
            Generator::new(6, 0, 0)
                .take(10_000)
                .all(|row| row.transaction.customer == 0 && row.transaction.terminal == 0)
        );
    }
}
