//! What the commands say, to whom, and with which exit code.

mod support;

use serde_json::{Value, json};
use support::{Cluster, Outcome, incumbent};

fn make_blackboard(cluster: &Cluster) -> String {
    let metadata = json!({ "name": "blackboard", "namespace": "default" });
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
        "data": { "leader": "", "other": "kept" },
    });
    let made = cluster.server.create(object).unwrap();
    made["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[test]
fn claim_is_the_blackboard_as_one_command() {
    let cluster = Cluster::start();
    let both_read = make_blackboard(&cluster);

    let jane = cluster
        .run(&format!("claim configmap/blackboard --identity jane --if-version {both_read}"));
    assert_eq!(jane.code, 0, "{jane:?}");
    let version = jane.stdout.trim().strip_prefix("you lead (version ").unwrap();
    let version = version.strip_suffix(')').unwrap();

    let john = cluster
        .run(&format!("claim configmap/blackboard --identity john --if-version {both_read}"));
    assert_eq!(john.code, 1, "{john:?}");
    assert_eq!(
        john.stdout,
        format!(
            "jane leads; version {both_read} was replaced by {version} meanwhile (409 Conflict)\n"
        )
    );
    let john = cluster.run("claim configmap/blackboard --identity john");
    assert_eq!((john.code, john.stdout.as_str()), (1, "jane leads\n"));
    let john = cluster.run("claim configmap/blackboard:second --identity john");
    assert_eq!(john.code, 0, "another key is another blackboard: {john:?}");

    let john = cluster.run("claim configmap/blackboard --identity john --release");
    assert_eq!((john.code, john.stdout.as_str()), (1, "jane leads, and was left alone\n"));
    let jane = cluster.run("claim configmap/blackboard --identity jane --release");
    assert_eq!((jane.code, jane.stdout.as_str()), (0, "configmap/blackboard is free\n"));
}

#[test]
fn names_of_others_do_not_reach_the_terminal_as_they_are() {
    let cluster = Cluster::start();
    let metadata = json!({ "name": "blackboard", "namespace": "default" });
    let data = json!({ "leader": "\u{1b}[31mred\u{7}\u{202e}" });
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
    cluster.server.create(object).unwrap();
    let claim = cluster.run("claim configmap/blackboard --identity jane");
    assert_eq!((claim.code, claim.stdout.as_str()), (1, "\u{fffd}[31mred\u{fffd}\u{fffd} leads\n"));
}

#[test]
fn get_shows_the_locks_of_a_namespace_whoever_made_them() {
    let cluster = Cluster::start();
    make_blackboard(&cluster);
    cluster.run("claim configmap/blackboard --identity jane");
    let lease = |name: &str, spec: Value| {
        let metadata = json!({ "name": name, "namespace": "default" });
        cluster
            .server
            .create(json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": metadata, "spec": spec,
            }))
            .unwrap();
    };
    lease("empty", json!({}));
    lease(
        "old",
        json!({
            "holderIdentity": "somebody", "leaseDurationSeconds": 15, "leaseTransitions": 4,
            "renewTime": "2020-01-01T00:00:00.000000Z",
        }),
    );
    lease("odd", json!({ "holderIdentity": "a\u{1b}[31mb" }));
    let table = cluster.run("get");
    assert_eq!(table.code, 0, "{table:?}");
    let lines: Vec<_> = table.stdout.lines().collect();
    let heads: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(heads, ["NAME", "HOLDER", "STATE", "RENEWED", "EXPIRES", "TRANSITIONS", "AGE"]);
    let row = |name: &str| {
        let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        row("lease/empty")[..6],
        ["lease/empty", "<none>", "Vacant", "<none>", "<none>", "0"]
    );
    assert_eq!(row("lease/old")[..3], ["lease/old", "somebody", "Expired~"]);
    assert_eq!(row("lease/odd")[..3], ["lease/odd", "a\u{fffd}[31mb", "Unknown"]);
    assert_eq!(row("configmap/blackboard")[..3], ["configmap/blackboard", "jane", "Claimed"]);

    let one: Value = serde_json::from_str(&cluster.run("get old -o json").stdout).unwrap();
    assert_eq!(one[0]["holder"], "somebody");
    assert_eq!(one[0]["transitions"], 4);
    assert_eq!(one[0]["token"], Value::Null);
}

/// One sentence, a hint, and a code that `--help` documents.
fn assert_refused(outcome: &Outcome, code: i32, error: &str, hint: &str) {
    assert_eq!(outcome.code, code, "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("error: {error}")), "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("  hint: {hint}")), "{outcome:?}");
    assert_eq!(outcome.stdout, "", "data and talk are kept apart");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
}

#[test]
fn bad_input_gets_a_sentence_a_hint_and_a_code() {
    let cluster = Cluster::start();
    let others = cluster.folder.path().join("others");
    std::fs::write(&others, "apiVersion: v1").unwrap();
    let overwrite = cluster.run(&format!("dev-server --kubeconfig {}", others.display()));
    assert_refused(&overwrite, 2, &format!("{} exists", others.display()), "name another");
    assert_eq!(std::fs::read_to_string(&others).unwrap(), "apiVersion: v1");
    for (arguments, code, error, hint) in [
        (
            "get nothing",
            5,
            "lease/nothing in namespace default does not exist",
            "to list the locks",
        ),
        ("get pod/x", 2, "\"pod/x\" names no lock", "the kind is"),
        ("elect --lock lease/Bad_Name", 2, "\"Bad_Name\" is not a valid name", "a name has"),
        ("elect --lock configmap/b:a/b", 2, "\"a/b\" is not a valid key", "a key has"),
        ("elect --lock lease/a --renew-deadline 20s", 2, "renew deadline 20s", "one number"),
        ("elect --lock lease/a --lease-duration 1500ms", 2, "lease duration 1.5s", "one number"),
        (
            "elect --lock lease/a -n nowhere",
            5,
            "namespace nowhere does not exist",
            "kubectl create",
        ),
        ("claim lease/a --identity john", 2, "a Lease cannot be a blackboard", "use configmap"),
        ("claim configmap/b -n nowhere --identity john", 5, "namespace nowhere", "kubectl create"),
        ("get --kubeconfig /no/such/file", 3, "no way to reach a cluster was found", "set KUBE"),
        ("get --service-account-dir /no", 3, "no way to reach a cluster was found", "set KUBE"),
        ("dev-server --listen 0.0.0.0:0", 2, "0.0.0.0:0 can be reached", "this server is for"),
        ("dev-server --kubeconfig /no/such/file", 7, "cannot write /no/such", "check the path"),
    ] {
        assert_refused(&cluster.run(arguments), code, error, hint);
    }
    for (token, error) in [("", "token is empty"), ("abc\nxyz", "token holds a line break")] {
        let folder = cluster.folder.path();
        cluster.listening().write_service_account(folder, "default", token).unwrap();
        let mut command = cluster.command("get --service-account-dir");
        command.arg(folder).env("KUBERNETES_SERVICE_HOST", "127.0.0.1");
        let outcome = Outcome::of(command.env("KUBERNETES_SERVICE_PORT", "1").output().unwrap());
        assert!(outcome.stderr.contains(error), "{outcome:?}");
        assert_eq!(outcome.code, 2, "{outcome:?}");
    }
    let spaces = cluster.command("elect --lock lease/a --identity").arg(" x").output().unwrap();
    assert_refused(&Outcome::of(spaces), 2, "\" x\" cannot be an identity", "it has 1 to 253");
    let taken = format!("dev-server --listen {}", cluster.listening().address());
    assert_eq!(cluster.run(&taken).code, 7);
    assert_eq!(cluster.run("elect").code, 2, "clap's own refusals have the same code");
}

#[test]
fn an_account_that_may_not_is_told_the_rule_that_is_missing() {
    let cluster = Cluster::start();
    let hour = std::time::Duration::from_secs(3600);
    let mut expired = cluster.server.service_account_token("default", "idle", hour);
    for (code, hint) in [(4, "the account needs this rule"), (4, "renew the token")] {
        let admin = cluster.server.admin_token();
        let kubeconfig = cluster.listening().kubeconfig().replace(admin, &expired);
        let file = cluster.folder.path().join("restricted");
        std::fs::write(&file, kubeconfig).unwrap();
        let file = file.display().to_string();
        let outcome = cluster.run(&format!("elect --lock lease/a --kubeconfig {file}"));
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(outcome.stderr.contains(&format!("hint: {hint}")), "{outcome:?}");
        let second = std::time::Duration::ZERO;
        expired = cluster.server.service_account_token("default", "idle", second);
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_said_to_be_so() {
    let mut cluster = Cluster::start();
    cluster.stop();
    for arguments in ["get", "status a", "claim configmap/b --identity john"] {
        let outcome = cluster.run(arguments);
        assert_refused(&outcome, 3, "cannot reach the API server", "check the server's address");
    }
}

/// During a rolling restart of the API server, or where it is overloaded.
#[test]
fn what_asks_once_says_that_the_server_cannot_answer_now_and_never_calls_that_usage() {
    let cluster = Cluster::start();
    make_blackboard(&cluster);
    for (fault, arguments) in [
        ("error=503", "get"),
        ("error=500", "status a"),
        ("error=504", "check a"),
        ("error=429", "history a"),
        ("error=503", "step-down a --yes"),
        ("error=503", "pause a --yes"),
        ("error=500", "claim configmap/blackboard --identity john"),
        ("error=503", "doctor --lock lease/a"),
    ] {
        let broken = cluster.server.faults().add(fault.parse().unwrap());
        let outcome = cluster.run(arguments);
        assert_refused(
            &outcome,
            3,
            "the API server cannot answer now",
            "try again; if that does not help",
        );
        cluster.server.faults().remove(&broken);
    }
    for arguments in ["run --try --lock lease/a -- true", "once configmap/blackboard:k -- true"] {
        let broken = cluster.server.faults().add("error=503".parse().unwrap());
        let outcome = cluster.run(arguments);
        assert_refused(
            &outcome,
            69,
            "the API server cannot answer now",
            "try again; if that does not help",
        );
        cluster.server.faults().remove(&broken);
    }
}

#[test]
fn what_runs_long_waits_for_a_server_that_cannot_answer_yet() {
    let cluster = Cluster::start();
    for arguments in
        ["elect --lock lease/a", "run --lock lease/b -- true", "watch", "wait c --for released"]
    {
        for fault in ["error=503", "error=429", "drop=request,by=close"] {
            let broken = cluster.server.faults().add(fault.parse().unwrap());
            let mut command = cluster.command(arguments);
            command.stdout(std::process::Stdio::null());
            command.stderr(std::process::Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
            let mut line = String::new();
            std::io::BufRead::read_line(&mut log, &mut line).unwrap();
            assert!(line.contains("cannot begin yet: will retry"), "{arguments}, {fault}: {line}");
            assert!(line.contains("hint="), "{line}");
            cluster.server.faults().remove(&broken);
            if arguments.starts_with("run") || arguments.starts_with("wait") {
                assert!(child.wait().unwrap().success(), "{arguments}, {fault}");
            } else {
                assert_eq!(child.try_wait().unwrap(), None, "{arguments}, {fault}");
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }
}

#[test]
fn a_namesake_ends_with_its_own_code() {
    let cluster = Cluster::start();
    let arguments = "elect --lock lease/a --lease-duration 1s --identity john";
    let mut john = support::Candidate::start(cluster.command(arguments));
    john.event("leading");
    let namesake = Outcome::of(cluster.command(arguments).output().unwrap());
    assert_eq!(namesake.code, 6, "{namesake:?}");
    assert!(namesake.stderr.contains("another living process takes part in lease/a as \"john\""));
    john.signal(rustix::process::Signal::TERM);
    assert_eq!(john.event("released")["release"], "done");
}

#[test]
fn a_demo_without_a_place_for_its_files_says_so() {
    let mut command = incumbent("demo");
    command.env("TMPDIR", "/no/such/folder");
    let outcome = Outcome::of(command.output().unwrap());
    assert_refused(&outcome, 7, "cannot make a folder in /no/such/folder", "check the path");
}

#[test]
fn help_names_every_exit_code() {
    let help = Outcome::of(incumbent("--help").output().unwrap());
    assert_eq!(help.code, 0);
    for code in 0..=7 {
        assert!(help.stdout.contains(&format!("\n  {code}  ")), "{code}: {}", help.stdout);
    }
    assert!(help.stdout.lines().all(|line| line.chars().count() <= 100));
}
