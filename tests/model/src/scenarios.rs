//! The writes of a run and the writers' clocks: every combination, less those that are the same by another name.

use crate::sides::{Cassandra, Write};

/// One combination: what each writer writes, and what its clock says.
#[derive(Clone, Debug)]
pub struct Mix {
    pub writes: Vec<Write>,
    pub clocks: Vec<u8>,
}

fn write(kind: usize, writer: usize) -> Write {
    let value = 2 + writer as u8;
    match kind {
        0 => Write::Put(value, value),
        1 => Write::Update(0, value),
        2 => Write::Delete,
        3 => Write::Update(1, value),
        4 => Write::Update(0, 0),
        5 => Write::Put(0, value),
        _ => unreachable!("there are six kinds of writes"),
    }
}

fn digits(mut number: usize, base: usize, count: usize) -> Vec<usize> {
    (0..count)
        .map(|_| {
            let digit = number % base;
            number /= base;
            digit
        })
        .collect()
}

/// `alike`: the writers are exchangeable, so one order of kinds is enough. `ties`: clocks may show the same.
pub fn mixes(writers: usize, kinds: usize, alike: bool, ties: bool) -> Vec<Mix> {
    let mut found = vec![];
    for code in 0..kinds.pow(writers as u32) {
        let kinds = digits(code, kinds, writers);
        if alike && kinds.windows(2).any(|pair| pair[0] > pair[1]) {
            continue;
        }
        let writes: Vec<Write> = kinds.iter().enumerate().map(|(i, kind)| write(*kind, i)).collect();
        for code in 0..writers.pow(writers as u32) {
            let clocks: Vec<u8> = digits(code, writers, writers).iter().map(|c| *c as u8 + 2).collect();
            let mut values = clocks.clone();
            values.sort_unstable();
            values.dedup();
            // A weak order is written with the smallest numbers.
            let smallest = values.iter().enumerate().all(|(i, v)| *v == i as u8 + 2);
            if smallest && (ties || values.len() == writers) {
                found.push(Mix { writes: writes.clone(), clocks });
            }
        }
    }
    found
}

/// The row that was there before.
pub fn old_row(ts: u8) -> Cassandra {
    let mut cassandra = Cassandra::default();
    cassandra.apply(Write::Put(1, 1), ts);
    cassandra
}
