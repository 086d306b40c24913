//! A semaphore: at most so many commands run at once, first come, first served.

use rustix::process::Signal;

use super::support::Cluster;
use super::{UP, WORK, eventually, line, lines, start, worker};

#[test]
fn a_permit_is_given_back_when_the_command_has_ended_and_its_exit_code_is_that_of_work() {
    let cluster = Cluster::start();
    let flags = "--permits 1 --restart never --lease-duration 60s";
    let script = format!("{UP} read -r _ <\"$GO\"; exit 7");
    let fifo = tempfile::tempdir().unwrap();
    let go = fifo.path().join("go");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &go,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let mut command = super::command(&cluster, "john", flags, &script);
    command.env("GO", &go);
    let mut john = super::Candidate::start(command);
    assert_eq!(line(&john, "up", "0")["member"], "john");
    let jane = start(&cluster, "jane", flags, &worker());
    let joe = start(&cluster, "joe", flags, &worker());
    eventually("jane and joe wait", || {
        ["jane", "joe"].iter().all(|name| super::has_seat(&cluster, name))
    });
    assert_eq!((lines(&jane, "up").len(), lines(&joe, "up").len()), (0, 0));
    std::fs::write(&go, "\n").unwrap();
    assert_eq!(john.end(), 7);
    eventually("one of them has the permit", || {
        lines(&jane, "up").len() + lines(&joe, "up").len() == 1
    });
}

#[test]
fn the_permit_of_a_killed_member_returns_within_a_lease() {
    let cluster = Cluster::start();
    let flags = "--permits 2 --lease-duration 2s";
    let names = ["john", "jane", "joe"];
    let mut members = Vec::new();
    for name in names {
        members.push(start(&cluster, name, flags, &format!("{UP} {WORK}")));
        eventually("it has a seat", || super::has_seat(&cluster, name));
    }
    eventually("two run", || members.iter().map(|one| lines(one, "up").len()).sum::<usize>() == 2);
    let waiting = members.iter().position(|one| lines(one, "up").is_empty()).unwrap();
    let waiting = members.remove(waiting);
    members[0].signal(Signal::KILL);
    eventually("the third runs", || lines(&waiting, "up").len() == 1);
}

#[test]
fn a_command_that_keeps_failing_gives_its_permit_back() {
    let cluster = Cluster::start();
    let flags = "--permits 1 --max-restarts 1";
    let mut john = start(&cluster, "john", flags, &format!("{UP} exit 3"));
    assert_eq!(john.end(), 3);
    assert_eq!(lines(&john, "up").len(), 2);
    let jane = start(&cluster, "jane", flags, &worker());
    line(&jane, "up", "0");
}

#[test]
fn each_slot_has_a_command() {
    let cluster = Cluster::start();
    let john = start(&cluster, "john", "--slots 4", &worker());
    super::runs(&john, &["0", "1", "2", "3"]);
}
