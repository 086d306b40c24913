//! `incumbent doctor` against servers where something is wrong.

mod support;

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Candidate, Cluster, Outcome, incumbent};

/// What doctor finds: its exit code, and for each check the level and the message.
fn doctor(command: &mut Command) -> (i32, Vec<Value>) {
    let outcome = Outcome::of(command.args(["-o", "json"]).output().unwrap());
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["passed"], outcome.code == 0, "{report:#}");
    (outcome.code, report["checks"].as_array().unwrap().clone())
}

fn levels<'a>(checks: &'a [Value], check: &str) -> Vec<&'a str> {
    let of_it = checks.iter().filter(|finding| finding["check"] == check);
    of_it.map(|finding| finding["level"].as_str().unwrap()).collect()
}

#[test]
fn an_election_that_goes_on_is_well() {
    let cluster = Cluster::start();
    let mut john = Candidate::start(cluster.command("elect --lock lease/scanner --identity john"));
    john.event("leading");
    for arguments in ["doctor", "doctor --lock scanner", "doctor --lock lease/scanner"] {
        let (code, checks) = doctor(&mut cluster.command(arguments));
        assert_eq!(code, 0, "{checks:#?}");
        let all: Vec<_> = checks.iter().map(|finding| finding["level"].as_str().unwrap()).collect();
        assert_eq!(all, ["OK"; 6], "{checks:#?}");
    }
    let text = cluster.run("doctor").stdout;
    assert!(text.starts_with("OK    server      the API server answers (Kubernetes v1."), "{text}");
    let requests = cluster.server.requests();
    assert_eq!(requests.of(incumbent_apiserver::Verb::Patch), 0, "it changes nothing");
    john.kill();
}

/// A kubeconfig of an account with these rules.
fn as_account(cluster: &Cluster, rules: Value) -> Command {
    let token =
        cluster.server.service_account_token("default", "scanner", Duration::from_secs(600));
    let metadata = json!({ "name": "scanner", "namespace": "default" });
    let rbac = "rbac.authorization.k8s.io";
    let api = format!("{rbac}/v1");
    let role = json!({ "apiVersion": api, "kind": "Role", "metadata": metadata, "rules": rules });
    let binding = json!({
        "apiVersion": api, "kind": "RoleBinding", "metadata": metadata,
        "roleRef": { "apiGroup": rbac, "kind": "Role", "name": "scanner" },
        "subjects": [{ "kind": "ServiceAccount", "name": "scanner", "namespace": "default" }],
    });
    cluster.server.create(role).unwrap();
    cluster.server.create(binding).unwrap();
    let kubeconfig = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    let admin = cluster.server.admin_token();
    assert!(kubeconfig.contains(admin));
    let file = cluster.folder.path().join("restricted");
    std::fs::write(&file, kubeconfig.replace(admin, &token)).unwrap();
    let mut command = incumbent("doctor");
    command.env("KUBECONFIG", file);
    command
}

#[test]
fn the_rights_that_an_account_lacks_are_told_as_rules_to_copy() {
    let cluster = Cluster::start();
    let rules = json!([{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
        "resourceNames": ["scanner"], "verbs": ["get"] }]);
    let mut command = as_account(&cluster, rules);
    let (code, checks) = doctor(command.args(["--lock", "lease/scanner"]));
    assert_eq!(code, 1);
    let server = checks[0]["message"].as_str().unwrap();
    assert!(server.ends_with("as system:serviceaccount:default:scanner"), "{server}");
    // It may not update, nor make the lock, which is missing; nor watch; nor what is optional.
    assert_eq!(levels(&checks, "rights"), ["FAIL", "FAIL", "WARN", "SKIP"], "{checks:#?}");
    let hint = checks[1]["hint"].as_str().unwrap();
    let rule = "- apiGroups: [\"coordination.k8s.io\"]\n  resources: [\"leases\"]\n  \
                resourceNames: [\"scanner\"]\n  verbs: [\"update\"]";
    assert_eq!(hint, format!("this is missing in a Role of namespace default:\n{rule}"));
}

#[test]
fn an_account_that_may_see_nothing_is_told_what_to_name() {
    let cluster = Cluster::start();
    let mut command = as_account(&cluster, json!([]));
    let (code, checks) = doctor(&mut command);
    assert_eq!((code, levels(&checks, "locks")), (0, vec!["SKIP"]), "{checks:#?}");
    assert_eq!(checks.last().unwrap()["hint"], "name them: --lock lease/NAME");
}

/// A server process that ends with the test.
struct Server {
    child: Child,
    kubeconfig: tempfile::TempPath,
}

impl Server {
    fn start(faults: &str) -> Self {
        let kubeconfig = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut child = incumbent(&format!("dev-server {faults} --kubeconfig"))
            .arg(&kubeconfig)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The first line says that it listens, and all has been written before it.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self { child, kubeconfig }
    }

    fn doctor(&self, arguments: &str) -> Command {
        let mut command = incumbent(&format!("doctor {arguments}"));
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_that_is_too_slow_for_the_timing_is_found_out() {
    let server = Server::start("--latency 150ms");
    let (code, checks) = doctor(&mut server.doctor("--preset patient"));
    assert_eq!((code, levels(&checks, "latency")), (0, vec!["OK"]), "{checks:#?}");
    // A request is given up after 0.167 s, and at 150 ms all take more than half of that, or too long.
    let (_, checks) = doctor(&mut server.doctor("--lease-duration 1s"));
    assert_ne!(levels(&checks, "latency"), ["OK"], "{checks:#?}");
}

#[test]
fn what_was_left_behind_is_found() {
    let cluster = Cluster::start();
    let lease = |name: &str, annotations: Value, spec: Value| {
        let metadata = json!({ "name": name, "namespace": "default", "annotations": annotations });
        let object = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": metadata, "spec": spec });
        cluster.server.create(object).unwrap();
    };
    let held = |by: &str, seconds: u32| {
        let renewed = "2026-01-01T00:00:00.000000Z";
        json!({ "holderIdentity": by, "leaseDurationSeconds": seconds, "renewTime": renewed })
    };
    lease("absurd", json!({}), held("john", 2_000_000_000));
    lease("orphan", json!({ "incumbent.dev/cordon": "jane_1" }), held("jack", 15));
    lease("paused", json!({ "incumbent.dev/cordon": "*" }), json!({}));
    // The record is from the future: its holder's clock is off, and that hurts nobody.
    let future = json!({ "holderIdentity": "jill", "leaseDurationSeconds": 15,
        "renewTime": "2199-01-01T00:00:00.000000Z" });
    lease("skewed", json!({ "incumbent.dev/hand-over-to": "*" }), future);
    assert_eq!(cluster.run("claim configmap/orphan --identity jane").code, 0);

    let (code, checks) = doctor(&mut cluster.command("doctor"));
    assert_eq!(code, 1, "{checks:#?}");
    let found: Vec<_> = checks.iter().filter(|finding| finding["lock"].is_string()).collect();
    let found: Vec<_> = found
        .iter()
        .map(|finding| ["lock", "check", "level"].map(|field| finding[field].as_str().unwrap()))
        .collect();
    let expected = [
        ["lease/absurd", "lease", "FAIL"],
        ["lease/orphan", "pause", "WARN"],
        ["lease/orphan", "orphan", "WARN"],
        ["lease/paused", "pause", "WARN"],
    ];
    assert_eq!(found, expected, "{checks:#?}");
}

#[test]
fn a_lock_that_was_named_is_compared_with_the_other_kind_of_its_name() {
    let cluster = Cluster::start();
    let take = |lock: &str, event: &str| {
        let mut candidate = Candidate::start(cluster.command(&format!("elect --lock {lock}")));
        candidate.event(event);
        candidate
    };
    let _first = take("lease/scanner", "leading");
    let check = || doctor(&mut cluster.command("doctor --lock lease/scanner")).1;
    assert_eq!(levels(&check(), "collision"), Vec::<&str>::new());
    let metadata = json!({ "name": "scanner", "namespace": "default" });
    let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
        "data": { "x": "y" } });
    cluster.server.create(settings).unwrap();
    assert_eq!(levels(&check(), "collision"), Vec::<&str>::new(), "settings are no election");
    let _second = take("configmap/scanner", "leading");
    assert_eq!(levels(&check(), "collision"), ["WARN"]);
}

#[test]
fn a_request_that_another_programs_candidate_does_not_heed_is_found_after_a_lease() {
    let cluster = Cluster::start();
    let metadata = json!({ "name": "scanner", "namespace": "default",
        "annotations": { "incumbent.dev/hand-over-to": "*" } });
    let spec = json!({ "holderIdentity": "john", "leaseDurationSeconds": 1 });
    let object = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": metadata, "spec": spec });
    cluster.server.create(object).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, checks) = doctor(&mut cluster.command("doctor"));
        if let Some(found) = checks.iter().find(|finding| finding["check"] == "request") {
            let message = found["message"].as_str().unwrap();
            assert!(message.contains("the next in the waitlist was not met for "), "{message}");
            return;
        }
        assert!(Instant::now() < deadline, "{checks:#?}");
    }
}

#[test]
fn without_a_server_it_says_what_all_commands_say() {
    let mut cluster = Cluster::start();
    cluster.stop();
    let outcome = cluster.run("doctor");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (3, ""));
    assert!(outcome.stderr.contains("cannot reach the API server"), "{}", outcome.stderr);
    let outcome = cluster.run("doctor --lease-duration 8s --renew-deadline 9s");
    assert_eq!(outcome.code, 2, "{outcome:?}");
}
