//! Passes, what disturbs them, and repairs (rules 17, 22, 27 and 31).
//!
//! What is assumed: a write that no intent knows of any more has landed, or never will, when a pass begins that begins after
//! its intent was removed. Without that nothing could prove anything; rule 17's window is there to make it so.

use super::{forward, Epochs, State, FINISHED, NONE, RECHECK};
use crate::search::Step;

impl Epochs {
    /// Something happened that a pass from before cannot have seen.
    pub(super) fn disturb(&self, t: &mut State) {
        t.proved = false;
        t.disturbed |= self.flags.fast;
        if self.flags.pass_begun_after {
            t.pass = 0;
        }
    }

    pub(super) fn pass(&self, s: &State, out: &mut Vec<(State, Step)>) {
        if !self.flags.proof {
            return;
        }
        let mut next = *s;
        match s.pass {
            0 => {
                next.pass = 1;
                next.in_flight &= !s.forgotten;
                next.forgotten = 0;
                if s.worker_forgotten {
                    next.worker_in_flight = None;
                    next.worker_forgotten = false;
                }
                out.push((next, ("P", "a pass begins: what is forgotten and has not landed never will")));
            }
            1 if s.postgres.same(&s.cassandra.read()) && !self.must_look_again(s) => {
                next.pass = 2;
                out.push((next, ("P", "the pass looks: equal")));
            }
            1 if s.intents == [NONE; 4] => {
                next.pass = 0;
                next.proved = false;
                next.intents[RECHECK] = FINISHED;
                next.intent_epoch[RECHECK] = s.epoch;
                if !forward(s.epoch) {
                    self.raise_version(&mut next);
                }
                out.push((next, ("P", "the pass looks: a finding, to be repaired")));
            }
            2 => {
                next.pass = 0;
                next.proved = true;
                out.push((next, ("P", "the pass ends, clean")));
            }
            _ => {}
        }
    }

    /// C4: a write under way may yet bring to Postgres what a write that nobody told of has hidden in Cassandra.
    fn must_look_again(&self, s: &State) -> bool {
        self.flags.gaps && self.flags.gap_pass_waits && s.intents != [NONE; 4]
    }

    /// Rule 27.
    fn raise_version(&self, t: &mut State) {
        let ver = (t.postgres.bound() + 1).max(t.floor * 4);
        self.raise_to(t, ver);
    }

    pub(super) fn raise_to(&self, t: &mut State, ver: u8) {
        if t.postgres.exists {
            t.postgres.ver = ver;
        } else {
            t.postgres.tomb = ver;
        }
    }

    /// A repair's statement adds an intent: it has read an epoch, may wait for a flip, and inserts.
    pub(super) fn repair(&self, s: &State, out: &mut Vec<(State, Step)>) {
        if !self.flags.repair || s.repaired {
            return;
        }
        let mut next = *s;
        if s.repairing == 0 {
            next.repairing = 1 + s.epoch;
            out.push((next, ("D", "a repair's statement begins, and waits for the epoch's lock")));
            return;
        }
        next.intents[RECHECK] = FINISHED;
        next.intent_epoch[RECHECK] = if self.flags.epoch_after_lock { s.epoch } else { s.repairing - 1 };
        next.repairing = 0;
        next.repaired = true;
        out.push((next, ("D", "inserts its intent")));
    }

    pub(super) fn closed_epoch(&self, s: &State) -> bool {
        (0..4).any(|i| s.intents[i] != NONE && s.intent_epoch[i] < s.epoch)
    }
}
