//! A reconcile in either direction (rules 15, 17, 22 and 26), and the operator who gives an intent up.

use super::{forward, writers, Epochs, Reconcile, State, CLAIMED, FINISHED, NONE, OPEN, RECHECK, RESOLVED};
use crate::search::Step;

const WHO: &str = "R";

impl Epochs {
    pub(super) fn reconcile(&self, s: &State, out: &mut Vec<(State, Step)>) {
        if let Some(row) = s.worker_in_flight {
            let mut next = State { worker_in_flight: None, worker_forgotten: false, ..*s };
            next.cassandra.write_row(&row);
            out.push((next, (WHO, "its write in flight LANDS")));
        }
        match s.reconcile.at {
            0 => self.pick(s, out),
            1 => self.replay(s, out),
            2 => {
                let mut next = *s;
                next.reconcile.read = s.cassandra.read();
                next.reconcile.at = 3;
                out.push((next, (WHO, "reads Cassandra")));
            }
            3 => self.apply_read(s, out),
            _ => self.reverse(s, out),
        }
        // Each pick of a recheck raises the version: two are enough, or there would be no end of states.
        let endless = s.reconcile.picked & (1 << RECHECK) != 0 && s.follower.raises >= 2;
        if s.reconcile.at > 0 && self.flags.crash && !endless {
            out.push((State { reconcile: Reconcile::default(), ..*s }, (WHO, "crashes")));
        }
    }

    fn pick(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let flags = &self.flags;
        let postgres = s.postgres;
        let mut next = *s;
        let mut mine = Reconcile { remembered: (postgres.exists, postgres.ver, postgres.tomb), ..Default::default() };
        let mut reverse = 0u8;
        for i in (0..4).filter(|i| s.intents[*i] != NONE) {
            let bit = 1u8 << i;
            if flags.own_epoch && s.intent_epoch[i] != s.epoch {
                continue;
            }
            if !forward(if flags.own_direction { s.intent_epoch[i] } else { s.epoch }) {
                reverse |= bit;
                continue;
            }
            let stamp = if i == RECHECK { s.recheck_version } else { s.stamps[i] };
            let unfinished = s.intents[i] != FINISHED;
            if s.intents[i] == RESOLVED || (unfinished && self.unrepeatable(i)) {
                // Rule 17: after the call's end and the window; the window may be over at any moment.
                if s.intents[i] != OPEN || s.at[i] == writers::DONE || !flags.window_from_end || s.sleeper.asleep {
                    mine.picked |= bit;
                    mine.given_up |= bit;
                    mine.newest = mine.newest.max(stamp);
                }
                continue;
            }
            let over = i == RECHECK || (s.at[i] == writers::DONE && s.in_flight & bit == 0);
            if flags.remove == 3 || !unfinished || over {
                mine.picked |= bit;
                mine.newest = mine.newest.max(stamp);
            }
            if flags.remove == 3 && unfinished {
                mine.replays |= bit;
                next.intents[i] = CLAIMED;
            }
        }
        if mine.picked != 0 {
            mine.at = if mine.replays != 0 { 1 } else { 2 };
            next.reconcile = mine;
            if mine.given_up != 0 && flags.noted == 2 {
                self.disturb(&mut next);
            }
            out.push((next, (WHO, "picks and claims")));
        }
        if reverse != 0 {
            let reconcile = Reconcile { at: 12, picked: reverse, ..Default::default() };
            out.push((State { reconcile, ..*s }, (WHO, "picks intents of the reverse direction")));
        }
    }

    /// Rule 15b: each claimed mutation again, with its own timestamp.
    fn replay(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let replays = s.reconcile.replays;
        let send = |but: u8| {
            let mut next = *s;
            for i in (0..3).filter(|i| replays & !but & (1 << i) != 0) {
                next.cassandra.apply(self.mix.writes[i], s.stamps[i]);
                next.landed |= 1 << i;
            }
            next.reconcile.at = 2;
            next.reconcile.replays = 0;
            next
        };
        out.push((send(0), (WHO, "replays")));
        if !self.flags.replay_refused {
            return;
        }
        for i in (0..3).filter(|i| replays & (1 << i) != 0) {
            if self.flags.refused_replay_stays {
                // Those before it are done; it and those after it are not.
                let next = State { reconcile: Reconcile::default(), ..send(replays & !((1 << i) - 1)) };
                out.push((next, (WHO, "a replay is refused: gives up, the intents stay")));
                let late = State { in_flight: next.in_flight | 1 << i, ..next };
                out.push((late, (WHO, "a replay times out, still in flight: gives up, the intents stay")));
            } else {
                out.push((send(1 << i), (WHO, "a replay is REFUSED, which counts as done")));
            }
        }
    }

    fn apply_read(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let (mine, postgres) = (s.reconcile, s.postgres);
        let mut next = State { reconcile: Reconcile::default(), ..*s };
        if (postgres.exists, postgres.ver, postgres.tomb) != mine.remembered {
            out.push((next, (WHO, "finds the key changed, and starts again")));
            return;
        }
        let left = (0..4).any(|i| mine.picked & (1 << i) != 0 && s.intents[i] != NONE);
        if self.flags.picked_is_left && !left {
            out.push((next, (WHO, "finds the intents gone: there is nothing to do")));
            return;
        }
        let old = postgres.bound();
        let mut ver = mine.read.ver;
        if self.flags.bound {
            ver = ver.max(old).max(mine.newest);
            if ver == old {
                ver += 1;
            }
        }
        next.postgres.set(&mine.read, ver);
        self.remove(&mut next, mine.picked);
        next.forgotten |= mine.given_up & s.in_flight;
        if mine.given_up != 0 && self.flags.noted == 3 {
            self.disturb(&mut next);
        }
        out.push((next, (WHO, "applies, removes the intents")));
    }

    /// Rule 26: pick, then read Postgres, write the whole row at its version until acknowledged, remove what was picked.
    fn reverse(&self, s: &State, out: &mut Vec<(State, Step)>) {
        let mut next = *s;
        let row = s.reconcile.read;
        match s.reconcile.at {
            12 => {
                self.raise_above_late(&mut next);
                self.raise_recheck(&mut next);
                next.reconcile.read = writers::row_of(&next);
                next.reconcile.at = 13;
                out.push((next, (WHO, "reads Postgres")));
            }
            13 => {
                if row.ver > 0 {
                    next.cassandra.write_row(&row);
                }
                next.reconcile.at = 14;
                out.push((next, (WHO, "secondary: done")));
                if self.flags.timeout && s.worker_in_flight.is_none() && row.ver > 0 {
                    let late = State { worker_in_flight: Some(row), ..*s };
                    out.push((late, (WHO, "secondary: times out, still in flight")));
                }
            }
            _ => {
                self.remove(&mut next, s.reconcile.picked);
                next.reconcile = Reconcile::default();
                out.push((next, (WHO, "removes the intents")));
            }
        }
    }

    fn remove(&self, t: &mut State, picked: u8) {
        for i in (0..4).filter(|i| picked & (1 << i) != 0) {
            t.intents[i] = NONE;
        }
        if picked & (1 << RECHECK) != 0 {
            t.recheck_version = 0;
        }
    }

    /// `sync intents --resolve`: the mutation is forgotten; the key is reconciled to what the primary has by now. A worker
    /// that has it in its hands may be asleep: then what it sends is in flight as well.
    pub(super) fn resolve(&self, s: &State, out: &mut Vec<(State, Step)>) {
        for i in (0..self.writers()).filter(|_| self.flags.resolve) {
            let stopped = s.at[i] == writers::DONE || (!self.flags.resolve_waits && s.intents[i] == CLAIMED);
            if !stopped || [NONE, FINISHED, RESOLVED].contains(&s.intents[i]) {
                continue;
            }
            if forward(s.intent_epoch[i]) {
                self.resolve_forward(s, i, out);
                continue;
            }
            let whole = self.flags.resolve_whole_key;
            let given_up: Vec<usize> = if whole { (0..4).filter(|j| s.intents[*j] != NONE).collect() } else { vec![i] };
            let busy = given_up.iter().any(|j| *j != RECHECK && s.at[*j] != writers::DONE) || (whole && s.reconcile.at != 0);
            if !busy {
                let next = given_up.iter().fold(*s, |t, j| self.resolve_reverse(&t, *j));
                out.push((next, ("O", "gives reverse intents up: the sides may differ")));
            }
        }
    }

    fn resolve_forward(&self, s: &State, i: usize, out: &mut Vec<(State, Step)>) {
        let mut next = *s;
        next.intents[i] = RESOLVED;
        if self.flags.noted == 1 {
            self.disturb(&mut next);
        }
        out.push((next, ("O", "gives an intent up")));
        if s.intents[i] == CLAIMED && s.in_flight & (1 << i) == 0 {
            next.in_flight |= 1 << i;
            out.push((next, ("O", "gives an intent up; a worker that sleeps has it in its hands")));
        }
    }

    fn resolve_reverse(&self, s: &State, i: usize) -> State {
        let bit = 1u8 << i;
        let mut next = State { forgotten: s.forgotten | (s.in_flight & bit), ..*s };
        next.intents[i] = NONE;
        if s.reconcile.picked & bit != 0 {
            if s.reconcile.at == 13 && s.reconcile.read.ver > 0 && s.worker_in_flight.is_none() {
                next.worker_in_flight = Some(s.reconcile.read);
            }
            next.reconcile = Reconcile::default();
        }
        next.worker_forgotten |= next.worker_in_flight.is_some();
        if self.flags.noted > 0 {
            self.disturb(&mut next);
        }
        next
    }
}
