//! `incumbent once`: what is begun once, done once, and what is known of it.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::{Candidate, Cluster, Outcome, incumbent};
use super::{UP, WORK, eventually, is_alive, pid};

const KEY: &str = "configmap/jobs:invoice-4711";

fn once(cluster: &Cluster, flags: &str, script: &str) -> Outcome {
    let mut command = cluster.command(&format!("once {KEY} {flags} -- sh -c"));
    Outcome::of(command.arg(script).output().unwrap())
}

fn start(cluster: &Cluster, flags: &str, script: &str) -> Candidate {
    let mut command = cluster.command(&format!("once {KEY} {flags} -- sh -c"));
    command.arg(format!("{UP} {script}"));
    Candidate::start(command)
}

fn record(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
}

#[test]
fn what_is_done_is_not_done_again_until_its_time_is_over() {
    let cluster = Cluster::start();
    let first = once(&cluster, "--identity john", "echo sent");
    assert_eq!((first.code, first.stdout.as_str()), (0, "sent\n"));
    let second = once(&cluster, "--at-least-once", "echo sent");
    let known = record(&second);
    assert_eq!((second.code, &known["state"], &known["by"]), (0, &"done".into(), &"john".into()));
    assert_eq!(known["exitCode"], 0);
    assert_eq!(once(&cluster, "--ttl 1h", "echo sent").stdout.trim(), second.stdout.trim());
    assert_eq!(once(&cluster, "--ttl 1ms", "echo sent").stdout, "sent\n");
}

#[test]
fn of_ten_that_come_at_once_one_runs_it_and_all_learn_that_it_is_done() {
    let cluster = Cluster::start();
    let diary = cluster.folder.path().join("diary");
    let script = format!("echo x >> {}; sleep 0.2", diary.display());
    std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..10).map(|_| scope.spawn(|| once(&cluster, "--wait", &script).code)).collect();
        for one in all {
            assert_eq!(one.join().unwrap(), 0);
        }
    });
    assert_eq!(std::fs::read_to_string(diary).unwrap(), "x\n");
}

#[test]
fn what_is_in_progress_and_what_has_failed_is_said_and_left_alone() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "--identity john", &format!("trap 'exit 7' TERM; {WORK}"));
    john.event("up");
    let meanwhile = once(&cluster, "", "echo sent");
    let known = record(&meanwhile);
    let expected = ("running".into(), "john".into());
    assert_eq!((meanwhile.code, (&known["state"], &known["by"])), (75, (&expected.0, &expected.1)));
    assert_eq!(cluster.run(&format!("once {KEY} --settle again")).code, 75);
    john.signal(Signal::TERM);
    assert_eq!(john.end(), 7);
    let later = once(&cluster, "", "echo sent");
    assert_eq!((later.code, &record(&later)["exitCode"]), (81, &7.into()));
    assert_eq!(once(&cluster, "--at-least-once", "echo sent").stdout, "sent\n");
}

#[test]
fn a_program_that_cannot_be_started_leaves_no_record() {
    let cluster = Cluster::start();
    let file = cluster.folder.path().join("no-program");
    std::fs::write(&file, "text").unwrap();
    let file = file.display().to_string();
    for (program, code) in
        [("/nonexistent", 127), ("no-such-program", 127), (&file, 126), ("/", 126)]
    {
        let outcome = cluster.run(&format!("once {KEY} -- {program}"));
        assert_eq!(outcome.code, code, "{program}: {outcome:?}");
        assert!(outcome.stderr.contains("nothing was started"), "{outcome:?}");
    }
    let first = once(&cluster, "", "echo sent");
    assert_eq!((first.code, first.stdout.as_str()), (0, "sent\n"), "it was not begun before");
    let after = cluster.run(&format!("once {KEY} -- /nonexistent"));
    assert_eq!((after.code, &record(&after)["state"]), (0, &"done".into()), "what is done is done");
}

/// Killed with its `run` in the middle; what comes next finds nobody alive.
fn die_in_the_middle(cluster: &Cluster) {
    let mut john = start(cluster, "--lease-duration 1s --identity john", WORK);
    let up = john.event("up");
    john.kill();
    eventually("the command ends, too", || !is_alive(pid(&up, "pid")));
}

#[test]
fn who_dies_in_the_middle_leaves_it_in_doubt_until_somebody_settles_it() {
    let cluster = Cluster::start();
    die_in_the_middle(&cluster);
    let next = once(&cluster, "--wait --identity jane", "echo sent");
    let known = record(&next);
    assert_eq!(
        (next.code, &known["state"], &known["by"]),
        (80, &"in-doubt".into(), &"john".into())
    );
    assert!(next.stderr.contains("--settle done"), "{next:?}");
    assert_eq!(once(&cluster, "", "echo sent").code, 80);
    assert_eq!(cluster.run(&format!("once {KEY} --settle again")).code, 0);
    assert_eq!(once(&cluster, "", "echo sent").stdout, "sent\n");

    let other = Cluster::start();
    die_in_the_middle(&other);
    assert_eq!(once(&other, "--wait", "echo sent").code, 80);
    assert_eq!(other.run(&format!("once {KEY} --settle done")).code, 0);
    assert_eq!(record(&once(&other, "", "echo sent"))["state"], "done");
}

#[test]
fn at_least_once_the_next_does_again_what_a_dead_one_has_begun() {
    let cluster = Cluster::start();
    die_in_the_middle(&cluster);
    let next = once(&cluster, "--wait --at-least-once --identity jane", "echo sent");
    assert_eq!((next.code, next.stdout.as_str()), (0, "sent\n"));
    assert_eq!(record(&once(&cluster, "", "echo sent"))["by"], "jane");
}

/// As those do that a timer starts again and again, and each gives up at once.
#[test]
fn who_does_not_wait_finds_out_too_once_the_dead_ones_lease_is_over() {
    for (flags, code, printed) in [("", 80, "in-doubt"), ("--at-least-once", 0, "sent")] {
        let cluster = Cluster::start();
        die_in_the_middle(&cluster);
        let mut next = once(&cluster, flags, "echo sent");
        eventually("it no longer counts as running", || {
            if next.code == 75 {
                next = once(&cluster, flags, "echo sent");
            }
            next.code != 75
        });
        assert_eq!(next.code, code, "{next:?}");
        assert!(next.stdout.contains(printed), "{next:?}");
    }
}

/// Gives `name` an account of its own, so that faults can be meant for its requests alone.
fn account(cluster: &Cluster, name: &str) {
    let metadata = json!({ "name": name, "namespace": "default" });
    let rule = json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"] });
    let api_version = "rbac.authorization.k8s.io/v1";
    for object in [
        json!({ "apiVersion": api_version, "kind": "Role", "metadata": metadata, "rules": [rule] }),
        json!({
            "apiVersion": api_version, "kind": "RoleBinding", "metadata": metadata,
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": "default" }],
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        }),
    ] {
        cluster.server.create(object).unwrap();
    }
    let folder = cluster.folder.path().join(name);
    std::fs::create_dir(&folder).unwrap();
    let hour = Duration::from_secs(3600);
    let token = cluster.server.service_account_token("default", name, hour);
    cluster.listening().write_service_account(&folder, "default", &token).unwrap();
}

/// `once` as the account of this name, and under it as its identity.
fn once_as(cluster: &Cluster, name: &str, flags: &str, script: &str) -> Command {
    let folder = cluster.folder.path().join(name);
    let mut command =
        incumbent(&format!("once {KEY} --lease-duration 1s --identity {name} {flags}"));
    command.arg("--service-account-dir").arg(folder).args(["--", "sh", "-c", script]);
    let address = cluster.listening().address();
    command.env("KUBERNETES_SERVICE_HOST", address.ip().to_string());
    command.env("KUBERNETES_SERVICE_PORT", address.port().to_string());
    command
}

/// The lock as `incumbent get` shows it.
fn lock(cluster: &Cluster) -> Value {
    let shown: Value =
        serde_json::from_str(&cluster.run(&format!("get {KEY} -o json")).stdout).unwrap();
    shown[0].clone()
}

fn waits(cluster: &Cluster, name: &str) -> bool {
    lock(cluster)["waitlist"].to_string().contains(name)
}

/// John wins the term, and his read of the record comes when the term is over and Jane works.
fn who_lost_its_term_before_it_read_the_record(flags: &str) {
    let cluster = Cluster::start();
    account(&cluster, "john");
    let path = |name: &str| cluster.folder.path().join(name).display().to_string();
    let (diary, enough) = (path("diary"), path("enough"));
    let mut first =
        Candidate::start(cluster.command(&format!("elect --lock {KEY} --identity first")));
    first.event("leading");
    let flags = format!("--wait {flags}");
    let johns = format!("{UP} echo john >> {diary}");
    let mut john = Candidate::start(once_as(&cluster, "john", &flags, &johns));
    eventually("john waits", || waits(&cluster, "john"));
    let faults = cluster.server.faults();
    let user = "user=system:serviceaccount:default:john";
    let slow = faults.add(format!("{user},verb=get,latency=3s..3s").parse().unwrap());
    first.signal(Signal::TERM);
    eventually("john leads", || lock(&cluster)["holder"] == "john");
    let broken = faults.add(format!("{user},verb=update,error=503").parse().unwrap());
    let work = format!("until [ -e {enough} ]; do sleep 0.01; done; echo jane >> {diary}");
    let mut jane = start(&cluster, &format!("{flags} --identity jane"), &work);
    jane.event("up");
    faults.remove(&slow);
    faults.remove(&broken);
    eventually("john has learnt of it", || john.has_ended() || waits(&cluster, "john"));
    std::fs::write(enough, "").unwrap();
    assert_eq!((jane.end(), john.end()), (0, 0));
    let last = once(&cluster, "", "true");
    assert_eq!((last.code, &record(&last)["by"]), (0, &"jane".into()));
    assert_eq!(std::fs::read_to_string(diary).unwrap(), "jane\n");
}

#[test]
fn at_most_once_a_leader_of_the_past_spoils_no_record() {
    who_lost_its_term_before_it_read_the_record("");
}

#[test]
fn at_least_once_a_leader_of_the_past_spoils_no_record() {
    who_lost_its_term_before_it_read_the_record("--at-least-once");
}

/// While Jane's command runs, all her writes go wrong like this; it ends meanwhile.
#[test]
fn the_end_of_a_run_is_recorded_whatever_becomes_of_the_first_writes() {
    // How often each has to hit it: what was applied all the same is found by a read.
    for (fault, hits) in [
        ("error=503", 2),
        ("error=500,late=0s", 1),
        ("error=409", 2),
        ("error=429,retry-after=86400", 2),
        ("error=403", 2),
        ("drop=answer,by=close", 1),
        ("drop=request,by=close", 2),
    ] {
        let cluster = Cluster::start();
        let enough = cluster.folder.path().join("enough");
        let work = format!("until [ -e {} ]; do sleep 0.01; done; exit 3", enough.display());
        let mut jane = start(&cluster, "--identity jane", &work);
        jane.event("up");
        let faults = cluster.server.faults();
        let broken = faults.add(format!("verb=update,{fault}").parse().unwrap());
        std::fs::write(enough, "").unwrap();
        eventually("it has tried again", || broken.hits() >= hits);
        faults.remove(&broken);
        assert_eq!(jane.end(), 3, "{fault}");
        let known = record(&once(&cluster, "", "true"));
        assert_eq!((&known["state"], &known["exitCode"]), (&"failed".into(), &3.into()), "{fault}");
    }
}

/// John leads and marks the task, and hears no word of that until his term is over.
#[test]
fn a_mark_whose_answer_is_lost_is_no_doubt() {
    let cluster = Cluster::start();
    account(&cluster, "john");
    let diary = cluster.folder.path().join("diary");
    let command = cluster.command(&format!("elect --lock {KEY} --identity first"));
    let mut first = Candidate::start(command);
    first.event("leading");
    let script = format!("echo x >> {}", diary.display());
    let mut john = Candidate::start(once_as(&cluster, "john", "--wait", &script));
    eventually("john waits", || waits(&cluster, "john"));
    let faults = cluster.server.faults();
    let user = "user=system:serviceaccount:default:john";
    let slow = faults.add(format!("{user},verb=get,latency=300ms..300ms").parse().unwrap());
    first.signal(Signal::TERM);
    eventually("john leads", || lock(&cluster)["holder"] == "john");
    let lost = faults.add(format!("{user},verb=update,drop=answer,by=close").parse().unwrap());
    eventually("it is marked as running", || stored(&cluster, "invoice-4711.once").is_some());
    let marked = stored(&cluster, "invoice-4711.once").unwrap();
    faults.remove(&slow);
    // His term cannot be renewed, and the next has another token.
    eventually("his term is over", || {
        let held = lock(&cluster);
        held["holder"] != "john" || held["token"] != marked["token"]
    });
    faults.remove(&lost);
    assert_eq!(john.end(), 0);
    let known = record(&once(&cluster, "", "true"));
    assert_eq!((&known["state"], &known["by"]), (&"done".into(), &"john".into()));
    assert_eq!(std::fs::read_to_string(diary).unwrap(), "x\n");
}

/// A record under this key, as it is stored.
fn stored(cluster: &Cluster, key: &str) -> Option<Value> {
    let object = cluster.stored("/api/v1/namespaces/default/configmaps/jobs")?;
    serde_json::from_str(object["data"][key].as_str()?).ok()
}

/// A record of a run that failed long ago, under this token.
fn with_failed_record(token: u64) -> Cluster {
    let cluster = Cluster::start();
    let old = json!({
        "state": "failed", "by": "john", "token": token, "exitCode": 3,
        "since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:01Z",
    });
    let metadata = json!({ "name": "jobs", "namespace": "default" });
    let data = json!({ "invoice-4711.once": old.to_string() });
    let object =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
    cluster.server.create(object).unwrap();
    cluster
}

#[test]
fn a_record_of_a_restored_backup_is_followed_by_a_higher_token() {
    let cluster = with_failed_record(1_000_000_000);
    let next = once(&cluster, "--at-least-once", "echo $INCUMBENT_TOKEN");
    assert_eq!((next.code, next.stdout.trim()), (0, "1000000001"), "{next:?}");
}

#[test]
fn a_record_with_an_absurd_token_is_left_alone_and_told() {
    let cluster = with_failed_record(u64::MAX);
    let next = once(&cluster, "--at-least-once", "echo sent");
    assert_eq!((next.code, next.stdout.as_str()), (79, ""), "{next:?}");
    assert!(next.stderr.contains("not older than ours"), "{next:?}");
    assert_eq!(once(&cluster, "", "echo sent").code, 81);
}

#[test]
fn a_full_or_closed_output_changes_neither_the_code_nor_the_record() {
    use std::fs::File;
    let cluster = Cluster::start();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let code = |script: &str, redirect: &dyn Fn(&mut Command)| {
        let mut command = cluster.command(&format!("once {KEY} -- sh -c"));
        redirect(command.arg(script).env("RUST_LOG", "debug"));
        command.status().unwrap().code()
    };
    let both_full = |command: &mut Command| {
        command.stdout(full()).stderr(full());
    };
    assert_eq!(code("exit 3", &both_full), Some(3));
    assert_eq!(code("exit 3", &both_full), Some(81));
    let both_closed = |command: &mut Command| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
    };
    assert_eq!(code("true", &both_closed), Some(81));
    assert_eq!(record(&once(&cluster, "", "true"))["exitCode"], 3);
}

/// Somebody mends the record by hand while Jane's command runs.
#[test]
fn a_record_that_somebody_has_changed_meanwhile_is_left_alone() {
    let cluster = Cluster::start();
    let enough = cluster.folder.path().join("enough");
    let work = format!("until [ -e {} ]; do sleep 0.01; done", enough.display());
    let mut jane = start(&cluster, "--identity jane", &work);
    jane.event("up");
    let mut changed = stored(&cluster, "invoice-4711.once").unwrap();
    changed["by"] = "somebody".into();
    changed["state"] = "failed".into();
    let data = json!({ "data": { "invoice-4711.once": changed.to_string() } });
    cluster.patch("/api/v1/namespaces/default/configmaps/jobs", &data);
    std::fs::write(enough, "").unwrap();
    assert_eq!(jane.end(), 80);
    assert_eq!(stored(&cluster, "invoice-4711.once"), Some(changed));
}

/// What is written to acquire is applied, and its answer is lost: the watch shows one's own name first.
#[test]
fn ones_own_write_is_nobody_elses_leadership() {
    let cluster = Cluster::start();
    for command in ["once configmap/task:key", "run --try --lock lease/task"] {
        let faults = cluster.server.faults();
        let lost = faults.add("verb=update,error=503,late=0s".parse().unwrap());
        let mut command = cluster.command(&format!("{command} --lease-duration 3s -- echo sent"));
        let john = command.stdout(Stdio::piped()).spawn().unwrap();
        eventually("he has written", || lost.hits() > 0);
        faults.remove(&lost);
        let outcome = Outcome::of(john.wait_with_output().unwrap());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "sent\n"), "{outcome:?}");
    }
}
