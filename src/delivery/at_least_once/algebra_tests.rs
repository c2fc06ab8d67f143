//! The acknowledger against a model of ten lines: random trees over several sources, with groups,
//! failures, replays and late reports, in any legal order. Nothing is done early, nothing twice, nothing is
//! left. `STREAMWORK_TREES` sets how many histories are tried.

use std::sync::Arc;

use super::*;
use crate::api::waker::Waker;
use crate::clock::MonotonicClock;
use crate::error::Cause;
use crate::id::InstanceName;

const SOURCES: usize = 2;

/// Histories are shared out among so many.
const THREADS: u64 = 2;

/// One root: whom it stands for, and what is outstanding under it.
struct Node {
    root: Root,
    stands_for: For,
    outstanding: i64,
    live: bool,
}

/// What a root stands for.
#[derive(Clone)]
enum For {
    /// An event, of this source and with this entry: its first attempt, or a replay.
    Event(usize, u64),
    /// Several roots.
    Group(Vec<usize>),
}

/// The model. What it says is done or failed is compared with what sources are told.
#[derive(Default)]
struct Model {
    nodes: Vec<Node>,
    /// Whether it is done, for each event of each source.
    done: [Vec<bool>; SOURCES],
    failed: Vec<(usize, u64)>,
}

impl Model {
    fn change(&mut self, node: usize, by: i64) {
        self.nodes[node].outstanding += by;
        if self.nodes[node].outstanding == 0 {
            self.finish(node, true);
        }
    }

    fn finish(&mut self, node: usize, well: bool) {
        if !std::mem::replace(&mut self.nodes[node].live, false) {
            return;
        }
        match (self.nodes[node].stands_for.clone(), well) {
            (For::Event(source, entry), true) => {
                let was_done = std::mem::replace(&mut self.done[source][entry as usize], true);
                assert!(!was_done, "an event is done once");
            }
            (For::Event(source, entry), false) => self.failed.push((source, entry)),
            (For::Group(members), true) => {
                members.into_iter().for_each(|member| self.change(member, -1));
            }
            (For::Group(members), false) => {
                members.into_iter().for_each(|member| self.finish(member, false));
            }
        }
    }

    fn open(&mut self, root: Root, stands_for: For, copies: usize, under_way: &mut Vec<usize>) {
        under_way.extend(std::iter::repeat_n(self.nodes.len(), copies));
        self.nodes.push(Node { root, stands_for, outstanding: copies as i64, live: true });
    }
}

/// SplitMix64: its output for a counter.
fn draw(state: &mut u64, bound: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % bound as u64) as usize
}

fn failure() -> Failure {
    let instance = InstanceName::new("worker", 0);
    Failure { instance, callback: "apply", cause: Cause::error("on purpose") }
}

fn one_history(seed: u64, clock: &Arc<MonotonicClock>) {
    let mut random = seed;
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    let acknowledger = Acknowledger::new(vec![Waker::default(); SOURCES], 1, clock);
    let (answers, mut model) = (acknowledger.answers_of(0), Model::default());
    // Deliveries that are on their way, by node.
    let mut under_way: Vec<usize> = Vec::new();
    // Events that failed and are to be replayed.
    let mut again: Vec<(usize, u64)> = Vec::new();
    let mut steps = 0;
    loop {
        steps += 1;
        if steps <= 30 && (under_way.is_empty() || draw(&mut random, 4) == 0) {
            let (source, copies) = (draw(&mut random, SOURCES), 1 + draw(&mut random, 3));
            let entry = acknowledger.outstanding(source).first.open(1, copies as u32, Timestamp(0));
            assert_eq!(entry, model.done[source].len() as u64, "seed {seed}");
            model.done[source].push(false);
            let root = Root::new(source, entry);
            model.open(root, For::Event(source, entry), copies, &mut under_way);
        } else if !again.is_empty() && (under_way.is_empty() || draw(&mut random, 3) == 0) {
            let (source, entry) = again.swap_remove(draw(&mut random, again.len()));
            let copies = 1 + draw(&mut random, 2);
            let sequence =
                acknowledger.outstanding(source).again.open(entry, copies as u32, Timestamp(0));
            let root = acknowledger.root_again(source, sequence);
            model.open(root, For::Event(source, entry), copies, &mut under_way);
        } else if under_way.is_empty() {
            break;
        } else {
            work(&mut random, &acknowledger, &answers, &mut model, &mut under_way);
        }
        again.extend(compare(&acknowledger, &mut model, seed));
    }
    for source in 0..SOURCES {
        let outstanding = acknowledger.outstanding(source);
        let left = (outstanding.first.unfinished(), outstanding.again.live());
        assert_eq!(left, (0, 0), "seed {seed}: something is left");
    }
    assert_eq!(acknowledger.groups[0].lock().live(), 0, "seed {seed}: a group is left");
}

/// Some deliveries are worked on, and their reports sent in one go; or several are put together.
fn work(
    random: &mut u64,
    acknowledger: &Arc<Acknowledger>,
    answers: &InstanceAnswers,
    model: &mut Model,
    under_way: &mut Vec<usize>,
) {
    fn take(random: &mut u64, under_way: &mut Vec<usize>) -> usize {
        under_way.swap_remove(draw(random, under_way.len()))
    }
    if draw(random, 5) == 0 {
        let together = under_way.len().min(2);
        let members: Vec<usize> = (0..together).map(|_| take(random, under_way)).collect();
        let copies = draw(random, 3);
        let roots = members.iter().map(|member| model.nodes[*member].root).collect();
        let root = answers.group(roots, copies as u32);
        if copies == 0 {
            members.into_iter().for_each(|member| model.change(member, -1));
            return;
        }
        model.open(root, For::Group(members), copies, under_way);
        return;
    }
    let mut entries = Entries::default();
    let mut made = Vec::new();
    let mut failed = Vec::new();
    for _ in 0..(1 + draw(random, 4)).min(under_way.len()) {
        let node = take(random, under_way);
        if draw(random, 8) == 0 {
            entries.failures.push((model.nodes[node].root, failure()));
            failed.push(node);
            continue;
        }
        let children = draw(random, 3);
        made.extend(std::iter::repeat_n(node, children));
        let (root, change) = (model.nodes[node].root, children as i64 - 1);
        match change {
            -1 => entries.finished.push(root),
            _ => entries.changes.push((root, change)),
        }
        model.change(node, children as i64 - 1);
    }
    failed.into_iter().for_each(|node| model.finish(node, false));
    acknowledger.report(&mut entries);
    under_way.append(&mut made);
}

/// What sources are told is what the model says; the events that failed.
fn compare(acknowledger: &Arc<Acknowledger>, model: &mut Model, seed: u64) -> Vec<(usize, u64)> {
    let mut failed = Vec::new();
    for source in 0..SOURCES {
        let mut told = TakenAnswers::default();
        let mut outstanding = acknowledger.outstanding(source);
        outstanding.take_answers(&mut told);
        failed.extend(told.failed.iter().map(|(entry, _)| (source, *entry)));
        let done = &model.done[source];
        let front = done.iter().take_while(|is_done| **is_done).count() as u64;
        assert_eq!(told.front, front, "seed {seed}");
        for (entry, is_done) in (0..).zip(done) {
            assert_eq!(outstanding.first.is_done(entry), *is_done, "seed {seed}, event {entry}");
        }
    }
    failed.sort_unstable();
    model.failed.sort_unstable();
    assert_eq!(failed, std::mem::take(&mut model.failed), "seed {seed}");
    failed
}

#[test]
fn any_trees_groups_failures_and_late_reports_are_counted_as_the_model_counts_them() {
    let asked = std::env::var("STREAMWORK_TREES").ok();
    let histories = asked.map_or(100_000, |text| text.parse().expect("a number of histories"));
    let clock = Arc::new(MonotonicClock::default());
    std::thread::scope(|threads| {
        for first in 0..THREADS {
            let mine = (first..histories).step_by(THREADS as usize);
            threads.spawn(|| mine.for_each(|seed| one_history(seed, &clock)));
        }
    });
}
