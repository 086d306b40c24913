//! `get`, `status`, `pause`, `resume` and `trigger` of schedules, which real replicas run.

#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::sidecar::until;
use support::{Candidate, Cluster};

/// A replica whose command says for which tick it runs, and how often it was started.
fn replica(cluster: &Cluster, flags: &str) -> Candidate {
    let mut command = cluster.command(&format!("schedule {flags} --lease-duration 1s --"));
    command.args(["sh", "-c", r#"echo "{\"event\":\"ran\",\"tick\":\"$INCUMBENT_TICK\"}""#]);
    Candidate::start(command)
}

fn schedule(cluster: &Cluster, name: &str) -> Value {
    let outcome = cluster.run(&format!("status {name} -o json"));
    serde_json::from_str(&outcome.stdout).unwrap_or(Value::Null)
}

/// The schedule, once this is so.
fn when(cluster: &Cluster, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, || Some(schedule(cluster, name)).filter(|schedule| is_so(schedule)))
}

#[test]
fn a_schedule_is_shown_suspended_resumed_and_run_out_of_turn() {
    let cluster = Cluster::start();
    let mut replica = replica(&cluster, "--every 1h --name report");
    when(&cluster, "schedule/report", "there is a record", |it| it["state"] == "waiting");

    let row = cluster.run("get --schedules");
    assert_eq!(row.code, 0, "{row:?}");
    let cells: Vec<_> = row.stdout.lines().nth(1).unwrap().split("   ").map(str::trim).collect();
    let cells: Vec<_> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[..2], ["schedule/report", "Waiting"], "{row:?}");
    assert!(cells[2].starts_with("in "), "{row:?}");
    assert_eq!(cells[3..], ["<none>", "0", "every 60 min"], "{row:?}");
    assert_eq!(cluster.run("get schedule/report -o name").stdout.trim(), "schedule/report");

    let paused = cluster.run("pause schedule/report --dry-run");
    assert_eq!(
        (paused.code, schedule(&cluster, "schedule/report")["state"].clone()),
        (0, json!("waiting"))
    );
    let paused = cluster.run("pause schedule/report --yes");
    assert_eq!(paused.stdout.trim(), "schedule/report: suspended");
    assert_eq!(schedule(&cluster, "schedule/report")["state"], "suspended");
    assert_eq!(schedule(&cluster, "schedule/report")["next"], Value::Null);
    let again = cluster.run("pause schedule/report --yes");
    assert_eq!(again.stdout.trim(), "schedule/report: it was suspended already");

    // Also while it is suspended.
    let asked = cluster.run("trigger schedule/report");
    assert_eq!((asked.code, asked.stdout.trim()), (0, "schedule/report: a run was asked for"));
    replica.event("ran");
    let ended = |it: &Value| it["record"]["last"][0]["outcome"] == "succeeded";
    when(&cluster, "schedule/report", "the run has ended", ended);
    let page = cluster.run("status schedule/report");
    for line in ["suspended", "(asked for)", "succeeded", "0 ran, 0 missed"] {
        assert!(page.stdout.contains(line), "{line}: {page:?}");
    }
    let resumed = cluster.run("resume schedule/report --yes");
    assert_eq!(resumed.stdout.trim(), "schedule/report: resumed");
    assert_eq!(schedule(&cluster, "schedule/report")["state"], "waiting");
}

#[test]
fn what_does_not_exist_or_makes_no_sense_is_said() {
    let cluster = Cluster::start();
    for arguments in [
        "status schedule/none",
        "get schedule/none",
        "pause schedule/none",
        "trigger schedule/jobs/none",
    ] {
        let outcome = cluster.run(arguments);
        assert_eq!(outcome.code, 5, "{arguments}: {outcome:?}");
        assert!(outcome.stderr.contains("get --schedules"), "{arguments}: {outcome:?}");
    }
    for arguments in [
        "pause schedule/report --candidate a",
        "get schedule/report lease/scanner",
        "get schedule/report --watch",
        "status schedule/a/b/c",
        "trigger report",
    ] {
        let outcome = cluster.run(arguments);
        assert_eq!(outcome.code, 2, "{arguments}: {outcome:?}");
    }
    let none = cluster.run("get --schedules");
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert!(none.stderr.contains("no schedules in namespace default"), "{none:?}");
}

#[test]
fn a_record_with_a_mistake_is_shown_and_left_as_it_is() {
    let cluster = Cluster::start();
    let record = "{\"spec\":\"each day\"}";
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "jobs", "namespace": "default", "annotations": { "incumbent.dev/term": "{}" } },
        "data": { "report.schedule": record },
    });
    cluster.server.create(config_map).unwrap();
    let rows = cluster.run("get --schedules --no-headers");
    assert!(rows.stdout.starts_with("schedule/jobs/report   Unreadable"), "{rows:?}");
    let page = cluster.run("status schedule/jobs/report");
    assert!(page.stdout.contains("nothing runs") && page.stdout.contains("each day"), "{page:?}");
    let refused = cluster.run("pause schedule/jobs/report --yes");
    assert!(refused.code != 0 && refused.stderr.contains("cannot be read"), "{refused:?}");
    let stored = cluster.stored("/api/v1/namespaces/default/configmaps/jobs").unwrap();
    assert_eq!(stored["data"]["report.schedule"], record);
}
