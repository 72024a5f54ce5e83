//! Cut-over and rollback (rule 21).

use super::{writers, Partitions, State, KEYS, NONE};
use crate::search::Step;

const WHO: &str = "C";

impl Partitions {
    pub(super) fn switch(&self, s: &State, out: &mut Vec<(State, Step)>) {
        if s.flips == 0 && !s.closing {
            return;
        }
        if !s.closing {
            // Rule 20: whoever is about to commit what it stamped in this epoch holds it.
            if s.at.iter().all(|at| !writers::HOLDS_EPOCH.contains(at)) && self.foreign_told(s) {
                out.push((State { closing: true, ..*s }, (WHO, "closes the epoch")));
            }
            return;
        }
        let seen = |i: &usize| self.flags.drain_sees_intent || self.ops[*i].key.is_some();
        let drained = (0..self.ops.len()).filter(seen).all(|i| s.intents[i] == NONE) && s.rechecks == [0; KEYS];
        if drained && s.backfill.done && s.backfill.at == 0 && s.flips > 0 {
            let mut next = State { epoch: s.epoch + 1, closing: false, flips: s.flips - 1, ..*s };
            let stamps = (0..self.ops.len()).filter(|i| !self.is_foreign(*i) || self.flags.wrapped).map(|i| s.stamps[i]);
            next.floor = stamps.max().unwrap_or(0) / 4 + 1;
            next.incomplete = (0..KEYS).any(|key| !s.postgres[key].same(&s.cassandra[key].read()));
            out.push((next, (WHO, "switches the primary")));
        }
        out.push((State { closing: false, ..*s }, (WHO, "opens the same epoch again")));
    }
}
