//! The protocol's model: `model table` runs the stated set; `model forward|epochs|partition|counters name=value …` one configuration.

mod counters;
mod epochs;
mod flags;
mod forward;
mod partition;
mod scenarios;
mod search;
mod sides;
mod table;

use search::Outcome;
use std::sync::atomic::Ordering;

flags! {
    /// How to run: states per scenario, violations after which it ends, traces to print, rule 4.
    pub struct Options {
        cap: usize = 3_000_000usize,
        enough: usize = usize::MAX,
        show: usize = 1usize,
        update_sets_marker: bool = true,
    }
}

/// Run one configuration, given by its words. Panics on a word that is none.
pub fn run(words: &[&str]) -> (Options, Outcome) {
    let mut options = Options::default();
    let rest: Vec<&str> = words[1..].iter().copied().filter(|word| !options.set(word)).collect();
    sides::UPDATE_SETS_MARKER.store(options.update_sets_marker, Ordering::SeqCst);
    let unknown = |word: &str| -> ! { panic!("no such flag, or no such value: {word}") };
    let outcome = match words[0] {
        "forward" | "obvious" => {
            let mut flags = if words[0] == "obvious" { forward::Flags::obvious() } else { Default::default() };
            rest.iter().filter(|word| !flags.set(word)).for_each(|word| unknown(word));
            search::explore(&forward::scenarios(&flags), options.cap, options.enough)
        }
        "epochs" => {
            let mut flags = epochs::Flags::default();
            rest.iter().filter(|word| !flags.set(word)).for_each(|word| unknown(word));
            search::explore(&epochs::scenarios(&flags), options.cap, options.enough)
        }
        "partition" => {
            let mut flags = partition::Flags::default();
            rest.iter().filter(|word| !flags.set(word)).for_each(|word| unknown(word));
            search::explore(&partition::scenarios(&flags), options.cap, options.enough)
        }
        "counters" => {
            let mut flags = counters::Flags::default();
            rest.iter().filter(|word| !flags.set(word)).for_each(|word| unknown(word));
            search::explore(&counters::scenarios(&flags), options.cap, options.enough)
        }
        word => unknown(word),
    };
    (options, outcome)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.first() {
        None => eprintln!("usage: model table | model forward|obvious|epochs|partition|counters [name=value …]"),
        Some(&"table") => std::process::exit(table::run_all(&words[1..])),
        Some(_) => {
            let (options, outcome) = run(&words);
            println!(
                "{}: scenarios={} states={} quiet={} violations={} capped={} seconds={:.1}",
                words.join(" "),
                outcome.scenarios,
                outcome.states,
                outcome.quiet,
                outcome.violations.len(),
                outcome.capped,
                outcome.seconds
            );
            for v in outcome.violations.iter().take(options.show) {
                println!(" {} steps: {} :: {}\n{}", v.steps, v.what, v.scenario, v.trace);
            }
        }
    }
}
