//! When a task is released, and when it is not.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::support::sidecar::{Events, Sidecar, boot_ms, until, within_a_second};
use super::support::{Candidate, Cluster};
use super::{has_seat, in_state, made_at, number, runs, task};

/// Without a release, and without a lifeline that closes, the others would wait for a minute.
const LONG: &str = "--tasks a,b --lease-duration 60s";
const SHORT: &str = "--tasks a,b --lease-duration 2s";

/// The next task that an application may work on, and when the event was made.
fn assigned(events: &mut Events) -> (Value, u64) {
    let task = events.event("assigned", |_| true).data;
    let at = made_at(&task);
    (task, at)
}

fn name(task: &Value) -> &str {
    task["name"].as_str().unwrap()
}

/// Waits until one of its tasks is revoked, and says which.
fn revoked(sidecar: &Sidecar) -> Value {
    let answer =
        sidecar.tasks_when("one is revoked", |answer| in_state(answer, "revoked").len() == 1);
    let name = in_state(&answer, "revoked")[0].to_owned();
    task(&answer, &name).clone()
}

#[test]
fn a_revoked_task_is_released_when_the_application_says_so_under_its_token() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", LONG);
    runs(&john, 2);
    let jane = Sidecar::member(&cluster, "jane", LONG);
    let mut of_jane = jane.events("/v1/events", &[]);
    let revoked = revoked(&john);
    let (name, token) = (name(&revoked), number(&revoked, "token"));
    for other in [token - 1, token + 1] {
        let refused = john.released(name, other);
        assert_eq!(refused.status, 409, "{refused:?}");
    }
    // Time enough for a release that should not be.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(in_state(&john.tasks(), "revoked"), [name]);
    let released_at = boot_ms();
    assert_eq!(john.released(name, token).json()["state"], "released");
    let (task, at) = assigned(&mut of_jane);
    assert_eq!(task["name"], name);
    assert!(at >= released_at, "{at} {released_at}");
    assert!(number(&task, "token") > token);
    assert_eq!(john.released(name, token).status, 404, "a late answer releases nothing");
    assert_eq!(jane.released(name, token).status, 409, "nor does one to another member");
    assert_eq!(in_state(&jane.tasks(), "running"), [name]);
}

#[test]
fn a_revoked_task_of_an_application_that_says_nothing_is_held_until_its_answers_have_expired() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", SHORT);
    runs(&john, 2);
    let mut of_john = john.events("/v1/events", &[]);
    let _ = of_john.next();
    let jane = Sidecar::member(&cluster, "jane", SHORT);
    let mut of_jane = jane.events("/v1/events", &[]);
    let (mut last, mut moved) = (0, Value::Null);
    while moved.is_null() {
        let event = of_john.next().unwrap();
        match event.kind.as_str() {
            "valid" => last = number(&event.data, "validUntilBootMs"),
            "revoked" => moved = event.data,
            "lost" => panic!("he was not asked: {}", event.data),
            _ => {}
        }
    }
    let (task, at) = assigned(&mut of_jane);
    assert_eq!(task["name"], moved["name"]);
    assert!(at > last, "the last answer was valid until {last}, and she learned of it at {at}");
    // His application has not said that it has stopped, so it learns that the task is no longer his.
    let lost = of_john.event("lost", |lost| lost["name"] == moved["name"]).data;
    assert_eq!(
        (number(&lost, "token"), number(&lost, "stopWithinMs")),
        (number(&moved, "token"), 0)
    );
}

/// It shows that it lives, so it may take as long to stop as it needs.
#[test]
fn a_revoked_task_is_held_as_long_as_the_lifeline_is_open_that_told_of_it() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", SHORT);
    let mut of_john = john.events("/v1/lifeline", &[]);
    until("both run", || {
        let told = of_john.next().unwrap();
        (told.kind == "valid" && number(&told.data, "running") == 2).then_some(())
    });
    let jane = Sidecar::member(&cluster, "jane", SHORT);
    let mut of_jane = jane.events("/v1/events", &[]);
    let moved = of_john.event("revoked", |_| true).data;
    // Twice the time in which an answer would have expired.
    std::thread::sleep(Duration::from_secs(4));
    let closed_at = boot_ms();
    drop(of_john);
    // She gets both, because he has no application.
    for _ in 0..2 {
        let (task, at) = assigned(&mut of_jane);
        assert!(at >= closed_at, "{task} {moved} {closed_at}");
    }
}

#[test]
fn the_death_of_a_lifeline_gives_all_its_tasks_to_others_at_once() {
    let cluster = Cluster::start();
    let required = format!("{LONG} --lifeline required");
    let john = Sidecar::member(&cluster, "john", &required);
    let jane = Sidecar::member(&cluster, "jane", &required);
    until("both have seats", || {
        (has_seat(&cluster, "john") && has_seat(&cluster, "jane")).then_some(())
    });
    // No task runs where no application is.
    for sidecar in [&john, &jane] {
        assert!(in_state(&sidecar.tasks(), "running").is_empty());
    }
    let mut of_john = john.events("/v1/lifeline", &[]);
    let first: Vec<_> = (0..2).map(|_| assigned(&mut of_john).0).collect();
    let mut of_jane = jane.events("/v1/lifeline", &[]);
    let _ = of_jane.next();
    let moved = of_john.event("revoked", |_| true).data;
    assert_eq!(john.released(name(&moved), number(&moved, "token")).json()["state"], "released");
    assert_eq!(assigned(&mut of_jane).0["name"], moved["name"]);
    let died_at = Instant::now();
    drop(of_john);
    let (other, _) = assigned(&mut of_jane);
    assert_ne!(other["name"], moved["name"]);
    assert!(died_at.elapsed() < Duration::from_secs(10), "{:?}", died_at.elapsed());
    let before = first.iter().find(|task| task["name"] == other["name"]).unwrap();
    assert!(number(&other, "token") > number(before, "token"));
    assert!(in_state(&john.tasks(), "running").is_empty());
}

/// One process may have ended while another, of the same application, learned of the task by an answer.
#[test]
fn the_death_of_a_lifeline_does_not_end_what_an_answer_has_begun() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", "--tasks a,b --lease-duration 3s");
    let lifeline = john.events("/v1/lifeline", &[]);
    let answer = runs(&john, 2);
    drop(lifeline);
    // She takes both, because he has no application; but not before his answer has expired.
    let jim = Sidecar::member(&cluster, "jim", "--tasks a,b --lease-duration 3s");
    let mut of_jim = jim.events("/v1/events", &[]);
    let (task, at) = assigned(&mut of_jim);
    let valid_until = number(super::task(&answer, name(&task)), "validUntilBootMs");
    assert!(at > valid_until, "{at} {valid_until}");
}

#[test]
fn an_application_that_closes_its_lifeline_and_comes_back_gets_tasks_again() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", LONG);
    let mut of_john = john.events("/v1/lifeline", &[]);
    for _ in 0..2 {
        assigned(&mut of_john);
    }
    let jane = Sidecar::member(&cluster, "jane", LONG);
    let mut of_jane = jane.events("/v1/lifeline", &[]);
    drop(of_john);
    for _ in 0..2 {
        assigned(&mut of_jane);
    }
    let mut again = john.events("/v1/lifeline", &[]);
    let moved = of_jane.event("revoked", |_| true).data;
    assert_eq!(jane.released(name(&moved), number(&moved, "token")).status, 200);
    assert_eq!(assigned(&mut again).0["name"], moved["name"]);
}

#[test]
fn work_that_ends_by_itself_keeps_its_task_and_releases_it_at_once_when_others_want_it() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", LONG);
    let answer = runs(&john, 2);
    for name in ["a", "b"] {
        let token = number(task(&answer, name), "token");
        assert_eq!(john.released(name, token).json()["state"], "done");
        assert_eq!(john.released(name, token).json()["state"], "done", "twice is no mistake");
    }
    assert_eq!(in_state(&john.tasks(), "done"), ["a", "b"]);
    let jane = Sidecar::member(&cluster, "jane", LONG);
    let (task, _) = assigned(&mut jane.events("/v1/events", &[]));
    assert!(number(&task, "token") > number(super::task(&answer, name(&task)), "token"));
    assert_eq!(in_state(&john.tasks(), "done").len(), 1);
}

#[test]
fn a_permit_goes_to_the_next_member_when_the_application_has_finished() {
    let cluster = Cluster::start();
    let permits = "--permits 1 --lease-duration 60s";
    let john = Sidecar::member(&cluster, "john", permits);
    let permit = runs(&john, 1)["tasks"][0].clone();
    let jane = Sidecar::member(&cluster, "jane", permits);
    let mut of_jane = jane.events("/v1/events", &[]);
    until("she waits", || has_seat(&cluster, "jane").then_some(()));
    let finished_at = boot_ms();
    assert_eq!(john.released(name(&permit), number(&permit, "token")).json()["state"], "done");
    let (next, at) = assigned(&mut of_jane);
    assert!(at >= finished_at && number(&next, "token") > number(&permit, "token"));
    assert!(in_state(&john.tasks(), "running").is_empty());
}

#[test]
fn sigterm_releases_within_a_second_unless_an_application_still_lives() {
    let cluster = Cluster::start();
    within_a_second(|| {
        let mut john = Sidecar::member(&cluster, "john", LONG);
        runs(&john, 2);
        let asked_at = Instant::now();
        john.signal(Signal::TERM);
        assert_eq!(john.process.end(), 0);
        let took = asked_at.elapsed();
        assert!(!has_seat(&cluster, "john"));
        took
    });

    let mut jane = Sidecar::member(&cluster, "jane", LONG);
    let mut of_jane = jane.events("/v1/lifeline", &[]);
    let tasks: Vec<_> = (0..2).map(|_| assigned(&mut of_jane).0).collect();
    let jim = Sidecar::member(&cluster, "jim", LONG);
    let mut of_jim = jim.events("/v1/lifeline", &[]);
    jane.signal(Signal::TERM);
    for _ in 0..2 {
        of_jane.event("revoked", |_| true);
    }
    // Each moves as soon as its work has stopped, and the other is still hers.
    let first_at = boot_ms();
    assert_eq!(jane.released(name(&tasks[0]), number(&tasks[0], "token")).status, 200);
    let (moved, at) = assigned(&mut of_jim);
    assert_eq!(moved["name"], tasks[0]["name"]);
    assert!(at >= first_at && has_seat(&cluster, "jane") && !jane.process.has_ended());
    let closed_at = boot_ms();
    drop(of_jane);
    assert!(assigned(&mut of_jim).1 >= closed_at);
    assert_eq!(jane.process.end(), 0);
    assert!(!has_seat(&cluster, "jane"));
}

#[test]
fn with_on_term_wait_nothing_is_released_before_the_answers_have_expired() {
    let cluster = Cluster::start();
    let mut john = Sidecar::member(&cluster, "john", "--tasks a,b --on-term wait");
    runs(&john, 2);
    let answer = runs(&john, 2);
    let jim = Sidecar::member(&cluster, "jim", "--tasks a,b");
    let mut of_jim = jim.events("/v1/events", &[]);
    john.signal(Signal::TERM);
    for _ in 0..2 {
        let (task, at) = assigned(&mut of_jim);
        let valid_until = number(super::task(&answer, name(&task)), "validUntilBootMs");
        assert!(at > valid_until, "{at} {valid_until}");
    }
    assert_eq!(john.process.end(), 0);
}

/// Another process competes to be the allocator under the name of this member. His application cannot know of that.
#[test]
fn a_sidecar_that_cannot_become_the_allocator_keeps_its_tasks() {
    let cluster = Cluster::start();
    let jane = Sidecar::member(&cluster, "jane", "--tasks a,b --lease-duration 10s");
    runs(&jane, 2);
    let mut john = Sidecar::member(&cluster, "john", "--tasks a,b --lease-duration 10s");
    let moved = revoked(&jane);
    assert_eq!(jane.released(name(&moved), number(&moved, "token")).status, 200);
    let before = runs(&john, 1);
    let _namesake = Candidate::start(
        cluster.command("elect --lock lease/jobs --identity john --priority 1 --lease-duration 3s"),
    );
    until("he says so", || {
        assert!(!john.process.has_ended(), "{}", john.log());
        john.log().contains("cannot become the allocator").then_some(())
    });
    let after = john.tasks();
    assert_eq!(in_state(&after, "running"), [name(&moved)], "{after}");
    assert_eq!(after["tasks"][0]["token"], before["tasks"][0]["token"]);
    assert_eq!(in_state(&jane.tasks(), "running").len(), 1);
}

/// The application beside it works on, and cannot know of the restart.
#[test]
fn a_sidecar_that_restarts_in_place_gets_its_tasks_when_the_old_answers_have_expired() {
    let cluster = Cluster::start();
    let mut john = Sidecar::member(&cluster, "john", SHORT);
    let before = runs(&john, 2);
    john.process.kill();
    let same_place = format!("{SHORT} --listen {}", john.place);
    let again = Sidecar::member(&cluster, "john", &same_place);
    assert!(in_state(&again.tasks(), "running").is_empty());
    let old = number(task(&before, "a"), "token");
    assert_eq!(again.released("a", old).status, 404);
    let after = runs(&again, 2);
    for name in ["a", "b"] {
        let (old, new) = (task(&before, name), task(&after, name));
        assert!(made_at(new) > number(old, "validUntilBootMs"), "{old} {new}");
        assert!(number(new, "token") > number(old, "token"));
        assert_eq!(again.released(name, number(old, "token")).status, 409);
    }
    assert_eq!(in_state(&again.tasks(), "running").len(), 2, "an old token releases nothing");
}

#[test]
fn one_that_is_cut_off_loses_its_tasks_by_the_clock() {
    let mut cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", SHORT);
    runs(&john, 2);
    let mut events = john.events("/v1/events", &[]);
    let _ = events.next();
    let address = cluster.listening().address();
    cluster.stop();
    let mut last = 0;
    let lost = loop {
        let event = events.next().unwrap();
        match event.kind.as_str() {
            "valid" => last = number(&event.data, "validUntilBootMs"),
            "lost" => break event.data,
            other => panic!("{other}: {}", event.data),
        }
    };
    assert!(boot_ms() >= last, "not before its time");
    assert_eq!((&lost["state"], number(&lost, "validForMs")), (&"lost".into(), 0));
    // The work has a moment left to stop.
    assert!(number(&lost, "stopWithinMs") > 0, "{lost}");
    events.event("lost", |other| other["name"] != lost["name"]);
    assert_eq!(john.get("/readyz").status, 200);
    assert_eq!(john.get("/v1/owner?task=a").json()["state"], "unknown");
    let members = john.get("/v1/members");
    assert_eq!(members.status, 503, "{members:?}");
    cluster.listen_again(address);
    for _ in 0..2 {
        let (again, _) = assigned(&mut events);
        assert!(number(&again, "token") > number(&lost, "token"));
    }
}
