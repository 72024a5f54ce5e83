//! A writer: intent, primary, then one transaction in Postgres (rules 2, 6 to 8, 11 to 13).

use super::{Forward, State, FINISHED, NONE, OPEN, UNSURE};
use crate::search::Step;
use crate::sides::Write;

const IDLE: u8 = 0;
const ANNOUNCED: u8 = 1;
const ACKNOWLEDGED: u8 = 2;
const TIMED_OUT: u8 = 3;
const REFUSED: u8 = 4;
const LOOKED: u8 = 5;
pub const DONE: u8 = 6;
const POSTGRES_FAILED: u8 = 9;
const NAMES: [&str; 3] = ["W1", "W2", "W3"];

impl Forward {
    pub(super) fn writer(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut next = *s;
            change(&mut next);
            out.push((next, (NAMES[i], what)));
        };
        let (flags, bit, write) = (&self.flags, 1u8 << i, self.mix.writes[i]);
        let lands = |t: &mut State| {
            t.cassandra.apply(write, s.stamps[i]);
            t.landed |= bit;
        };
        match s.at[i] {
            IDLE => step("commits its intent", &|t| {
                t.stamps[i] = self.stamp(s, i);
                t.intents[i] = OPEN;
                t.at[i] = ANNOUNCED;
                t.before[i] = s.acknowledged;
            }),
            ANNOUNCED => {
                step("primary: done", &|t| {
                    lands(t);
                    t.at[i] = ACKNOWLEDGED;
                });
                if flags.refuse {
                    step("primary: refused", &|t| t.at[i] = REFUSED);
                }
                if flags.timeout {
                    step("primary: times out, done", &|t| {
                        lands(t);
                        t.at[i] = TIMED_OUT;
                    });
                    step("primary: times out, still in flight", &|t| {
                        t.in_flight |= bit;
                        t.at[i] = TIMED_OUT;
                    });
                }
            }
            ACKNOWLEDGED => {
                let locked = flags.lock >= 1 || write == Write::Delete;
                if !locked && flags.put_tombstone > 0 && matches!(write, Write::Put(..)) {
                    step("Postgres: statement begins", &|t| {
                        t.seen_tombstone[i] = s.postgres.tomb;
                        t.at[i] = LOOKED;
                    });
                } else if (!locked || s.key_lock == 0) && !(write == Write::Delete && flags.delete_range && s.range_lock) {
                    step("Postgres: guarded write and intent", &|t| self.finish(t, i, s.postgres.tomb));
                }
                if flags.postgres_fails {
                    step("Postgres: fails", &|t| {
                        t.acknowledged |= bit;
                        t.at[i] = POSTGRES_FAILED;
                    });
                }
            }
            LOOKED => step("Postgres: guarded write and intent", &|t| {
                t.seen_tombstone[i] = 0;
                self.finish(t, i, s.seen_tombstone[i]);
            }),
            TIMED_OUT => step("marks its intent unsure", &|t| self.mark(t, i, UNSURE)),
            REFUSED => step("withdraws its intent", &|t| {
                if !flags.claim || s.intents[i] == OPEN {
                    t.intents[i] = NONE;
                }
                t.at[i] = DONE;
            }),
            POSTGRES_FAILED => step("marks its intent finished", &|t| self.mark(t, i, FINISHED)),
            _ => {}
        }
        let dies = match s.at[i] {
            ANNOUNCED | ACKNOWLEDGED | POSTGRES_FAILED => flags.crash,
            at => at == TIMED_OUT || at == REFUSED,
        };
        if dies {
            step("crashes", &|t| t.at[i] = DONE);
        }
    }

    /// What was in flight arrives, or never does where the rule cannot bear it; what is remembered is forgotten.
    pub(super) fn lost(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        let bit = 1u8 << i;
        let arrived = State { in_flight: s.in_flight & !bit, ..*s };
        if s.in_flight & bit != 0 {
            let mut next = State { landed: s.landed | bit, ..arrived };
            next.cassandra.apply(self.mix.writes[i], s.stamps[i]);
            out.push((next, (NAMES[i], "its write in flight LANDS")));
            if self.flags.remove != 3 && self.flags.remove != 0 {
                out.push((arrived, (NAMES[i], "its write in flight never lands")));
            }
        }
        if self.flags.intents_lost && s.intents[i] != NONE {
            let mut next = *s;
            next.intents[i] = NONE;
            out.push((next, (NAMES[i], "its intent is lost")));
        }
    }

    fn stamp(&self, s: &State, i: usize) -> u8 {
        let (flags, clock) = (&self.flags, self.mix.clocks[i]);
        let open = (0..self.mix.writes.len()).filter(|j| s.intents[*j] != NONE).map(|j| s.stamps[j]);
        let known = open.fold(s.postgres.bound(), u8::max);
        match (flags.stamp_above_known, flags.unique) {
            (true, true) => (known / 4 + 1).max(clock) * 4 + i as u8,
            (true, false) => clock.max(known + 1),
            (false, true) => clock * 4 + i as u8,
            (false, false) => clock,
        }
    }

    fn mark(&self, t: &mut State, i: usize, state: u8) {
        if t.intents[i] == OPEN {
            t.intents[i] = state;
        }
        t.at[i] = DONE;
    }

    fn finish(&self, t: &mut State, i: usize, tombstone: u8) {
        t.at[i] = DONE;
        t.acknowledged |= 1 << i;
        if self.flags.own_intent && t.intents[i] == NONE {
            return;
        }
        if self.guarded(t, i, tombstone) || !self.flags.refused_stays {
            t.intents[i] = NONE;
        } else if t.intents[i] != NONE {
            t.intents[i] = FINISHED;
        }
    }

    fn guarded(&self, t: &mut State, i: usize, tombstone: u8) -> bool {
        let (flags, ver, postgres) = (&self.flags, t.stamps[i], &mut t.postgres);
        match self.mix.writes[i] {
            Write::Put(a, b) => {
                let buried = match flags.put_tombstone {
                    0 => false,
                    1 => tombstone > ver,
                    _ => tombstone >= ver && tombstone > 0,
                };
                let accepted = !buried && !(postgres.exists && postgres.ver >= ver);
                if accepted {
                    postgres.put([a, b], ver);
                }
                accepted
            }
            Write::Update(column, value) => {
                let nulls = flags.null_guard && value == 0 && postgres.values[1 - column as usize] == 0;
                let accepted = postgres.exists && postgres.ver < ver && !nulls;
                if accepted {
                    postgres.values[column as usize] = value;
                    postgres.ver = ver;
                }
                accepted
            }
            Write::Delete => {
                let accepted = !(flags.delete_guard && postgres.exists && postgres.ver > ver);
                if accepted {
                    postgres.delete(ver);
                }
                accepted
            }
        }
    }
}
