//! `incumbent once`: what is begun once, done once, and what is known of it.

use rustix::process::Signal;
use serde_json::Value;

use super::support::{Candidate, Cluster, Outcome};
use super::{UP, WORK, eventually, is_alive, pid};

const KEY: &str = "configmap/jobs:invoice-4711";

fn once(cluster: &Cluster, flags: &str, script: &str) -> Outcome {
    let mut command = cluster.command(&format!("once {KEY} {flags} -- sh -c"));
    Outcome::of(command.arg(script).output().unwrap())
}

fn start(cluster: &Cluster, flags: &str, script: &str) -> Candidate {
    let mut command = cluster.command(&format!("once {KEY} --lease-duration 3s {flags} -- sh -c"));
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

/// Killed with its `run` in the middle; what comes next finds nobody alive.
fn die_in_the_middle(cluster: &Cluster) {
    let mut john = start(cluster, "--identity john", WORK);
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
