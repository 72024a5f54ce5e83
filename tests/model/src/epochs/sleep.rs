//! Writer 1's process is suspended and fenced meanwhile, or fenced though it runs: then it does not know that it was.

use super::{forward, writers, Epochs, State, RECHECK};
use crate::search::Step;

const WHO: &str = "W1";

/// `since`: it was suspended since Postgres last answered what it had asked after that; `within`: since its write began.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sleeper {
    pub asleep: bool,
    pub fenced: bool,
    pub since: bool,
    pub within: bool,
    /// It has slept, or was fenced: once is enough.
    pub spent: bool,
    /// Its write came to the old primary after the flip; and was acknowledged.
    pub late: bool,
    pub lost: bool,
    pub crashed: bool,
}

impl Sleeper {
    pub fn show(&self) -> String {
        let word = |is, what| if is { what } else { "" };
        format!("{}{}", word(self.asleep, " asleep"), word(self.fenced, " fenced"))
    }
}

impl Epochs {
    /// Whether writer 1 may be taken for dead while it lives.
    pub(super) fn may_be_gone(&self) -> bool {
        self.flags.sleep || self.flags.cut_off
    }

    pub(super) fn sleep(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut next = *s;
            change(&mut next);
            out.push((next, (WHO, what)));
        };
        let sleeper = s.sleeper;
        if self.flags.sleep && !sleeper.spent && s.at[0] != writers::DONE && !s.signed_off {
            step("is suspended", &|t| {
                t.sleeper = Sleeper { asleep: true, since: true, within: true, spent: true, ..sleeper };
            });
        }
        let silent = sleeper.asleep || (self.flags.cut_off && !sleeper.spent);
        if silent && !sleeper.fenced && s.at[0] != writers::DONE {
            step("is FENCED", &|t| {
                t.sleeper.fenced = true;
                t.sleeper.spent = true;
                t.unclean |= self.flags.accept;
                // The pass that clears it begins when this has landed, or never will.
                t.forgotten |= s.in_flight & 1;
            });
        }
        if sleeper.asleep {
            step("WAKES UP", &|t| t.sleeper.asleep = false);
        } else if sleeper.fenced || sleeper.since {
            step("asks Postgres, and goes on as registered now", &|t| {
                t.sleeper.fenced = false;
                t.sleeper.since = false;
                t.knows[0] = s.epoch;
            });
        }
    }

    pub(super) fn may_accept(&self, s: &State) -> bool {
        !(s.sleeper.since && self.flags.woken_asks)
    }

    pub(super) fn is_unsure(&self, s: &State) -> bool {
        s.sleeper.within && self.flags.woken_is_unsure
    }

    /// Tell writer `i`'s caller that its write is done, if this may be said.
    pub(super) fn acknowledge(&self, t: &mut State, i: usize) {
        if i == 0 && self.is_unsure(t) {
            return;
        }
        t.acknowledged |= 1 << i;
        t.sleeper.lost |= i == 0 && t.sleeper.late;
    }

    pub(super) fn landed_late(&self, t: &mut State, i: usize) {
        t.sleeper.late |= self.may_be_gone() && i == 0 && !forward(t.epoch);
    }

    /// Writer 1 died before it could tell of a write that came too late, and that nobody was told is done: a pass finds it.
    pub(super) fn dead_and_late(&self, s: &State) -> bool {
        s.sleeper.crashed && s.landed & !s.acknowledged & 1 != 0
    }

    pub(super) fn crashes(&self, t: &mut State, i: usize) {
        t.sleeper.crashed |= i == 0 && t.sleeper.spent;
        t.at[i] = writers::DONE;
    }

    /// Rule 27: what is sent is above what the picked intents tell of.
    pub(super) fn raise_above_late(&self, t: &mut State) {
        let picked = |i: &usize| t.reconcile.picked & (1 << i) != 0;
        let newest = (0..RECHECK).filter(picked).map(|i| t.stamps[i]).max().unwrap_or(0);
        if self.may_be_gone() && t.postgres.bound() <= newest {
            self.raise_to(t, newest + 1);
        }
    }
}
