//! A reconcile: pick and claim, replay, read the primary, apply and remove (rules 15 and 16).

use super::{writers, Forward, Reconcile, State, CLAIMED, FINISHED, NONE, RECHECK};
use crate::search::Step;
use crate::sides::Write;

const NAMES: [&str; 2] = ["R1", "R2"];
type Out = Vec<(State, Step)>;

impl Forward {
    pub(super) fn reconcile(&self, s: &State, r: usize, out: &mut Out) {
        let mine = s.key_lock == r as u8 + 1;
        match s.reconciles[r].at {
            0 => self.pick(s, r, out),
            1 => self.replay(s, r, out),
            2 => out.push((self.read(s, r), (NAMES[r], "reads the primary"))),
            _ => self.apply(s, r, out),
        }
        if s.reconciles[r].at > 0 && self.flags.crash {
            out.push((self.given_up(s, r), (NAMES[r], "crashes")));
        }
        if s.reconciles[r].at > 0 && self.flags.lock_is_lost && mine {
            out.push((State { key_lock: 0, ..*s }, (NAMES[r], "loses the key's lock, and goes on")));
        }
    }

    fn given_up(&self, s: &State, r: usize) -> State {
        let mut next = *s;
        next.reconciles[r] = Reconcile::default();
        if s.key_lock == r as u8 + 1 {
            next.key_lock = 0;
        }
        next
    }

    /// Where nothing is replayed, somebody must know that a write can no longer land.
    fn over(&self, s: &State, i: usize) -> bool {
        i == RECHECK || (s.at[i] == writers::DONE && s.in_flight & (1 << i) == 0)
    }

    fn pick(&self, s: &State, r: usize, out: &mut Out) {
        let flags = &self.flags;
        let holds = flags.lock < 2;
        if s.intents == [NONE; 4] || (holds && s.key_lock != 0) {
            return;
        }
        let (mut picked, mut replays, mut newest) = (0u8, 0u8, 0u8);
        for i in (0..4).filter(|i| s.intents[*i] != NONE) {
            if i == RECHECK {
                picked |= 1 << i;
                continue;
            }
            let removes = match flags.remove {
                0 | 3 => true,
                1 => s.intents[i] != super::UNSURE || self.over(s, i),
                _ => s.intents[i] == FINISHED || self.over(s, i),
            };
            if removes {
                picked |= 1 << i;
                newest = newest.max(s.stamps[i]);
            }
            if s.intents[i] != FINISHED {
                replays |= 1 << i;
            }
        }
        if picked == 0 && flags.remove != 4 && flags.remove > 1 {
            return;
        }
        let mut next = *s;
        let postgres = s.postgres;
        next.reconciles[r] = Reconcile {
            at: if flags.remove == 3 && replays != 0 { 1 } else { 2 },
            picked,
            replays: if flags.remove >= 3 { replays } else { 0 },
            remembered: if flags.lock == 2 { (postgres.exists, postgres.ver, postgres.tomb) } else { (false, 0, 0) },
            newest,
            ..Default::default()
        };
        for i in (0..3).filter(|i| flags.claim && flags.remove == 3 && replays & (1 << i) != 0) {
            next.intents[i] = CLAIMED;
        }
        if holds {
            next.key_lock = r as u8 + 1;
        }
        out.push((next, (NAMES[r], "picks and claims")));
    }

    /// Rule 15b: each claimed mutation again, with its own timestamp.
    fn replay(&self, s: &State, r: usize, out: &mut Out) {
        let replays = s.reconciles[r].replays;
        let send = |but: u8| {
            let mut next = *s;
            for i in (0..3).filter(|i| replays & !but & (1 << i) != 0) {
                next.cassandra.apply(self.mix.writes[i], s.stamps[i]);
                next.landed |= 1 << i;
            }
            next.reconciles[r].at = 2;
            next.reconciles[r].replays = 0;
            next
        };
        out.push((send(0), (NAMES[r], "replays")));
        if !self.flags.replay_refused {
            return;
        }
        for i in (0..3).filter(|i| replays & (1 << i) != 0) {
            if self.flags.refused_replay_stays {
                // Those before it are done; it and those after it are not.
                let next = self.given_up(&send(replays & !((1 << i) - 1)), r);
                out.push((next, (NAMES[r], "a replay is refused: gives up, the intents stay")));
            } else {
                out.push((send(1 << i), (NAMES[r], "a replay is REFUSED, which counts as done")));
            }
        }
    }

    fn read(&self, s: &State, r: usize) -> State {
        let (mut next, read) = (*s, s.cassandra.read());
        let mine = &mut next.reconciles[r];
        mine.read = read;
        mine.at = 3;
        if self.flags.remove == 4 {
            let asked = mine.replays & !mine.picked;
            for i in (0..3).filter(|i| asked & (1 << i) != 0) {
                let ver = s.stamps[i];
                let shown = match self.mix.writes[i] {
                    Write::Put(..) => read.ts.contains(&ver),
                    Write::Update(column, value) => value != 0 && read.ts[column as usize] == ver,
                    Write::Delete => false,
                };
                if shown {
                    mine.picked |= 1 << i;
                    mine.newest = mine.newest.max(ver);
                }
            }
            mine.replays = 0;
        }
        next
    }

    fn apply(&self, s: &State, r: usize, out: &mut Out) {
        let (flags, mine, postgres) = (&self.flags, s.reconciles[r], s.postgres);
        if flags.lock == 2 && (postgres.exists, postgres.ver, postgres.tomb) != mine.remembered {
            let mut next = *s;
            next.reconciles[r] = Reconcile::default();
            out.push((next, (NAMES[r], "finds the key changed, and starts again")));
            return;
        }
        if s.range_lock && flags.reconcile_range {
            return;
        }
        let mut next = self.given_up(s, r);
        let mut ver = mine.read.ver;
        if flags.bound {
            ver = ver.max(postgres.bound()).max(mine.newest);
            if flags.bump && ver == postgres.bound() {
                ver += 1;
            }
        }
        if mine.read.exists {
            let newer = (postgres.exists && postgres.ver > ver) || (flags.put_tombstone > 0 && postgres.tomb > ver);
            if flags.unguarded || !newer {
                next.postgres.put(mine.read.values, ver);
            }
        } else {
            next.postgres.delete(match (flags.bound, flags.tombstone_version) {
                (true, _) => ver,
                (_, 0) => postgres.bound(),
                (_, 1) => 60,
                _ => mine.newest.max(postgres.bound()),
            });
        }
        for i in (0..4).filter(|i| mine.picked & (1 << i) != 0) {
            next.intents[i] = NONE;
        }
        out.push((next, (NAMES[r], "applies, removes the intents")));
    }
}
