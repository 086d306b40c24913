//! The simulation of groups that every test run performs.

use incumbent_sim::Trace;
use incumbent_sim::groups::{self, GroupTally};

/// Enough seeds for each fault and each step to occur, and few enough for a test.
const SEEDS: u64 = 1_000;

#[test]
fn all_properties_hold_and_every_fault_and_step_is_seen() {
    let mut tally = GroupTally::NOTHING;
    let (first, end) = seeds();
    for seed in first..end {
        let run = groups::run(seed, Trace::Off);
        if run.broken.is_some() {
            panic!("\n{}", groups::report(seed).unwrap_or_default());
        }
        tally.add(&run.tally);
    }
    println!("{tally:?}");
    println!("{:?}", tally.faults().collect::<Vec<_>>());
    println!("{:?}", tally.steps().collect::<Vec<_>>());
    assert_eq!(tally.missing(), [""; 0], "never happened in {SEEDS} seeds");
}

/// `SEEDS=FIRST..END` plays others.
fn seeds() -> (u64, u64) {
    let Ok(range) = std::env::var("SEEDS") else { return (0, SEEDS) };
    let (first, end) = range.split_once("..").expect("SEEDS=FIRST..END");
    (first.parse().unwrap(), end.parse().unwrap())
}
