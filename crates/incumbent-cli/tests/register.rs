//! Processes that publish where they can be reached, and others that find them: real processes, a real server.

mod support;

use std::time::{Duration, Instant};

use incumbent_apiserver::Verb;
use serde_json::{Value, json};
use support::process::eventually;
use support::{Candidate, Cluster, Outcome};

fn start(cluster: &Cluster, name: &str, address: &str) -> Candidate {
    let arguments = format!("register configmap/peers --name {name} --address {address}");
    Candidate::start(cluster.command(&arguments))
}

fn members(cluster: &Cluster, flags: &str) -> Vec<(String, String)> {
    let outcome = cluster.run(&format!("members configmap/peers -o json {flags}"));
    let members: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    let text = |member: &Value, key: &str| member[key].as_str().unwrap().to_owned();
    let all = members.as_array().unwrap().iter();
    all.map(|member| (text(member, "name"), text(member, "address"))).collect()
}

fn with_a_board() -> Cluster {
    let cluster = Cluster::start();
    let metadata = json!({ "name": "peers", "namespace": "default" });
    let board = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
    cluster.server.create(board).unwrap();
    cluster
}

fn pair(name: &str, address: &str) -> (String, String) {
    (name.to_owned(), address.to_owned())
}

#[test]
fn a_process_is_found_for_as_long_as_it_runs() {
    let cluster = with_a_board();
    let mut john = start(&cluster, "john", "10.0.0.1:80");
    let mut jane = start(&cluster, "jane", "10.0.0.2:80");
    assert_eq!(john.event("registered")["address"], "10.0.0.1:80");
    jane.event("registered");
    assert_eq!(members(&cluster, ""), [pair("jane", "10.0.0.2:80"), pair("john", "10.0.0.1:80")]);
    assert_eq!(cluster.run("members configmap/peers jane").stdout, "10.0.0.2:80\n");
    let table = cluster.run("members configmap/peers").stdout;
    assert!(table.starts_with("NAME   ADDRESS       VALID"), "{table}");
    assert!(table.contains("<unknown>"), "no sign of life was seen: {table}");
    let none = cluster.run("members configmap/peers jim");
    assert_eq!(none.code, 5, "{none:?}");
    john.signal(rustix::process::Signal::TERM);
    assert_eq!(john.event("left")["name"], "john");
    assert_eq!(john.end(), 0);
    assert_eq!(members(&cluster, ""), [pair("jane", "10.0.0.2:80")]);
}

#[test]
fn a_killed_process_disappears_and_a_name_is_not_taken_from_a_living_one() {
    let cluster = with_a_board();
    let mut john = start(&cluster, "john", "10.0.0.1:80");
    let mut jane = start(&cluster, "jane", "10.0.0.2:80");
    john.event("registered");
    jane.event("registered");
    let twin = cluster.run("register configmap/peers --name jane --address 10.0.0.3:80");
    assert_eq!(twin.code, 6, "{twin:?}");
    john.kill();
    let began = Instant::now();
    assert_eq!(members(&cluster, "").len(), 2, "a single look cannot tell");
    assert_eq!(members(&cluster, "--sure"), [pair("jane", "10.0.0.2:80")]);
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

/// Its write is on the way to the API server when it is asked to end.
#[test]
fn a_process_that_ends_while_it_registers_leaves_no_entry_behind() {
    let cluster = with_a_board();
    cluster.server.faults().add("verb=update,resource=configmaps,late=1s".parse().unwrap());
    let mut john = start(&cluster, "john", "10.0.0.1:80");
    eventually("it has read, and writes", || cluster.server.requests().of(Verb::Get) > 0);
    john.signal(rustix::process::Signal::TERM);
    assert_eq!(john.event("left")["name"], "john");
    assert_eq!(john.end(), 0);
    assert_eq!(members(&cluster, ""), []);
}

#[test]
fn what_cannot_be_registered_is_told() {
    let cluster = Cluster::start();
    let run = |arguments: &str| -> Outcome { cluster.run(arguments) };
    assert_eq!(run("members group/none").code, 5);
    assert_eq!(run("members lease/a").code, 2);
    assert_eq!(run("register lease/a --name a --address b").code, 2);
    assert_eq!(run("register configmap/a --address b").code, 2, "without a name");
}
