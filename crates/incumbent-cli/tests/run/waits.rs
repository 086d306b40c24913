//! Somebody else leads.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::support::testbed::Testbed;
use super::support::{Candidate, Cluster};
use super::{UP, WORK, eventually, start};

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
    for flags in ["--try", "--timeout 10s"] {
        let outcome = tries(flags);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "started\n"), "{flags}");
    }
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
        assert!(asked.elapsed() < Duration::from_secs(2));
        assert!(!line(), "she has left the line");
    }
    assert!(!john.has_ended());
}

#[test]
fn a_service_manager_is_told_what_happens() {
    let cluster = Cluster::start();
    let path = cluster.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
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
