//! Workers: a reconcile of one key (rules 15 and 26), and of a partition's intent (P5 and P6).

use super::{foreign, forward, Partition, Partitions, Reconcile, State, CLAIMED, FINISHED, KEYS, NONE};
use crate::search::Step;
use crate::sides::{Row, Write};

const KEY: &str = "R";
const WHOLE: &str = "Q";
/// The place of the key's recheck in `picked`.
pub const RECHECK: u8 = 1 << 3;
type Out = Vec<(State, Step)>;

impl Partitions {
    pub(super) fn reconcile(&self, s: &State, out: &mut Out) {
        if let Some((key, row)) = s.worker_in_flight {
            let mut next = State { worker_in_flight: None, ..*s };
            next.cassandra[key as usize].write_row(&row);
            out.push((next, (KEY, "its write in flight LANDS")));
        }
        let (mine, key) = (s.reconcile, s.reconcile.key as usize);
        match mine.at {
            0 => (0..KEYS).for_each(|key| self.pick(s, key, out)),
            1 => self.replay(s, out),
            2 => {
                let mut next = *s;
                next.reconcile.read = s.cassandra[key].read();
                next.reconcile.at = 3;
                out.push((next, (KEY, "reads the primary")));
            }
            3 => self.compare(s, key, out),
            4 => out.push((self.written(s, key), (KEY, "applies, removes the intents"))),
            _ => self.reverse(s, key, out),
        }
        if mine.at > 0 && mine.at != 4 && self.flags.crash {
            out.push((State { reconcile: Reconcile::default(), ..*s }, (KEY, "crashes")));
        }
    }

    fn pick(&self, s: &State, key: usize, out: &mut Out) {
        let flags = &self.flags;
        let mut next = *s;
        let row = s.postgres[key];
        let remembered = (row.exists, row.ver, self.tombstone(s, key, flags.reconcile_sees_tombstone));
        let mut mine = Reconcile { at: 2, key: key as u8, remembered, ..Default::default() };
        for i in (0..self.ops.len()).filter(|i| self.ops[*i].key == Some(key) && s.intents[*i] != NONE) {
            mine.picked |= 1 << i;
            mine.newest = mine.newest.max(s.stamps[i]);
            if s.intents[i] != FINISHED && forward(s.epoch) {
                mine.replays |= 1 << i;
                mine.at = 1;
                next.intents[i] = CLAIMED;
            }
        }
        if s.rechecks[key] != 0 {
            mine.picked |= RECHECK;
            mine.newest = mine.newest.max(if flags.carries_version { s.rechecks[key] - 1 } else { 0 });
        }
        if mine.picked != 0 {
            if !forward(s.epoch) {
                mine.at = 12;
            }
            next.reconcile = mine;
            out.push((next, (KEY, "picks and claims")));
        }
    }

    fn replay(&self, s: &State, out: &mut Out) {
        let mut next = *s;
        for i in (0..self.ops.len()).filter(|i| s.reconcile.replays & (1 << i) != 0) {
            self.apply(&mut next, i);
        }
        next.reconcile.at = 2;
        next.reconcile.replays = 0;
        out.push((next, (KEY, "replays")));
    }

    /// Rule 15d, in one step where the partition's lock is held as well.
    fn compare(&self, s: &State, key: usize, out: &mut Out) {
        if s.range_lock || !self.key_free(s, key) {
            return;
        }
        let row = s.postgres[key];
        if (row.exists, row.ver, self.tombstone(s, key, self.flags.reconcile_sees_tombstone)) != s.reconcile.remembered {
            out.push((State { reconcile: Reconcile::default(), ..*s }, (KEY, "finds the key changed, and starts again")));
        } else if self.flags.lock == 2 {
            out.push((self.written(s, key), (KEY, "applies, removes the intents")));
        } else {
            let mut next = *s;
            next.reconcile.at = 4;
            out.push((next, (KEY, "finds the key unchanged, under its lock")));
        }
    }

    fn written(&self, s: &State, key: usize) -> State {
        let mine = s.reconcile;
        let old = self.bound(s, key, self.flags.reconcile_sees_tombstone);
        let mut ver = mine.read.ver.max(old).max(mine.newest);
        if ver == old {
            ver += 1;
        }
        let mut next = self.removed(s, key);
        next.postgres[key].set(&mine.read, ver);
        next
    }

    fn removed(&self, s: &State, key: usize) -> State {
        let mut next = State { reconcile: Reconcile::default(), ..*s };
        for i in (0..self.ops.len()).filter(|i| s.reconcile.picked & (1 << i) != 0) {
            next.intents[i] = NONE;
        }
        if s.reconcile.picked & RECHECK != 0 {
            next.rechecks[key] = 0;
        }
        next
    }

    /// Rules 26 and 27: the whole row, above what the picked intents tell of.
    fn reverse(&self, s: &State, key: usize, out: &mut Out) {
        let mut next = *s;
        match s.reconcile.at {
            12 => {
                if !self.key_free(s, key) {
                    return;
                }
                if self.bound(s, key, true) <= s.reconcile.newest {
                    let postgres = &mut next.postgres[key];
                    *(if postgres.exists { &mut postgres.ver } else { &mut postgres.tomb }) = s.reconcile.newest + 1;
                }
                let postgres = next.postgres[key];
                let ver = if postgres.exists { postgres.ver } else { self.tombstone(&next, key, true) };
                next.reconcile.read = Row { exists: postgres.exists, values: postgres.values, ver, ts: [0, 0] };
                next.reconcile.at = 13;
                out.push((next, (KEY, "reads Postgres")));
            }
            13 => {
                let row = s.reconcile.read;
                next.cassandra[key].write_row(&row);
                next.reconcile.at = 14;
                out.push((next, (KEY, "secondary: done")));
                if self.flags.timeout && s.worker_in_flight.is_none() {
                    let late = State { worker_in_flight: Some((key as u8, row)), ..*s };
                    out.push((late, (KEY, "secondary: times out, still in flight")));
                }
            }
            _ => out.push((self.removed(s, key), (KEY, "removes the intents"))),
        }
    }

    /// A partition's intent: finished, unsure, or of a writer whose lease is over.
    pub(super) fn partition(&self, s: &State, out: &mut Out) {
        let (flags, mine, i) = (&self.flags, s.partition, s.partition.op as usize);
        let over = State { partition: Partition::default(), ..*s };
        let mut next = *s;
        match mine.at {
            0 => {
                for i in (0..self.ops.len()).filter(|i| self.ops[*i].key.is_none() && s.intents[*i] != NONE) {
                    let mut next = *s;
                    if self.is_foreign(i) && self.flags.wrapped {
                        if !self.wrapped_due(s, i) {
                            continue;
                        }
                        next = self.wrapped_picked(s, i);
                    }
                    if self.is_foreign(i) {
                        next.partition = Partition { at: foreign::PICKED, op: i as u8, ..Default::default() };
                        out.push((next, (WHOLE, "picks the recheck of the partition")));
                        continue;
                    }
                    let finished = s.intents[i] == FINISHED || !flags.resends;
                    let at = if !forward(s.intent_epoch[i]) {
                        12
                    } else if finished {
                        2
                    } else {
                        1
                    };
                    if at == 1 && flags.claim {
                        next.intents[i] = CLAIMED;
                    }
                    let mut version = s.stamps[i];
                    if at == 12 && flags.resend_as == 1 {
                        let known = (0..self.counted()).map(|key| self.bound(s, key, true)).max().unwrap();
                        version = version.max(known + 1);
                        next.tombstone = version;
                    }
                    next.partition = Partition { at, op: i as u8, version, ..Default::default() };
                    out.push((next, (WHOLE, "picks and claims the partition")));
                }
            }
            1 => {
                self.apply(&mut next, i);
                next.partition.at = 2;
                out.push((next, (WHOLE, "sends the delete again")));
                if flags.replay_refused && flags.refused_replay_stays {
                    out.push((over, (WHOLE, "is refused: gives up, the intent stays")));
                    out.push((
                        State { in_flight: s.in_flight | 1 << i, ..over },
                        (WHOLE, "times out, still in flight: gives up, the intent stays"),
                    ));
                } else if flags.replay_refused {
                    let mut refused = *s;
                    refused.partition.at = 2;
                    out.push((refused, (WHOLE, "is REFUSED, which counts as done")));
                }
            }
            2 if flags.expands => {
                next.partition.source =
                    (0..self.reach()).fold(0, |set, key| set | u8::from(s.cassandra[key].read().exists) << key);
                next.partition.at = 3;
                out.push((next, (WHOLE, "reads the source's rows")));
            }
            2 => {
                if s.range_lock && flags.half_range {
                    return;
                }
                let mut next = over;
                if s.intents[i] != NONE {
                    self.half(&mut next, i, self.rows(s));
                }
                out.push((next, (WHOLE, "Postgres: the half, and the intent goes")));
            }
            3 => {
                if s.range_lock && flags.half_range {
                    return;
                }
                out.push((self.expanded(over, mine, i), (WHOLE, "leaves rechecks, and the intent goes")));
            }
            foreign::PICKED..=foreign::LAST => self.expand(s, out),
            12 => {
                if s.intents[i] == NONE {
                    out.push((over, (WHOLE, "finds the intent gone")));
                    return;
                }
                for key in (0..self.reach()).filter(|key| flags.resend_as != 2 || s.seen[i] & (1 << key) != 0) {
                    next.cassandra[key].apply(Write::Delete, mine.version);
                }
                next.partition.at = 14;
                out.push((next, (WHOLE, "secondary: done")));
                if flags.timeout {
                    out.push((
                        State { in_flight: s.in_flight | 1 << i, ..over },
                        (WHOLE, "secondary: times out, still in flight"),
                    ));
                }
            }
            _ => {
                let mut next = over;
                next.intents[i] = NONE;
                out.push((next, (WHOLE, "removes the intent")));
            }
        }
        let again = mine.at > 0 && self.is_foreign(i); // each time its rechecks raise versions: once is enough
        if mine.at > 0 && flags.crash && !(again && s.seen[i] != 0) {
            let mut crashed = over;
            crashed.seen[i] |= u8::from(again);
            out.push((crashed, (WHOLE, "crashes")));
        }
    }

    fn expanded(&self, mut t: State, mine: Partition, i: usize) -> State {
        let flags = &self.flags;
        if t.intents[i] == NONE {
            return t;
        }
        let (version, before) = (t.stamps[i], t);
        for key in 0..self.reach() {
            let source = flags.expand_source && mine.source & (1 << key) != 0;
            let target = flags.expand_target && before.postgres[key].exists;
            let intended = |j: usize| self.ops[j].key == Some(key) && before.intents[j] != NONE;
            if source || target || (flags.expand_intents && (0..self.ops.len()).any(intended)) {
                self.recheck(&mut t, key, version);
            }
        }
        self.leave_tombstone(&mut t, version);
        t.intents[i] = NONE;
        t
    }
}
