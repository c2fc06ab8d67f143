//! Fraud detection without the engine: what a transaction is, what three analyzers make of it, and
//! how their scores become a decision. Pure logic, no threads, no clock: the jobs around it supply
//! those.
//!
//! [`feed`] says where transactions come from, [`database`] where decisions go.
//!
//! The truth about a transaction ([`transaction::Labelled`]) never enters [`analyzers`] or
//! [`decision`].

pub mod transaction;

pub mod read_error;
pub mod transaction_file;

pub mod score;

pub mod analyzers;

pub mod decision;

pub mod generator;
pub mod random;

pub mod feed;

pub mod database;

pub mod failed;
pub mod lock;
pub mod progress;

#[cfg(test)]
mod tests {
    use super::analyzers::average_ticket::AverageTicket;
    use super::analyzers::proximity::Proximity;
    use super::analyzers::transaction_count::TransactionCount;
    use super::analyzers::{Analyze, Customers};
    use super::decision::{Verdict, decide};
    use super::generator::Generator;
    use super::transaction::Labelled;

    /// Transactions whose customers have a history: the first 40,000 are only learned from.
    fn rows() -> (Vec<Labelled>, Vec<Labelled>) {
        let mut rows: Vec<Labelled> = Generator::new(7, 1000, 2000).take(100_000).collect();
        let judged = rows.split_off(40_000);
        (rows, judged)
    }

    #[test]
    fn most_frauds_are_declined_and_most_declined_are_frauds() {
        let mut ticket = Customers::<AverageTicket>::default();
        let mut proximity = Customers::<Proximity>::default();
        let mut count = Customers::<TransactionCount>::default();
        let mut declined = |row: &Labelled| {
            let scores = [
                Some(ticket.analyze(&row.transaction)),
                Some(proximity.analyze(&row.transaction)),
                Some(count.analyze(&row.transaction)),
            ];
            decide(&scores).verdict == Verdict::Declined
        };
        let (history, judged) = rows();
        history.iter().for_each(|row| {
            declined(row);
        });

        let frauds = judged.iter().filter(|row| row.fraud).count();
        let hits: Vec<&Labelled> = judged.iter().filter(|row| declined(row)).collect();
        let found = hits.iter().filter(|row| row.fraud).count();
        let precision = found as f64 / hits.len() as f64;
        let recall = found as f64 / frauds as f64;
        assert!(precision > 0.95 && recall > 0.9, "{precision:.3} {recall:.3}");
    }

    /// Stops the analyzers of all customers after a while, writes them, reads them, and compares the scores of both
    /// from there on.
    fn goes_on_as_before<A: Analyze>() {
        let (history, judged) = rows();
        let mut analyzer = Customers::<A>::default();
        for row in &history {
            let score = analyzer.analyze(&row.transaction);
            assert_eq!(score.analyzer, A::ANALYZER);
            assert_eq!(score.transaction, row.transaction.id);
        }
        let state = serde_json::to_string(&analyzer).expect("the state is plain data");
        let mut restored: Customers<A> = serde_json::from_str(&state).expect("it was just written");
        for row in &judged {
            assert_eq!(analyzer.analyze(&row.transaction), restored.analyze(&row.transaction));
        }
    }

    #[test]
    fn an_analyzer_restored_from_its_state_goes_on_as_before() {
        goes_on_as_before::<AverageTicket>();
        goes_on_as_before::<Proximity>();
        goes_on_as_before::<TransactionCount>();
    }

    /// Where two share the customers, as two instances do, the scores are the same as where one has all.
    fn split_by_customer_says_the_same<A: Analyze>() {
        let mut whole = Customers::<A>::default();
        let mut halves = [Customers::<A>::default(), Customers::default()];
        for row in rows().0 {
            let half = &mut halves[row.transaction.customer as usize % 2];
            assert_eq!(half.analyze(&row.transaction), whole.analyze(&row.transaction));
        }
    }

    #[test]
    fn the_number_of_instances_does_not_change_a_score() {
        split_by_customer_says_the_same::<AverageTicket>();
        split_by_customer_says_the_same::<Proximity>();
        split_by_customer_says_the_same::<TransactionCount>();
    }
}
