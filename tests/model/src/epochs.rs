//! Epochs: cut-over and rollback, the reverse direction, writes without an intent, proofs and their gate.

mod accepting;
mod foreign;
mod proof;
mod reconcile;
mod sleep;
mod sql;
mod switch;
mod writers;

use crate::flags;
use crate::scenarios::{mixes, old_row, Mix};
use crate::search::{Model, Step};
use crate::sides::{Cassandra, History, Postgres, Row, Write};

/// An intent's states: none, open, finished (the primary acknowledged), unsure, claimed, given up by the operator.
pub const NONE: u8 = 0;
pub const OPEN: u8 = 1;
pub const FINISHED: u8 = 2;
pub const UNSURE: u8 = 3;
pub const CLAIMED: u8 = 4;
pub const RESOLVED: u8 = 5;
/// The intents' last place is a "recheck" without a mutation, of a repair.
pub const RECHECK: usize = 3;

flags! {
    /// Rules (the protocol's value is the default), faults, and what is part of the run.
    pub struct Flags {
        /// Rule 20: the epoch is held until the statement that looked at it commits.
        hold_epoch: bool = true,
        /// Rules 20 and 22: the epoch is read in a later statement than the one that waits for its lock.
        epoch_after_lock: bool = true,
        /// Rule 21: close, drain, flip; or flip, then drain (`wait_for_old`: new writes wait for the key's old intents;
        /// `flip_checked`: the new primary must be complete at the flip).
        close_first: bool = true,
        wait_for_old: bool = false,
        flip_checked: bool = false,
        /// The flip is taken back while the old intents are drained.
        taken_back: bool = false,
        /// Rule 22: a reconcile's direction is its intent's epoch.
        own_direction: bool = true,
        /// An intent of a closed epoch is a violation as soon as it is there.
        closed_is_bad: bool = true,
        /// Reconciles take the present epoch's intents only.
        own_epoch: bool = false,
        /// Rule 2 and 23: stamps exceed what is known of the key.
        stamp_above_known: bool = true,
        reverse_above_known: bool = true,
        /// Rules 3 and 21: the floor rises at a flip; a floor to begin with.
        floor_rises: bool = true,
        floor: u8 = 0u8,
        /// Rule 1: a reconciled key's version is an upper bound.
        bound: bool = true,
        /// Acknowledged writes must be explained by an order in real time. Not where clocks alone stamp (rule 28): there
        /// Cassandra itself keeps the write of the fast clock.
        strict: bool = true,
        /// Rule 12: who finds his intent gone changes nothing.
        own_intent: bool = true,
        /// Rule 15: which intents a reconcile removes: 3 finished and replayed ones, 2 finished ones and those that are over.
        remove: u8 = 3u8,
        /// Rule 15d: who finds all of the intents gone that it picked changes nothing: the epoch may be another one.
        picked_is_left: bool = true,
        /// Rule 24: an update of an absent row leaves nothing.
        absent_update_leaves_nothing: bool = true,
        /// Rule 15b: only an acknowledged replay counts; a refused one leaves the intent.
        refused_replay_stays: bool = true,
        /// Rule 28: writer 1 may accept without an intent. Rules 29 to 31: a flip needs it clean, with nothing unrecorded.
        accept: bool = false,
        clean_writers: bool = true,
        /// Rule 29: writer 1 may sign off: with nothing under way, nothing unrecorded, and nothing accepted afterwards.
        sign_off: bool = false,
        sign_off_waits: bool = true,
        sign_off_records: bool = true,
        sign_off_refuses: bool = true,
        /// Writer 1's process may be suspended once, and be fenced meanwhile; or be fenced though it runs, cut off from Postgres.
        sleep: bool = false,
        cut_off: bool = false,
        /// Who was suspended accepts nothing before Postgres has answered what was asked since; and what it wrote without an
        /// intent, or cannot repeat, it acknowledges only where it was not suspended within that write.
        woken_asks: bool = true,
        woken_is_unsure: bool = true,
        /// Rule 17: writer 1's write cannot be repeated (a wrapped class, the Data API).
        unrepeatable: bool = false,
        /// Its window begins with the call's end, not with the intent.
        window_from_end: bool = true,
        /// What failed without an intent is recorded as unsure, not as finished.
        raised_is_unsure: bool = true,
        /// An operator may give up an intent that is not acknowledged: its mutation is forgotten.
        resolve: bool = false,
        /// Not while its writer may still be at it: the writer has marked it, has ended, or its time is over.
        resolve_waits: bool = true,
        /// In the reverse direction, where the secondary may be left as it is: all intents of the key or none, and not while
        /// a reconcile has the key.
        resolve_whole_key: bool = true,
        /// A flip needs a pass that began after the last disturbance; a mutation that is given up unrepeated is one, noted
        /// 0 never, 1 when its end is marked or its operator speaks, 2 when a reconcile picks it, 3 with the intent's removal.
        proof: bool = false,
        noted: u8 = 3u8,
        /// The pass must have begun after it, not only ended.
        pass_begun_after: bool = true,
        /// The gate is asked once more by the flip's transaction, not only before the epoch closes.
        proof_at_flip: bool = true,
        /// A rollback without proof: the flip back to Cassandra needs no pass, but that nothing has disturbed since the cut-over.
        fast: bool = false,
        fast_undisturbed: bool = true,
        /// A repair (or a record) may add an intent at any moment.
        repair: bool = false,
        /// C1: the last writer writes Cassandra without the wrapper. Each of `replicas` logs tells of it, once its own node has it.
        foreign: bool = false,
        replicas: u8 = 1u8,
        /// C1: what a log tells becomes a finished recheck; a new one, even where the key has one that is picked.
        announces: bool = true,
        recheck_is_new: bool = true,
        /// C2: it has the greatest timestamp that the event tells, for stamps, for what a reconcile leaves, and for the resend.
        carries_version: bool = true,
        stamp_sees_recheck: bool = true,
        /// C3: it is read when its write has come to a quorum, or never will.
        not_before: bool = true,
        /// C4: a log that is lost unread (`gaps`) invalidates the proof, when what it told of is written or never will be.
        gaps: bool = false,
        gap_disturbs: bool = true,
        gap_waits: bool = true,
        /// And when the wrapper's clocks have passed the foreign ones.
        gap_waits_for_clocks: bool = true,
        /// The pass that counts after it looks at a key when nothing is open of it.
        gap_pass_waits: bool = true,
        /// C5: a flip waits until all that was told is announced; and foreign writers have been stopped: 0 never, 1 before the
        /// epoch closes, 2 they begin after the cut-over (strays).
        caught_up: bool = true,
        foreign_stops: u8 = 1u8,
        /// C6: which events are taken for the wrapper's own, and dropped: 0 none; those of the version 1 of the row or of an open
        /// intent, 2 the same, but only the first one since the follower began, 3 of the row, 4 of the row, which has what
        /// they wrote. `tie`: the foreign timestamp may be that of writer 1.
        drop_own: u8 = 0u8,
        tie: bool = false,
        /// C7: the last writer is any SQL in Postgres: it takes no key's lock and no version. It holds the epoch's lock; in a
        /// snapshot of its own (`sql_repeatable`) it reads the epoch as it is now.
        sql: bool = false,
        sql_holds_epoch: bool = true,
        sql_repeatable: bool = false,
        sql_reads_now: bool = true,
        /// C8: its trigger leaves a recheck, with the version of a row that is gone. A resend of a recheck raises the version.
        sql_announces: bool = true,
        sql_carries_version: bool = true,
        recheck_raises: bool = true,
        /// Faults.
        crash: bool = true,
        timeout: bool = true,
        refuse: bool = true,
        postgres_fails: bool = true,
        replay_refused: bool = false,
        /// Sizes.
        flips: u8 = 2u8,
        writers: usize = 2usize,
        kinds: usize = 6usize,
        legacy: bool = false,
        name: String = "",
    }
}

/// `at`: 0 idle; forward 1 to replay, 2 to read, 3 to apply; reverse 12 to read, 13 to write, 14 to remove.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Reconcile {
    pub at: u8,
    pub picked: u8,
    pub replays: u8,
    /// Intents whose mutation is forgotten, unrepeated.
    pub given_up: u8,
    pub read: Row,
    pub remembered: (bool, u8, u8),
    pub newest: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    pub cassandra: Cassandra,
    pub postgres: Postgres,
    pub epoch: u8,
    pub closing: bool,
    pub draining: bool,
    pub flips: u8,
    pub floor: u8,
    /// Each writer's step, and the epoch it believes in; see `writers`.
    pub at: [u8; 3],
    pub knows: [u8; 3],
    pub intents: [u8; 4],
    pub intent_epoch: [u8; 4],
    pub stamps: [u8; 3],
    /// Writes that timed out and have not arrived yet (bit set); the same of a reverse reconcile.
    pub in_flight: u8,
    pub worker_in_flight: Option<Row>,
    /// Writes in flight that no intent knows of any more.
    pub forgotten: u8,
    pub worker_forgotten: bool,
    pub acknowledged: u8,
    pub landed: u8,
    pub not_found: u8,
    pub before: [u8; 3],
    pub reconcile: Reconcile,
    pub unclean: bool,
    pub signed_off: bool,
    pub sleeper: sleep::Sleeper,
    /// A repair's statement that waits: 1 + the epoch it has read; `repaired`: it is over.
    pub repairing: u8,
    pub repaired: bool,
    /// The recheck's version; the logs, and the writers that the follower knows of; see `foreign`.
    pub recheck_version: u8,
    pub follower: foreign::Follower,
    /// A pass: 0 none, 1 begun, 2 has looked; `proved`: there is one that counts.
    pub pass: u8,
    pub proved: bool,
    /// Something has disturbed since this epoch began.
    pub disturbed: bool,
    pub incomplete: bool,
}

pub struct Epochs {
    pub flags: Flags,
    mix: Mix,
    cassandra: Cassandra,
    postgres: Postgres,
    name: String,
}

/// Odd epochs: Cassandra is primary.
pub fn forward(epoch: u8) -> bool {
    epoch % 2 == 1
}

/// Every scenario of these flags.
pub fn scenarios(flags: &Flags) -> Vec<Epochs> {
    let copied = Postgres { exists: true, values: [1, 1], ver: 4, tomb: 0 };
    let mut beginnings = vec![
        ("absent on both sides", Cassandra::default(), Postgres::default()),
        ("a row on both sides", old_row(4), copied),
    ];
    if flags.legacy {
        let mut buried = Cassandra::default();
        buried.apply(Write::Delete, 40);
        beginnings = vec![("legacy tombstone of the future", buried, Postgres::default())];
    }
    let alike = !flags.accept && !flags.unrepeatable && !flags.foreign && !flags.sql;
    let mut found = vec![];
    for (name, cassandra, postgres) in beginnings {
        for mix in mixes(flags.writers, flags.kinds, alike, true) {
            let name = format!("{name} | {:?} clocks {:?}", mix.writes, mix.clocks);
            if name.contains(&flags.name) {
                found.push(Epochs { flags: flags.clone(), mix, cassandra, postgres, name });
            }
        }
    }
    found
}

impl Epochs {
    pub fn writers(&self) -> usize {
        self.mix.writes.len()
    }

    /// Whether writer `i`'s write cannot be repeated.
    pub fn unrepeatable(&self, i: usize) -> bool {
        self.flags.unrepeatable && i == 0
    }
}

impl Model for Epochs {
    type State = State;

    fn name(&self) -> &str {
        &self.name
    }

    fn start(&self) -> State {
        State {
            cassandra: self.cassandra,
            postgres: self.postgres,
            epoch: 1,
            flips: self.flags.flips,
            knows: [1; 3],
            proved: self.flags.proof,
            ..Default::default()
        }
    }

    fn successors(&self, state: &State, out: &mut Vec<(State, Step)>) {
        for writer in 0..self.writers() {
            self.writer(state, writer, out);
            self.lands(state, writer, out);
        }
        self.sign_off(state, out);
        self.sleep(state, out);
        self.follower(state, out);
        self.reconcile(state, out);
        self.resolve(state, out);
        self.repair(state, out);
        self.pass(state, out);
        self.switch(state, out);
    }

    fn quiet(&self, s: &State) -> bool {
        s.at.iter().all(|at| *at == 0 || *at == writers::DONE)
            && s.intents == [NONE; 4]
            && s.reconcile.at == 0
            && s.follower.is_idle()
            && s.repairing == 0
            && !s.closing
            && !s.draining
            && !(self.flags.accept && self.flags.clean_writers && s.unclean)
            && (!self.flags.proof || (s.proved && s.flips == 0))
    }

    fn violation(&self, s: &State) -> Option<&'static str> {
        if s.incomplete {
            return Some("LOST AT THE FLIP: the new primary lacks what the old one has");
        }
        if s.sleeper.lost {
            return Some("ACKNOWLEDGED BY THE OLD PRIMARY: after the flip nobody carries it over");
        }
        if self.flags.repair && self.flags.closed_is_bad && self.closed_epoch(s) {
            return Some("AN INTENT OF A CLOSED EPOCH (rule 22)");
        }
        if !self.quiet(s) {
            return None;
        }
        let now = s.cassandra.read();
        if !s.postgres.same(&now) && !self.dead_and_late(s) {
            return Some("DIVERGED: nothing is open, and the sides differ");
        }
        let (must, may) = (s.acknowledged, s.landed & !s.acknowledged);
        let history = History { writes: &self.mix.writes, must, may, before: &s.before, not_found: s.not_found };
        let explained = !self.flags.strict || history.explains(&self.cassandra.read(), &now);
        (!explained).then_some("LOST: no order in real time explains the acknowledged writes")
    }

    fn show(&self, s: &State) -> String {
        let (cassandra, postgres) = (s.cassandra.show(), s.postgres.show());
        let sleeper = s.sleeper.show();
        format!("epoch={}{sleeper} cassandra={cassandra} postgres={postgres} intents={:?} stamps={:?}", s.epoch, s.intents, s.stamps)
    }
}
