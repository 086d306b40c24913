//! The real stack under faults: candidates with their drivers, watches and watchdogs, over the real
//! API server in this process, which goes wrong as a seed says, under paused time.
//!
//! A trial is 150 s in which things go wrong, then a while in which nothing does and somebody must
//! lead, then the end. `schedule.rs` says what goes wrong, `candidates.rs` what is run, `ledger.rs`
//! what must hold at any time, and `trial.rs` what must hold at the end.
//!
//! `SEEDS=5000` looks longer. `SEED=17` replays one seed and prints all that happened; with
//! `SEEDS=20`, twenty times, for the order in which tokio wakes those who wait for one event is not
//! in our hands.

mod candidates;
mod client_go;
mod ledger;
mod lock;
mod schedule;
mod slow;
mod stale;
mod stuck;
mod trial;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::Outcome;
use trial::Trial;

const SEEDS: u64 = 40;

#[test]
fn nobody_leads_beside_another_and_it_goes_on_after_the_faults() {
    let panics = count_panics();
    stuck::watch();
    let number = |name: &str| -> Option<u64> {
        std::env::var(name).ok().map(|value| value.parse().expect("it is a number"))
    };
    let replayed = number("SEED");
    let usual = if replayed.is_some() { 1 } else { SEEDS };
    let count = number("SEEDS").unwrap_or(usual);
    let mut total = BTreeMap::new();
    for seed in 0..count {
        let seed = replayed.unwrap_or(seed);
        let trial = Trial::draw(seed);
        let outcome = trial.run();
        let panicked = panics.swap(0, Ordering::Relaxed);
        let is_fine = outcome.violations.is_empty() && panicked == 0;
        if !is_fine || replayed.is_some() {
            report(&trial, &outcome);
        }
        assert!(is_fine, "SEED={seed} cargo test -p incumbent --test faults replays it");
        for (what, times) in outcome.counts {
            *total.entry(what).or_insert(0) += times;
        }
        if seed % 500 == 499 {
            println!("{} seeds done", seed + 1);
        }
    }
    println!("{count} seeds: {total:#?}");
    if count >= SEEDS && replayed.is_none() {
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
