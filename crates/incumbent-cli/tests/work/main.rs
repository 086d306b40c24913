//! `incumbent work`, with real commands. `tests/faults` kills, freezes and cuts off such processes, with witnesses.

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod failing;
mod files;
mod moves;
mod numbers;
mod permits;
mod usage;

use std::process::Command;

use serde_json::{Value, json};
use support::process::{eventually, is_alive, pid, send};
use support::{Candidate, Cluster};

/// Says that it runs, for which task, and under which token.
const UP: &str = r#"echo "{\"event\":\"up\",\"task\":\"$INCUMBENT_TASK\",\"token\":$INCUMBENT_TOKEN,\"member\":\"$INCUMBENT_MEMBER\",\"pid\":$$,\"parent\":$PPID}";"#;
/// Says that it was asked to end, and does so.
const BYE: &str = r#"trap 'echo "{\"event\":\"bye\",\"task\":\"$INCUMBENT_TASK\",\"token\":$INCUMBENT_TOKEN}"; exit 0' TERM;"#;
/// Runs for ever, and lets the shell handle signals.
const WORK: &str = "while :; do sleep 1 & wait $!; done";
/// Ignores SIGTERM, as does its daemon, which has its own session.
const STUBBORN: &str = r#"trap '' TERM; (setsid sh -c 'echo "{\"event\":\"daemon\",\"task\":\"$INCUMBENT_TASK\",\"pid\":$$}"; while :; do sleep 1; done' &); while :; do sleep 1; done"#;

/// A member of this name, with these flags, which runs this shell script for each task.
fn start(cluster: &Cluster, member: &str, flags: &str, script: &str) -> Candidate {
    Candidate::start(command(cluster, member, flags, script))
}

fn command(cluster: &Cluster, member: &str, flags: &str, script: &str) -> Command {
    let mut command = cluster.command(&format!("work jobs --member {member} {flags} --"));
    command.args(["sh", "-c", script]);
    command
}

/// What says that it is up, and then works until it is asked to end.
fn worker() -> String {
    format!("{BYE} {UP} {WORK}")
}

/// The lines of this event, so far.
fn lines(candidate: &Candidate, event: &str) -> Vec<Value> {
    candidate.history().into_iter().filter(|line| line["event"] == event).collect()
}

/// The tasks of these lines, sorted, each once.
fn tasks(lines: &[Value]) -> Vec<&str> {
    let mut tasks: Vec<_> = lines.iter().filter_map(|line| line["task"].as_str()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    tasks
}

/// Waits until each of these tasks has begun here.
fn runs(candidate: &Candidate, expected: &[&str]) {
    eventually("the tasks run", || {
        let up = lines(candidate, "up");
        let begun = tasks(&up);
        expected.iter().all(|task| begun.contains(task))
    });
}

/// The newest line of this event about this task.
fn line(candidate: &Candidate, event: &str, task: &str) -> Value {
    let found = || lines(candidate, event).into_iter().rfind(|line| line["task"] == task);
    eventually(event, || found().is_some());
    found().unwrap()
}

/// Lists these tasks in the ConfigMap of the group.
fn list(cluster: &Cluster, tasks: &str) {
    let labels = json!({ "incumbent.dev/group": "jobs" });
    let config = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "jobs.config", "namespace": "default", "labels": labels },
        "data": { "tasks": tasks },
    });
    match cluster.stored(CONFIG) {
        Some(_) => cluster.patch(CONFIG, &json!({ "data": { "tasks": tasks } })),
        None => drop(cluster.server.create(config).unwrap()),
    }
}

const CONFIG: &str = "/api/v1/namespaces/default/configmaps/jobs.config";

/// Whether this member has given its seat back.
fn has_left(cluster: &Cluster, member: &str) -> bool {
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let seat = cluster.stored(&format!("{leases}/jobs.{member}")).unwrap();
    seat["spec"]["holderIdentity"].as_str().is_none_or(str::is_empty)
}

/// Whether this member holds its seat.
fn has_seat(cluster: &Cluster, member: &str) -> bool {
    let seat = format!("/apis/coordination.k8s.io/v1/namespaces/default/leases/jobs.{member}");
    let holder = |seat: Value| seat["spec"]["holderIdentity"].as_str().map(str::to_owned);
    cluster.stored(&seat).and_then(holder).is_some_and(|holder| !holder.is_empty())
}

/// What the table says.
fn table(cluster: &Cluster) -> String {
    let table = cluster.stored("/api/v1/namespaces/default/configmaps/jobs.tasks").unwrap();
    table["data"]["tasks"].as_str().unwrap_or_default().to_owned()
}
