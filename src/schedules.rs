//! The places where threads meet, under many orders of their steps: nothing is lost, nobody sleeps
//! over work, nothing is counted early. Run with
//! `RUSTFLAGS="--cfg streamwork_schedules" cargo test --lib schedules`; `STREAMWORK_SCHEDULES` sets
//! how many orders, per test, are tried.
//!
//! A lost wake-up shows as a deadlock, which the scheduler reports together with the schedule that
//! led there. Orders are drawn at random and by priorities with few changes (Burckhardt et al.,
//! ASPLOS 2010).

use std::sync::Arc;

use shuttle::thread;

use crate::api::waker::Waker;
use crate::channel::budget::Budget;
use crate::channel::frame::{Amount, Batch, Frame};
use crate::channel::ledger::{Entries, Reports};
use crate::channel::queue::{Bound, queue};
use crate::clock::{MonotonicClock, Timestamp};
use crate::delivery::at_least_once::acknowledger::{Acknowledger, TakenAnswers};
use crate::executor::instance::{Command, Mailbox};
use crate::id::{CheckpointId, Root};

fn orders(check: impl Fn() + Send + Sync + 'static) {
    let asked = std::env::var("STREAMWORK_SCHEDULES").ok();
    let orders = asked.map_or(35_000, |text| text.parse().expect("a number of schedules"));
    let check = Arc::new(check);
    let again = Arc::clone(&check);
    shuttle::check_random(move || check(), orders / 2);
    shuttle::check_pct(move || again(), orders / 2, 3);
}

fn batch(number: u64) -> Frame<u64> {
    Frame::Batch(Batch { events: vec![number], ..Batch::default() })
}

#[test]
fn a_queue_that_is_full_and_empty_in_turn_loses_nothing_and_wakes_both_sides() {
    orders(|| {
        const FRAMES: u64 = 4;
        let (from, to) = (Waker::default(), Waker::default());
        let (sender, receiver) = queue::<u64>(1, from.clone(), to.clone(), Bound::default());
        let sending = thread::spawn(move || {
            for number in 0..FRAMES {
                let mut frame = batch(number);
                while let Err(back) = sender.try_send(frame) {
                    frame = back;
                    from.park(None);
                }
            }
        });
        let mut next = 0;
        while next < FRAMES {
            match receiver.try_recv() {
                Some(Frame::Batch(frame)) => {
                    assert_eq!(frame.events, [next]);
                    next += 1;
                    receiver.recycle(frame);
                }
                Some(Frame::Control(_)) => unreachable!("only batches were sent"),
                None => to.park(None),
            }
        }
        sending.join().expect("the sender has sent all");
    });
}

#[test]
fn senders_that_share_a_budget_are_all_woken_and_nothing_is_lost() {
    orders(|| {
        const FRAMES: u64 = 3;
        let to = Waker::default();
        let budget = Arc::<Budget>::default();
        let bound = Bound { budget: Arc::clone(&budget), by_length_alone: false };
        let mut receivers = Vec::new();
        let senders = (0..2).map(|_| {
            let from = Waker::default();
            let (sender, receiver) = queue::<u64>(2, from.clone(), to.clone(), bound.clone());
            receivers.push(receiver);
            thread::spawn(move || {
                for number in 0..FRAMES {
                    let mut frame = batch(number);
                    while let Err(back) = sender.try_send(frame) {
                        frame = back;
                        from.park(None);
                    }
                }
            })
        });
        let senders: Vec<_> = senders.collect();
        let mut next = [0; 2];
        while next != [FRAMES; 2] {
            let mut any = false;
            for (receiver, next) in receivers.iter().zip(&mut next) {
                if let Some(Frame::Batch(frame)) = receiver.try_recv() {
                    assert_eq!(frame.events, [*next]);
                    (*next, any) = (*next + 1, true);
                    budget.leave(Amount { events: 1, bytes: 0 });
                }
            }
            if !any {
                to.park(None);
            }
        }
        senders.into_iter().for_each(|sender| sender.join().expect("it has sent all"));
        assert!(budget.admits(Amount { events: 2, bytes: 0 }), "nothing is under way any more");
    });
}

#[test]
fn an_instance_that_parks_between_two_commands_obeys_both_in_order() {
    orders(|| {
        let mailbox = Arc::new(Mailbox::default());
        let line = Arc::clone(&mailbox);
        let telling = thread::spawn(move || {
            line.send(Command::Open);
            line.send(Command::Inject(CheckpointId(1)));
            line.cancel();
        });
        let mut obeyed = Vec::new();
        while !mailbox.cancelled() {
            obeyed.extend(mailbox.take());
            if !mailbox.cancelled() {
                mailbox.waker.park(None);
            }
        }
        obeyed.extend(mailbox.take());
        telling.join().expect("everything was said");
        assert_eq!(obeyed, [Command::Open, Command::Inject(CheckpointId(1))]);
    });
}

#[test]
fn a_source_that_waits_learns_of_every_event_once_and_of_none_too_early() {
    orders(|| {
        let waker = Waker::default();
        let clock = Arc::new(MonotonicClock::default());
        let acknowledger = Acknowledger::new(vec![waker.clone()], 0, clock);
        // Two events, each on its way to two workers; the first worker sends each on to the second.
        let first = acknowledger.outstanding(0).first.open(2, 2, Timestamp(0));
        let roots: Vec<Root> = Root::range(0, first, 2).collect();
        let worked = Arc::new(shuttle::sync::Mutex::new([0_u32; 2]));
        let (sender, receiver) =
            queue::<u64>(4, Waker::default(), Waker::default(), Bound::default());
        let first = {
            let (acknowledger, worked, roots) =
                (Arc::clone(&acknowledger), Arc::clone(&worked), roots.clone());
            thread::spawn(move || {
                for (number, root) in roots.into_iter().enumerate() {
                    worked.lock().unwrap()[number] += 1;
                    // One delivery done, one made: the net change is reported before it can be seen.
                    let changes = vec![(root, 0)];
                    acknowledger.report(&mut Entries { changes, ..Entries::default() });
                    assert!(sender.try_send(batch(number as u64)).is_ok());
                }
            })
        };
        let second = {
            let (acknowledger, worked) = (Arc::clone(&acknowledger), Arc::clone(&worked));
            thread::spawn(move || {
                let done = |numbers: &[usize]| {
                    let mut entries = Entries::default();
                    for number in numbers {
                        worked.lock().unwrap()[*number] += 1;
                        entries.finished.push(roots[*number]);
                    }
                    acknowledger.report(&mut entries);
                };
                done(&[0, 1]);
                let mut left = 2;
                while left > 0 {
                    match receiver.try_recv() {
                        Some(Frame::Batch(batch)) => {
                            done(&[batch.events[0] as usize]);
                            left -= 1;
                        }
                        _ => thread::yield_now(),
                    }
                }
            })
        };
        let mut answers = TakenAnswers::default();
        while answers.front < 2 {
            let known = answers.front;
            let mut outstanding = acknowledger.outstanding(0);
            outstanding.take_answers(&mut answers);
            let nothing_there = answers.front < 2 && outstanding.await_front(2, &answers);
            drop(outstanding);
            for event in known..answers.front {
                assert_eq!(worked.lock().unwrap()[event as usize], 3, "told too early");
            }
            if nothing_there {
                waker.park(None);
            }
        }
        first.join().expect("it has sent all on");
        second.join().expect("it has done all");
        assert_eq!(acknowledger.outstanding(0).first.unfinished(), 0, "nothing is left");
    });
}
