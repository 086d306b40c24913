//! Commands that fail, and where their tasks go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::support::{Candidate, Cluster};
use super::{UP, command, eventually, line, lines, runs, table, worker};

/// Its command fails at once for the tasks that `FAILS` matches.
fn start_failing(cluster: &Cluster, member: &str, flags: &str, fails: &str) -> Candidate {
    let script = format!(
        r#"case "$INCUMBENT_TASK" in $FAILS) {} exit 3;; esac; {}"#,
        UP.replace("up", "fails"),
        worker()
    );
    let mut command = command(cluster, member, flags, &script);
    command.env("FAILS", fails);
    Candidate::start(command)
}

#[test]
fn a_command_that_succeeds_rests_and_one_that_fails_starts_again_under_the_same_token() {
    let cluster = Cluster::start();
    let script = format!(r#"{UP} test "$INCUMBENT_TASK" = done || exit 3"#);
    let john = Candidate::start(command(&cluster, "john", "--tasks done,fails", &script));
    let of = |task: &str| {
        let up = lines(&john, "up");
        let tokens = up.iter().filter(|line| line["task"] == task);
        tokens.map(|line| line["token"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    eventually("it starts again", || of("fails").len() == 3);
    assert_eq!(of("done").len(), 1);
    assert_eq!(of("fails").into_iter().collect::<BTreeSet<_>>().len(), 1);
}

#[test]
fn a_task_whose_command_keeps_failing_goes_to_another_member() {
    let cluster = Cluster::start();
    // Of these two, the balance alone would give the last one to jane.
    let flags = "--tasks eu,us --max-restarts 1";
    let john = start_failing(&cluster, "john", flags, "eu");
    eventually("it fails twice", || lines(&john, "fails").len() == 2);
    runs(&john, &["us"]);
    // There is no other member, so the task stays, and its command is tried again.
    eventually("it fails again", || lines(&john, "fails").len() == 3);
    let jane = start_failing(&cluster, "jane", flags, "none");
    let up = line(&jane, "up", "eu");
    let failed = line(&john, "fails", "eu");
    assert!(up["token"].as_u64() > failed["token"].as_u64());
    assert_eq!(lines(&john, "bye").len(), 0, "the other one is not disturbed");
}

/// It visits each member once, and then it stays.
#[test]
fn a_task_that_fails_everywhere_does_not_circulate() {
    let cluster = Cluster::start();
    let flags = "--tasks a,b,c --max-restarts 0";
    let members = ["john", "jane", "jill"];
    let members = members.map(|member| start_failing(&cluster, member, flags, "b"));
    let fails = || members.iter().map(|member| lines(member, "fails")).collect::<Vec<_>>();
    eventually("it fails everywhere", || fails().iter().all(|fails| !fails.is_empty()));
    let before = fails().concat().len();
    let began = Instant::now();
    eventually("it is tried again where it is", || fails().concat().len() >= before + 2);
    assert!(began.elapsed() >= Duration::from_millis(900), "with pauses");
    let fails = fails().concat();
    let tokens: BTreeSet<_> = fails.iter().map(|line| line["token"].as_u64()).collect();
    assert!(tokens.len() <= 4, "{tokens:?}: {}", table(&cluster));
}
