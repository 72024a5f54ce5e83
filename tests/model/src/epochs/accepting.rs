//! Writer 1 without an intent, and its sign-off (rules 28 to 31).

use super::writers::{ACCEPTED, DONE, IDLE, LANDED, NAMES, UNRECORDED, UNRECORDED_UNSURE};
use super::{forward, Epochs, State, FINISHED, UNSURE};
use crate::search::Step;

impl Epochs {
    /// Rule 28, and what follows from it: nobody but this process knows of the write until it is recorded.
    pub(super) fn accepted_write(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        let bit = 1u8 << i;
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut next = *s;
            change(&mut next);
            out.push((next, (NAMES[i], what)));
        };
        if s.at[i] == ACCEPTED {
            if self.may_be_gone() {
                step("primary: done", &|t| {
                    self.apply(t, i);
                    t.at[i] = LANDED;
                });
            } else {
                step("primary: done, its caller knows", &|t| {
                    self.apply(t, i);
                    t.acknowledged |= bit;
                    t.at[i] = UNRECORDED;
                });
            }
            if self.flags.timeout {
                step("primary: times out, still in flight", &|t| {
                    t.in_flight |= bit;
                    t.at[i] = UNRECORDED_UNSURE;
                });
            }
        } else if s.at[i] == LANDED {
            step("its caller knows", &|t| {
                self.acknowledge(t, i);
                t.at[i] = UNRECORDED;
            });
        } else if !s.signed_off && !s.sleeper.fenced && s.knows[i] == s.epoch {
            step("records its write", &|t| {
                // Where the source follows by now, its key is enough.
                let raised = s.at[i] == UNRECORDED_UNSURE && self.flags.raised_is_unsure && forward(s.epoch);
                t.intents[i] = if raised { UNSURE } else { FINISHED };
                t.intent_epoch[i] = s.knows[i];
                t.at[i] = DONE;
            });
        }
        if s.signed_off || self.flags.crash {
            step(if s.signed_off { "its process ends" } else { "crashes" }, &|t| {
                self.crashes(t, i);
                t.unclean |= !s.signed_off && !s.sleeper.fenced;
                t.forgotten |= s.in_flight & bit;
            });
        }
    }

    /// Rule 29: `close()` of writer 1's process, called by another thread.
    pub(super) fn sign_off(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let flags = &self.flags;
        let under_way = s.at[0] == ACCEPTED && flags.sign_off_waits;
        let unrecorded = s.at[0] > ACCEPTED && flags.sign_off_records;
        if !flags.sign_off || s.signed_off || s.unclean || s.sleeper.asleep || s.sleeper.fenced || under_way || unrecorded {
            return;
        }
        let mut next = State { signed_off: true, ..*s };
        if flags.sign_off_refuses && s.at[0] == IDLE {
            next.at[0] = DONE;
        }
        out.push((next, (NAMES[0], "signs off")));
    }
}
