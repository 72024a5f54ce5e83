//! A writer with an intent, in either direction (rules 2, 6 to 8, 12, 13, 23 to 25).

use super::{forward, Epochs, State, FINISHED, NONE, OPEN, UNSURE};
use crate::search::Step;
use crate::sides::{Row, Write};

pub const IDLE: u8 = 0;
const ANNOUNCED: u8 = 1;
const ACKNOWLEDGED: u8 = 2;
const TIMED_OUT: u8 = 3;
const REFUSED: u8 = 4;
pub const DONE: u8 = 6;
const POSTGRES_FAILED: u8 = 9;
/// Rule 20 taken out: the epoch was looked at, and the commit follows later.
const LOOKED_FORWARD: u8 = 10;
const LOOKED_REVERSE: u8 = 20;
const COMMITTED: u8 = 21;
const SENT: u8 = 22;
/// Without an intent: to write the primary; acknowledged, or timed out, and not recorded.
pub const ACCEPTED: u8 = 30;
pub const UNRECORDED: u8 = 31;
pub const UNRECORDED_UNSURE: u8 = 32;
/// The primary has it, and its caller does not know yet (where that matters: see `sleep`).
pub const LANDED: u8 = 33;
pub const NAMES: [&str; 3] = ["W1", "W2", "W3"];

impl Epochs {
    pub(super) fn writer(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        if i == 0 && s.sleeper.asleep {
            return;
        }
        if i + 1 == self.writers() && self.flags.foreign {
            return self.foreign_writer(s, i, out);
        }
        if i + 1 == self.writers() && self.flags.sql {
            return self.sql_writer(s, i, out);
        }
        match s.at[i] {
            IDLE => self.begin(s, i, out),
            ANNOUNCED..=REFUSED | POSTGRES_FAILED => self.forward_write(s, i, out),
            LOOKED_FORWARD | LOOKED_REVERSE => {
                let mut next = *s;
                let what = if s.at[i] == LOOKED_FORWARD {
                    next.intents[i] = OPEN;
                    next.at[i] = ANNOUNCED;
                    "commits its intent"
                } else {
                    self.reverse_commit(&mut next, i)
                };
                out.push((next, (NAMES[i], what)));
            }
            COMMITTED | SENT => self.reverse_write(s, i, out),
            ACCEPTED..=LANDED => self.accepted_write(s, i, out),
            _ => {}
        }
    }

    fn begin(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        let flags = &self.flags;
        let mut next = *s;
        if i == 0 {
            next.sleeper.within = false;
        }
        if flags.accept && forward(s.knows[i]) && i == 0 && self.may_accept(s) {
            next.stamps[i] = self.stamp(s, i, false);
            next.before[i] = s.acknowledged;
            next.at[i] = ACCEPTED;
            out.push((next, (NAMES[i], "accepts without an intent")));
            next = State { sleeper: next.sleeper, ..*s };
        }
        if i == 0 && s.sleeper.fenced {
            return; // what it asks tells it so: see `sleep`
        }
        if s.knows[i] != s.epoch {
            next.knows[i] = s.epoch;
            out.push((next, (NAMES[i], "hears of the epoch")));
            return;
        }
        if s.closing {
            return;
        }
        next.before[i] = s.acknowledged;
        if forward(s.epoch) {
            next.stamps[i] = self.stamp(s, i, flags.stamp_above_known);
            next.intent_epoch[i] = s.epoch;
            if flags.hold_epoch {
                next.intents[i] = OPEN;
                next.at[i] = ANNOUNCED;
                out.push((next, (NAMES[i], "commits its intent")));
            } else {
                next.at[i] = LOOKED_FORWARD;
                out.push((next, (NAMES[i], "sees that the epoch is open")));
            }
            return;
        }
        let old = (0..self.writers()).any(|j| s.intents[j] != NONE && s.intent_epoch[j] < s.epoch);
        if flags.wait_for_old && old {
            return;
        }
        if flags.hold_epoch {
            let what = self.reverse_commit(&mut next, i);
            out.push((next, (NAMES[i], what)));
        } else {
            next.at[i] = LOOKED_REVERSE;
            out.push((next, (NAMES[i], "sees that the epoch is open")));
        }
    }

    fn forward_write(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        let flags = &self.flags;
        let bit = 1u8 << i;
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut next = *s;
            change(&mut next);
            out.push((next, (NAMES[i], what)));
        };
        match s.at[i] {
            ANNOUNCED => {
                step("primary: done", &|t| {
                    self.apply(t, i);
                    t.at[i] = ACKNOWLEDGED;
                });
                if flags.refuse {
                    step("primary: refused", &|t| t.at[i] = REFUSED);
                }
                if flags.timeout {
                    step("primary: times out, done", &|t| {
                        self.apply(t, i);
                        t.at[i] = TIMED_OUT;
                    });
                    step("primary: times out, still in flight", &|t| {
                        t.in_flight |= bit;
                        t.at[i] = TIMED_OUT;
                    });
                }
            }
            ACKNOWLEDGED | TIMED_OUT if self.unrepeatable(i) && self.is_unsure(s) => step("was suspended: unsure, and to be recorded", &|t| {
                self.mark(t, i, UNSURE);
                t.at[i] = UNRECORDED_UNSURE;
            }),
            ACKNOWLEDGED if self.unrepeatable(i) => step("marks its intent finished", &|t| {
                self.acknowledge(t, i);
                self.mark(t, i, FINISHED);
            }),
            ACKNOWLEDGED => {
                step("Postgres: guarded write and intent", &|t| {
                    t.at[i] = DONE;
                    t.acknowledged |= bit;
                    self.guarded(t, i);
                });
                if flags.postgres_fails {
                    step("Postgres: fails", &|t| {
                        t.acknowledged |= bit;
                        t.at[i] = POSTGRES_FAILED;
                    });
                }
            }
            TIMED_OUT => step("marks its intent unsure", &|t| {
                if self.unrepeatable(i) && flags.noted == 1 {
                    self.disturb(t);
                }
                self.mark(t, i, UNSURE);
            }),
            REFUSED => step("withdraws its intent", &|t| {
                if t.intents[i] == OPEN {
                    t.intents[i] = NONE;
                }
                t.at[i] = DONE;
            }),
            _ => step("marks its intent finished", &|t| self.mark(t, i, FINISHED)),
        }
        if flags.crash || s.at[i] == REFUSED {
            step("crashes", &|t| self.crashes(t, i));
        }
    }

    fn reverse_write(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        let flags = &self.flags;
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut next = *s;
            change(&mut next);
            out.push((next, (NAMES[i], what)));
        };
        let send = |t: &mut State| t.cassandra.apply(self.mix.writes[i], s.stamps[i]);
        if s.at[i] == COMMITTED {
            step("secondary: done", &|t| {
                send(t);
                t.at[i] = SENT;
            });
            if flags.timeout {
                step("secondary: times out, done", &|t| {
                    send(t);
                    t.at[i] = DONE;
                });
                step("secondary: times out, still in flight", &|t| {
                    t.in_flight |= 1 << i;
                    t.at[i] = DONE;
                });
            }
        } else {
            step("removes its intent", &|t| {
                t.intents[i] = NONE;
                t.at[i] = DONE;
            });
        }
        if flags.crash || (s.at[i] == COMMITTED && flags.refuse) {
            step("crashes", &|t| t.at[i] = DONE);
        }
    }

    pub(super) fn lands(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        let bit = 1u8 << i;
        if s.in_flight & bit == 0 {
            return;
        }
        let arrived = State { in_flight: s.in_flight & !bit, forgotten: s.forgotten & !bit, ..*s };
        let mut next = arrived;
        self.apply(&mut next, i);
        out.push((next, (NAMES[i], "its write in flight LANDS")));
        if self.flags.remove != 3 {
            out.push((arrived, (NAMES[i], "its write in flight never lands")));
        }
    }

    pub(super) fn apply(&self, t: &mut State, i: usize) {
        t.cassandra.apply(self.mix.writes[i], t.stamps[i]);
        t.landed |= 1 << i;
        if i == 0 && self.flags.drop_own > 0 && t.follower.own == 0 {
            t.follower.own = 1;
        }
        self.landed_late(t, i);
    }

    fn mark(&self, t: &mut State, i: usize, state: u8) {
        if t.intents[i] == OPEN {
            t.intents[i] = state;
        }
        t.at[i] = DONE;
    }

    pub(super) fn stamp(&self, s: &State, i: usize, above_known: bool) -> u8 {
        let clock = self.mix.clocks[i].max(self.flags.floor).max(s.floor);
        let open = (0..self.writers()).filter(|j| s.intents[*j] != NONE).map(|j| s.stamps[j]);
        let told = if self.flags.stamp_sees_recheck { s.recheck_version } else { 0 };
        let known = if above_known { open.fold(s.postgres.bound().max(told), u8::max) / 4 + 1 } else { 0 };
        clock.max(known) * 4 + i as u8
    }

    /// Rules 6 to 8 and 12.
    fn guarded(&self, t: &mut State, i: usize) {
        let ver = t.stamps[i];
        if self.flags.own_intent && t.intents[i] == NONE {
            return;
        }
        let postgres = &mut t.postgres;
        let accepted = match self.mix.writes[i] {
            Write::Put(..) => !(postgres.tomb >= ver && postgres.tomb > 0) && !(postgres.exists && postgres.ver >= ver),
            Write::Update(..) => postgres.exists && postgres.ver < ver,
            Write::Delete => !(postgres.exists && postgres.ver > ver),
        };
        if accepted {
            self.write_postgres(t, i);
            t.intents[i] = NONE;
        } else if t.intents[i] != NONE {
            t.intents[i] = FINISHED;
        }
    }

    fn write_postgres(&self, t: &mut State, i: usize) {
        let ver = t.stamps[i];
        match self.mix.writes[i] {
            Write::Put(a, b) => t.postgres.put([a, b], ver),
            Write::Update(column, value) => {
                t.postgres.values[column as usize] = value;
                t.postgres.ver = ver;
            }
            Write::Delete => t.postgres.delete(ver),
        }
    }

    /// Rules 23 and 24.
    fn reverse_commit(&self, t: &mut State, i: usize) -> &'static str {
        let bit = 1u8 << i;
        t.stamps[i] = self.stamp(t, i, self.flags.reverse_above_known);
        let absent = matches!(self.mix.writes[i], Write::Update(..)) && !t.postgres.exists;
        t.acknowledged |= bit;
        if absent {
            t.not_found |= bit;
            if self.flags.absent_update_leaves_nothing {
                t.at[i] = DONE;
                t.stamps[i] = 0;
                return "update of an absent row: not found";
            }
        } else {
            self.write_postgres(t, i);
            t.landed |= bit;
        }
        t.intents[i] = OPEN;
        t.intent_epoch[i] = t.knows[i];
        t.at[i] = COMMITTED;
        "commits row and intent; its caller knows"
    }
}

/// What a reverse reconcile sends: Postgres's row at its version, or its tombstone.
pub(super) fn row_of(s: &State) -> Row {
    let postgres = s.postgres;
    let ver = if postgres.exists { postgres.ver } else { postgres.tomb };
    Row { exists: postgres.exists, values: postgres.values, ver, ts: [0, 0] }
}
