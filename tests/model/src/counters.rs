//! Counters of one key while Postgres is primary: two workers make the source equal by differences (rule “counters”).
//! Cassandra's increments have no timestamp: one that is sent twice counts twice.

use crate::flags;
use crate::search::{Model, Step};

const NONE: u8 = 0;
const FINISHED: u8 = 1;
const CLAIMED: u8 = 2;
/// The writers' intents, then rechecks.
const INTENTS: usize = 7;
const WRITES: usize = 2;
const WORKERS: usize = 2;
const MOST_ATTEMPTS: u8 = 15;

flags! {
    /// Rules (the protocol's value is the default), faults, sizes.
    pub struct Flags {
        /// A claim is committed before an increment is sent; while it may have an effect, nobody claims the key again.
        claim: bool = true,
        waits: bool = true,
        /// Nothing is sent after the claim's time; without an answer, the time begins anew.
        send_within: bool = true,
        from_end: bool = true,
        /// Only the intents that were picked go; who lost its claim leaves a recheck; it waits where there was no answer.
        own_intents: bool = true,
        lost_is_rechecked: bool = true,
        lost_waits: bool = true,
        /// What the source shows is read before each increment; without it, the intents' own amounts are sent.
        reads: bool = true,
        /// Faults. `sleep`: a worker may be suspended between its last look at the clock and the sending.
        crashes: u8 = 1u8,
        losses: u8 = 2u8,
        refusals: u8 = 1u8,
        late: u8 = 1u8,
        sleep: bool = false,
        writes: u8 = 2u8,
    }
}

/// `at`: 0 idle, 1 to read, 2 to look at the clock, 3 to send, 4 to end as equal, 5 to release, 6 to read again, 7 without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Worker {
    at: u8,
    attempt: u8,
    picked: u8,
    want: u8,
    delta: i8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    postgres: u8,
    source: i8,
    written: u8,
    /// State and attempt of each intent.
    intents: [(u8, u8); INTENTS],
    workers: [Worker; WORKERS],
    /// Increments under way, with their attempts (0: none).
    flying: [(i8, u8); WORKERS],
    attempts: u8,
    /// The attempts whose time is over (a bit set).
    over: u16,
    crashes: u8,
    losses: u8,
    refusals: u8,
    late: u8,
}

pub struct Counters {
    flags: Flags,
}

pub fn scenarios(flags: &Flags) -> Vec<Counters> {
    vec![Counters { flags: flags.clone() }]
}

/// Leave a recheck; one that is finished and not claimed stands for both.
fn recheck(t: &mut State, intent: (u8, u8)) {
    let free = (WRITES..INTENTS).find(|i| t.intents[*i] == intent || t.intents[*i].0 == NONE);
    t.intents[free.expect("there is room for a recheck")] = intent;
}

impl Counters {
    fn write(&self, s: &State, out: &mut Vec<(State, Step)>) {
        if s.written < self.flags.writes {
            let mut t = *s;
            t.postgres += 1;
            t.intents[s.written as usize] = (FINISHED, 0);
            t.written += 1;
            out.push((t, ("writer", "counts in Postgres")));
        }
    }

    fn worker(&self, s: &State, w: usize, out: &mut Vec<(State, Step)>) {
        let (who, me) = (["worker 1", "worker 2"][w], s.workers[w]);
        let mut go = |change: &dyn Fn(&mut State), step: &'static str| {
            let mut t = *s;
            change(&mut t);
            out.push((t, (who, step)));
        };
        match me.at {
            0 => {
                let held = s.intents.iter().any(|(state, attempt)| *state == CLAIMED && s.over >> attempt & 1 == 0);
                let picked = (0..INTENTS).filter(|i| s.intents[*i].0 != NONE).fold(0u8, |set, i| set | 1 << i);
                if picked != 0 && !(held && self.flags.waits) && s.attempts < MOST_ATTEMPTS {
                    go(
                        &|t| {
                            t.attempts += 1;
                            if self.flags.claim {
                                (0..INTENTS)
                                    .filter(|i| picked >> i & 1 == 1)
                                    .for_each(|i| t.intents[i] = (CLAIMED, t.attempts));
                            }
                            t.workers[w] = Worker { at: 1, attempt: t.attempts, picked, want: s.postgres, delta: 0 };
                        },
                        "claims",
                    );
                }
            }
            1 => go(
                &|t| {
                    let amounts = (0..WRITES).filter(|i| me.picked >> i & 1 == 1).count() as i8;
                    let delta = if self.flags.reads { me.want as i8 - s.source } else { amounts };
                    t.workers[w] = Worker { at: if delta == 0 { 4 } else { 2 }, delta, ..me };
                },
                "reads the source",
            ),
            2 => {
                let too_late = self.flags.send_within && s.over >> me.attempt & 1 == 1;
                go(&|t| t.workers[w].at = if too_late { 5 } else { 3 }, "looks at the clock");
            }
            3 => {
                go(
                    &|t| {
                        t.source += me.delta;
                        t.workers[w].at = if self.flags.reads { 6 } else { 4 };
                    },
                    "sends, and it is counted",
                );
                if s.refusals > 0 {
                    go(&|t| (t.refusals, t.workers[w].at) = (s.refusals - 1, 5), "sends, and is refused");
                }
                if s.losses > 0 {
                    let lost = |t: &mut State| (t.losses, t.workers[w].at) = (s.losses - 1, 7);
                    go(&lost, "sends, nothing is counted, and there is no answer");
                    go(
                        &|t| {
                            lost(t);
                            t.source += me.delta;
                        },
                        "sends, it is counted, and there is no answer",
                    );
                    if let Some(free) = s.flying.iter().position(|(_, attempt)| *attempt == 0) {
                        go(
                            &|t| {
                                lost(t);
                                t.flying[free] = (me.delta, me.attempt);
                            },
                            "sends, it is under way, and there is no answer",
                        );
                    }
                }
            }
            4 => go(
                &|t| {
                    let own = self.remove(t, me);
                    if !own && self.flags.lost_is_rechecked {
                        recheck(t, (FINISHED, 0));
                    }
                    t.workers[w] = Worker::default();
                },
                "ends as equal",
            ),
            5 => go(
                &|t| {
                    if self.remove(t, me) || self.flags.lost_is_rechecked {
                        recheck(t, (FINISHED, 0));
                    }
                    t.workers[w] = Worker::default();
                },
                "releases its claim",
            ),
            6 => go(&|t| t.workers[w].at = if s.source == me.want as i8 { 4 } else { 5 }, "reads the source again"),
            _ => go(
                &|t| {
                    if self.flags.from_end {
                        t.over &= !(1 << me.attempt);
                    }
                    if !self.owns(t, me) && self.flags.lost_is_rechecked {
                        recheck(t, if self.flags.lost_waits { (CLAIMED, me.attempt) } else { (FINISHED, 0) });
                    }
                    t.workers[w] = Worker::default();
                },
                "says that there was no answer",
            ),
        }
        if me.at > 0 && s.crashes > 0 {
            go(&|t| (t.crashes, t.workers[w]) = (s.crashes - 1, Worker::default()), "dies");
        }
    }

    fn owns(&self, s: &State, me: Worker) -> bool {
        let mut picked = (0..INTENTS).filter(|i| me.picked >> i & 1 == 1);
        picked.all(|i| !self.flags.claim || s.intents[i] == (CLAIMED, me.attempt))
    }

    /// Remove a claim's intents; whether they were still its own.
    fn remove(&self, t: &mut State, me: Worker) -> bool {
        let own = self.owns(t, me);
        for i in 0..INTENTS {
            let mine = me.picked >> i & 1 == 1 && (!self.flags.claim || t.intents[i] == (CLAIMED, me.attempt));
            if mine || !self.flags.own_intents {
                t.intents[i] = (NONE, 0);
            }
        }
        own
    }

    /// Increments arrive; a claim's time ends when nothing of it may arrive any more: that is the assumption.
    fn time(&self, s: &State, out: &mut Vec<(State, Step)>) {
        for (i, (delta, attempt)) in s.flying.iter().enumerate().filter(|(_, flight)| flight.1 != 0) {
            let mut t = *s;
            t.source += delta;
            t.flying[i] = (0, 0);
            out.push((t, ("Cassandra", if *attempt > 1 { "counts what came late" } else { "counts what was under way" })));
        }
        for attempt in (1..=s.attempts).filter(|attempt| s.over >> attempt & 1 == 0) {
            let flies = s.flying.iter().any(|(_, of)| *of == attempt);
            let busy = s.workers.iter().find(|worker| worker.at > 0 && worker.attempt == attempt);
            let about_to = busy.is_some_and(|worker| worker.at == 3);
            if (flies && self.flags.from_end) || (about_to && !self.flags.sleep) || (busy.is_some() && s.late == 0) {
                continue;
            }
            let mut t = *s;
            t.over |= 1 << attempt;
            t.late -= u8::from(busy.is_some());
            out.push((t, ("time", "a claim's time is over")));
        }
    }
}

impl Model for Counters {
    type State = State;

    fn name(&self) -> &str {
        "one key, Postgres is primary"
    }

    fn start(&self) -> State {
        let Flags { crashes, losses, refusals, late, .. } = self.flags;
        State { crashes, losses, refusals, late, ..Default::default() }
    }

    fn successors(&self, state: &State, out: &mut Vec<(State, Step)>) {
        self.write(state, out);
        (0..WORKERS).for_each(|w| self.worker(state, w, out));
        self.time(state, out);
    }

    fn quiet(&self, s: &State) -> bool {
        s.written == self.flags.writes
            && s.intents.iter().all(|(state, _)| *state == NONE)
            && s.workers.iter().all(|worker| worker.at == 0)
            && s.flying.iter().all(|(_, attempt)| *attempt == 0)
    }

    fn violation(&self, s: &State) -> Option<&'static str> {
        let differs = self.quiet(s) && s.source != s.postgres as i8;
        differs.then_some("DIVERGED: nothing is open, and the source shows another number")
    }

    fn show(&self, s: &State) -> String {
        format!(
            "postgres={} source={} intents={:?} flying={:?} workers={:?}",
            s.postgres,
            s.source,
            s.intents,
            s.flying,
            s.workers.map(|worker| worker.at)
        )
    }
}
