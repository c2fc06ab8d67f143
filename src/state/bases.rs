//! [`Bases`]: when the segments of a store are written whole again, though only changes would have to be written.
//!
//! A checkpoint of changes needs everything that they are changes of. So that this does not become long, all segments
//! are written whole in a *round* of eight checkpoints once the changes since the last round exceed half of it. So that
//! a damaged file does not make all checkpoints unreadable, the first round is followed by another at once: a store of
//! checkpoints keeps one that shares nothing with the newest (state B5.2, B5.3).

/// Checkpoints of one round.
const STEPS: usize = 8;

/// Which segments of a save are written whole in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Turn {
    pub(super) fn has(self, segment: usize) -> bool {
        (self.from..self.to).contains(&segment)
    }
}

/// The bytes of a save: of segments that were written whole in turn, and of all else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SavedBytes {
    pub(super) in_turn: u64,
    pub(super) others: u64,
}

/// When segments are written whole.
#[derive(Debug)]
pub(super) struct Bases {
    segments: usize,
    /// Below this many bytes everything is written each time.
    incremental_above: u64,
    stage: Stage,
    /// The bytes of the last round, and of what was written since.
    round: u64,
    since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// So many saves are still to be whole, so that there are two that do not need each other.
    Whole(u8),
    Changes,
    /// A round, from this segment on. So many bytes of it are written, and so many of changes since it began.
    Round {
        next: usize,
        written: u64,
        since: u64,
    },
}

impl Bases {
    pub(super) fn new(segments: usize, incremental_above: u64) -> Self {
        Self { segments, incremental_above, stage: Stage::Whole(2), round: 0, since: 0 }
    }

    /// What the next save writes whole.
    pub(super) fn turn(&self) -> Turn {
        let (from, to) = match self.stage {
            Stage::Whole(_) => (0, self.segments),
            Stage::Changes if self.round < self.incremental_above => (0, self.segments),
            Stage::Changes => (0, 0),
            Stage::Round { next, .. } => (next, self.end_of_step(next)),
        };
        Turn { from, to }
    }

    /// A save that was begun in this turn is in a complete checkpoint.
    pub(super) fn stored(&mut self, turn: Turn, bytes: SavedBytes) {
        let SavedBytes { in_turn, others } = bytes;
        let is_all = turn == Turn { from: 0, to: self.segments };
        self.stage = match self.stage {
            Stage::Whole(left) if left > 1 => Stage::Whole(left - 1),
            _ if is_all => {
                (self.round, self.since) = (in_turn, 0);
                Stage::Changes
            }
            Stage::Round { next, written, since } if turn.from == next => {
                self.since += others;
                let (written, since) = (written + in_turn, since + others);
                match self.end_of_step(next) {
                    end if end < self.segments => Stage::Round { next: end, written, since },
                    _ => {
                        (self.round, self.since) = (written, since);
                        Stage::Changes
                    }
                }
            }
            stage => {
                self.since += others;
                match self.since > self.round / 2 {
                    true if stage == Stage::Changes => {
                        Stage::Round { next: 0, written: 0, since: 0 }
                    }
                    _ => stage,
                }
            }
        };
    }

    fn end_of_step(&self, next: usize) -> usize {
        (next + self.segments.div_ceil(STEPS)).min(self.segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saves of a store of 256 segments of a hundred bytes, of which so many bytes change between two: which segments
    /// each writes whole.
    fn turns(changes: u64, saves: usize, incremental_above: u64) -> Vec<(usize, usize)> {
        let mut bases = Bases::new(256, incremental_above);
        let mut one = |_| {
            let turn = bases.turn();
            let whole = turn.to - turn.from;
            let others = changes * (256 - whole as u64) / 256;
            bases.stored(turn, SavedBytes { in_turn: 100 * whole as u64, others });
            (turn.from, turn.to)
        };
        (0..saves).map(&mut one).collect()
    }

    #[test]
    fn two_saves_are_whole_and_then_only_changes_until_they_are_half_of_it() {
        let turns = turns(1_280, 40, 0);
        assert_eq!(turns[..2], [(0, 256); 2]);
        // 11 × 1,280 > 25,600 / 2
        assert_eq!(turns[2..13], [(0, 0); 11]);
        let round: Vec<_> = (0..8).map(|step| (32 * step, 32 * step + 32)).collect();
        assert_eq!(turns[13..21], round);
        // Seven eighths of 1,280 were written in each step of the round.
        assert_eq!(turns[21..25], [(0, 0); 4]);
        assert_eq!(turns[25..33], round);
    }

    #[test]
    fn a_store_of_few_bytes_is_written_whole_each_time() {
        assert_eq!(turns(100, 10, 1 << 20), [(0, 256); 10]);
    }

    #[test]
    fn a_step_of_a_round_whose_checkpoint_fails_is_made_again() {
        let mut bases = Bases::new(10, 0);
        for _ in 0..2 {
            bases.stored(bases.turn(), SavedBytes { in_turn: 100, others: 0 });
        }
        bases.stored(bases.turn(), SavedBytes { in_turn: 0, others: 51 });
        let first = bases.turn();
        assert_eq!(first, Turn { from: 0, to: 2 });
        assert_eq!(bases.turn(), first);
        bases.stored(first, SavedBytes { in_turn: 20, others: 1 });
        assert_eq!(bases.turn(), Turn { from: 2, to: 4 });
        // A save of before the round, whose checkpoint is found complete late.
        bases.stored(Turn { from: 0, to: 0 }, SavedBytes { in_turn: 0, others: 7 });
        assert_eq!(bases.turn(), Turn { from: 2, to: 4 });
    }
}
