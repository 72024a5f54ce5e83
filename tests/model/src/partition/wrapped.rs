//! A writer that is a method of the application's own class: it writes keys of a partition that nobody knows before, with a
//! timestamp of its own. The partition is announced before the call, as an open recheck, and the end of the call is marked
//! (rules 17 and 47; decision 0046). What is assumed is what rule 17 assumes: a call that raised lands within its window, or never.

use super::writers::{DONE, IDLE};
use super::{forward, Partitions, State, FINISHED, NONE, OPEN, UNSURE};
use crate::search::Step;

const ANNOUNCED: u8 = 50;
const CALLED: u8 = 51;
const RAISED: u8 = 52;
const UNMARKED: u8 = 53;
const WRITER: &str = "A";
type Out = Vec<(State, Step)>;

impl Partitions {
    pub(super) fn wrapped_writer(&self, s: &State, i: usize, out: &mut Out) {
        let (flags, bit) = (&self.flags, 1u8 << i);
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut next = *s;
            change(&mut next);
            out.push((next, (WRITER, what)));
        };
        if s.in_flight & bit != 0 {
            step("its write in flight LANDS", &|t| {
                t.in_flight &= !bit;
                self.apply(t, i);
            });
        }
        match s.at[i] {
            IDLE if !s.closing && forward(s.epoch) => step("announces its partition", &|t| {
                t.before[i] = s.acknowledged;
                t.announced = self.stamp(s, i);
                t.stamps[i] = t.announced + if flags.behind { 8 } else { 4 }; // by its driver's clock, in the call
                t.at[i] = ANNOUNCED;
                if flags.foreign_announces {
                    t.intents[i] = OPEN;
                    t.intent_epoch[i] = t.epoch;
                }
            }),
            ANNOUNCED => {
                step("its call is done", &|t| {
                    self.apply(t, i);
                    t.at[i] = CALLED;
                });
                if flags.refuse {
                    step("its call raises, nothing is written", &|t| t.at[i] = RAISED);
                }
                if flags.timeout {
                    step("its call raises, and has written", &|t| {
                        self.apply(t, i);
                        t.at[i] = RAISED;
                    });
                    step("its call raises, still in flight", &|t| {
                        t.in_flight |= bit;
                        t.at[i] = RAISED;
                    });
                }
            }
            CALLED if s.slept && flags.woken_is_unsure => {
                step("was suspended: records its partition as unsure", &|t| self.late(t, i))
            }
            CALLED => {
                step("marks its intent finished, and returns", &|t| {
                    t.acknowledged |= if flags.behind { 0 } else { bit };
                    self.end(t, i, FINISHED);
                });
                if flags.postgres_fails {
                    step("cannot mark its intent, and returns", &|t| {
                        t.acknowledged |= if flags.behind { 0 } else { bit };
                        t.at[i] = UNMARKED;
                    });
                }
            }
            RAISED if s.slept && flags.woken_is_unsure => {
                step("was suspended: records its partition as unsure", &|t| self.late(t, i))
            }
            RAISED => step("marks its intent unsure", &|t| {
                let how = if flags.raised_is_unsure { UNSURE } else { FINISHED };
                self.end(t, i, how);
            }),
            UNMARKED => step("marks its intent finished, later", &|t| self.end(t, i, FINISHED)),
            _ => {}
        }
        if ![IDLE, DONE].contains(&s.at[i]) && flags.crash {
            step("crashes", &|t| t.at[i] = DONE);
        }
    }

    fn end(&self, t: &mut State, i: usize, how: u8) {
        t.at[i] = DONE;
        if t.intents[i] == OPEN {
            t.intents[i] = how;
            if self.flags.end_raises {
                t.announced = t.announced.max(t.stamps[i]);
            }
        }
    }

    /// A second intent, in fact: the first one may be in a worker's hands, and goes with what that has read.
    fn late(&self, t: &mut State, i: usize) {
        t.at[i] = DONE;
        t.intents[i] = UNSURE;
        if t.partition.at > 0 && t.partition.op as usize == i {
            t.partition = Default::default();
        }
    }

    /// Whether a worker may have it: its writer has ended it, or is gone, or has slept too long; and what is unsure has had its time.
    pub(super) fn wrapped_due(&self, s: &State, i: usize) -> bool {
        let (flags, is_over) = (&self.flags, [IDLE, DONE].contains(&s.at[i]));
        match s.intents[i] {
            NONE => false,
            OPEN if !is_over => !flags.open_waits || (flags.sleep && !s.slept),
            _ => true,
        }
    }

    /// What it is picked with: the state in which the worker leaves tombstone and rechecks.
    pub(super) fn wrapped_picked(&self, s: &State, i: usize) -> State {
        let mut t = *s;
        if s.intents[i] == OPEN && ![IDLE, DONE].contains(&s.at[i]) && self.flags.open_waits {
            t.slept = true;
        }
        if s.intents[i] != FINISHED && self.flags.unsure_waits {
            t.in_flight &= !(1 << i); // the window has passed
        }
        if s.intents[i] != FINISHED && self.flags.pick_raises {
            t.announced = t.announced.max(s.stamps[i]).max(s.tombstone + 1);
        }
        t
    }
}
