//! A writer of Postgres that knows nothing of the protocol: its triggers do (C7 and C8 of decision 0031).

use super::writers::{DONE, IDLE};
use super::{forward, Epochs, State, RECHECK};
use crate::search::Step;
use crate::sides::Write;

/// Its transaction has begun: its snapshot is taken. It holds the epoch's lock, or has looked at it.
const BEGUN: u8 = 50;
const HOLDS: u8 = 51;
const WHO: &str = "S";

impl Epochs {
    pub(super) fn sql_writer(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut next = *s;
            change(&mut next);
            out.push((next, (WHO, what)));
        };
        match s.at[i] {
            IDLE => step("begins its transaction", &|t| {
                t.knows[i] = s.epoch;
                t.before[i] = s.acknowledged;
                t.at[i] = BEGUN;
            }),
            BEGUN if s.closing => {}
            BEGUN => {
                let reads = if self.flags.sql_repeatable && !self.flags.sql_reads_now { s.knows[i] } else { s.epoch };
                let stale = self.flags.sql_repeatable && self.flags.sql_reads_now && s.knows[i] != s.epoch;
                if forward(reads) || stale {
                    step("is refused", &|t| t.at[i] = DONE);
                } else {
                    step("looks at the epoch", &|t| {
                        t.knows[i] = reads;
                        t.at[i] = HOLDS;
                    });
                }
            }
            HOLDS => {
                step("commits its change and its recheck", &|t| self.sql_commit(t, i));
                step("rolls back", &|t| t.at[i] = DONE);
            }
            _ => {}
        }
    }

    /// Whether a switch waits for its transaction.
    pub(super) fn sql_holds(&self, s: &State) -> bool {
        self.flags.sql && self.flags.sql_holds_epoch && s.at[self.writers() - 1] == HOLDS
    }

    fn sql_commit(&self, t: &mut State, i: usize) {
        t.at[i] = DONE;
        t.acknowledged |= 1 << i;
        let (existed, old) = (t.postgres.exists, t.postgres.ver);
        match self.mix.writes[i] {
            Write::Put(a, b) => {
                t.postgres.exists = true;
                t.postgres.values = [a, b];
            }
            Write::Update(column, value) if existed => t.postgres.values[column as usize] = value,
            Write::Update(..) => t.not_found |= 1 << i,
            Write::Delete => {
                t.postgres.exists = false;
                t.postgres.values = [0, 0];
                t.postgres.ver = 0;
            }
        }
        let changed = existed || matches!(self.mix.writes[i], Write::Put(..));
        if !changed {
            return;
        }
        t.landed |= 1 << i;
        if self.flags.sql_announces {
            let gone = existed && self.mix.writes[i] == Write::Delete && self.flags.sql_carries_version;
            self.announce(t, if gone { old } else { 0 });
            t.intent_epoch[RECHECK] = t.knows[i];
        }
    }
}
