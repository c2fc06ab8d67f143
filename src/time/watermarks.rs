//! [`Watermarks`]: the watermark of all inputs of an instance together, and [`OutputWatermark`], that of the
//! output of one component. Values: the watermarks of the inputs go in, those for the readers come out.
//!
//! Source of the rules: the watermarks of the Dataflow model (Akidau et al., "The Dataflow Model", VLDB
//! 2015, section 2.3), with idle inputs as in Flink's `StatusWatermarkValve` and Jet's
//! `WatermarkCoalescer`. The two differ for an input that is no longer idle. Here it follows Jet: it counts
//! as having the watermark of the instance, and holds the others back from then on.

use crate::time::EventTime;

/// The state of one input.
#[derive(Clone, Copy, Debug)]
struct Lane {
    watermark: Option<EventTime>,
    stand: Stand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Active,
    /// It holds no other input back until its next event or watermark.
    Idle,
    /// It has ended and will be resumed: its watermark still holds the others back.
    Suspended,
    /// It has ended for good.
    Finished,
}

/// The watermark over all inputs of one instance.
#[derive(Debug)]
pub(crate) struct Watermarks {
    lanes: Vec<Lane>,
    /// The last watermark that was passed on. It never falls.
    said: Option<EventTime>,
    idle: bool,
}

/// What is to be passed on, in this order: that the stream is active again, the watermark, that it is idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) active: bool,
    pub(crate) watermark: Option<EventTime>,
    pub(crate) idle: bool,
}

impl Watermarks {
    pub(crate) fn of(lanes: usize) -> Self {
        let lane = Lane { watermark: None, stand: Stand::Active };
        Self { lanes: vec![lane; lanes], said: None, idle: false }
    }

    /// Adds an input without a watermark, and returns its number.
    pub(crate) fn add_lane(&mut self) -> usize {
        self.lanes.push(Lane { watermark: None, stand: Stand::Active });
        self.lanes.len() - 1
    }

    /// No event of this input is older than this from now on.
    pub(crate) fn advance(&mut self, lane: usize, to: EventTime) -> Change {
        let active = self.wake(lane);
        let known = &mut self.lanes[lane].watermark;
        *known = (*known).max(Some(to));
        let change = self.change();
        Change { active: active || change.active, ..change }
    }

    /// An idle input is active again.
    pub(crate) fn resume(&mut self, lane: usize) -> Change {
        Change { active: self.wake(lane), ..Change::default() }
    }

    /// Nothing comes out of this input for a while.
    pub(crate) fn rest(&mut self, lane: usize) -> Change {
        if self.lanes[lane].stand == Stand::Active {
            self.lanes[lane].stand = Stand::Idle;
        }
        self.change()
    }

    /// This input is over for good.
    pub(crate) fn finish(&mut self, lane: usize) -> Change {
        self.lanes[lane].stand = Stand::Finished;
        self.change()
    }

    /// This input is over and will be resumed. It holds the others back, or its remaining events would be
    /// late.
    pub(crate) fn suspend(&mut self, lane: usize) -> Change {
        self.lanes[lane].stand = Stand::Suspended;
        self.change()
    }

    /// Makes an input active; whether that makes the stream active.
    fn wake(&mut self, lane: usize) -> bool {
        let lane = &mut self.lanes[lane];
        if lane.stand != Stand::Idle {
            return false;
        }
        lane.stand = Stand::Active;
        lane.watermark = lane.watermark.max(self.said);
        std::mem::take(&mut self.idle)
    }

    fn change(&mut self) -> Change {
        let holding = |lane: &&Lane| matches!(lane.stand, Stand::Active | Stand::Suspended);
        let held = self.lanes.iter().filter(holding).map(|lane| lane.watermark).min();
        let Some(least) = held else { return self.rest_of_all() };
        Change { watermark: self.rise(least), ..Change::default() }
    }

    /// No input holds the others back: all are idle or over.
    fn rest_of_all(&mut self) -> Change {
        let idle = self.lanes.iter().filter(|lane| lane.stand == Stand::Idle);
        let Some(largest) = idle.map(|lane| lane.watermark).max() else {
            // All are over. The end of time is not a watermark.
            return Change::default();
        };
        let watermark = self.rise(largest);
        Change { active: false, watermark, idle: !std::mem::replace(&mut self.idle, true) }
    }

    fn rise(&mut self, to: Option<EventTime>) -> Option<EventTime> {
        let risen = to.filter(|_| to > self.said);
        self.said = self.said.max(to);
        risen
    }
}

/// The watermark of one component's output, which it passes to its readers. It continues from the watermark
/// of the last checkpoint, and passes that on first (state T14).
///
/// By default it is not part of checkpoints.
#[derive(Debug, Default)]
pub(crate) struct OutputWatermark {
    at: Option<EventTime>,
    /// It has risen, and the readers have not been told.
    untold: bool,
    is_saved: bool,
}

impl OutputWatermark {
    /// Restored from a checkpoint, and part of the next ones.
    pub(crate) fn restored(at: Option<EventTime>) -> Self {
        Self { at, untold: at.is_some(), is_saved: true }
    }

    /// Raises the watermark to this time; returns whether it is higher than before.
    pub(crate) fn rise(&mut self, to: EventTime) -> bool {
        let risen = Some(to) > self.at;
        if risen {
            (self.at, self.untold) = (Some(to), true);
        }
        risen
    }

    /// Where it stands; `None` before the first one.
    pub(crate) fn at(&self) -> Option<EventTime> {
        self.at
    }

    /// Whether there is something to tell.
    pub(crate) fn is_untold(&self) -> bool {
        self.untold
    }

    /// The watermark to pass on, if the readers have not been told.
    pub(crate) fn tell(&mut self) -> Option<EventTime> {
        std::mem::take(&mut self.untold).then_some(self.at).flatten()
    }

    /// The watermark to save in a checkpoint.
    pub(crate) fn saved(&self) -> Option<EventTime> {
        self.at.filter(|_| self.is_saved)
    }
}

/// The watermark of an instance that takes over parts of several instances: the lowest of theirs, and none if
/// one had none.
pub(crate) fn floor_of(said: impl IntoIterator<Item = Option<EventTime>>) -> Option<EventTime> {
    said.into_iter().min().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> EventTime {
        EventTime::from_unix_ms(ms)
    }

    /// State T14.
    #[test]
    fn what_was_saved_is_told_first_and_nothing_up_to_it_is_told_again() {
        let mut watermark = OutputWatermark::restored(Some(at(10)));
        assert!(!watermark.rise(at(5)) && !watermark.rise(at(10)));
        assert_eq!((watermark.tell(), watermark.tell()), (Some(at(10)), None));
        assert!(!watermark.rise(at(10)) && watermark.rise(at(11)));
        assert_eq!((watermark.tell(), watermark.tell()), (Some(at(11)), None));
        assert_eq!(watermark.saved(), Some(at(11)));
        // One that rises before it was told says the higher one alone.
        let mut watermark = OutputWatermark::restored(Some(at(10)));
        assert!(watermark.rise(at(12)));
        assert_eq!((watermark.tell(), watermark.tell()), (Some(at(12)), None));
    }

    /// State T14.
    #[test]
    fn what_was_never_said_is_neither_told_nor_saved() {
        let mut watermark = OutputWatermark::restored(None);
        assert_eq!((watermark.tell(), watermark.saved()), (None, None));
        assert!(watermark.rise(EventTime::MIN));
        assert_eq!(
            (watermark.tell(), watermark.saved()),
            (Some(EventTime::MIN), Some(EventTime::MIN))
        );
        let mut unsaved = OutputWatermark::default();
        assert!(unsaved.rise(at(3)));
        assert_eq!((unsaved.tell(), unsaved.saved()), (Some(at(3)), None));
    }

    /// State T14, B4.3.
    #[test]
    fn who_takes_up_what_several_left_starts_from_the_least_and_from_nothing_if_one_had_none() {
        assert_eq!(floor_of([Some(at(7)), Some(at(5)), Some(at(9))]), Some(at(5)));
        assert_eq!(floor_of([Some(at(7)), None]), None);
        assert_eq!(floor_of([]), None);
    }

    /// Runs a script: one line per step, what happens to an input and what is said to those after it.
    fn script(lanes: usize, lines: &[&str]) {
        let mut watermarks = Watermarks::of(lanes);
        for line in lines {
            let (step, expected) = line.split_once("->").expect("a step and what it says");
            let mut words = step.split_whitespace();
            let lane: usize = words.next().and_then(|lane| lane.parse().ok()).expect("an input");
            let word = words.next().expect("what it does");
            let change = match word.parse() {
                Ok(ms) => watermarks.advance(lane, EventTime::from_unix_ms(ms)),
                Err(_) => match word {
                    "rests" => watermarks.rest(lane),
                    "resumes" => watermarks.resume(lane),
                    "finishes" => watermarks.finish(lane),
                    "suspends" => watermarks.suspend(lane),
                    other => panic!("no input {other}"),
                },
            };
            let mut said: Vec<String> = Vec::new();
            said.extend(change.active.then(|| "active".to_owned()));
            said.extend(change.watermark.map(|at| at.to_string()));
            said.extend(change.idle.then(|| "idle".to_owned()));
            assert_eq!(said.join(" "), expected.trim(), "{line}");
        }
    }

    /// State T2, T8.
    #[test]
    fn the_least_of_all_inputs_passes_once_each_has_said_something_and_never_falls() {
        script(2, &["0 10 ->", "1 5 -> 5", "1 20 -> 10", "0 7 ->", "0 15 -> 15", "0 15 ->"]);
        script(1, &["0 10 -> 10", "0 5 ->", "0 20 -> 20", "0 7 ->"]);
    }

    /// State T9.
    #[test]
    fn idle_inputs_hold_nobody_and_when_all_are_idle_the_largest_counts() {
        script(2, &["0 10 ->", "1 rests -> 10", "0 12 -> 12", "0 rests -> idle"]);
        script(2, &["0 10 ->", "1 30 -> 10", "0 rests -> 30", "1 rests -> idle", "1 rests ->"]);
        script(2, &["0 10 ->", "1 30 -> 10", "1 rests ->", "0 rests -> 30 idle"]);
        script(2, &["0 rests ->", "1 rests -> idle"]);
    }

    /// State T10.
    #[test]
    fn an_input_back_from_being_idle_stands_where_the_instance_stands_and_holds_the_others() {
        script(
            2,
            &["0 10 ->", "1 rests -> 10", "1 resumes ->", "0 50 ->", "1 20 -> 20", "1 60 -> 50"],
        );
        script(1, &["0 10 -> 10", "0 rests -> idle", "0 5 -> active", "0 11 -> 11"]);
        script(1, &["0 rests -> idle", "0 resumes -> active", "0 3 -> 3"]);
    }

    /// State T11.
    #[test]
    fn an_input_that_is_over_is_left_out_and_the_end_of_all_says_nothing() {
        script(2, &["0 10 ->", "1 finishes -> 10", "0 11 -> 11", "0 finishes ->"]);
        script(2, &["0 10 ->", "1 rests -> 10", "1 finishes ->", "0 12 -> 12"]);
        script(2, &["0 10 ->", "0 rests ->", "1 finishes -> 10 idle", "0 finishes ->"]);
    }

    /// State T12.
    #[test]
    fn an_input_that_is_suspended_goes_on_holding_the_others() {
        script(2, &["0 10 ->", "1 5 -> 5", "1 suspends ->", "0 100 ->", "0 finishes ->"]);
        script(2, &["0 10 ->", "1 suspends ->", "0 20 ->"]);
    }
}
