//! A discrete-event simulator of elections under faults.
//!
//! It opens no socket, starts no thread and reads no clock. A [`run`] is a function of its seed:
//! the same seed gives the same trace, byte for byte. It runs the same `Elector` that runs in
//! production. The driver, the watch, the work and the watchdog around it are modelled after
//! `crates/incumbent`. The API server is a register with compare-and-swap.
//!
//! Read [`properties`] for the rules that must hold, `plan.rs` for the choices that are drawn from
//! a seed, and then `world.rs`. To learn how to use the simulator, read `docs/testing.md`.

mod chance;
mod clock;
pub mod groups;
mod plan;
pub mod properties;
pub mod schedules;
mod server;
mod tally;
mod world;

pub use plan::{Candidate, Plan};
pub use properties::Violation;
pub use tally::{Fault, Outcome, Tally};

/// The result of one seed.
#[derive(Debug)]
pub struct Run {
    /// The choices that were drawn from the seed.
    pub plan: Plan,
    /// Counts of what happened.
    pub tally: Tally,
    /// The first property that did not hold. The run ends there.
    pub violation: Option<Violation>,
    /// One line per event, if a trace was requested.
    pub trace: Vec<String>,
}

/// Whether a run records its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Record every event.
    On,
    /// Record nothing, which is faster.
    Off,
}

/// Simulates one election with everything that is drawn from `seed`.
pub fn run(seed: u64, trace: Trace) -> Run {
    world::World::new(Plan::from_seed(seed), trace).run()
}

/// How many lines of the trace, from its end, a failure report shows.
const LAST_LINES: usize = 20;

/// Everything that you need to understand and replay a violation; `None` if all properties hold.
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
