//! Breadth-first search over every interleaving, so that the first violation found is a shortest one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

/// Who does something, and what.
pub type Step = (&'static str, &'static str);

/// One scenario: where it begins, what may happen next, and what must never be.
pub trait Model: Sync {
    type State: Copy + Eq + Hash;
    fn name(&self) -> &str;
    fn start(&self) -> Self::State;
    fn successors(&self, state: &Self::State, out: &mut Vec<(Self::State, Step)>);
    /// Nothing is under way and nothing is open: both sides must be equal now.
    fn quiet(&self, state: &Self::State) -> bool;
    fn violation(&self, state: &Self::State) -> Option<&'static str>;
    fn show(&self, state: &Self::State) -> String;
}

pub struct Violation {
    pub steps: usize,
    pub what: String,
    pub scenario: String,
    pub trace: String,
}

/// What a configuration came to. `capped`: scenarios that were given up for their size; `seconds` of processors, not of the clock.
#[derive(Default)]
pub struct Outcome {
    pub scenarios: usize,
    pub states: usize,
    pub quiet: usize,
    pub capped: usize,
    pub seconds: f64,
    pub violations: Vec<Violation>,
}

/// Explore every scenario, on two threads, each up to `cap` states; no further ones after `enough` violations.
pub fn explore<M: Model>(models: &[M], cap: usize, enough: usize) -> Outcome {
    let (next, begun) = (AtomicUsize::new(0), processor_seconds());
    let all = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(model) = models.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let one = search(model, cap);
                    let mut sum = all.lock().unwrap();
                    sum.scenarios += 1;
                    sum.states += one.states;
                    sum.quiet += one.quiet;
                    sum.capped += one.capped;
                    sum.violations.extend(one.violations);
                    if sum.violations.len() >= enough {
                        next.store(models.len(), Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap();
    all.violations.sort_by_key(|v| v.steps);
    all.seconds = processor_seconds() - begun;
    all
}

/// What this process has used of its processors, as far as the system says so (Linux); else 0.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn search<M: Model>(model: &M, cap: usize) -> Outcome {
    let start = model.start();
    let mut seen: HashMap<M::State, u32, BuildHasherDefault<Quick>> = HashMap::default();
    let mut found = vec![start];
    let mut came: Vec<(u32, Step)> = vec![(u32::MAX, ("", ""))];
    let mut one = Outcome::default();
    let mut out = vec![];
    seen.insert(start, 0);
    let mut at = 0;
    while at < found.len() {
        let state = found[at];
        let quiet = model.quiet(&state);
        one.quiet += usize::from(quiet);
        out.clear();
        let mut what = model.violation(&state);
        if what.is_none() {
            model.successors(&state, &mut out);
            if out.is_empty() && !quiet {
                what = Some("STUCK: something is open, and nobody can do anything");
            }
        }
        if let Some(what) = what {
            one.violations.push(violation(model, what, at, &found, &came));
            break;
        }
        for (state, step) in &out {
            if !seen.contains_key(state) {
                seen.insert(*state, found.len() as u32);
                found.push(*state);
                came.push((at as u32, *step));
            }
        }
        if found.len() > cap {
            one.capped = 1;
            break;
        }
        at += 1;
    }
    one.states = found.len();
    one
}

fn violation<M: Model>(model: &M, what: &str, end: usize, found: &[M::State], came: &[(u32, Step)]) -> Violation {
    let (mut lines, mut at) = (vec![], end);
    while came[at].0 != u32::MAX {
        let (from, (who, step)) = came[at];
        lines.push(format!("   {who} {step}   | {}\n", model.show(&found[at])));
        at = from as usize;
    }
    lines.reverse();
    Violation { steps: lines.len(), what: what.into(), scenario: model.name().into(), trace: lines.concat() }
}

/// A quick hash: the search spends its time in the table of states seen.
#[derive(Default, Clone, Copy)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, x: u8) {
        self.write_u64(x as u64)
    }
    fn write_u64(&mut self, x: u64) {
        self.0 = (self.0.rotate_left(5) ^ x).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    fn write_usize(&mut self, x: usize) {
        self.write_u64(x as u64)
    }
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}
