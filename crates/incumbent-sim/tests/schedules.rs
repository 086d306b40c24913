//! The simulation of schedules that every test run performs.

use incumbent_sim::Trace;
use incumbent_sim::schedules::{self, ScheduleTally};

/// Enough seeds for each fault and each step to occur, and few enough for a test.
const SEEDS: u64 = 60;

#[test]
fn all_properties_hold_and_every_fault_and_step_is_seen() {
    let mut tally = ScheduleTally::NOTHING;
    for seed in 0..SEEDS {
        let run = schedules::run(seed, Trace::Off);
        if run.breach.is_some() {
            panic!("\n{}", schedules::report(seed).unwrap_or_default());
        }
        tally.add(&run.tally);
    }
    println!("{tally:?}");
    assert_eq!(tally.missing(), [""; 0], "never happened in {SEEDS} seeds");
}

#[test]
fn a_seed_gives_the_same_trace_each_time() {
    for seed in 0..3 {
        assert_eq!(schedules::run(seed, Trace::On).trace, schedules::run(seed, Trace::On).trace);
    }
}
