//! Many seeds, on as many threads as are wanted.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use super::judge::{EVENTS, Outcome};
use super::server::Server;
use super::trial::Trial;
use super::{groups, schedule};

/// What a seed is played as.
#[derive(Clone, Copy)]
struct Game {
    test: &'static str,
    /// How many seeds show all of `expected`.
    seeds: u64,
    /// Returns what the seed stands for, and what came of it.
    play: fn(&mut Server, u64, bool) -> (String, Outcome),
    expected: &'static [&'static [&'static str]],
    /// Many tasks of a process wait for one event, and tokio wakes them in an order that no seed decides: what happens
    /// at one moment is compared in any order.
    is_sorted: bool,
}

const ELECTION: Game = Game {
    test: "nobody_leads",
    seeds: 60,
    play: |server, seed, is_traced| {
        let trial = Trial::draw(seed);
        let outcome = trial.run(server, is_traced);
        (trial.to_string(), outcome)
    },
    expected: &[schedule::KINDS, EVENTS],
    is_sorted: false,
};

const GROUP: Game = Game {
    test: "no_task_has_two_owners",
    seeds: 80,
    play: |server, seed, is_traced| {
        let trial = groups::Trial::draw(seed);
        let outcome = trial.run(server, is_traced);
        (trial.to_string(), outcome)
    },
    expected: &[groups::COMMON, groups::OWN, groups::EVENTS],
    is_sorted: true,
};

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

#[test]
fn nobody_leads_beside_another_and_it_goes_on_after_the_faults() {
    ELECTION.play_many();
}

#[test]
fn no_task_has_two_owners_and_each_has_one_after_the_faults() {
    GROUP.play_many();
}

#[test]
fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    ELECTION.is_exact(12);
}

#[test]
fn the_same_seed_of_a_group_gives_the_same_trace() {
    GROUP.is_exact(4);
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `a..b`, or `b` for `0..b`.
fn range(text: &str) -> Range<u64> {
    let number = |text: &str| text.parse().expect("SEEDS is a number, or two as in 0..5000");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(text),
    }
}

impl Game {
    fn play_many(self) {
        count_panics();
        if let Some(seed) = variable("SEED") {
            let seed = seed.parse().expect("SEED is a number");
            let (trial, outcome) = self.play(&mut Server::new(), seed, true);
            return report(&trial, &outcome);
        }
        let usual = 0..self.seeds;
        let seeds = variable("SEEDS").map_or_else(|| usual.clone(), |text| range(&text));
        let threads =
            variable("THREADS").map_or(1, |text| text.parse().expect("THREADS is a number"));
        let total = self.play_all(seeds.clone(), threads);
        println!("seeds {seeds:?}: {total:#?}");
        if seeds == usual {
            self.assert_all_happened(&total);
        }
    }

    fn is_exact(self, seeds: u64) {
        count_panics();
        let (mut one, mut other) = (Server::new(), Server::new());
        for seed in 0..seeds {
            let (_, mut first) = self.play(&mut one, seed, true);
            // What ran before on the same thread makes no difference.
            drop(self.play(&mut other, seed + 100, false));
            let (_, mut second) = self.play(&mut other, seed, true);
            if self.is_sorted {
                [&mut first, &mut second].into_iter().for_each(|outcome| outcome.trace.sort());
            }
            let both = first.trace.iter().zip(&second.trace);
            let differs = both.clone().find(|(first, second)| first != second);
            assert_eq!(differs, None, "seed {seed}");
            assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
            assert!(first.trace.len() > 100, "seed {seed} has a trace");
        }
    }

    fn play(self, server: &mut Server, seed: u64, is_traced: bool) -> (String, Outcome) {
        PANICS.set(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.play)(server, seed, is_traced)));
        let (trial, mut outcome) = outcome.unwrap_or_else(|_| {
            *server = Server::new();
            let violations = vec!["the simulation itself has panicked".to_owned()];
            let (trace, counts) = (Vec::new(), BTreeMap::new());
            (format!("seed {seed}"), Outcome { violations, trace, counts })
        });
        if PANICS.get() > 0 {
            outcome.violations.push(format!("{} panics", PANICS.get()));
        }
        (trial, outcome)
    }

    fn play_all(self, seeds: Range<u64>, threads: u64) -> Counts {
        let next = AtomicU64::new(seeds.start);
        let (has_failed, total) = (AtomicBool::new(false), Mutex::new(Counts::new()));
        let is_over = AtomicBool::new(false);
        let under_way: Vec<_> = (0..threads).map(|_| AtomicU64::new(u64::MAX)).collect();
        thread::scope(|scope| {
            let workers: Vec<_> = under_way
                .iter()
                .map(|under_way| {
                    let (next, has_failed, total, seeds) = (&next, &has_failed, &total, &seeds);
                    scope.spawn(move || {
                        let mut server = Server::new();
                        while !has_failed.load(Ordering::Relaxed) {
                            let seed = next.fetch_add(1, Ordering::Relaxed);
                            if seed >= seeds.end {
                                break;
                            }
                            under_way.store(seed, Ordering::Relaxed);
                            if !self.passes(&mut server, seed, total) {
                                has_failed.store(true, Ordering::Relaxed);
                            }
                        }
                        under_way.store(u64::MAX, Ordering::Relaxed);
                    })
                })
                .collect();
            scope.spawn(|| tell(&is_over, &next, &seeds, &under_way));
            for worker in workers {
                drop(worker.join());
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(!has_failed.into_inner(), "a seed has failed: see above");
        total.into_inner().expect("no thread has panicked")
    }

    /// Plays a seed; again, to print what happened, where something is wrong.
    fn passes(self, server: &mut Server, seed: u64, total: &Mutex<Counts>) -> bool {
        let (_, outcome) = self.play(server, seed, false);
        let mut total = total.lock().expect("no thread has panicked");
        for (what, times) in outcome.counts {
            *total.entry(what).or_insert(0) += times;
        }
        if outcome.violations.is_empty() {
            return true;
        }
        let (trial, outcome) = self.play(server, seed, true);
        report(&trial, &outcome);
        let test = self.test;
        println!("SEED={seed} cargo test -p incumbent --lib {test} -- --nocapture replays it");
        false
    }

    /// So that nothing above is vacuous.
    fn assert_all_happened(self, total: &Counts) {
        let expected = self.expected.iter().copied().flatten();
        let missing: Vec<_> =
            expected.filter(|what| total.get(**what).is_none_or(|times| *times == 0)).collect();
        assert!(missing.is_empty(), "these never happened: {missing:?}");
    }
}

type Counts = BTreeMap<&'static str, u64>;

fn report(trial: &str, outcome: &Outcome) {
    println!("{trial}\nwhat happened:");
    for line in &outcome.trace {
        println!("  {line}");
    }
    for violation in &outcome.violations {
        println!("VIOLATED: {violation}");
    }
}

/// Says now and then how far it is. Ends the process where a seed does not end: somebody is woken again and again
/// at one moment, and no time passes.
fn tell(is_over: &AtomicBool, next: &AtomicU64, seeds: &Range<u64>, under_way: &[AtomicU64]) {
    let (start, mut told) = (Instant::now(), Instant::now());
    let mut since: Vec<_> = under_way.iter().map(|_| (u64::MAX, Instant::now())).collect();
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(5));
        for (seed, (known, since)) in under_way.iter().zip(&mut since) {
            let seed = seed.load(Ordering::Relaxed);
            if seed != *known {
                (*known, *since) = (seed, Instant::now());
            }
            if seed != u64::MAX && since.elapsed() > PATIENCE {
                eprintln!("seed {seed} has run for {PATIENCE:?}: no time passes in it");
                std::process::abort();
            }
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            let done = next.load(Ordering::Relaxed).min(seeds.end) - seeds.start;
            let a_seed = start.elapsed().as_secs_f64() * 1000.0 / done.max(1) as f64;
            eprintln!("{done} seeds of {seeds:?}, {a_seed:.1} ms each");
        }
    }
}

/// Also in tasks that nobody waits for; those of other tests do not count.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            usual(panic);
        }));
    });
}

/// A trial takes some milliseconds, and more on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
