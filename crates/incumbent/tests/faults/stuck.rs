//! A trial in which no time passes: somebody is woken again and again at one moment. Paused time does
//! not move while anybody is busy, so that it would never end.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::ledger::Ledger;

struct UnderWay {
    seed: u64,
    since: Instant,
    ledger: Ledger,
}

static UNDER_WAY: Mutex<Option<UnderWay>> = Mutex::new(None);

/// A trial begins, and with that the one before it is over.
pub(crate) fn begins(seed: u64, ledger: &Ledger) {
    let trial = UnderWay { seed, since: Instant::now(), ledger: ledger.clone() };
    *UNDER_WAY.lock().unwrap() = Some(trial);
}

/// From a thread of its own, for that of the trials is busy: says which one it is and what happened last,
/// and ends the process.
pub(crate) fn watch() {
    thread::spawn(|| {
        loop {
            thread::sleep(PATIENCE / 60);
            let trial = UNDER_WAY.lock().unwrap();
            let Some(trial) = trial.as_ref().filter(|trial| trial.since.elapsed() > PATIENCE)
            else {
                continue;
            };
            let trace = trial.ledger.close().trace;
            for line in trace.iter().skip(trace.len().saturating_sub(40)) {
                eprintln!("  {line}");
            }
            eprintln!("seed {} has run for {PATIENCE:?}: no time passes in it", trial.seed);
            std::process::abort();
        }
    });
}

/// A trial takes a quarter of a second, and some more on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
