//! A writer of one key, or of the partition's delete, in either direction (rules 2, 6 to 8, 11 to 13 and 23 to 25; P1 to P4).

use super::{forward, Partitions, State, FINISHED, KEYS, NONE, OPEN, UNSURE};
use crate::search::Step;
use crate::sides::{Postgres, Write};

pub const IDLE: u8 = 0;
const ANNOUNCED: u8 = 1;
const ACKNOWLEDGED: u8 = 2;
const TIMED_OUT: u8 = 3;
const REFUSED: u8 = 4;
/// A statement in Postgres is under way (where no lock makes it one step).
const STATEMENT: u8 = 5;
pub const DONE: u8 = 6;
const POSTGRES_FAILED: u8 = 9;
const STAMPED: u8 = 10;
const REVERSE_STATEMENT: u8 = 20;
const COMMITTED: u8 = 21;
const SENT: u8 = 22;
pub const HOLDS_EPOCH: [u8; 2] = [STAMPED, REVERSE_STATEMENT];
const NAMES: [&str; 3] = ["W1", "W2", "W3"];
type Out = Vec<(State, Step)>;

impl Partitions {
    pub(super) fn writer(&self, s: &State, i: usize, out: &mut Out) {
        let (flags, bit) = (&self.flags, 1u8 << i);
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut next = *s;
            change(&mut next);
            out.push((next, (NAMES[i], what)));
        };
        if s.in_flight & bit != 0 {
            step("its write in flight LANDS", &|t| {
                t.in_flight &= !bit;
                self.apply(t, i);
            });
        }
        match s.at[i] {
            IDLE if s.closing => {}
            IDLE if forward(s.epoch) => step("begins, and takes a version", &|t| {
                t.before[i] = s.acknowledged;
                t.stamps[i] = self.stamp(s, i);
                t.at[i] = STAMPED;
                if !flags.slow_stamp {
                    self.announce(t, i);
                }
            }),
            STAMPED => step("commits its intent", &|t| self.announce(t, i)),
            IDLE if flags.lock == 2 => step("commits its change and its intent; its caller knows", &|t| {
                t.before[i] = s.acknowledged;
                t.stamps[i] = self.stamp(s, i);
                t.seen[i] = self.rows(s);
                self.reverse_commit(t, i);
            }),
            IDLE if self.free(s, i) => step("its statement begins, and takes a version", &|t| {
                t.before[i] = s.acknowledged;
                t.stamps[i] = self.stamp(s, i);
                t.seen[i] = self.rows(s);
                t.at[i] = REVERSE_STATEMENT;
            }),
            REVERSE_STATEMENT => step("commits its change and its intent; its caller knows", &|t| self.reverse_commit(t, i)),
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
            ACKNOWLEDGED => {
                let waits = s.range_lock
                    && (if self.ops[i].key.is_none() { flags.half_range } else { self.ops[i].write == Write::Delete });
                if !waits && flags.lock == 2 {
                    step("Postgres: its half, and the intent goes", &|t| {
                        t.seen[i] = self.sees(s, i);
                        self.finish(t, i);
                    });
                } else if !waits && self.free(s, i) {
                    step("Postgres: statement begins", &|t| {
                        t.seen[i] = self.sees(s, i);
                        t.at[i] = STATEMENT;
                    });
                }
                if flags.postgres_fails {
                    step("Postgres: fails", &|t| {
                        t.acknowledged |= bit;
                        t.at[i] = POSTGRES_FAILED;
                    });
                }
            }
            STATEMENT => step("Postgres: its half, and the intent goes", &|t| self.finish(t, i)),
            TIMED_OUT => step("marks its intent unsure", &|t| self.mark(t, i, UNSURE)),
            REFUSED => step("withdraws its intent", &|t| {
                if s.intents[i] == OPEN || !flags.claim {
                    t.intents[i] = NONE;
                }
                t.at[i] = DONE;
            }),
            POSTGRES_FAILED => step("marks its intent finished", &|t| self.mark(t, i, FINISHED)),
            COMMITTED => {
                step("secondary: done", &|t| {
                    self.apply(t, i);
                    t.at[i] = SENT;
                });
                if flags.timeout {
                    step("secondary: times out, still in flight", &|t| {
                        t.in_flight |= bit;
                        t.at[i] = DONE;
                    });
                }
            }
            SENT => step("removes its intent", &|t| {
                t.intents[i] = NONE;
                t.at[i] = DONE;
            }),
            _ => {}
        }
        let dies = match s.at[i] {
            IDLE | DONE | STAMPED | REVERSE_STATEMENT | STATEMENT => false,
            REFUSED | TIMED_OUT => true,
            _ => flags.crash,
        };
        if dies {
            out.push((State { at: with(s.at, i, DONE), ..*s }, (NAMES[i], "crashes")));
        }
    }

    fn announce(&self, t: &mut State, i: usize) {
        t.intents[i] = OPEN;
        t.intent_epoch[i] = t.epoch;
        t.at[i] = ANNOUNCED;
    }

    fn mark(&self, t: &mut State, i: usize, state: u8) {
        if t.intents[i] == OPEN {
            t.intents[i] = state;
        }
        t.at[i] = DONE;
    }

    /// Rules 2 and 23, and P3.
    pub(super) fn stamp(&self, s: &State, i: usize) -> u8 {
        let flags = &self.flags;
        let mut known = 0;
        for key in (0..KEYS).filter(|key| self.counts_for(i, *key) || self.is_foreign(i)) {
            known = known.max(self.bound(s, key, flags.stamp_sees_tombstone));
            for j in (0..self.ops.len()).filter(|j| s.intents[*j] != NONE && self.counts_for(*j, key)) {
                if self.ops[j].key.is_some() || flags.stamp_sees_intent {
                    known = known.max(s.stamps[j]);
                }
            }
        }
        if flags.wrapped && flags.stamp_sees_recheck && s.intents[0] != NONE && i != 0 {
            known = known.max(s.announced);
        }
        let above = if forward(s.epoch) { flags.partition_above_known } else { flags.reverse_above_known };
        let known = if self.ops[i].key.is_none() && !above { 0 } else { known / 4 + 1 };
        self.ops[i].clock.max(s.floor).max(known) * 4 + i as u8
    }

    /// The keys within the delete's reach that have a row (a bit set).
    pub(super) fn rows(&self, s: &State) -> u8 {
        (0..self.reach()).fold(0, |set, key| set | u8::from(s.postgres[key].exists) << key)
    }

    fn sees(&self, s: &State, i: usize) -> u8 {
        match self.ops[i].key {
            None => self.rows(s),
            Some(key) if key < self.counted() => s.tombstone,
            Some(_) => 0,
        }
    }

    /// Whether the locks that a transaction takes are free, where it does not hold the partition's (rule 5, and P1).
    pub(super) fn free(&self, s: &State, i: usize) -> bool {
        let wants = self.locks(s, i, self.rows(s));
        let held = |j: usize| [STATEMENT, REVERSE_STATEMENT].contains(&s.at[j]) && self.locks(s, j, s.seen[j]) & wants != 0;
        let worker = s.reconcile.at == 4 && wants & (1 << s.reconcile.key) != 0;
        !worker && !(0..self.ops.len()).any(held)
    }

    fn locks(&self, _: &State, i: usize, rows: u8) -> u8 {
        match self.ops[i].key {
            Some(key) => 1 << key,
            None if self.flags.lock == 1 => rows,
            None => 0,
        }
    }

    pub(super) fn key_free(&self, s: &State, key: usize) -> bool {
        let held =
            |j: usize| [STATEMENT, REVERSE_STATEMENT].contains(&s.at[j]) && self.locks(s, j, s.seen[j]) & (1 << key) != 0;
        !(0..self.ops.len()).any(held)
    }

    fn finish(&self, t: &mut State, i: usize) {
        let seen = t.seen[i];
        t.seen[i] = 0;
        t.at[i] = DONE;
        t.acknowledged |= 1 << i;
        if t.intents[i] == NONE && self.flags.own_intent {
            return;
        }
        match self.ops[i].key {
            None => self.half(t, i, seen),
            Some(key) => {
                if self.guarded(t, i, key, seen) {
                    t.intents[i] = NONE;
                } else if t.intents[i] != NONE {
                    t.intents[i] = FINISHED;
                }
            }
        }
    }

    /// P4: the partition's delete in the target. `seen`: the keys whose rows its statement saw.
    pub(super) fn half(&self, t: &mut State, i: usize, seen: u8) {
        let (flags, ver) = (&self.flags, t.stamps[i]);
        let seen = seen & self.rows(t);
        for key in (0..KEYS).filter(|key| seen & (1 << key) != 0) {
            let row = t.postgres[key];
            if row.ver <= ver || !flags.half_guard {
                let tomb = if flags.partition_tombstone { row.tomb } else { row.tomb.max(ver) };
                t.postgres[key] = Postgres { tomb, ..Default::default() };
            } else if flags.newer_is_rechecked {
                self.recheck(t, key, ver);
            }
        }
        self.leave_tombstone(t, ver);
        t.intents[i] = NONE;
    }

    pub(super) fn leave_tombstone(&self, t: &mut State, ver: u8) {
        if self.flags.partition_tombstone {
            t.tombstone = t.tombstone.max(ver);
        }
    }

    fn guarded(&self, t: &mut State, i: usize, key: usize, seen: u8) -> bool {
        let ver = t.stamps[i];
        let postgres = &mut t.postgres[key];
        let tombstone = postgres.tomb.max(if self.flags.put_sees_tombstone { seen } else { 0 });
        let accepted = match self.ops[i].write {
            Write::Put(..) => tombstone < ver && !(postgres.exists && postgres.ver >= ver),
            Write::Update(..) => postgres.exists && postgres.ver < ver,
            Write::Delete => !(postgres.exists && postgres.ver > ver),
        };
        if accepted {
            self.write_postgres(t, i, key);
        }
        accepted
    }

    fn write_postgres(&self, t: &mut State, i: usize, key: usize) {
        let (ver, postgres) = (t.stamps[i], &mut t.postgres[key]);
        match self.ops[i].write {
            Write::Put(a, b) => postgres.put([a, b], ver),
            Write::Update(column, value) => {
                postgres.values[column as usize] = value;
                postgres.ver = ver;
            }
            Write::Delete => postgres.delete(ver),
        }
    }

    /// Rules 23 and 24, and P6: change, tombstone and intent are one transaction.
    fn reverse_commit(&self, t: &mut State, i: usize) {
        t.acknowledged |= 1 << i;
        let seen = t.seen[i];
        match self.ops[i].key {
            None => {
                for key in (0..KEYS).filter(|key| seen & (1 << key) != 0) {
                    t.postgres[key] = Postgres { tomb: t.postgres[key].tomb, ..Default::default() };
                }
                self.leave_tombstone(t, t.stamps[i]);
            }
            Some(key) => {
                t.seen[i] = 0;
                if matches!(self.ops[i].write, Write::Update(..)) && !t.postgres[key].exists {
                    t.not_found |= 1 << i;
                    t.stamps[i] = 0;
                    t.at[i] = DONE;
                    return;
                }
                self.write_postgres(t, i, key);
            }
        }
        t.landed |= 1 << i;
        t.intents[i] = OPEN;
        t.intent_epoch[i] = t.epoch;
        t.at[i] = COMMITTED;
    }
}

fn with(mut at: [u8; 3], i: usize, what: u8) -> [u8; 3] {
    at[i] = what;
    at
}
