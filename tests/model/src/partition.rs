//! Deletes of a whole partition, of two keys here: their intents, the target's half, and what every other step must see of them.
//! P1 to P6 are the rules of docs/decisions/0027-partition-intents.md; partition rechecks are those of 0032-announcements.md.

mod backfill;
mod foreign;
mod switch;
mod workers;
mod wrapped;
mod writers;

use crate::flags;
use crate::scenarios::{mixes, old_row};
use crate::search::{Model, Step};
use crate::sides::{Cassandra, History, Postgres, Row, Write};

/// An intent's states: none, open, finished (the primary acknowledged), unsure, claimed by a worker.
pub const NONE: u8 = 0;
pub const OPEN: u8 = 1;
pub const FINISHED: u8 = 2;
pub const UNSURE: u8 = 3;
pub const CLAIMED: u8 = 4;
pub const KEYS: usize = 2;

flags! {
    /// Rules (the protocol's value is the default), faults, sizes.
    pub struct Flags {
        /// P1: who changes keys of the partition for its delete holds 0 no lock, 1 the locks of the keys that have a row,
        /// 2 the partition's lock, which every transaction that changes one key shares.
        lock: u8 = 2u8,
        /// P2: the end of a partition's intent leaves a tombstone of the partition; without it, one for each row deleted.
        partition_tombstone: bool = true,
        /// P2: who sees it as a tombstone of each key: stamps (rule 2), puts (6), reconciles (1, 15d), the merge (18).
        stamp_sees_tombstone: bool = true,
        put_sees_tombstone: bool = true,
        reconcile_sees_tombstone: bool = true,
        merge_sees_tombstone: bool = true,
        /// P3: the partition's intent is one of each key, for stamps (2), the merge (18) and the drain (21).
        stamp_sees_intent: bool = true,
        merge_sees_intent: bool = true,
        drain_sees_intent: bool = true,
        /// P3: a partition's stamp exceeds what is known of all of its keys, in either direction.
        partition_above_known: bool = true,
        reverse_above_known: bool = true,
        /// P4: the target's half deletes rows that are not newer, and leaves a recheck of those that are.
        half_guard: bool = true,
        newer_is_rechecked: bool = true,
        /// P4: it holds the range (rule 9). Rule 12: who finds his intent gone changes nothing.
        half_range: bool = true,
        own_intent: bool = true,
        /// P5: a worker sends an unsure delete again; only an acknowledged one counts; and it claims before.
        resends: bool = true,
        refused_replay_stays: bool = true,
        claim: bool = true,
        /// A worker rechecks the partition's keys instead of the target's half: those of the source, of the target, of
        /// intents; the rechecks carry the delete's version.
        expands: bool = false,
        expand_source: bool = true,
        expand_target: bool = true,
        expand_intents: bool = true,
        carries_version: bool = true,
        /// P6: the reverse direction sends 0 the partition's delete at its own version, 1 at a new one, 2 a delete of
        /// each key that had a row, at that version.
        resend_as: u8 = 0u8,
        /// The delete is of a range of the partition, which holds the first key alone.
        range: bool = false,
        /// Guards, stamps and the merge take it for a delete of the whole partition, as the product does.
        coarse: bool = false,
        /// Writer 1 is not the wrapper's, and its write is announced as a recheck of the partition: 1 a delete of the partition,
        /// 2 a put of its first key, of which the event does not tell the key. With Postgres as primary it is a stray.
        foreign: u8 = 0u8,
        /// It is announced; its expansion leaves the partition's tombstone before it looks for keys; a flip waits for it.
        foreign_announces: bool = true,
        foreign_tombstone_first: bool = true,
        foreign_caught_up: bool = true,
        /// Writer 1 is a method of the application's own class: it is announced before its call, and writes what `foreign` says.
        wrapped: bool = false,
        /// Nobody has its recheck while it is at it; what raised, or died, is rechecked when it can no longer land.
        open_waits: bool = true,
        unsure_waits: bool = true,
        raised_is_unsure: bool = true,
        /// Its recheck has the time of its end, or of the pick; stamps see it.
        end_raises: bool = true,
        pick_raises: bool = true,
        stamp_sees_recheck: bool = true,
        /// Others' clocks may be behind its driver's, as they may with Cassandra alone: then it is asked only whether both sides are equal.
        behind: bool = false,
        /// Its process may be suspended until a worker takes it for dead (rule 30).
        sleep: bool = false,
        woken_is_unsure: bool = true,
        /// Faults.
        crash: bool = true,
        timeout: bool = true,
        refuse: bool = true,
        postgres_fails: bool = true,
        replay_refused: bool = true,
        /// A stamp's statement may take long: others commit between what it sees and what it commits.
        slow_stamp: bool = true,
        /// Sizes. `partitions`: how many of the writes delete the partition.
        writers: usize = 2usize,
        partitions: usize = 1usize,
        kinds: usize = 3usize,
        ties: bool = false,
        /// Which beginnings: 0 without the backfill, 1 with it only, 2 both.
        backfill: u8 = 2u8,
        /// Postgres is primary to begin with; how often the primary changes.
        reverse: bool = false,
        flips: u8 = 0u8,
        name: String = "",
    }
}

/// `key`: none where the write is the delete of the partition.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub key: Option<usize>,
    pub write: Write,
    pub clock: u8,
}

/// A worker of one key. `at`: 0 idle; 1 to replay, 2 to read, 3 to compare, 4 to write; reverse 12 to read, 13 to send, 14 to remove.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Reconcile {
    pub at: u8,
    pub key: u8,
    pub picked: u8,
    pub replays: u8,
    pub read: Row,
    pub remembered: (bool, u8, u8),
    pub newest: u8,
}

/// A worker of one partition's intent. `at`: 0 idle; 1 to send again, 2 the target's half or to read, 3 to expand; reverse 12 to send, 14 to remove.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Partition {
    pub at: u8,
    pub op: u8,
    pub source: u8,
    /// What it sends, where not the intent's own version.
    pub version: u8,
}

/// `at`: 0 to read, 1 to look, 2 to merge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Backfill {
    pub at: u8,
    pub done: bool,
    pub read: [Row; KEYS],
    /// The keys that have a tombstone or an intent, as its statement sees it (bit sets).
    pub buried: u8,
    pub intended: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    pub cassandra: [Cassandra; KEYS],
    pub postgres: [Postgres; KEYS],
    /// The partition's tombstone.
    pub tombstone: u8,
    pub epoch: u8,
    pub closing: bool,
    pub flips: u8,
    pub floor: u8,
    /// Each writer's step; see `writers`.
    pub at: [u8; 3],
    pub intents: [u8; 3],
    pub intent_epoch: [u8; 3],
    pub stamps: [u8; 3],
    /// What a statement under way has seen: the partition's tombstone, or the keys that had a row (a bit set).
    pub seen: [u8; 3],
    /// Each key's recheck: 0 none, or 1 and its version.
    pub rechecks: [u8; KEYS],
    pub in_flight: u8,
    pub worker_in_flight: Option<(u8, Row)>,
    pub acknowledged: u8,
    pub landed: u8,
    pub not_found: u8,
    pub before: [u8; 3],
    pub reconcile: Reconcile,
    pub partition: Partition,
    pub backfill: Backfill,
    pub range_lock: bool,
    pub incomplete: bool,
    /// The version of the wrapped writer's intent; whether it was taken for dead.
    pub announced: u8,
    pub slept: bool,
}

pub struct Partitions {
    pub flags: Flags,
    pub ops: Vec<Op>,
    cassandra: [Cassandra; KEYS],
    postgres: [Postgres; KEYS],
    backfill: bool,
    name: String,
}

/// Odd epochs: Cassandra is primary.
pub fn forward(epoch: u8) -> bool {
    epoch % 2 == 1
}

/// The version of rows that were there before, or that the backfill brings.
pub const OLD: u8 = 4;

type Beginning = (&'static str, [Cassandra; KEYS], [Postgres; KEYS], bool);

fn beginnings(flags: &Flags) -> Vec<Beginning> {
    let (absent, empty, row) = (Cassandra::default(), Postgres::default(), old_row(OLD));
    let copied = Postgres { exists: true, values: [1, 1], ver: OLD, tomb: 0 };
    let mut found: Vec<Beginning> = vec![];
    if flags.backfill != 1 || flags.reverse {
        found.push(("both rows on both sides", [row; 2], [copied; 2], false));
        found.push(("one row on both sides", [absent, row], [empty, copied], false));
    }
    if flags.backfill != 0 && !flags.reverse {
        found.push(("both rows in Cassandra, backfill runs", [row; 2], [empty; 2], true));
    }
    found
}

/// Every scenario of these flags: the first writes delete the partition, the others are of one key.
pub fn scenarios(flags: &Flags) -> Vec<Partitions> {
    let mut found = vec![];
    for (name, cassandra, postgres, backfill) in beginnings(flags) {
        for mix in mixes(flags.writers, flags.kinds, false, flags.ties) {
            if mix.writes[..flags.partitions].iter().any(|write| !matches!(write, Write::Put(..))) {
                continue; // its place is the partition's delete: once is enough
            }
            // The keys are alike where their rows are: then one key of the last write is enough, if it is the only one.
            let alike =
                !flags.range && flags.foreign != 2 && postgres[0] == postgres[1] && flags.writers == flags.partitions + 1;
            for last in 0..if alike { 1 } else { KEYS } {
                let ops: Vec<Op> = (0..flags.writers)
                    .map(|i| match i < flags.partitions {
                        true if flags.foreign == 2 => Op { key: None, write: mix.writes[i], clock: mix.clocks[i] },
                        true => Op { key: None, write: Write::Delete, clock: mix.clocks[i] },
                        false => Op {
                            key: Some(if i + 1 == flags.writers { last } else { 0 }),
                            write: mix.writes[i],
                            clock: mix.clocks[i],
                        },
                    })
                    .collect();
                let name = format!("{name} | {ops:?}");
                if name.contains(&flags.name) {
                    found.push(Partitions { flags: flags.clone(), ops, cassandra, postgres, backfill, name });
                }
            }
        }
    }
    found
}

impl Partitions {
    pub fn covers(&self, i: usize, key: usize) -> bool {
        let reach = if self.is_foreign(i) && self.flags.foreign == 2 { 1 } else { self.reach() };
        self.ops[i].key.map_or(key < reach, |k| k == key)
    }

    /// Whether the writer is not the wrapper's.
    pub fn is_foreign(&self, i: usize) -> bool {
        self.flags.foreign != 0 && i == 0
    }

    /// The same for stamps, guards and the merge: a recheck of a partition is no delete of it.
    pub fn counts_for(&self, i: usize, key: usize) -> bool {
        !self.is_foreign(i) && self.ops[i].key.map_or(key < self.counted(), |k| k == key)
    }

    pub fn counted(&self) -> usize {
        if self.flags.coarse {
            KEYS
        } else {
            self.reach()
        }
    }

    /// How many of the keys a delete of the partition, or of its range, reaches.
    pub fn reach(&self) -> usize {
        if self.flags.range {
            1
        } else {
            KEYS
        }
    }

    /// P2: a key's tombstone is the newer one of its own and its partition's.
    pub fn tombstone(&self, s: &State, key: usize, sees: bool) -> u8 {
        s.postgres[key].tomb.max(if sees && key < self.counted() { s.tombstone } else { 0 })
    }

    pub fn bound(&self, s: &State, key: usize, sees: bool) -> u8 {
        let row = s.postgres[key];
        self.tombstone(s, key, sees).max(if row.exists { row.ver } else { 0 })
    }

    /// A recheck of a key: one that was picked before does not stand for it.
    pub fn recheck(&self, t: &mut State, key: usize, version: u8) {
        t.rechecks[key] = t.rechecks[key].max(1 + version);
        if t.reconcile.at > 0 && t.reconcile.key as usize == key {
            t.reconcile.picked &= !workers::RECHECK;
        }
    }

    pub fn apply(&self, t: &mut State, i: usize) {
        for key in (0..KEYS).filter(|key| self.covers(i, *key)) {
            t.cassandra[key].apply(self.ops[i].write, t.stamps[i]);
        }
        t.landed |= 1 << i;
    }
}

impl Model for Partitions {
    type State = State;

    fn name(&self) -> &str {
        &self.name
    }

    fn start(&self) -> State {
        State {
            cassandra: self.cassandra,
            postgres: self.postgres,
            epoch: 1 + u8::from(self.flags.reverse),
            flips: self.flags.flips,
            backfill: Backfill { done: !self.backfill, ..Default::default() },
            ..Default::default()
        }
    }

    fn successors(&self, state: &State, out: &mut Vec<(State, Step)>) {
        for i in 0..self.ops.len() {
            if self.is_foreign(i) && self.flags.wrapped {
                self.wrapped_writer(state, i, out);
            } else if self.is_foreign(i) {
                self.foreign_writer(state, i, out);
            } else {
                self.writer(state, i, out);
            }
        }
        self.reconcile(state, out);
        self.partition(state, out);
        self.merge(state, out);
        self.switch(state, out);
    }

    fn quiet(&self, s: &State) -> bool {
        s.at.iter().all(|at| *at == writers::IDLE || *at == writers::DONE)
            && s.intents == [NONE; 3]
            && s.rechecks == [0; KEYS]
            && s.reconcile.at == 0
            && s.partition.at == 0
            && s.backfill.at == 0
            && s.backfill.done
            && !s.closing
    }

    fn violation(&self, s: &State) -> Option<&'static str> {
        if s.incomplete {
            return Some("LOST AT THE SWITCH: the new primary lacks what the old one has");
        }
        if !self.quiet(s) {
            return None;
        }
        for key in 0..KEYS {
            let now = s.cassandra[key].read();
            if !s.postgres[key].same(&now) {
                return Some("DIVERGED: nothing is open, and the sides differ");
            }
            let mine = (0..self.ops.len()).filter(|i| self.covers(*i, key)).fold(0u8, |set, i| set | 1 << i);
            let writes: Vec<Write> = self.ops.iter().map(|op| op.write).collect();
            let (must, may) = (s.acknowledged & mine, s.landed & !s.acknowledged & mine);
            let history = History { writes: &writes, must, may, before: &s.before, not_found: s.not_found };
            if !history.explains(&self.cassandra[key].read(), &now) {
                return Some("LOST: no order in real time explains the acknowledged writes");
            }
        }
        None
    }

    fn show(&self, s: &State) -> String {
        let sides: Vec<String> =
            (0..KEYS).map(|k| format!("[cassandra={} postgres={}]", s.cassandra[k].show(), s.postgres[k].show())).collect();
        format!(
            "epoch={} {} tombstone@{} announced@{} intents={:?} rechecks={:?} stamps={:?}",
            s.epoch,
            sides.join(" "),
            s.tombstone,
            s.announced,
            s.intents,
            s.rechecks,
            s.stamps
        )
    }
}
