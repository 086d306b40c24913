//! The simulation that every test run performs. `cargo run --release -p incumbent-sim` runs more of
//! it.

use incumbent_sim::{Plan, Tally, Trace};

/// Enough seeds for each fault and each outcome to occur, and few enough for a test.
const SEEDS: u64 = 1000;

#[test]
fn all_properties_hold_and_every_fault_and_outcome_is_seen() {
    let mut tally = Tally::NOTHING;
    for seed in 0..SEEDS {
        let run = incumbent_sim::run(seed, Trace::Off);
        if run.violation.is_some() {
            panic!("\n{}", incumbent_sim::report(seed).unwrap_or_default());
        }
        tally.add(&run.tally);
    }
    // Make sure that nothing above is vacuous.
    assert_eq!(tally.missing(), [""; 0], "never happened in {SEEDS} seeds");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 77, 4_294_967_296] {
        let (first, second) = (traced(seed), traced(seed));
        assert!(first.len() > 100, "seed {seed} has only {} lines", first.len());
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn writing_a_trace_changes_nothing() {
    for seed in 0..20 {
        let (with, without) =
            (incumbent_sim::run(seed, Trace::On), incumbent_sim::run(seed, Trace::Off));
        assert_eq!(with.tally, without.tally, "seed {seed}");
    }
}

#[test]
fn every_property_says_where_it_comes_from() {
    for property in incumbent_sim::properties::TABLE {
        assert!(!property.source.is_empty(), "{}", property.name);
    }
}

#[test]
fn seeds_differ_in_who_takes_part() {
    let plans: Vec<Plan> = (0..200).map(Plan::from_seed).collect();
    for count in 2..=9 {
        assert!(plans.iter().any(|plan| plan.candidates.len() == count), "{count} candidates");
    }
    assert!(
        plans.iter().any(|plan| plan.foreign == 0) && plans.iter().any(|plan| plan.foreign > 0)
    );
}

fn traced(seed: u64) -> Vec<String> {
    incumbent_sim::run(seed, Trace::On).trace
}
