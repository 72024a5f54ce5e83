//! Both databases, with one key and two columns. A value of 0 is null; a version of 0 is none.

use std::sync::atomic::{AtomicBool, Ordering};

/// Rule 4: an update goes to CQL as an INSERT, which sets the row marker.
pub static UPDATE_SETS_MARKER: AtomicBool = AtomicBool::new(true);

pub fn update_sets_marker() -> bool {
    UPDATE_SETS_MARKER.load(Ordering::Relaxed)
}

/// A write: a whole row, one column, or a deletion.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Write {
    Put(u8, u8),
    Update(u8, u8),
    Delete,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Cell {
    pub ts: u8,
    pub value: u8,
}

/// Cassandra: per cell the last write wins, at equal timestamps the tombstone, then the greater value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Cassandra {
    pub deleted: u8,
    pub marker: u8,
    pub cells: [Cell; 2],
}

/// What a read shows: `ver` is the greatest timestamp of the cells that are not null.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Row {
    pub exists: bool,
    pub values: [u8; 2],
    pub ver: u8,
    pub ts: [u8; 2],
}

impl Cassandra {
    fn cell(&mut self, i: usize, ts: u8, value: u8) {
        let old = self.cells[i];
        let tie = (value == 0 && old.value != 0) || (value != 0 && old.value != 0 && value > old.value);
        if ts > old.ts || (ts == old.ts && tie) {
            self.cells[i] = Cell { ts, value };
        }
    }

    pub fn apply(&mut self, write: Write, ts: u8) {
        match write {
            Write::Put(a, b) => {
                self.marker = self.marker.max(ts);
                self.cell(0, ts, a);
                self.cell(1, ts, b);
            }
            Write::Update(column, value) => {
                if update_sets_marker() {
                    self.marker = self.marker.max(ts);
                }
                self.cell(column as usize, ts, value)
            }
            Write::Delete => self.deleted = self.deleted.max(ts),
        }
        if self.marker <= self.deleted {
            self.marker = 0;
        }
        for cell in &mut self.cells {
            if cell.ts <= self.deleted {
                *cell = Cell::default();
            }
        }
    }

    /// A row read elsewhere, written back at its version.
    pub fn write_row(&mut self, row: &Row) {
        self.apply(if row.exists { Write::Put(row.values[0], row.values[1]) } else { Write::Delete }, row.ver)
    }

    pub fn read(&self) -> Row {
        let mut row = Row { exists: self.marker > 0, ..Default::default() };
        for i in 0..2 {
            if self.cells[i].value != 0 {
                row.exists = true;
                row.values[i] = self.cells[i].value;
                row.ts[i] = self.cells[i].ts;
                row.ver = row.ver.max(self.cells[i].ts);
            }
        }
        row
    }

    pub fn show(&self) -> String {
        let row = self.read();
        if row.exists {
            format!("{:?}@{:?}", row.values, row.ts)
        } else {
            format!("absent(deleted@{})", self.deleted)
        }
    }
}

/// Postgres: a row with its version, and the tombstone, which stays beside it (rule 10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Postgres {
    pub exists: bool,
    pub values: [u8; 2],
    pub ver: u8,
    pub tomb: u8,
}

impl Postgres {
    pub fn same(&self, row: &Row) -> bool {
        self.exists == row.exists && (!self.exists || self.values == row.values)
    }

    /// The version of the key: nothing that is settled is newer (rule 1).
    pub fn bound(&self) -> u8 {
        self.tomb.max(if self.exists { self.ver } else { 0 })
    }

    pub fn put(&mut self, values: [u8; 2], ver: u8) {
        self.exists = true;
        self.values = values;
        self.ver = ver;
    }

    pub fn delete(&mut self, ver: u8) {
        *self = Postgres { tomb: self.tomb.max(ver), ..Default::default() };
    }

    /// What a reconcile read, without a guard.
    pub fn set(&mut self, row: &Row, ver: u8) {
        if row.exists {
            self.put(row.values, ver)
        } else {
            self.delete(ver)
        }
    }

    pub fn show(&self) -> String {
        if self.exists {
            format!("{:?}@{}", self.values, self.ver)
        } else {
            format!("absent(tombstone@{})", self.tomb)
        }
    }
}

/// The writes of a run, as their callers saw them (bit sets), and what was acknowledged before each began.
pub struct History<'a> {
    pub writes: &'a [Write],
    pub must: u8,
    pub may: u8,
    pub before: &'a [u8],
    pub not_found: u8,
}

impl History<'_> {
    /// Can the final content be explained by some order in real time: all of `must`, any of `may`?
    /// The row marker is kept: an upserted row vanishes with its last cell.
    pub fn explains(&self, first: &Row, last: &Row) -> bool {
        let values = |row: &Row| row.exists.then_some(row.values);
        self.from(values(first).map(|v| (v, true)), 0, values(last))
    }

    fn from(&self, now: Option<([u8; 2], bool)>, used: u8, last: Option<[u8; 2]>) -> bool {
        if used & self.must == self.must && now.map(|x| x.0) == last {
            return true;
        }
        (0..self.writes.len()).any(|i| self.may_be_next(i, used) && self.from(self.after(i, now), used | 1 << i, last))
    }

    fn may_be_next(&self, i: usize, used: u8) -> bool {
        let bit = 1u8 << i;
        used & bit == 0
            && (self.must | self.may) & bit != 0
            && self.before[i] & self.must & !used == 0
            && !(0..self.writes.len()).any(|j| used & (1 << j) != 0 && self.before[j] & bit != 0)
    }

    fn after(&self, i: usize, now: Option<([u8; 2], bool)>) -> Option<([u8; 2], bool)> {
        match self.writes[i] {
            Write::Put(a, b) => Some(([a, b], true)),
            Write::Delete => None,
            Write::Update(column, value) => {
                if now.is_none() && self.not_found & (1 << i) != 0 {
                    return None;
                }
                let (mut values, marker) = now.unwrap_or(([0, 0], false));
                values[column as usize] = value;
                let marker = marker || update_sets_marker();
                (marker || values != [0, 0]).then_some((values, marker))
            }
        }
    }
}
