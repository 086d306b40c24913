//! `incumbent sidecar --group`, as an application meets it: real processes, asked over HTTP.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod faults;
mod moves;
mod refusals;

use serde_json::Value;
use support::sidecar::Sidecar;

/// The tasks of this answer that are in this state, sorted.
fn in_state<'a>(answer: &'a Value, state: &str) -> Vec<&'a str> {
    let tasks = answer["tasks"].as_array().unwrap().iter();
    tasks.filter(|task| task["state"] == state).map(|task| task["name"].as_str().unwrap()).collect()
}

fn task<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let tasks = answer["tasks"].as_array().unwrap();
    tasks.iter().find(|task| task["name"] == name).unwrap_or_else(|| panic!("{name}: {answer}"))
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field}: {value}"))
}

/// When the answer or event was made, on the boot-time clock; or one millisecond later, because both are rounded down.
fn made_at(value: &Value) -> u64 {
    number(value, "validUntilBootMs") - number(value, "validForMs")
}

/// Waits until so many tasks run there. The answer counts as one to its application.
fn runs(sidecar: &Sidecar, count: usize) -> Value {
    sidecar.tasks_when("its tasks run", |answer| in_state(answer, "running").len() == count)
}

/// Whether this member holds its seat.
fn has_seat(cluster: &support::Cluster, member: &str) -> bool {
    let seat = format!("/apis/coordination.k8s.io/v1/namespaces/default/leases/jobs.{member}");
    let holder = |seat: Value| seat["spec"]["holderIdentity"].as_str().map(str::to_owned);
    cluster.stored(&seat).and_then(holder).is_some_and(|holder| !holder.is_empty())
}
