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
use incumbent_sim::groups::{self, GroupTally};
use incumbent_sim::schedules::{self, ScheduleTally};
use incumbent_sim::{Outcome, Tally, Trace};

/// Simulates elections, groups or schedules under faults, and checks the properties that must hold.
///
/// Exit code: 0 if all properties hold, 1 if one does not hold, 2 if the command line is wrong.
#[derive(Parser)]
struct Args {
    /// Simulate groups: members that share tasks
    #[arg(long)]
    groups: bool,

    /// Simulate schedules: one run per tick
    #[arg(long, conflicts_with = "groups")]
    schedules: bool,

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

/// What plays seeds: elections, groups or schedules.
trait Simulation {
    type Counts: Counts;

    fn run(seed: u64, trace: Trace) -> Played<Self::Counts>;

    fn report(seed: u64) -> Option<String>;
}

/// What happened in some seeds.
trait Counts: Send {
    const NOTHING: Self;

    fn add(&mut self, other: &Self);

    fn events(&self) -> u64;

    fn missing(&self) -> Vec<&'static str>;

    /// The lines of the summary, each with its title.
    fn lines(&self) -> Vec<(&'static str, String)>;
}

/// The result of one seed.
struct Played<C> {
    counts: C,
    has_failed: bool,
    trace: Vec<String>,
}

struct Elections;

impl Simulation for Elections {
    type Counts = Tally;

    fn run(seed: u64, trace: Trace) -> Played<Tally> {
        let run = incumbent_sim::run(seed, trace);
        Played { counts: run.tally, has_failed: run.violation.is_some(), trace: run.trace }
    }

    fn report(seed: u64) -> Option<String> {
        incumbent_sim::report(seed)
    }
}

impl Counts for Tally {
    const NOTHING: Self = Self::NOTHING;

    fn add(&mut self, other: &Self) {
        self.add(other);
    }

    fn events(&self) -> u64 {
        self.events
    }

    fn missing(&self) -> Vec<&'static str> {
        self.missing()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("terms", self.count(Outcome::Term).to_string()),
            ("faults", list(self.faults())),
            ("outcomes", list(self.outcomes())),
        ]
    }
}

struct Groups;

impl Simulation for Groups {
    type Counts = GroupTally;

    fn run(seed: u64, trace: Trace) -> Played<GroupTally> {
        let run = groups::run(seed, trace);
        Played { counts: run.tally, has_failed: run.broken.is_some(), trace: run.trace }
    }

    fn report(seed: u64) -> Option<String> {
        groups::report(seed)
    }
}

impl Counts for GroupTally {
    const NOTHING: Self = Self::NOTHING;

    fn add(&mut self, other: &Self) {
        self.add(other);
    }

    fn events(&self) -> u64 {
        self.events
    }

    fn missing(&self) -> Vec<&'static str> {
        self.missing()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("excused", self.excused.to_string()),
            ("faults", list(self.faults())),
            ("steps", list(self.steps())),
        ]
    }
}

struct Schedules;

impl Simulation for Schedules {
    type Counts = ScheduleTally;

    fn run(seed: u64, trace: Trace) -> Played<ScheduleTally> {
        let run = schedules::run(seed, trace);
        Played { counts: run.tally, has_failed: run.breach.is_some(), trace: run.trace }
    }

    fn report(seed: u64) -> Option<String> {
        schedules::report(seed)
    }
}

impl Counts for ScheduleTally {
    const NOTHING: Self = Self::NOTHING;

    fn add(&mut self, other: &Self) {
        self.add(other);
    }

    fn events(&self) -> u64 {
        self.events
    }

    fn missing(&self) -> Vec<&'static str> {
        self.missing()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("ticks", format!("{}, {} writes", self.ticks, self.writes)),
            ("faults", list(self.faults())),
            ("steps", list(self.steps())),
        ]
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match (args.groups, args.schedules) {
        (true, _) => simulate::<Groups>(&args),
        (_, true) => simulate::<Schedules>(&args),
        _ => simulate::<Elections>(&args),
    }
}

fn simulate<S: Simulation>(args: &Args) -> ExitCode {
    let seeds = args.seed.map_or(args.seeds, |seed| Seeds { first: seed, end: seed + 1 });
    if args.trace {
        let run = S::run(seeds.first, Trace::On);
        print(&run.trace.join("\n"));
        return if run.has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let began = Instant::now();
    let total = run_all::<S>(seeds, args.threads);
    print(&summary::<S>(&total, began.elapsed()));
    let missing = total.counts.missing();
    if args.demand_all && !missing.is_empty() {
        print(&format!("never happened: {}", missing.join(", ")));
        return ExitCode::FAILURE;
    }
    if total.failed.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The results of many seeds.
struct Total<C> {
    counts: C,
    runs: u64,
    threads: usize,
    /// The lowest seed that failed, among the seeds that were run.
    failed: Option<u64>,
}

/// Runs all `seeds`, or stops at the first failure.
fn run_all<S: Simulation>(seeds: Seeds, threads: Option<NonZeroUsize>) -> Total<S::Counts> {
    let threads =
        threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let next = AtomicU64::new(seeds.first);
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Total { counts: S::Counts::NOTHING, runs: 0, threads, failed: None });
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work::<S>(seeds, &next, &stop, &total));
        }
        show_progress(seeds, &next, &stop);
    });
    total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn work<S: Simulation>(
    seeds: Seeds,
    next: &AtomicU64,
    stop: &AtomicBool,
    total: &Mutex<Total<S::Counts>>,
) {
    let _guard = StopsOnPanic(stop);
    let (mut counts, mut runs, mut failed) = (S::Counts::NOTHING, 0, None);
    while !stop.load(Ordering::Relaxed) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            break;
        }
        let run = S::run(seed, Trace::Off);
        counts.add(&run.counts);
        runs += 1;
        if run.has_failed {
            failed = Some(seed);
            stop.store(true, Ordering::Relaxed);
        }
    }
    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.counts.add(&counts);
    total.runs += runs;
    total.failed = total.failed.into_iter().chain(failed).min();
}

/// Without it, everybody would wait for the seeds of a thread that is gone.
struct StopsOnPanic<'a>(&'a AtomicBool);

impl Drop for StopsOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
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

fn summary<S: Simulation>(total: &Total<S::Counts>, took: Duration) -> String {
    let Total { counts, runs, threads, failed } = total;
    let rate = counts.events() as f64 / took.as_secs_f64();
    let mut text = format!(
        "seeds       {runs}\nevents      {}\nper second  {rate:.0} on {threads} threads, in {:.1} s\n",
        counts.events(),
        took.as_secs_f64(),
    );
    for (title, line) in counts.lines() {
        text.push_str(&format!("{title:<11} {line}\n"));
    }
    text.push_str(&format!("violations  {}", u64::from(failed.is_some())));
    if let Some(report) = failed.and_then(S::report) {
        text.push_str("\n\n");
        text.push_str(&report);
    }
    text
}

fn list(counts: impl Iterator<Item = (&'static str, u64)>) -> String {
    counts.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

/// Ignores errors: if the reader has closed the output, it needs no more of it.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
