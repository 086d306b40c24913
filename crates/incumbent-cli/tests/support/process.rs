//! Processes that a command has started, as their own words name them.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The process that this line names under `of`.
pub(crate) fn pid(line: &Value, of: &str) -> Pid {
    Pid::from_raw(line[of].as_i64().unwrap().try_into().unwrap()).unwrap()
}

pub(crate) fn send(line: &Value, of: &str, signal: Signal) {
    kill_process(pid(line, of), signal).unwrap();
}

/// Whether a process runs, or is stopped; a zombie does not.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let state = stat.ok().and_then(|stat| stat.rsplit(')').next()?.trim().chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// Waits until it is so, for a minute at most.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
