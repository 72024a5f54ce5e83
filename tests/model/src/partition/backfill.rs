//! The backfill's merge of a page with both keys (rules 18 and 19).

use super::{forward, Backfill, Partitions, State, KEYS, NONE, OLD};
use crate::search::Step;

const WHO: &str = "B";

impl Partitions {
    pub(super) fn merge(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let mine = s.backfill;
        if mine.done || !forward(s.epoch) {
            return;
        }
        let mut next = *s;
        match mine.at {
            0 => {
                next.backfill.read = [s.cassandra[0].read(), s.cassandra[1].read()];
                next.backfill.at = 1;
                out.push((next, (WHO, "reads the page")));
            }
            1 => {
                for key in 0..KEYS {
                    let intended = |i: usize| {
                        s.intents[i] != NONE
                            && self.counts_for(i, key)
                            && (self.ops[i].key.is_some() || self.flags.merge_sees_intent)
                    };
                    let intents = s.rechecks[key] != 0 || (0..self.ops.len()).any(intended);
                    next.backfill.intended |= u8::from(intents) << key;
                    next.backfill.buried |= u8::from(self.tombstone(s, key, self.flags.merge_sees_tombstone) > 0) << key;
                }
                next.backfill.at = 2;
                next.range_lock = true;
                out.push((next, (WHO, "locks the range, statement begins")));
            }
            _ => {
                for key in 0..KEYS {
                    self.insert(&mut next, &mine, key);
                }
                next.range_lock = false;
                next.backfill = Backfill { done: true, ..Default::default() };
                out.push((next, (WHO, "merges")));
            }
        }
        if mine.at > 0 && self.flags.crash {
            out.push((State { backfill: Backfill::default(), range_lock: false, ..*s }, (WHO, "crashes")));
        }
    }

    fn insert(&self, t: &mut State, mine: &Backfill, key: usize) {
        let (read, bit) = (mine.read[key], 1u8 << key);
        if !read.exists {
            return;
        }
        if !t.postgres[key].exists && (mine.buried | mine.intended) & bit == 0 {
            t.postgres[key].put(read.values, OLD);
        } else if !t.postgres[key].exists || t.postgres[key].values != read.values {
            self.recheck(t, key, 0);
        }
    }
}
