//! Somebody else leads.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::support::testbed::Testbed;
use super::support::{Candidate, Cluster};
use super::{UP, WORK, eventually, hand_over_to_jane, is_alive, pid, start};

#[test]
fn who_only_tries_or_has_waited_enough_starts_nothing() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "--identity john", WORK);
    john.event("up");
    let tries = |flags: &str| cluster.run(&format!("run --lock lease/job {flags} -- echo started"));
    for (flags, code) in [("--try", 75), ("--timeout 200ms", 75), ("--try -E 9", 9)] {
        let outcome = tries(flags);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (code, ""), "{flags}: {outcome:?}");
    }
    john.signal(Signal::TERM);
    assert_eq!(john.end(), 128 + 15);
    for flags in ["--try", "--timeout 60s"] {
        let outcome = tries(flags);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "started\n"), "{flags}");
    }
}

#[test]
fn who_only_tries_takes_over_from_a_dead_one_when_its_lease_is_over() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "--identity john --lease-duration 1s", WORK);
    john.event("up");
    let tries = || cluster.run("run --lock lease/job --try -- true").code;
    assert_eq!(tries(), 75);
    john.kill();
    eventually("who tries leads", || tries() == 0);
}

/// It never expires, so there is no moment by which its owner has to show that it lives.
#[test]
fn who_only_tries_gives_up_on_a_claim() {
    let cluster = Cluster::start();
    let claim = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "board", "namespace": "default" },
        "data": { "job": "john" },
    });
    cluster.server.create(claim).unwrap();
    let outcome = cluster.run("run --lock configmap/board:job --try -- echo started");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (75, ""), "{outcome:?}");
}

#[test]
fn a_signal_ends_the_wait_and_the_place_in_line() {
    let testbed = Testbed::start();
    let start = |identity: &str| {
        let mut command =
            testbed.command(&format!("run --lock lease/job --identity {identity}"), None);
        command.args(["--", "sh", "-c", &format!("{UP} {WORK}")]);
        Candidate::start(command)
    };
    let mut john = start("john");
    john.event("up");
    let line = || testbed.stored("lease/job").to_string().contains("jane");
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let mut jane = start("jane");
        eventually("jane stands in line", line);
        jane.signal(Signal::USR1);
        let asked = Instant::now();
        jane.signal(signal);
        assert_eq!(jane.end(), code);
        // The lease is 15 s.
        assert!(asked.elapsed() < Duration::from_secs(10));
        assert!(!line(), "she has left the line");
    }
    assert!(!john.has_ended());
}

#[test]
fn a_service_manager_is_told_what_happens() {
    let cluster = Cluster::start();
    let path = cluster.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = cluster.command("run --lock lease/job -- sh -c");
    // The command is not the service: it does not get the socket.
    command.arg("test -z \"$NOTIFY_SOCKET\"").env("NOTIFY_SOCKET", &path);
    let mut john = Candidate::start(command);
    let told = || {
        let mut bytes = [0; 200];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    assert_eq!(told(), "READY=1\nSTATUS=waiting to lead lease/job");
    assert!(told().starts_with("STATUS=leading lease/job, token "));
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(john.end(), 0);
}

/// A program for `--on-follower`: says that it runs, and that it was asked to stop.
fn follower(folder: &Path, on_term: &str) -> String {
    let path = folder.join("follower");
    let script = format!(
        r#"#!/bin/sh
trap '{on_term}' TERM
echo "{{\"event\":\"follows\",\"pid\":$$,\"env\":\"$INCUMBENT_LOCK,$INCUMBENT_IDENTITY,$INCUMBENT_TOKEN\"}}"
while :; do sleep 0.05; done
"#
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn a_follower_runs_a_program_of_its_own_which_ends_before_the_command_starts() {
    let cluster = Cluster::start();
    let program =
        follower(cluster.folder.path(), r#"echo "{\"event\":\"told\"}"; sleep 0.2; exit 0"#);
    let start = |identity: &str| {
        start(&cluster, &format!("--identity {identity} --on-follower {program}"), WORK)
    };
    let mut john = start("john");
    john.event("up");
    let mut jane = start("jane");
    let follows = jane.event("follows");
    assert_eq!(follows["env"], "lease/job,jane,", "it knows for what, and has no token");
    // The signal is the program's now, as it would be the command's.
    jane.signal(Signal::USR1);
    eventually("USR1 ends it", || !is_alive(pid(&follows, "pid")));
    john.signal(Signal::TERM);
    jane.event("up");
    assert_eq!(jane.history().len(), 2, "it is not started again in the same wait");
    assert_eq!(john.history().len(), 1, "who found the lock free has followed nobody");

    let mut john = start("john");
    let follows = john.event("follows");
    jane.signal(Signal::TERM);
    john.event("told");
    john.event("up");
    assert!(!is_alive(pid(&follows, "pid")));
    assert_eq!(jane.end(), 143);
}

#[test]
fn whatever_ends_the_wait_ends_the_followers_program() {
    let cluster = Cluster::start();
    let program = follower(cluster.folder.path(), "");
    let mut john = start(&cluster, "--identity john", WORK);
    john.event("up");
    let follow = |flags: &str| {
        start(&cluster, &format!("--kill-after 100ms --on-follower {program} {flags}"), WORK)
    };
    // She has to follow before that.
    let mut jane = follow("--timeout 3s");
    let follows = jane.event("follows");
    assert_eq!(jane.end(), 75);
    assert!(!is_alive(pid(&follows, "pid")), "it ignores SIGTERM");

    let mut jane = follow("");
    let follows = jane.event("follows");
    jane.signal(Signal::TERM);
    assert_eq!(jane.end(), 143);
    assert!(!is_alive(pid(&follows, "pid")));

    let mut jane = follow("");
    let follows = jane.event("follows");
    jane.kill();
    eventually("its guardian ends it", || !is_alive(pid(&follows, "pid")));
    assert!(!john.has_ended());
}

#[test]
fn who_was_asked_to_hand_over_follows_and_a_program_that_is_not_there_hurts_nobody() {
    let testbed = Testbed::start();
    let start = |flags: &str| {
        let mut command = testbed.command(&format!("run --lock lease/job {flags}"), None);
        command.args(["--", "sh", "-c", &format!("{UP} {WORK}")]);
        Candidate::start(command)
    };
    let folder = tempfile::tempdir().unwrap();
    let program = follower(folder.path(), "exit 0");
    let mut john = start(&format!("--identity john --on-follower {program}"));
    let first = john.event("up");
    let mut jane = start("--identity jane --on-follower /nonexistent");
    eventually("jane waits in line", || testbed.stored("lease/job").to_string().contains("jane"));
    hand_over_to_jane(&testbed, &mut jane);
    let follows = john.event("follows");
    jane.signal(Signal::TERM);
    let again = john.event("up");
    assert!(!is_alive(pid(&follows, "pid")));
    assert!(again["token"].as_u64() > first["token"].as_u64());
}
