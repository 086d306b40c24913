//! The real stack under faults: candidates with their drivers, watches and watchdogs, over the real API
//! server in this process, which goes wrong as a seed says, under paused time.
//!
//! `SEEDS=5000 cargo test -p incumbent --test faults` looks longer; `SEED=17` replays one and prints
//! what happens. docs/testing.md says more.

mod candidates;
mod ledger;
mod schedule;
mod trial;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::Outcome;
use trial::Trial;

const SEEDS: u64 = 40;

#[test]
fn nobody_leads_beside_another_and_it_goes_on_after_the_faults() {
    let panics = count_panics();
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().unwrap());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let mut total = BTreeMap::new();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let trial = Trial::draw(seed);
        let outcome = trial.run();
        let panicked = panics.swap(0, Ordering::Relaxed);
        if number("SEED").is_some() || panicked > 0 || !outcome.violations.is_empty() {
            report(&trial, &outcome);
        }
        assert!(outcome.violations.is_empty() && panicked == 0, "SEED={seed} replays it");
        for (what, times) in outcome.counts {
            *total.entry(what).or_insert(0) += times;
        }
    }
    println!("{count} seeds: {total:#?}");
    if count >= SEEDS {
        assert_all_happened(&total);
    }
}

/// So that nothing above is vacuous.
fn assert_all_happened(total: &BTreeMap<&'static str, u64>) {
    let missing: Vec<_> = schedule::KINDS
        .iter()
        .chain(ledger::EVENTS)
        .filter(|what| total.get(**what).is_none_or(|times| *times == 0))
        .collect();
    assert!(missing.is_empty(), "these never happened: {missing:?}");
}

fn report(trial: &Trial, outcome: &Outcome) {
    println!("{trial}\nwhat happened:");
    for line in &outcome.trace {
        println!("  {line}");
    }
    for violation in &outcome.violations {
        println!("VIOLATED: {violation}");
    }
}

/// Also in tasks that nobody waits for.
fn count_panics() -> &'static AtomicU64 {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        usual(panic);
    }));
    &PANICS
}
