//! A discrete-event simulator of elections under faults.
//!
//! It opens no socket, starts no thread and reads no clock. A [`run`] is a function of its seed:
//! the same seed gives the same trace, byte for byte. What runs in it is the very `Elector` that
//! runs in production; the driver, the watch, the work and the watchdog around it are modelled
//! after `crates/incumbent`, and the API server is a register that compares and swaps.
//!
//! Read [`properties`] for what must hold, `plan.rs` for what is drawn from a seed, then
//! `world.rs`. How to use it: `docs/testing.md`.

mod chance;
mod clock;
mod plan;
pub mod properties;
mod server;
mod tally;
mod world;

pub use plan::{Candidate, Plan};
pub use properties::Violation;
pub use tally::{Fault, Outcome, Tally};

/// What came of one seed.
#[derive(Debug)]
pub struct Run {
    /// What was drawn from the seed.
    pub plan: Plan,
    /// What happened, counted.
    pub tally: Tally,
    /// The first property that did not hold; the run ends there.
    pub violation: Option<Violation>,
    /// One line per event, where it was asked for.
    pub trace: Vec<String>,
}

/// Whether a run writes down what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Every event.
    On,
    /// Nothing, which is faster.
    Off,
}

/// Simulates one election, with all that is drawn from `seed`.
pub fn run(seed: u64, trace: Trace) -> Run {
    world::World::new(Plan::from_seed(seed), trace).run()
}

/// The last lines of a trace that a report of a failure shows.
const LAST_LINES: usize = 20;

/// All that is needed to understand and replay a violation; `None` where all properties hold.
pub fn report(seed: u64) -> Option<String> {
    let run = run(seed, Trace::On);
    let violation = run.violation?;
    let first = run.trace.len().saturating_sub(LAST_LINES);
    let happened: Vec<String> = run.tally.faults().map(|(name, n)| format!("{name} {n}")).collect();
    Some(format!(
        "seed       {seed}\nproperty   {} ({})\nviolation  {}\nplan       {}\nfaults     {}\n\n{}\n\n\
         replay     cargo run --release -p incumbent-sim -- --seed {seed} --trace",
        violation.property.name,
        violation.property.source,
        violation.detail,
        run.plan,
        happened.join(", "),
        run.trace[first..].join("\n"),
    ))
}
