//! The forward direction: Cassandra is primary; writers, reconciles and the backfill, with every fault.

mod backfill;
mod reconcile;
mod writers;

use crate::flags;
use crate::scenarios::{mixes, old_row, Mix};
use crate::search::{Model, Step};
use crate::sides::{Cassandra, History, Postgres, Row};

/// An intent's states: none, open, finished (the primary acknowledged), unsure, claimed by a reconcile.
pub const NONE: u8 = 0;
pub const OPEN: u8 = 1;
pub const FINISHED: u8 = 2;
pub const UNSURE: u8 = 3;
pub const CLAIMED: u8 = 4;
/// The intents' last place is the backfill's "recheck" (rule 19).
pub const RECHECK: usize = 3;

flags! {
    /// Rules (the protocol's value is the default) and faults.
    pub struct Flags {
        /// Rule 15: which intents a reconcile removes. 0 all, 1 those that are not unsure, 2 finished ones, 3 finished
        /// and replayed ones, 4 finished ones and those that the read shows. All but 3 let a late write be dropped.
        remove: u8 = 3u8,
        /// Rule 15d: a reconcile applies without a guard.
        unguarded: bool = true,
        /// Rule 1: a reconciled key's version is an upper bound; and it rises at every reconcile.
        bound: bool = true,
        bump: bool = true,
        /// Without `bound`, the version of a tombstone: 0 the key's, 1 the clock, 2 the removed intents'.
        tombstone_version: u8 = 2u8,
        /// Rules 5 and 15d. 0 a reconcile holds the key's lock from its pick to its end, writers do not take it; 1 writers do;
        /// 2 nobody holds it while the primary is read, and what was remembered is compared.
        lock: u8 = 2u8,
        /// The connection that holds the lock may die unnoticed.
        lock_is_lost: bool = false,
        /// Rule 6: a put looks at the tombstone: 0 not at all, 1 refused by newer ones, 2 by equal ones too.
        put_tombstone: u8 = 2u8,
        /// Rule 12: a refused write's intent stays.
        refused_stays: bool = true,
        /// Rule 12: who finds his intent gone changes nothing.
        own_intent: bool = false,
        /// Rule 8: a delete looks at the row's version.
        delete_guard: bool = true,
        /// Rule 18: the merge inserts absent keys only; what tombstones it looks at without (0 none, 1 newer ones, 2 any).
        merge_absent_only: bool = true,
        merge_tombstone: u8 = 2u8,
        /// Rule 19: keys that the merge skipped are looked at again.
        recheck: bool = true,
        /// Rule 9: who may write a tombstone holds the range's row: reconciles, deletes.
        reconcile_range: bool = true,
        delete_range: bool = true,
        /// Rule 2: stamps exceed what is known of the key, and are unique.
        stamp_above_known: bool = false,
        unique: bool = false,
        /// Rules 13 and 15a: a reconcile claims what it replays, and what is claimed cannot be withdrawn.
        claim: bool = true,
        /// Rule 15b: only an acknowledged replay counts; a refused one leaves the intent.
        refused_replay_stays: bool = true,
        /// An update that would leave nothing but nulls is refused by the guard.
        null_guard: bool = false,
        /// Faults: processes die, the primary times out or refuses, Postgres fails, a replay is refused, intents are forgotten.
        crash: bool = true,
        timeout: bool = true,
        refuse: bool = true,
        postgres_fails: bool = true,
        replay_refused: bool = false,
        intents_lost: bool = false,
        /// Sizes.
        reconciles: u8 = 1u8,
        backfills: u8 = 1u8,
        writers: usize = 2usize,
        kinds: usize = 6usize,
        ties: bool = true,
        /// Which beginnings: 0 without backfill, 1 with it only, 2 both, 3 both, less repeated backfills.
        backfill: u8 = 2u8,
        /// How many beginnings with cells of writers that do not stamp.
        legacy: u8 = 0u8,
        /// Acknowledged writes must be explained by an order in real time (needs rule 2).
        strict: bool = false,
    }
}

impl Flags {
    /// The obvious protocol: guarded upserts, merged by timestamp, intents removed that were there before the read.
    pub fn obvious() -> Flags {
        Flags {
            remove: 1,
            unguarded: false,
            bound: false,
            bump: false,
            lock: 0,
            put_tombstone: 0,
            merge_absent_only: false,
            merge_tombstone: 1,
            reconcile_range: false,
            recheck: false,
            claim: false,
            ..Flags::default()
        }
    }
}

/// `at`: 0 idle; 1 to send the replays; 2 to read; 3 to apply.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Reconcile {
    pub at: u8,
    pub picked: u8,
    pub replays: u8,
    pub read: Row,
    pub remembered: (bool, u8, u8),
    pub newest: u8,
}

/// `at`: 0 to read; 1 to look; 2 to merge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Backfill {
    pub at: u8,
    pub left: u8,
    pub done: bool,
    pub read: Row,
    pub tombstone: u8,
    pub intents: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    pub cassandra: Cassandra,
    pub postgres: Postgres,
    /// Each writer's step; see `writers`.
    pub at: [u8; 3],
    pub intents: [u8; 4],
    /// Writes that timed out and have not arrived yet (bit set).
    pub in_flight: u8,
    pub seen_tombstone: [u8; 3],
    pub acknowledged: u8,
    pub landed: u8,
    pub before: [u8; 3],
    pub stamps: [u8; 3],
    pub reconciles: [Reconcile; 2],
    pub backfill: Backfill,
    /// 1 + the number of the reconcile that holds the key's lock.
    pub key_lock: u8,
    pub range_lock: bool,
}

pub struct Forward {
    pub flags: Flags,
    mix: Mix,
    cassandra: Cassandra,
    postgres: Postgres,
    backfill: bool,
    name: String,
}

type Beginning = (&'static str, Cassandra, Postgres, bool);

fn beginnings(flags: &Flags) -> Vec<Beginning> {
    let (absent, empty, row) = (Cassandra::default(), Postgres::default(), old_row(1));
    let copied = Postgres { exists: true, values: [1, 1], ver: 1, tomb: 0 };
    let mut found: Vec<Beginning> = vec![];
    if flags.backfill != 1 {
        found.push(("absent on both sides", absent, empty, false));
        found.push(("a row on both sides", row, copied, false));
    }
    if flags.backfill != 0 {
        found.push(("a row in Cassandra, backfill runs", row, empty, true));
        if flags.backfill != 3 {
            found.push(("a row on both sides, backfill runs again", row, copied, true));
            found.push(("absent, backfill runs", absent, empty, true));
        }
    }
    let with = |base: Cassandra, write, ts| {
        let mut cassandra = base;
        cassandra.apply(write, ts);
        cassandra
    };
    use crate::sides::Write::{Delete, Update};
    let legacy = [
        ("legacy row, a cell of the future, backfill runs", with(row, Update(0, 9), 6)),
        ("legacy row, a null of the future, backfill runs", with(row, Update(0, 0), 6)),
        ("legacy row, an old null, backfill runs", with(row, Update(0, 0), 1)),
        ("legacy tombstone, backfill runs", with(absent, Delete, 1)),
    ];
    let count = [0, 1, 2, 4][flags.legacy.min(3) as usize];
    found.extend(legacy.into_iter().take(count).map(|(name, cassandra)| (name, cassandra, empty, true)));
    found
}

/// Every scenario of these flags.
pub fn scenarios(flags: &Flags) -> Vec<Forward> {
    let mut found = vec![];
    for (name, mut cassandra, mut postgres, backfill) in beginnings(flags) {
        if flags.unique {
            cassandra.marker *= 4;
            cassandra.deleted *= 4;
            cassandra.cells.iter_mut().for_each(|cell| cell.ts *= 4);
            postgres.ver *= 4;
        }
        for mix in mixes(flags.writers, flags.kinds, true, flags.ties) {
            let name = format!("{name} | {:?} clocks {:?}", mix.writes, mix.clocks);
            found.push(Forward { flags: flags.clone(), mix, cassandra, postgres, backfill, name });
        }
    }
    found
}

impl Model for Forward {
    type State = State;

    fn name(&self) -> &str {
        &self.name
    }

    fn start(&self) -> State {
        let backfill = Backfill {
            left: if self.backfill { self.flags.backfills } else { 0 },
            done: !self.backfill,
            ..Default::default()
        };
        State { cassandra: self.cassandra, postgres: self.postgres, backfill, ..Default::default() }
    }

    fn successors(&self, state: &State, out: &mut Vec<(State, Step)>) {
        for writer in 0..self.mix.writes.len() {
            self.writer(state, writer, out);
            self.lost(state, writer, out);
        }
        for number in 0..self.flags.reconciles as usize {
            self.reconcile(state, number, out);
        }
        self.merge(state, out);
    }

    fn quiet(&self, s: &State) -> bool {
        s.at.iter().all(|at| *at == 0 || *at == writers::DONE)
            && s.intents == [NONE; 4]
            && s.reconciles.iter().all(|r| r.at == 0)
            && s.backfill.at == 0
            && s.backfill.done
    }

    fn violation(&self, s: &State) -> Option<&'static str> {
        if !self.quiet(s) {
            return None;
        }
        let now = s.cassandra.read();
        if !s.postgres.same(&now) {
            return Some("DIVERGED: nothing is open, and the sides differ");
        }
        let (must, may) = (s.acknowledged, s.landed & !s.acknowledged);
        let history = History { writes: &self.mix.writes, must, may, before: &s.before, not_found: 0 };
        let explained = !self.flags.strict || history.explains(&self.cassandra.read(), &now);
        (!explained).then_some("LOST: no order in real time explains the acknowledged writes")
    }

    fn show(&self, s: &State) -> String {
        format!("cassandra={} postgres={} intents={:?}", s.cassandra.show(), s.postgres.show(), s.intents)
    }
}
