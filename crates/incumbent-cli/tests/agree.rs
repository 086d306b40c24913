//! What the tools say of one lock at one moment: the same, and nothing that was not seen.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use support::dashboard::Dashboard;
use support::sidecar::until;
use support::{Candidate, Cluster, Outcome};

/// The locks, with the state of each and whom it names.
const LOCKS: [(&str, &str, Option<&str>); 4] = [
    ("lease/frozen", "held", Some("john")),
    ("lease/vacant", "vacant", None),
    ("configmap/claimed", "claimed", Some("jane")),
    ("lease/expired", "expired", Some("jack")),
];

fn create_locks(cluster: &Cluster) {
    let lease = |name: &str, spec: Value| {
        let metadata = json!({ "name": name, "namespace": "default" });
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
        });
        cluster.server.create(lease).unwrap();
    };
    lease("vacant", json!({}));
    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(10);
    let spec = json!({
        "holderIdentity": "jack", "leaseDurationSeconds": 15,
        "acquireTime": format!("{long_ago:.6}"), "renewTime": format!("{long_ago:.6}"),
    });
    lease("expired", spec);
    let board = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "claimed", "namespace": "default" }, "data": { "leader": "jane" },
    });
    cluster.server.create(board).unwrap();
}

/// `watch`, with the lines that it prints.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn start(cluster: &Cluster) -> Self {
        let mut command = cluster.command("watch -o json");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line of this kind about each lock.
    fn all(&mut self, event: &str) -> Vec<Value> {
        let mut told: Vec<Value> = Vec::new();
        while told.len() < LOCKS.len() {
            let line = self.lines.next().expect("the watch goes on").unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["event"] == event {
                told.push(line);
            }
        }
        told
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn json_of(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
}

/// What each of them says of a lock now, as JSON.
fn said(
    cluster: &Cluster,
    dashboard: &Dashboard,
    watch: &[Value],
    lock: &str,
) -> [(&'static str, Value); 5] {
    let run = |command: &str| json_of(&cluster.run(&format!("{command} {lock} -o json")));
    let of_watch = watch.iter().find(|line| line["lock"] == lock).unwrap().clone();
    [
        ("page", dashboard.get(&format!("/api/lock/default/{lock}")).json()),
        ("get", run("get")[0].clone()),
        ("status", run("status")),
        ("history", run("history")),
        ("watch", of_watch),
    ]
}

#[test]
fn all_tools_say_the_same_of_a_lock_and_nothing_that_was_not_seen() {
    let mut cluster = Cluster::start();
    create_locks(&cluster);
    // Renewed every 20 s: what follows takes less than the 40 s after which it would be late.
    let elect = "elect --lock lease/frozen --identity john --lease-duration 60s --events";
    let mut john = Candidate::start(cluster.command(elect));
    john.event("leading");
    let dashboard = Dashboard::start(cluster.command("dashboard"));
    dashboard.when("lease/frozen", "it is seen", |lock| lock["state"] == "held");
    john.signal(rustix::process::Signal::STOP);
    let mut watch = Watch::start(&cluster);
    let now = watch.all("now");

    for (lock, state, holder) in LOCKS {
        let leader = holder.filter(|_| state != "expired");
        for (who, said) in said(&cluster, &dashboard, &now, lock) {
            let seen = (&said["state"], &said["holder"], &said["leader"]);
            assert_eq!(seen, (&json!(state), &json!(holder), &json!(leader)), "{who}: {said}");
            // A name on a board and a vacancy are what the API server says. That one lives or has died is,
            // after one look, a guess by wall clocks; the page alone may have seen more.
            let evidence = said["evidence"].as_str().unwrap();
            let is_known = match state {
                "vacant" | "claimed" => evidence == "record",
                _ => evidence == "clocks" || (who == "page" && evidence == "watched"),
            };
            assert!(is_known, "{who} cannot know that of {lock}: {said}");
            assert_eq!(said["isCertain"], evidence != "clocks", "{who}: {said}");
            assert!(said["evidenceAgeMs"].is_u64(), "{who}: {said}");
            no_invention(who, state, &said);
        }
        words(&cluster, &dashboard, lock, state);
    }

    cluster.stop();
    let unknown = watch.all("unknown");
    for (lock, _, holder) in LOCKS {
        let page = until("the page knows that it sees nothing", || {
            let page = dashboard.get(&format!("/api/lock/default/{lock}")).json();
            (page["state"] == "unknown").then_some(page)
        });
        let told = unknown.iter().find(|line| line["lock"] == lock).unwrap();
        for said in [&page, told] {
            let seen = (&said["state"], &said["holder"], &said["leader"], &said["evidence"]);
            let known = (&json!("unknown"), &json!(holder), &Value::Null, &json!("none"));
            assert_eq!(seen, known, "{said}");
            assert_eq!(said["isCertain"], false, "{said}");
        }
        for command in ["get", "status", "history", "check"] {
            let outcome = cluster.run(&format!("{command} {lock} --request-timeout 5s"));
            assert_eq!((outcome.code, outcome.stdout.as_str()), (3, ""), "{command}: {outcome:?}");
        }
    }
    john.signal(rustix::process::Signal::CONT);
}

/// What they tell of the terms of a lock.
fn no_invention(who: &str, state: &str, said: &Value) {
    let Some(terms) = said["terms"].as_array() else { return };
    let term = terms.last();
    match (state, term) {
        ("vacant", None) => {}
        ("claimed", Some(term)) => {
            assert_eq!(
                term["began"]["earliest"],
                Value::Null,
                "{who}: a claim has no date: {term}"
            );
            assert_eq!(term["ended"], Value::Null, "{who}: {term}");
        }
        ("held", Some(term)) => {
            assert!(term["began"]["earliest"].is_string(), "{who}: {term}");
            assert_eq!(term["began"]["earliest"], term["began"]["latest"], "{who}: {term}");
            assert_eq!(term["ended"], Value::Null, "{who}: nobody saw it end: {term}");
        }
        ("expired", Some(term)) => {
            assert_eq!(term["how"], "fell silent", "{who}: {term}");
            assert_ne!(term["ended"]["earliest"], term["ended"]["latest"], "{who}: {term}");
        }
        _ => panic!("{who}: {said}"),
    }
}

/// The same for people.
fn words(cluster: &Cluster, dashboard: &Dashboard, lock: &str, state: &str) {
    let (get, status) =
        (cluster.run(&format!("get {lock}")), cluster.run(&format!("status {lock}")));
    let (check, history) =
        (cluster.run(&format!("check {lock}")), cluster.run(&format!("history {lock}")));
    let page = dashboard.get(&format!("/lock/default/{lock}")).body;
    let (word, code, words) = match state {
        "held" => ("Held~", 0, "john leads~"),
        "vacant" => ("Vacant", 1, "no leader"),
        "claimed" => ("Claimed", 0, "jane claims it"),
        _ => ("Expired~", 1, "no leader~: no renewal of jack for 10m"),
    };
    assert!(get.stdout.contains(word), "{get:?}");
    assert!(status.stdout.contains(&format!("State        {word}: ")), "{status:?}");
    assert_eq!(check.code, code, "{check:?}");
    assert!(check.stdout.contains(words), "{check:?}");
    assert!(page.contains(&format!(r#"data-state="{}""#, word.trim_end_matches('~'))), "{page}");
    // What would be refused is not offered.
    let offers = |command: &str| page.contains(&format!("incumbent {command} -n default {lock}"));
    let offered = (offers("step-down"), offers("pause"), offers("claim"));
    let expected = match state {
        "held" => (true, true, false),
        "claimed" => (false, false, true),
        "vacant" => (false, true, false),
        _ => (false, false, false), // Another program's.
    };
    assert_eq!(offered, expected, "{lock}");
    match state {
        "vacant" => assert!(history.stderr.contains("nothing is known"), "{history:?}"),
        "expired" => assert!(history.stdout.contains("fell silent"), "{history:?}"),
        "claimed" => assert!(history.stdout.contains("before 20"), "{history:?}"),
        _ => assert!(history.stdout.contains(word), "{history:?}"),
    }
}
