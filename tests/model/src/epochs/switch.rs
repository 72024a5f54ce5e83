//! Cut-over and rollback (rules 21 and 30), and the pass that clears an unclean writer (rule 31).

use super::{forward, writers, Epochs, State, NONE};
use crate::search::Step;

const WHO: &str = "C";

impl Epochs {
    pub(super) fn switch(&self, s: &State, out: &mut Vec<(State, Step)>) {
        if self.flags.close_first {
            self.close(s, out);
        } else {
            self.flip_then_drain(s, out);
        }
    }

    fn guards_writers(&self) -> bool {
        self.flags.accept && self.flags.clean_writers
    }

    fn close(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let flags = &self.flags;
        let drained = s.intents == [NONE; 4];
        let to_clear = s.unclean && self.guards_writers();
        if !s.closing {
            let may = (s.flips > 0 && (!flags.proof || s.proved || self.fast(s))) || to_clear;
            if may && !self.sql_holds(s) {
                if let Some(next) = self.stopped(s) {
                    out.push((State { closing: true, ..next }, (WHO, "closes the epoch")));
                }
            }
            return;
        }
        if to_clear && drained && forward(s.epoch) && s.reconcile.at == 0 {
            out.push((self.cleared(s), (WHO, "a pass with repair clears the unclean writer")));
        }
        let busy = (writers::ACCEPTED..=writers::LANDED).contains(&s.at[0]) && !s.sleeper.fenced;
        let clean = !self.guards_writers() || (!s.unclean && (!busy || s.signed_off));
        let proved = !flags.proof || !flags.proof_at_flip || s.proved || self.fast(s);
        let told = self.flags.caught_up && !s.follower.is_idle();
        if drained && s.flips > 0 && clean && proved && !told && !self.sql_holds(s) {
            out.push((self.flipped(s), (WHO, "flips the epoch")));
        }
        out.push((State { closing: false, ..*s }, (WHO, "opens the same epoch again")));
    }

    /// Whether an emergency's way back is open: every write to Postgres has an intent until Cassandra has acknowledged it.
    fn fast(&self, s: &State) -> bool {
        self.flags.fast && !forward(s.epoch) && !(self.flags.fast_undisturbed && s.disturbed)
    }

    fn flipped(&self, s: &State) -> State {
        let mut next = State { epoch: s.epoch + 1, closing: false, flips: s.flips - 1, ..*s };
        if self.flags.floor_rises {
            next.floor = s.stamps.iter().max().unwrap() / 4 + 1;
        }
        let incomplete = !s.postgres.same(&s.cassandra.read());
        // What comes of a sleeper's write behind the pass is not carried over, and may not be acknowledged any more.
        let late = s.sleeper.spent && s.landed & !s.acknowledged & 1 != 0;
        next.sleeper.late |= incomplete && late;
        next.incomplete = incomplete && !late;
        if self.guards_writers() {
            // They have promised, and ask for the epoch before they write again.
            for i in (0..self.writers()).filter(|i| s.at[*i] == 0 && !(*i == 0 && s.sleeper.fenced)) {
                next.knows[i] = next.epoch;
            }
        }
        if self.flags.proof {
            next.proved = false;
            next.disturbed = false;
            next.pass = 0;
        }
        next
    }

    /// Rule 31. As with every pass: what it does not find landed never will.
    fn cleared(&self, s: &State) -> State {
        let mut next = State { unclean: false, in_flight: s.in_flight & !s.forgotten, forgotten: 0, ..*s };
        let read = s.cassandra.read();
        if self.flags.floor_rises {
            next.floor = s.floor.max(s.stamps.iter().max().unwrap() / 4 + 1);
        }
        if !s.postgres.same(&read) {
            next.postgres.set(&read, read.ver.max(s.postgres.bound() + 1));
        }
        if self.flags.proof {
            self.disturb(&mut next);
        }
        next
    }

    /// The obvious way, which needs every writer to know of two epochs at once.
    fn flip_then_drain(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let flags = &self.flags;
        if !s.draining && s.flips > 0 {
            let incomplete = flags.flip_checked && !s.postgres.same(&s.cassandra.read());
            let next = State { epoch: s.epoch + 1, draining: true, flips: s.flips - 1, incomplete, ..*s };
            out.push((next, (WHO, "flips the epoch")));
        }
        if s.draining {
            if (0..4).all(|i| s.intents[i] == NONE || s.intent_epoch[i] == s.epoch) {
                out.push((State { draining: false, ..*s }, (WHO, "has drained")));
            }
            if flags.taken_back && s.epoch == 2 {
                out.push((State { epoch: s.epoch + 1, flips: 0, ..*s }, (WHO, "takes the flip back")));
            }
        }
    }
}
