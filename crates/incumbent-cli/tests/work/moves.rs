//! Tasks begin, move and end.

use std::time::Duration;

use rustix::process::Signal;

use super::support::Cluster;
use super::{
    BYE, STUBBORN, UP, WORK, eventually, has_left, is_alive, line, lines, list, pid, runs, send,
    start, table, tasks, worker,
};

#[test]
fn each_task_has_a_command_that_learns_what_it_is_for() {
    let cluster = Cluster::start();
    let script = r#"echo "{\"event\":\"env\",\"task\":\"$INCUMBENT_TASK\",\"text\":\"$INCUMBENT_GROUP $INCUMBENT_MEMBER $INCUMBENT_NAMESPACE $(cat)\",\"token\":$INCUMBENT_TOKEN}"; sleep 60"#;
    let john = start(&cluster, "john", "--tasks eu,us,ap", script);
    for task in ["eu", "us", "ap"] {
        let line = line(&john, "env", task);
        assert_eq!(line["text"], "jobs john default ", "and there is nothing to read");
        let order = format!("run {task}, token {}\n", line["token"]);
        assert!(format!("{}\n", table(&cluster)).contains(&order), "{line}: {}", table(&cluster));
    }
}

#[test]
fn a_member_that_joins_gets_its_share_when_the_commands_have_stopped() {
    let cluster = Cluster::start();
    let john = start(&cluster, "john", "--tasks a,b,c,d", &worker());
    runs(&john, &["a", "b", "c", "d"]);
    let jane = start(&cluster, "jane", "--tasks a,b,c,d", &worker());
    eventually("jane has two tasks", || lines(&jane, "up").len() == 2);
    let (stopped, begun) = (lines(&john, "bye"), lines(&jane, "up"));
    assert_eq!(tasks(&stopped), tasks(&begun));
    for up in &begun {
        let bye = line(&john, "bye", up["task"].as_str().unwrap());
        assert!(up["token"].as_u64() > bye["token"].as_u64());
    }
    assert_eq!(lines(&john, "up").len(), 4, "what does not move does not stop");
}

#[test]
fn a_command_that_ignores_sigterm_and_what_it_started_are_gone_before_its_task_moves() {
    let cluster = Cluster::start();
    let script = format!("{UP} {STUBBORN}");
    let john = start(&cluster, "john", "--tasks a,b --kill-after 300ms", &script);
    let processes = ["a", "b"].map(|task| {
        let (up, daemon) = (line(&john, "up", task), line(&john, "daemon", task));
        (task, pid(&up, "pid"), pid(&daemon, "pid"))
    });
    let mut jane = start(&cluster, "jane", "--tasks a,b", &worker());
    let moved = jane.event("up");
    for (task, command, daemon) in processes {
        let is_moved = moved["task"] == task;
        assert_eq!((is_alive(command), is_alive(daemon)), (!is_moved, !is_moved), "{task}");
    }
}

#[test]
fn a_member_that_is_asked_to_end_stops_all_commands_and_gives_its_seat_back() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "john", "--tasks a,b,c --lease-duration 60s", &worker());
    runs(&john, &["a", "b", "c"]);
    let jane = start(&cluster, "jane", "--tasks a,b,c --lease-duration 60s", &worker());
    eventually("jane has a task", || !lines(&jane, "up").is_empty());
    john.signal(Signal::TERM);
    assert_eq!(john.end(), 0);
    assert!(has_left(&cluster, "john"));
    assert_eq!(tasks(&lines(&john, "bye")), ["a", "b", "c"]);
    // Without a release, she would wait for a minute.
    runs(&jane, &["a", "b", "c"]);
}

/// One command takes long to stop. The others' tasks do not wait for it.
#[test]
fn a_slow_command_delays_no_other_task_when_its_member_leaves() {
    let cluster = Cluster::start();
    let slow =
        format!(r#"test "$INCUMBENT_TASK" != a || trap 'sleep 5; exit 0' TERM; {UP} {WORK}"#);
    let flags = "--tasks a,b,c,d --lease-duration 60s";
    let mut john = start(&cluster, "john", flags, &format!("{BYE} {slow}"));
    runs(&john, &["a", "b", "c", "d"]);
    let jane = start(&cluster, "jane", flags, &worker());
    eventually("jane has two tasks", || lines(&jane, "up").len() == 2);
    let has_a = lines(&jane, "up").iter().any(|line| line["task"] == "a");
    john.signal(Signal::TERM);
    runs(&jane, &["b", "c", "d"]);
    if !has_a {
        assert!(!john.has_ended(), "it waits for its slow command");
        assert!(!tasks(&lines(&jane, "up")).contains(&"a"));
    }
    assert_eq!(john.end(), 0);
    runs(&jane, &["a", "b", "c", "d"]);
}

#[test]
fn the_list_is_edited_while_commands_run() {
    let cluster = Cluster::start();
    list(&cluster, "a\nb\n");
    let john = start(&cluster, "john", "--from-config", &worker());
    runs(&john, &["a", "b"]);
    list(&cluster, "b\nc\n");
    runs(&john, &["c"]);
    line(&john, "bye", "a");
    assert_eq!((lines(&john, "bye").len(), lines(&john, "up").len()), (1, 3));
    list(&cluster, "");
    eventually("all stop", || lines(&john, "bye").len() == 3);
}

#[test]
fn the_death_of_one_guardian_ends_one_command_and_all_that_it_started() {
    let cluster = Cluster::start();
    let script = format!("{UP} {STUBBORN}");
    let john = start(&cluster, "john", "--tasks a,b", &script);
    let processes = ["a", "b"].map(|task| (line(&john, "up", task), line(&john, "daemon", task)));
    let [(lost, lost_daemon), (kept, kept_daemon)] = &processes;
    send(lost, "parent", Signal::KILL);
    eventually("it starts again", || lines(&john, "up").len() == 3);
    for gone in [lost, lost_daemon] {
        assert!(!is_alive(pid(gone, "pid")), "{gone}");
    }
    for there in [kept, kept_daemon] {
        assert!(is_alive(pid(there, "pid")), "{there}");
    }
    let again = line(&john, "up", "a");
    assert_eq!(again["token"], lost["token"], "the task is still john's");
}

#[test]
fn nothing_is_left_of_the_commands_of_a_member_that_is_killed_when_others_run_its_tasks() {
    let cluster = Cluster::start();
    let flags = "--tasks a,b --lease-duration 1s";
    let mut john = start(&cluster, "john", flags, &format!("{UP} {STUBBORN}"));
    let processes = ["a", "b"].map(|task| {
        [pid(&line(&john, "up", task), "pid"), pid(&line(&john, "daemon", task), "pid")]
    });
    john.kill();
    let jane = start(&cluster, "jane", flags, &worker());
    runs(&jane, &["a", "b"]);
    assert!(processes.into_iter().flatten().all(|process| !is_alive(process)));
}

#[test]
fn the_guardians_and_their_member_are_stopped_and_nothing_lives_when_others_run_its_tasks() {
    let cluster = Cluster::start();
    let flags = "--tasks a,b --lease-duration 1s";
    let john = start(&cluster, "john", flags, &format!("{UP} {STUBBORN}"));
    let lines = ["a", "b"].map(|task| (line(&john, "up", task), line(&john, "daemon", task)));
    for (up, _) in &lines {
        send(up, "parent", Signal::STOP);
    }
    john.signal(Signal::STOP);
    // John wakes to kill what his guardians cannot, and may then join again.
    let mut jane = start(&cluster, "jane", flags, &worker());
    jane.event("up");
    for (up, daemon) in &lines {
        assert!(!is_alive(pid(up, "pid")) && !is_alive(pid(daemon, "pid")));
    }
}

#[test]
fn other_signals_reach_each_command() {
    let cluster = Cluster::start();
    let hears = r#"trap 'echo "{\"event\":\"heard\",\"task\":\"$INCUMBENT_TASK\"}"' USR1;"#;
    let john = start(&cluster, "john", "--tasks a,b", &format!("{hears} {UP} {WORK}"));
    runs(&john, &["a", "b"]);
    john.signal(Signal::USR1);
    for task in ["a", "b"] {
        line(&john, "heard", task);
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(lines(&john, "up").len(), 2, "nothing has ended");
}
