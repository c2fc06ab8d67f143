//! [`Inputs`]: everything that an instance knows of the queues into it, independent of event types. A
//! value: control frames of the inputs go in, actions for the instance come out.
//!
//! Barriers are aligned by not reading: an input whose barrier has arrived is held until the barriers of
//! all inputs have (Carbone et al., "Lightweight Asynchronous Snapshots for Distributed
//! Dataflows", 2015, section 4.2). A held input is a queue that is not read; no side buffer exists.

use crate::channel::frame::{Control, End};
use crate::id::CheckpointId;
use crate::time::EventTime;
use crate::time::watermarks::{Change, Watermarks};

/// The state of all inputs of one instance.
#[derive(Debug)]
pub(crate) struct Inputs {
    lanes: Vec<Lane>,
    /// Whether inputs whose barrier has arrived are held.
    aligned: bool,
    /// The checkpoint whose barrier has arrived from some inputs, but not from all.
    aligning: Option<CheckpointId>,
    /// The newest checkpoint of which a barrier has arrived.
    newest: CheckpointId,
    watermarks: Watermarks,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// Its barrier of the running checkpoint has arrived.
    passed: bool,
    /// It must not be read.
    held: bool,
    /// Only replays can follow.
    drained: bool,
    ended: Option<End>,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// All inputs have passed: take the snapshot, and pass the barrier on.
    pub(crate) cut: Option<CheckpointId>,
    /// The stream is no longer idle: pass it on.
    pub(crate) active: bool,
    /// The watermark of all inputs has advanced: pass it on.
    pub(crate) watermark: Option<EventTime>,
    /// All inputs are idle: pass it on.
    pub(crate) idle: bool,
    /// All sources of all inputs have drained: only replays can follow.
    pub(crate) drain: bool,
    /// All inputs have ended, in this way.
    pub(crate) end: Option<End>,
}

impl Verdict {
    fn with(self, change: Change) -> Self {
        let Change { active, watermark, idle } = change;
        Self { active, watermark, idle, ..self }
    }
}

impl Inputs {
    /// `aligned` asks for aligned cuts.
    pub(crate) fn new(lanes: usize, aligned: bool) -> Self {
        Self {
            lanes: vec![Lane::default(); lanes],
            aligned,
            aligning: None,
            newest: CheckpointId(0),
            watermarks: Watermarks::of(lanes),
        }
    }

    /// Whether this input is not to be read now.
    pub(crate) fn is_held(&self, lane: usize) -> bool {
        self.lanes[lane].held
    }

    /// A batch came out of this input: replays have followed what was drained. An input that was idle
    /// has said that it is active before.
    #[inline]
    pub(crate) fn on_batch(&mut self, lane: usize) {
        self.lanes[lane].drained = false;
    }

    /// A control frame came out of this input.
    pub(crate) fn on(&mut self, lane: usize, control: Control) -> Verdict {
        match control {
            Control::Barrier(checkpoint) => self.barrier(lane, checkpoint),
            Control::Watermark(to) => Verdict::default().with(self.watermarks.advance(lane, to)),
            Control::Active => Verdict::default().with(self.watermarks.resume(lane)),
            Control::Idle => Verdict::default().with(self.watermarks.rest(lane)),
            Control::Drain => {
                // Once: if each input's frame were passed on, there would be more with every stage.
                let known = std::mem::replace(&mut self.lanes[lane].drained, true);
                Verdict { drain: !known && self.all_drained(), ..Verdict::default() }
            }
            Control::End(end) => self.end(lane, end),
        }
    }

    fn barrier(&mut self, lane: usize, checkpoint: CheckpointId) -> Verdict {
        if checkpoint < self.newest || (checkpoint == self.newest && self.aligning.is_none()) {
            // A barrier of a checkpoint that is cut already, or was abandoned for a newer one.
            return Verdict::default();
        }
        if checkpoint > self.newest {
            // The checkpoint before was abandoned: the inputs that were held for it are read again.
            self.newest = checkpoint;
            self.aligning = Some(checkpoint);
            self.lanes.iter_mut().for_each(|lane| (lane.passed, lane.held) = (false, false));
        }
        self.lanes[lane].passed = true;
        self.lanes[lane].held = self.aligned;
        self.cut()
    }

    /// An input that has ended counts as having passed every later barrier.
    fn end(&mut self, lane: usize, end: End) -> Verdict {
        let known = self.lanes[lane].drained;
        self.lanes[lane].ended = Some(end);
        let cut = self.cut();
        let change = match end {
            End::Finished => self.watermarks.finish(lane),
            End::Suspended => self.watermarks.suspend(lane),
        };
        let end = self.ended();
        let drain = !known && end.is_none() && self.all_drained();
        Verdict { drain, end, ..cut.with(change) }
    }

    /// Cuts if the barrier has arrived from all inputs.
    fn cut(&mut self) -> Verdict {
        let all_passed = self.lanes.iter().all(|lane| lane.passed || lane.ended.is_some());
        if self.aligning.is_none() || !all_passed {
            return Verdict::default();
        }
        self.lanes.iter_mut().for_each(|lane| lane.held = false);
        Verdict { cut: self.aligning.take(), ..Verdict::default() }
    }

    fn all_drained(&self) -> bool {
        self.lanes.iter().all(|lane| lane.drained || lane.ended.is_some())
    }

    /// How the inputs ended, once all of them have.
    fn ended(&self) -> Option<End> {
        let mut ends = self.lanes.iter().map(|lane| lane.ended);
        ends.try_fold(End::Finished, |all, end| match end? {
            End::Finished => Some(all),
            End::Suspended => Some(End::Suspended),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(word: &str) -> Option<Control> {
        let number =
            |prefix| word.strip_prefix(prefix).and_then(|number: &str| number.parse().ok());
        Some(match word {
            "batch" => return None,
            "drain" => Control::Drain,
            "idle" => Control::Idle,
            "active" => Control::Active,
            "finished" => Control::End(End::Finished),
            "suspended" => Control::End(End::Suspended),
            _ => match (number("barrier"), number("w").and_then(|n: u64| i64::try_from(n).ok())) {
                (Some(checkpoint), _) => Control::Barrier(CheckpointId(checkpoint)),
                (_, Some(ms)) => Control::Watermark(EventTime::from_unix_ms(ms)),
                _ => panic!("no frame {word}"),
            },
        })
    }

    fn said(inputs: &Inputs, verdict: Verdict) -> String {
        let Verdict { cut, active, watermark, idle, drain, end } = verdict;
        let mut said: Vec<String> = Vec::new();
        said.extend(cut.map(|checkpoint| format!("cut{checkpoint}")));
        said.extend(active.then(|| "active".to_owned()));
        said.extend(watermark.map(|at| format!("w{at}")));
        said.extend(idle.then(|| "idle".to_owned()));
        said.extend(drain.then(|| "drain".to_owned()));
        said.extend(end.map(|end| format!("{end:?}").to_lowercase()));
        let held = (0..inputs.lanes.len()).filter(|lane| inputs.is_held(*lane));
        said.extend(held.map(|lane| format!("held:{lane}")));
        said.join(" ")
    }

    /// Runs a script: one line per frame, `INPUT FRAME -> what is to be done, and which are held then`.
    fn script(mut inputs: Inputs, lines: &[&str]) {
        for line in lines {
            let (step, expected) = line.split_once("->").expect("a frame and what it leads to");
            let (lane, frame) = step.trim().split_once(' ').expect("an input and a frame");
            let lane: usize = lane.parse().expect("an input");
            let verdict = match control(frame) {
                Some(control) => inputs.on(lane, control),
                None => {
                    inputs.on_batch(lane);
                    Verdict::default()
                }
            };
            assert_eq!(said(&inputs, verdict), expected.trim(), "{line}");
        }
    }

    #[test]
    fn an_input_whose_barrier_came_is_held_until_all_have_passed() {
        script(
            Inputs::new(3, true),
            &["0 barrier1 -> held:0", "2 barrier1 -> held:0 held:2", "1 barrier1 -> cut1"],
        );
    }

    #[test]
    fn without_holding_the_cut_is_still_at_the_last_barrier() {
        script(Inputs::new(2, false), &["0 barrier1 ->", "0 batch ->", "1 barrier1 -> cut1"]);
    }

    #[test]
    fn an_end_counts_as_every_later_barrier() {
        script(
            Inputs::new(2, true),
            &["0 barrier1 -> held:0", "1 finished -> cut1", "0 barrier2 -> cut2"],
        );
        script(Inputs::new(2, true), &["0 barrier1 -> held:0", "1 suspended -> cut1"]);
    }

    #[test]
    fn a_newer_barrier_gives_up_the_older_checkpoint_and_releases_what_it_held() {
        script(
            Inputs::new(2, true),
            &[
                "0 barrier1 -> held:0",
                "1 barrier2 -> held:1",
                "0 barrier2 -> cut2",
                "1 barrier1 ->",
            ],
        );
    }

    #[test]
    fn an_idle_input_holds_no_watermark_until_it_is_active_again() {
        script(
            Inputs::new(2, true),
            &[
                "0 w10 ->",
                "1 idle -> w10",
                "0 idle -> idle",
                "1 active -> active",
                "0 w30 ->",
                "1 w20 -> w20",
            ],
        );
    }

    #[test]
    fn an_idle_input_takes_part_in_alignment_like_any_other() {
        script(Inputs::new(2, true), &["1 idle ->", "0 barrier1 -> held:0", "1 barrier1 -> cut1"]);
    }

    #[test]
    fn a_drain_passes_when_every_input_has_drained_or_ended_and_again_after_a_replay() {
        script(
            Inputs::new(2, true),
            &[
                "0 drain ->",
                "1 finished -> drain",
                "0 batch ->",
                "0 drain -> drain",
                "0 finished -> finished",
            ],
        );
        script(
            Inputs::new(2, true),
            &["0 finished ->", "1 drain -> drain", "1 finished -> finished"],
        );
    }

    /// Each stage of a deep graph would otherwise pass on as many drains as it has inputs, and so would the
    /// next: thirty components made a million of them.
    #[test]
    fn what_has_drained_already_is_not_passed_on_again() {
        script(
            Inputs::new(3, true),
            &["0 drain ->", "1 drain ->", "2 drain -> drain", "0 drain ->", "1 finished ->"],
        );
    }

    #[test]
    fn an_end_says_the_cut_then_the_watermark_and_how_all_of_it_ended() {
        script(
            Inputs::new(2, true),
            &[
                "0 w10 ->",
                "0 barrier1 -> held:0",
                "1 finished -> cut1 w10",
                "0 suspended -> suspended",
            ],
        );
    }
}
