//! The backfill's merge of the key (rules 18 and 19).

use super::{Backfill, Forward, State, FINISHED, NONE, RECHECK};
use crate::search::Step;

const WHO: &str = "B";

impl Forward {
    pub(super) fn merge(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let mine = s.backfill;
        let mut next = *s;
        match mine.at {
            0 if mine.left > 0 => {
                next.backfill.read = s.cassandra.read();
                if next.backfill.read.exists {
                    next.backfill.at = 1;
                } else {
                    next.backfill = Backfill { left: mine.left - 1, done: true, ..Default::default() };
                }
                out.push((next, (WHO, "reads the key")));
            }
            1 => {
                next.backfill.tombstone = s.postgres.tomb;
                next.backfill.intents = s.intents != [NONE; 4];
                next.backfill.at = 2;
                next.range_lock = true;
                out.push((next, (WHO, "locks the range, statement begins")));
            }
            2 => {
                self.insert(&mut next, &mine);
                next.range_lock = false;
                next.backfill = Backfill { left: mine.left - 1, done: true, ..Default::default() };
                out.push((next, (WHO, "merges")));
            }
            _ => {}
        }
        if mine.at > 0 && self.flags.crash {
            let backfill = Backfill { left: mine.left, done: mine.done, ..Default::default() };
            out.push((State { backfill, range_lock: false, ..*s }, (WHO, "crashes")));
        }
    }

    fn insert(&self, t: &mut State, mine: &Backfill) {
        let (flags, read) = (&self.flags, mine.read);
        if flags.merge_absent_only {
            if !t.postgres.exists && mine.tombstone == 0 && !mine.intents {
                t.postgres.put(read.values, 1);
            } else if flags.recheck && (!t.postgres.exists || t.postgres.values != read.values) {
                t.intents[RECHECK] = FINISHED;
            }
            return;
        }
        let buried = match flags.merge_tombstone {
            0 => false,
            1 => mine.tombstone > 0 && mine.tombstone >= read.ver,
            _ => mine.tombstone > 0,
        };
        if !buried && (!t.postgres.exists || t.postgres.ver < read.ver) {
            t.postgres.put(read.values, read.ver);
        }
    }
}
