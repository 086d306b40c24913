//! What others write, what nobody needs any more, and what cannot be understood: how the commands answer.

mod support;

use serde_json::{Value, json};
use support::dashboard::Dashboard;
use support::{Cluster, Outcome, incumbent};

fn lease(cluster: &Cluster, name: &str, spec: Value) {
    let metadata = json!({ "name": name, "namespace": "default" });
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
    });
    cluster.server.create(lease).unwrap();
}

fn ago(minutes: i64) -> String {
    format!("{:.6}", jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes))
}

#[test]
fn a_name_of_any_length_and_with_any_tricks_is_cut_and_harmless_in_every_command() {
    let cluster = Cluster::start();
    let tricks = format!("\u{1b}[31m\u{202e}{}", "h".repeat(70_000));
    let spec = json!({
        "holderIdentity": tricks, "leaseDurationSeconds": 3600, "renewTime": ago(0),
        "acquireTime": ago(1),
    });
    lease(&cluster, "long", spec);
    let board = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "board", "namespace": "default" }, "data": { "leader": tricks },
    });
    cluster.server.create(board).unwrap();
    let commands = [
        "get",
        "get -o wide",
        "get -A -o wide",
        "status LOCK",
        "history LOCK",
        "check LOCK",
        "wait LOCK --timeout 50ms",
        "wait LOCK --for released --timeout 50ms",
        "doctor",
        "step-down LOCK --dry-run",
        "pause LOCK --dry-run",
        "resume LOCK --dry-run",
        "claim configmap/board --identity jane",
        "claim configmap/board --identity jane --release",
    ];
    for command in commands {
        for lock in ["lease/long", "configmap/board"] {
            let outcome = cluster.run(&command.replace("LOCK", lock));
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(!said.contains("panicked") && !said.contains(['\u{1b}', '\u{202e}']), "{said}");
            let longest = said.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(longest < 900, "{command} {lock}: a line of {longest} characters");
        }
    }
    for command in ["get -o json", "status lease/long -o json", "history lease/long -o json"] {
        let outcome = cluster.run(command);
        assert!(!outcome.stdout.contains(['\u{1b}', '\u{202e}']), "{command}");
        assert!(outcome.stdout.contains(&"h".repeat(70_000)), "a program is told the whole name");
    }
}

#[test]
fn of_two_locks_of_which_one_is_missing_the_other_is_shown_and_the_code_tells() {
    let cluster = Cluster::start();
    lease(&cluster, "there", json!({}));
    for (output, shown) in [("table", "lease/there"), ("name", "lease/there\n"), ("json", "vacant")]
    {
        let outcome = cluster.run(&format!("get there missing gone -o {output}"));
        assert!(outcome.stdout.contains(shown), "{outcome:?}");
        assert_eq!(outcome.code, 5, "{outcome:?}");
        for name in ["missing", "gone"] {
            let said = format!("lease/{name} in namespace default does not exist");
            assert!(outcome.stderr.contains(&said), "{outcome:?}");
        }
    }
    let none = cluster.run("get missing -o json");
    assert_eq!((none.code, none.stdout.as_str()), (5, ""), "{none:?}");
}

#[test]
fn a_lock_that_cannot_be_read_as_one_is_a_usage_error_before_anything_is_asked() {
    for lock in ["pod/x", "lease/Bad_Name", "configmap/b:a/b", "lease/"] {
        for command in [
            "get LOCK",
            "status LOCK",
            "check LOCK",
            "wait LOCK",
            "watch LOCK",
            "history LOCK",
            "step-down LOCK",
            "pause LOCK",
            "resume LOCK",
            "doctor --lock LOCK",
            "elect --lock LOCK",
            "run --lock LOCK -- true",
            "once LOCK -- true",
            "claim LOCK --identity john",
            "sidecar --lock LOCK",
            "dashboard LOCK",
            "manifests --lock LOCK",
        ] {
            let mut command = incumbent(&command.replace("LOCK", lock));
            let outcome = Outcome::of(command.env("KUBECONFIG", "/none").output().unwrap());
            assert_eq!(outcome.code, 2, "{command:?}: {outcome:?}");
            assert!(outcome.stderr.contains("  hint: "), "{command:?}: {outcome:?}");
        }
    }
    let bare = Outcome::of(incumbent("once jobs -- true").output().unwrap());
    assert_eq!(bare.code, 2, "{bare:?}");
    for flag in ["--image", "--incumbent-image"] {
        let mut command = incumbent("manifests --lock lease/a");
        let outcome = Outcome::of(command.args([flag, ""]).output().unwrap());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{outcome:?}");
    }
}

#[test]
fn a_vacant_lock_that_nobody_has_used_for_an_hour_is_shown_to_who_asks_for_it() {
    let cluster = Cluster::start();
    let vacant = |renewed: i64| json!({ "holderIdentity": "", "renewTime": ago(renewed) });
    lease(&cluster, "old", vacant(120));
    lease(&cluster, "recent", vacant(30));
    lease(&cluster, "never", json!({}));
    lease(&cluster, "paused", vacant(120));
    cluster.patch(
        "/apis/coordination.k8s.io/v1/namespaces/default/leases/paused",
        &json!({ "metadata": { "annotations": { "incumbent.dev/cordon": "*" } } }),
    );
    let shown = |arguments: &str| {
        let outcome = cluster.run(&format!("get -o name {arguments}"));
        (outcome.stdout.replace("lease/", ""), outcome.stderr)
    };
    let (names, said) = shown("");
    assert_eq!(names, "never\npaused\nrecent\n");
    assert!(said.contains("1 vacant lock that was not used in the last hour: see --all"), "{said}");
    assert_eq!(shown("--all"), ("never\nold\npaused\nrecent\n".to_owned(), String::new()));
    assert_eq!(shown("old").0, "old\n");

    let dashboard = Dashboard::start(cluster.command("dashboard"));
    let state = dashboard.get("/api/state").json();
    assert_eq!((&state["leftOver"], state["elections"].as_array().unwrap().len()), (&json!(1), 3));
    assert!(dashboard.get("/").body.contains("see --all"));
    let all = Dashboard::start(cluster.command("dashboard --all"));
    assert_eq!(all.get("/api/state").json()["elections"].as_array().unwrap().len(), 4);

    let doctor = cluster.run("doctor -o json");
    let findings: Value = serde_json::from_str(&doctor.stdout).unwrap();
    let finding = findings["checks"].as_array().unwrap().iter();
    let finding = finding.clone().find(|one| one["check"] == "left-over");
    let hint = finding.unwrap_or_else(|| panic!("{doctor:?}"))["hint"].to_string();
    assert!(hint.contains("kubectl -n default delete lease old"), "{hint}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_task_that_is_done_leaves_its_record_and_nothing_of_its_election() {
    let cluster = Cluster::start();
    for (key, command, code) in [("a", "true", 0), ("b", "false", 1), ("leader", "true", 0)] {
        assert_eq!(cluster.run(&format!("once configmap/jobs:{key} -- {command}")).code, code);
    }
    let jobs = cluster.stored("/api/v1/namespaces/default/configmaps/jobs").unwrap();
    let keys: Vec<_> = jobs["data"].as_object().unwrap().keys().collect();
    // The key `leader` is that of other programs' elections, too, and stays as it is.
    assert_eq!(keys, ["a.once", "b.once", "leader", "leader.once"], "{jobs}");
    let annotations = jobs["metadata"]["annotations"].to_string();
    assert!(!annotations.contains(".a\"") && !annotations.contains(".b\""), "{annotations}");
    assert_eq!(cluster.run("once configmap/jobs:a -- false").code, 0, "it is still known");
}
