//! `incumbent run`, with real commands that misbehave.

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod ends;
mod faults;
mod kills;
mod losses;
mod once;
mod once_faults;
mod once_room;
mod plugin;
mod starved;
mod waits;

use serde_json::{Value, json};
use support::process::{eventually, is_alive, pid, send};
use support::testbed::Testbed;
use support::{Candidate, Cluster};

/// Says that it runs, as who, and under which token.
const UP: &str =
    r#"echo "{\"event\":\"up\",\"pid\":$$,\"parent\":$PPID,\"token\":$INCUMBENT_TOKEN}";"#;
/// Runs for ever, and lets the shell handle signals.
const WORK: &str = "while :; do sleep 1 & wait $!; done";

/// `incumbent run` with these flags and this shell script, which says `UP` itself or does so first.
fn start(cluster: &Cluster, flags: &str, script: &str) -> Candidate {
    let mut command = cluster.command(&format!("run --lock lease/job {flags} --"));
    let script = match script.contains(UP) {
        true => script.to_owned(),
        false => format!("{UP} {script}"),
    };
    command.args(["sh", "-c", &script]);
    Candidate::start(command)
}

/// The line of this event, whichever others came before and after.
fn line(candidate: &Candidate, event: &str) -> Value {
    let found = || candidate.history().into_iter().find(|line| line["event"] == event);
    eventually(event, || found().is_some());
    found().unwrap()
}

/// Asks john to hand over until jane leads, and returns her first words. Her turn lasts a tenth of a second, which
/// she may miss on a busy machine: then he leads again.
fn hand_over_to_jane(testbed: &Testbed, jane: &mut Candidate) -> Value {
    eventually("jane leads", || {
        let lease = testbed.stored("lease/job");
        let asked = &lease["metadata"]["annotations"]["incumbent.dev/hand-over-to"];
        if lease["spec"]["holderIdentity"] == "john" && asked.is_null() {
            let wish = json!({ "incumbent.dev/hand-over-to": "jane" });
            testbed.patch("lease/job", json!({ "metadata": { "annotations": wish } }));
        }
        jane.history().iter().any(|line| line["event"] == "up")
    });
    jane.event("up")
}

/// Who holds the lock, as `incumbent get` shows it.
fn holder(cluster: &Cluster) -> Value {
    let shown: Value = serde_json::from_str(&cluster.run("get job -o json").stdout).unwrap();
    shown[0]["holder"].clone()
}
