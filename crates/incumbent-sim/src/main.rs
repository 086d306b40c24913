//! Runs seeds, and reports the results.

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use incumbent_sim::{Outcome, Tally, Trace};

/// Simulates elections under faults, and checks the properties that must hold.
///
/// Exit code: 0 if all properties hold, 1 if one does not hold, 2 if the command line is wrong.
#[derive(Parser)]
struct Args {
    /// Which seeds to run, as FIRST..END
    #[arg(long, default_value = "0..1000", value_name = "RANGE")]
    seeds: Seeds,

    /// Run this seed only
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,

    /// Print one line per event of --seed (columns: docs/testing.md)
    #[arg(long, requires = "seed")]
    trace: bool,

    /// How many threads run seeds [default: one per core]
    #[arg(long)]
    threads: Option<NonZeroUsize>,

    /// Also fail if a fault or an outcome never happened
    #[arg(long)]
    demand_all: bool,
}

#[derive(Clone, Copy)]
struct Seeds {
    first: u64,
    end: u64,
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, end) = text.split_once("..").ok_or("write FIRST..END")?;
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
        Ok(Self { first: number(first)?, end: number(end)? })
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seeds = args.seed.map_or(args.seeds, |seed| Seeds { first: seed, end: seed + 1 });
    if args.trace {
        let run = incumbent_sim::run(seeds.first, Trace::On);
        print(&run.trace.join("\n"));
        return if run.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let began = Instant::now();
    let total = run_all(seeds, args.threads);
    print(&summary(&total, began.elapsed()));
    let missing = total.tally.missing();
    if args.demand_all && !missing.is_empty() {
        print(&format!("never happened: {}", missing.join(", ")));
        return ExitCode::FAILURE;
    }
    if total.failed.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The results of many seeds.
struct Total {
    tally: Tally,
    runs: u64,
    threads: usize,
    /// The lowest seed that failed, among the seeds that were run.
    failed: Option<u64>,
}

/// Runs all `seeds`, or stops at the first failure.
fn run_all(seeds: Seeds, threads: Option<NonZeroUsize>) -> Total {
    let threads =
        threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let next = AtomicU64::new(seeds.first);
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Total { tally: Tally::NOTHING, runs: 0, threads, failed: None });
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(seeds, &next, &stop, &total));
        }
        show_progress(seeds, &next, &stop);
    });
    total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn work(seeds: Seeds, next: &AtomicU64, stop: &AtomicBool, total: &Mutex<Total>) {
    let (mut tally, mut runs, mut failed) = (Tally::NOTHING, 0, None);
    while !stop.load(Ordering::Relaxed) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            break;
        }
        let run = incumbent_sim::run(seed, Trace::Off);
        tally.add(&run.tally);
        runs += 1;
        if run.violation.is_some() {
            failed = Some(seed);
            stop.store(true, Ordering::Relaxed);
        }
    }
    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.tally.add(&tally);
    total.runs += runs;
    total.failed = total.failed.into_iter().chain(failed).min();
}

/// Shows progress often on a terminal, and rarely in a log.
fn show_progress(seeds: Seeds, next: &AtomicU64, stop: &AtomicBool) {
    let is_terminal = std::io::stderr().is_terminal();
    let pause = Duration::from_secs(if is_terminal { 1 } else { 60 });
    let mut shown = Instant::now();
    loop {
        let done = next.load(Ordering::Relaxed).min(seeds.end);
        if done >= seeds.end || stop.load(Ordering::Relaxed) {
            return;
        }
        if shown.elapsed() >= pause {
            let end = if is_terminal { "\r" } else { "\n" };
            eprint!("seed {done} of {}..{}{end}", seeds.first, seeds.end);
            shown = Instant::now();
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn summary(total: &Total, took: Duration) -> String {
    let Total { tally, runs, threads, failed } = total;
    let rate = tally.events as f64 / took.as_secs_f64();
    let list = |counts: &mut dyn Iterator<Item = (&'static str, u64)>| {
        counts.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!(
        "seeds       {runs}\nevents      {}\nper second  {rate:.0} on {threads} threads, in {:.1} s\n\
         terms       {}\nfaults      {}\noutcomes    {}\nviolations  {}",
        tally.events,
        took.as_secs_f64(),
        tally.count(Outcome::Term),
        list(&mut tally.faults()),
        list(&mut tally.outcomes()),
        u64::from(failed.is_some()),
    );
    if let Some(report) = failed.and_then(incumbent_sim::report) {
        text.push_str("\n\n");
        text.push_str(&report);
    }
    text
}

/// Ignores errors: if the reader has closed the output, it needs no more of it.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
