//! A writer of Cassandra that is not the wrapper's, and the follower that reads the nodes' logs (C1 to C6 of decision 0031).
//!
//! What is assumed, as of passes: a write that a quorum does not have when its event's time is over never gets there.

use super::writers::{DONE, IDLE};
use super::{forward, Epochs, State, FINISHED, NONE, RECHECK};
use crate::search::Step;
use crate::sides::{Postgres, Write};

/// One node has the write, and its log tells of it; no quorum has it yet.
const TOLD: u8 = 40;
const WRITER: &str = "F";
const FOLLOWER: &str = "L";

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Follower {
    /// How many logs tell of the foreign write, unread; and whether an event is read and not announced yet.
    pub told: u8,
    pub reads: bool,
    /// A log is lost, and that is not recorded yet.
    pub gap: bool,
    /// Writer 1's own event: 0 none, 1 in a log, 2 over.
    pub own: u8,
    /// It has dropped an event of a version, and would know one that has the same; it has been started again since.
    pub dropped: bool,
    pub restarted: bool,
    /// The operator has stopped the foreign writers.
    pub stopped: bool,
    /// How often a resend of a recheck has raised the version.
    pub raises: u8,
}

impl Follower {
    pub fn is_idle(&self) -> bool {
        self.told == 0 && !self.reads && !self.gap && self.own != 1
    }
}

impl Epochs {
    pub(super) fn foreign_writer(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut next = *s;
            change(&mut next);
            out.push((next, (WRITER, what)));
        };
        let may_begin = match self.flags.foreign_stops {
            1 => forward(s.epoch) && !s.follower.stopped,
            2 => !forward(s.epoch),
            _ => true,
        };
        if s.at[i] == IDLE && may_begin {
            step("one node has its write, and tells", &|t| {
                t.stamps[i] = self.mix.clocks[i] * 4 + if self.flags.tie { 0 } else { i as u8 };
                t.follower.told = self.flags.replicas;
                t.at[i] = TOLD;
            });
        }
        if s.at[i] == TOLD {
            step("a quorum has its write; its caller knows", &|t| {
                self.apply(t, i);
                t.at[i] = DONE;
            });
            if self.flags.timeout {
                step("its write times out, still in flight", &|t| {
                    t.in_flight |= 1 << i;
                    t.at[i] = DONE;
                });
            }
        }
    }

    pub(super) fn follower(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let i = self.writers() - 1;
        if !self.flags.foreign {
            return;
        }
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut next = *s;
            change(&mut next);
            out.push((next, (FOLLOWER, what)));
        };
        if s.follower.own == 1 {
            step("drops the wrapper's own event, or rechecks its key", &|t| {
                t.follower.own = 2;
                if !self.drops(t, 0) {
                    self.announce(t, t.stamps[0]);
                }
            });
        }
        if s.follower.told > 0 && !s.follower.reads {
            step("reads an event", &|t| t.follower.reads = true);
            if self.flags.gaps {
                step("finds the log GONE: a gap", &|t| {
                    t.follower.told = 0;
                    t.follower.gap = self.flags.gap_disturbs;
                });
            }
        }
        if s.follower.gap && !(self.flags.gap_waits && s.at[i] == TOLD) {
            step("records the gap, when what was in it is written or never will be", &|t| {
                if self.flags.gap_waits {
                    t.in_flight &= !(1 << i);
                }
                t.follower.gap = false;
                if self.flags.gap_waits_for_clocks {
                    t.floor = t.floor.max(t.stamps[i] / 4 + 1);
                }
                self.disturb(t);
            });
        }
        if s.follower.reads && !(self.flags.not_before && s.at[i] == TOLD) {
            step("announces the key", &|t| {
                if self.flags.not_before {
                    t.in_flight &= !(1 << i);
                }
                t.follower.reads = false;
                t.follower.told -= 1;
                if !self.drops(t, i) {
                    self.announce(t, t.stamps[i]);
                }
            });
        }
        if s.follower.reads && self.flags.crash && !s.follower.restarted {
            step("crashes", &|t| {
                t.follower.reads = false;
                t.follower.dropped = false;
                t.follower.restarted = true;
            });
        }
    }

    /// C6. Whether an event of writer `i`'s write is taken for the wrapper's own.
    fn drops(&self, t: &mut State, i: usize) -> bool {
        let (ver, postgres) = (t.stamps[i], t.postgres);
        let open = (0..self.writers()).any(|j| t.intents[j] != NONE && t.stamps[j] == ver);
        let of_row = postgres.bound() == ver;
        let drops = match self.flags.drop_own {
            0 => false,
            1 => of_row || open,
            2 => (of_row || open) && !t.follower.dropped && !t.follower.restarted,
            3 => of_row,
            _ => of_row && self.has(&postgres, i),
        };
        t.follower.dropped |= drops;
        drops
    }

    /// Whether Postgres has what writer `i` wrote.
    fn has(&self, postgres: &Postgres, i: usize) -> bool {
        match self.mix.writes[i] {
            Write::Put(a, b) => postgres.exists && postgres.values == [a, b],
            Write::Update(column, value) => postgres.exists && postgres.values[column as usize] == value,
            Write::Delete => !postgres.exists,
        }
    }

    /// C1 and C2: a finished recheck, in the epoch whose lock this transaction holds.
    pub(super) fn announce(&self, t: &mut State, version: u8) {
        if !self.flags.announces {
            return;
        }
        let is_there = t.intents[RECHECK] != NONE;
        if is_there && !self.flags.recheck_is_new {
            return;
        }
        t.reconcile.picked &= !(1 << RECHECK);
        t.intents[RECHECK] = FINISHED;
        t.intent_epoch[RECHECK] = t.epoch;
        if self.flags.carries_version {
            t.recheck_version = t.recheck_version.max(version);
        }
    }

    /// C5: the foreign writers have ended before the epoch closes; none while one is still at it.
    pub(super) fn stopped(&self, s: &State) -> Option<State> {
        let waits = self.flags.foreign && self.flags.foreign_stops == 1 && forward(s.epoch);
        if waits && s.at[self.writers() - 1] == TOLD {
            return None;
        }
        let mut next = *s;
        next.follower.stopped |= waits;
        Some(next)
    }

    /// Rule 27 and C8: what a recheck sends has a version of its own, above what its announcement tells of.
    pub(super) fn raise_recheck(&self, t: &mut State) {
        let picked = t.reconcile.picked & (1 << RECHECK) != 0;
        if picked && self.flags.recheck_raises && (self.flags.foreign || self.flags.sql) {
            let ver = t.postgres.bound().max(t.recheck_version) + 1;
            self.raise_to(t, ver);
            t.follower.raises += 1;
        }
    }
}
