//! The acknowledger against a model of ten lines: random trees over several sources, with groups,
//! failures and late reports, in any legal order. Nothing is done early, nothing twice, nothing is
//! left. `STREAMWORK_TREES` sets how many histories are tried.

use std::sync::Arc;

use super::*;
use crate::api::waker::Waker;
use crate::clock::MonotonicClock;
use crate::error::Cause;
use crate::id::InstanceName;

const SOURCES: usize = 2;

/// One root: whom it stands for, and what is outstanding under it.
struct Node {
    root: Root,
    members: Vec<usize>,
    outstanding: i64,
    live: bool,
}

/// The model. What it says is done or failed is compared with what sources are told.
#[derive(Default)]
struct Model {
    nodes: Vec<Node>,
    done: Vec<Root>,
    failed: Vec<Root>,
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
        let (root, members) = (self.nodes[node].root, self.nodes[node].members.clone());
        match (root.tracker() < SOURCES, well) {
            (true, true) => self.done.push(root),
            (true, false) => self.failed.push(root),
            (false, true) => members.into_iter().for_each(|member| self.change(member, -1)),
            (false, false) => members.into_iter().for_each(|member| self.finish(member, false)),
        }
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
    let (desk, mut model) = (acknowledger.desk(0), Model::default());
    // Deliveries that are on their way, by node.
    let mut under_way: Vec<usize> = Vec::new();
    let mut steps = 0;
    loop {
        steps += 1;
        if steps <= 30 && (under_way.is_empty() || draw(&mut random, 4) == 0) {
            let (source, copies) = (draw(&mut random, SOURCES), 1 + draw(&mut random, 3));
            let entry = model.nodes.len() as u64;
            let sequence =
                acknowledger.book(source).tracker.open(entry, copies as u32, Timestamp(0));
            let root = Root::new(source, sequence);
            let outstanding = copies as i64;
            under_way.extend(std::iter::repeat_n(model.nodes.len(), copies));
            model.nodes.push(Node { root, members: Vec::new(), outstanding, live: true });
        } else if under_way.is_empty() {
            break;
        } else {
            work(&mut random, &acknowledger, &desk, &mut model, &mut under_way);
        }
        compare(&acknowledger, &mut model, seed);
    }
    for source in 0..SOURCES {
        assert_eq!(acknowledger.book(source).tracker.live(), 0, "seed {seed}: something is left");
    }
    assert_eq!(acknowledger.groups[0].lock().live(), 0, "seed {seed}: a group is left");
}

/// Some deliveries are worked on, and their reports sent in one go; or several are put together.
fn work(
    random: &mut u64,
    acknowledger: &Arc<Acknowledger>,
    desk: &Desk,
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
        let root = desk.group(roots, copies as u32);
        if copies == 0 {
            members.into_iter().for_each(|member| model.change(member, -1));
            return;
        }
        under_way.extend(std::iter::repeat_n(model.nodes.len(), copies));
        let outstanding = copies as i64;
        model.nodes.push(Node { root, members, outstanding, live: true });
        return;
    }
    let (mut changes, mut failures) = (Vec::new(), Vec::new());
    let mut made = Vec::new();
    let mut failed = Vec::new();
    for _ in 0..(1 + draw(random, 4)).min(under_way.len()) {
        let node = take(random, under_way);
        if draw(random, 8) == 0 {
            failures.push((model.nodes[node].root, failure()));
            failed.push(node);
            continue;
        }
        let children = draw(random, 3);
        made.extend(std::iter::repeat_n(node, children));
        changes.push((model.nodes[node].root, children as i64 - 1));
        model.change(node, children as i64 - 1);
    }
    failed.into_iter().for_each(|node| model.finish(node, false));
    acknowledger.report(&mut changes, &mut failures);
    under_way.append(&mut made);
}

fn compare(acknowledger: &Arc<Acknowledger>, model: &mut Model, seed: u64) {
    let mut told = TakenAnswers::default();
    for source in 0..SOURCES {
        acknowledger.book(source).take_answers(&mut told);
    }
    let entries = |roots: &mut Vec<Root>| {
        let entry = |root: Root| model.nodes.iter().position(|node| node.root == root);
        let mut entries: Vec<u64> =
            roots.drain(..).filter_map(entry).map(|entry| entry as u64).collect();
        entries.sort_unstable();
        entries
    };
    let (mut done, mut failed) =
        (std::mem::take(&mut model.done), std::mem::take(&mut model.failed));
    let (done, failed) = (entries(&mut done), entries(&mut failed));
    told.done.sort_unstable();
    let mut failures: Vec<u64> = told.failed.into_iter().map(|(entry, _)| entry).collect();
    failures.sort_unstable();
    assert_eq!((told.done, failures), (done, failed), "seed {seed}");
}

#[test]
fn any_trees_groups_failures_and_late_reports_are_counted_as_the_model_counts_them() {
    let asked = std::env::var("STREAMWORK_TREES").ok();
    let histories = asked.map_or(100_000, |text| text.parse().expect("a number of histories"));
    let clock = Arc::new(MonotonicClock::default());
    (0..histories).for_each(|seed| one_history(seed, &clock));
}
