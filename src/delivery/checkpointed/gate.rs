//! [`Gate`]: what an instance does with a barrier. A value: barriers and ends in, verdicts out.

use crate::id::CheckpointId;

/// Knows which inputs of one instance have passed the barrier of the checkpoint in the making.
#[derive(Debug)]
pub(crate) struct Gate {
    hold: bool,
    ended: Vec<bool>,
    passed: Vec<bool>,
    current: Option<CheckpointId>,
    newest: CheckpointId,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GateVerdict {
    /// Let all queues flow again: the checkpoint they were held for is cut or given up.
    pub(crate) release: bool,
    /// Do not read this input until released.
    pub(crate) hold: bool,
    /// All inputs have passed: take the snapshot, pass the barrier on.
    pub(crate) cut: Option<CheckpointId>,
}

impl Gate {
    /// `hold` asks for aligned cuts.
    pub(crate) fn new(inputs: usize, hold: bool) -> Self {
        Self {
            hold,
            ended: vec![false; inputs],
            passed: vec![false; inputs],
            current: None,
            newest: CheckpointId(0),
        }
    }

    /// A barrier came out of this input.
    pub(crate) fn barrier(&mut self, input: usize, checkpoint: CheckpointId) -> GateVerdict {
        if checkpoint < self.newest || (checkpoint == self.newest && self.current.is_none()) {
            // Of a checkpoint that is cut or was given up for a newer one.
            return GateVerdict::default();
        }
        let mut verdict = GateVerdict::default();
        if checkpoint > self.newest {
            verdict.release = self.current.is_some();
            self.newest = checkpoint;
            self.current = Some(checkpoint);
            self.passed.fill(false);
        }
        self.passed[input] = true;
        let done = self.try_cut();
        verdict.cut = done.cut;
        verdict.release |= done.release;
        verdict.hold = self.hold && verdict.cut.is_none();
        verdict
    }

    /// This input has ended, which counts as every later barrier.
    pub(crate) fn end(&mut self, input: usize) -> GateVerdict {
        self.ended[input] = true;
        self.try_cut()
    }

    fn try_cut(&mut self) -> GateVerdict {
        let mut inputs = self.passed.iter().zip(&self.ended);
        if self.current.is_none() || !inputs.all(|(passed, ended)| *passed || *ended) {
            return GateVerdict::default();
        }
        GateVerdict { cut: self.current.take(), release: self.hold, hold: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: CheckpointId = CheckpointId(1);
    const TWO: CheckpointId = CheckpointId(2);
    const NOTHING: GateVerdict = GateVerdict { release: false, hold: false, cut: None };
    const HOLD: GateVerdict = GateVerdict { hold: true, ..NOTHING };

    #[test]
    fn an_input_whose_barrier_came_is_held_until_all_have_passed() {
        let mut gate = Gate::new(2, true);
        assert_eq!(gate.barrier(0, ONE), HOLD);
        let cut = GateVerdict { release: true, hold: false, cut: Some(ONE) };
        assert_eq!(gate.barrier(1, ONE), cut);
    }

    #[test]
    fn without_holding_the_cut_is_still_at_the_last_barrier() {
        let mut gate = Gate::new(2, false);
        assert_eq!(gate.barrier(0, ONE), NOTHING);
        assert_eq!(gate.barrier(1, ONE), GateVerdict { cut: Some(ONE), ..NOTHING });
    }

    #[test]
    fn an_end_counts_as_every_later_barrier() {
        let mut gate = Gate::new(2, true);
        assert_eq!(gate.barrier(0, ONE), HOLD);
        assert_eq!(gate.end(1).cut, Some(ONE));
        assert_eq!(gate.barrier(0, TWO).cut, Some(TWO));
    }

    #[test]
    fn a_newer_barrier_gives_up_the_older_checkpoint_and_releases_what_it_held() {
        let mut gate = Gate::new(2, true);
        assert_eq!(gate.barrier(0, ONE), HOLD);
        assert_eq!(gate.barrier(1, TWO), GateVerdict { release: true, hold: true, cut: None });
        assert_eq!(gate.barrier(0, TWO).cut, Some(TWO));
        assert_eq!(gate.barrier(1, ONE), NOTHING);
    }
}
