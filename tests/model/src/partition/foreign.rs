//! A writer of Cassandra that is not the wrapper's, and whose event names a partition alone: its recheck is expanded to rechecks
//! of keys (C1, C2, C3 and C5 of decision 0031; 0032). What is assumed is what epochs/foreign.rs assumes.

use super::writers::{DONE, IDLE};
use super::{forward, Partition, Partitions, State, FINISHED, KEYS, NONE};
use crate::search::Step;

/// One node has the write, and tells; a quorum has it, or it is in flight: to be announced.
const TOLD: u8 = 40;
const ENDED: u8 = 41;
/// A worker's steps: to leave the tombstone, to read the source's keys, to look for the target's.
pub const PICKED: u8 = 20;
const BURIED: u8 = 21;
const LOOKED: u8 = 22;
pub const LAST: u8 = 23;
const WRITER: &str = "F";
const WHOLE: &str = "Q";
type Out = Vec<(State, Step)>;

impl Partitions {
    pub(super) fn foreign_writer(&self, s: &State, i: usize, out: &mut Out) {
        let bit = 1u8 << i;
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
            // Before the cut-over it has ended when the epoch closes; under Postgres as primary it is a stray.
            IDLE if !s.closing && forward(s.epoch) != self.flags.reverse => step("one node has its write, and tells", &|t| {
                t.stamps[i] = self.ops[i].clock * 4 + i as u8;
                t.at[i] = TOLD;
            }),
            TOLD => {
                step("a quorum has its write", &|t| {
                    self.apply(t, i);
                    t.at[i] = ENDED;
                });
                if self.flags.timeout {
                    step("its write times out, still in flight", &|t| {
                        t.in_flight |= bit;
                        t.at[i] = ENDED;
                    });
                }
            }
            ENDED => step("its partition is announced", &|t| {
                t.in_flight &= !bit; // C3: what has no quorum by now never gets it
                t.at[i] = DONE;
                if self.flags.foreign_announces {
                    t.intents[i] = FINISHED;
                    t.intent_epoch[i] = t.epoch;
                }
            }),
            _ => {}
        }
    }

    /// C5: whether what was told is announced.
    pub(super) fn foreign_told(&self, s: &State) -> bool {
        self.flags.foreign == 0 || !self.flags.foreign_caught_up || ![TOLD, ENDED].contains(&s.at[0])
    }

    /// A worker's steps, each a transaction; the keys' rechecks carry the event's timestamp, and so does the tombstone.
    pub(super) fn expand(&self, s: &State, out: &mut Out) {
        let (flags, mine, i) = (&self.flags, s.partition, s.partition.op as usize);
        let told = if flags.wrapped { s.announced } else { s.stamps[i] };
        let version = if flags.carries_version { told } else { 0 };
        let first = flags.foreign_tombstone_first;
        let mut next = *s;
        match mine.at {
            PICKED => {
                if first && !self.bury(&mut next, version) {
                    return;
                }
                next.partition.at = BURIED;
                out.push((next, (WHOLE, if first { "leaves the partition's tombstone" } else { "begins" })));
            }
            BURIED => {
                for key in (0..KEYS).filter(|key| flags.expand_source && s.cassandra[*key].read().exists) {
                    self.recheck(&mut next, key, version);
                }
                next.partition.at = LOOKED;
                out.push((next, (WHOLE, "leaves rechecks of the source's keys")));
            }
            LOOKED => {
                for key in (0..KEYS).filter(|key| flags.expand_target && s.postgres[*key].exists) {
                    self.recheck(&mut next, key, version);
                }
                next.partition.at = LAST;
                if first {
                    next.partition = Partition::default();
                    next.intents[i] = NONE;
                }
                out.push((next, (WHOLE, "leaves rechecks of the target's keys, and the intent goes")));
            }
            _ => {
                if !self.bury(&mut next, version) {
                    return;
                }
                next.partition = Partition::default();
                next.intents[i] = NONE;
                out.push((next, (WHOLE, "leaves the tombstone at last, and the intent goes")));
            }
        }
    }

    /// Rule 9 and P2: the tombstone of the partition, while no merge of its range is under way.
    fn bury(&self, t: &mut State, version: u8) -> bool {
        if t.range_lock && self.flags.half_range {
            return false;
        }
        self.leave_tombstone(t, version.max(1));
        true
    }
}
