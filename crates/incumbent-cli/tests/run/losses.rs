//! Leadership is lost, or a part of `run` dies or stands still.

use std::fs::File;
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

use super::support::proxy::Proxy;
use super::support::testbed::Testbed;
use super::support::{Candidate, Cluster, Outcome, incumbent};
use super::{UP, WORK, eventually, hand_over_to_jane, is_alive, pid, send, start};

/// Hears no signal that can be left unheard, and has a child in a session of its own.
/// It has said `up` when its daemon has spoken, too.
const STUBBORN: &str = "trap '' TERM INT HUP; (setsid sh -c 'trap \"\" TERM; echo \"{\\\"event\\\":\\\"daemon\\\",\\\"pid\\\":$$}\"; while :; do sleep 1; done' &); while :; do sleep 1; done";

#[test]
fn run_is_killed_and_nothing_of_the_command_lives_when_the_next_leads() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "--identity john --lease-duration 1s", STUBBORN);
    let (first, daemon) = (john.event("up"), john.event("daemon"));
    let mut jane = start(&cluster, "--identity jane --lease-duration 1s", WORK);
    std::thread::sleep(Duration::from_millis(200));
    john.kill();
    let next = jane.event("up");
    for process in [pid(&first, "pid"), pid(&daemon, "pid"), pid(&first, "parent")] {
        assert!(!is_alive(process));
    }
    assert!(next["token"].as_u64() > first["token"].as_u64());
}

#[test]
fn run_is_stopped_and_the_guardian_ends_the_command_in_time() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "--identity john --lease-duration 1s", STUBBORN);
    let first = john.event("up");
    let mut jane = start(&cluster, "--identity jane --lease-duration 1s", WORK);
    std::thread::sleep(Duration::from_millis(200));
    john.signal(Signal::STOP);
    let next = jane.event("up");
    assert!(!is_alive(pid(&first, "pid")));
    // It wakes up as one that waits again.
    john.signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!john.has_ended());
    send(&next, "pid", Signal::KILL);
    // The kernel has woken it at its deadline, so that it may have led before the next one did.
    while john.event("up")["token"].as_u64() < next["token"].as_u64() {}
}

#[test]
fn who_is_cut_off_stops_the_command_and_can_say_so_with_its_exit_code() {
    let cluster = Cluster::start();
    let address = cluster.listening().address();
    let proxy = Proxy::to((address.ip().to_string(), address.port()));
    let kubeconfig = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    let kubeconfig = kubeconfig.replace(&address.to_string(), &proxy.address().to_string());
    let file = cluster.folder.path().join("through-proxy");
    std::fs::write(&file, kubeconfig).unwrap();
    let mut command =
        cluster.command("run --lock lease/job --lease-duration 9s --on-loss exit -- sh -c");
    let script =
        format!("trap 'echo \"{{\\\"event\\\":\\\"told\\\"}}\"; exit 0' TERM; {UP} {WORK}");
    let log = cluster.folder.path().join("log");
    command.arg(script).env("KUBECONFIG", &file).env("RUST_LOG", "info");
    command.stderr(File::create(&log).unwrap());
    let mut john = Candidate::start(command);
    john.event("up");
    proxy.cut();
    let cut = Instant::now();
    john.event("told");
    // At the renew deadline, six seconds after the last renewal was sent, and before others may lead.
    assert!(cut.elapsed() < Duration::from_secs(9), "{:?}", cut.elapsed());
    assert_eq!(john.end(), 79);
    // The guardian says so, as `run` may hear of the end before it learns that its term is over.
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("told_to_stop=true"), "{log}");
    let mut done = cluster.command("run --lock lease/other -- true");
    let log = Outcome::of(done.env("RUST_LOG", "info").output().unwrap()).stderr;
    assert!(log.contains("told_to_stop=false"), "{log}");
}

#[test]
fn the_guardian_is_killed_and_the_command_with_it_before_another_leads() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "--identity john --lease-duration 600s", STUBBORN);
    let (first, daemon) = (john.event("up"), john.event("daemon"));
    let mut jane = start(&cluster, "--identity jane --lease-duration 600s", WORK);
    std::thread::sleep(Duration::from_millis(200));
    send(&first, "parent", Signal::KILL);
    let next = jane.event("up");
    assert!(!is_alive(pid(&first, "pid")));
    assert!(!is_alive(pid(&daemon, "pid")));
    assert!(next["token"].as_u64() > first["token"].as_u64());
    assert_eq!(john.end(), 128 + 9);
}

/// Then `run` itself is left, with the library's watchdog.
#[test]
fn the_guardian_stands_still_and_run_ends_the_command_in_its_stead() {
    let mut cluster = Cluster::start();
    let mut john = start(&cluster, "--lease-duration 1s --on-loss exit", STUBBORN);
    let (first, daemon) = (john.event("up"), john.event("daemon"));
    kill_process(pid(&first, "parent"), Signal::STOP).unwrap();
    cluster.stop();
    let away = Instant::now();
    eventually("the command is killed", || !is_alive(pid(&first, "pid")));
    // The stop deadline is 0.98 s after the last renewal was sent. `faults.rs` measures it by the command's own
    // last sign of life; whoever looks from here may look late.
    assert!(away.elapsed() < Duration::from_secs(5), "{:?}", away.elapsed());
    assert_eq!(john.end(), 79);
    assert!(!is_alive(pid(&daemon, "pid")));
    assert!(!is_alive(pid(&first, "parent")));
}

#[test]
fn a_signal_to_all_processes_at_once_lets_the_command_end_in_its_own_time() {
    let cluster = Cluster::start();
    let script = format!("trap 'sleep 0.3; exit 7' TERM; {UP} {WORK}");
    let mut john = start(&cluster, "--identity john", &script);
    let up = john.event("up");
    // As a service manager does that ends a whole control group.
    send(&up, "parent", Signal::TERM);
    john.signal(Signal::TERM);
    assert_eq!(john.end(), 7);
}

#[test]
fn a_request_to_hand_over_is_heard_and_the_command_comes_back_later() {
    let testbed = Testbed::start();
    let start = |identity: &str| {
        let flags = format!("run --lock lease/job --identity {identity}");
        let mut command = testbed.command(&flags, None);
        command.args(["--", "sh", "-c", &format!("{UP} {WORK}")]);
        Candidate::start(command)
    };
    let mut john = start("john");
    let first = john.event("up");
    let mut jane = start("jane");
    eventually("jane waits in line", || testbed.stored("lease/job").to_string().contains("jane"));
    let next = hand_over_to_jane(&testbed, &mut jane);
    assert!(!is_alive(pid(&first, "pid")));
    send(&next, "pid", Signal::KILL);
    while john.event("up")["token"].as_u64() < next["token"].as_u64() {}
}

/// What the guardian alone says, which is started as `run` does it, with these deadlines and this command.
fn guardian_says(deadlines: [u64; 2], command: [&str; 3]) -> String {
    let (near, far) = UnixStream::pair().unwrap();
    let mut guardian = incumbent("__guard")
        .args(["free", ""])
        .args(command)
        .stdin(Stdio::from(OwnedFd::from(far)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let input = File::open("/dev/null").unwrap();
    let files = [input.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = SendAncillaryBuffer::new(&mut space);
    passed.push(SendAncillaryMessage::ScmRights(&files));
    let line = format!("extend {} {}\n", deadlines[0], deadlines[1]);
    let line = [IoSlice::new(line.as_bytes())];
    sendmsg(&near, &line, &mut passed, SendFlags::empty()).unwrap();
    let mut reports = String::new();
    (&near).read_to_string(&mut reports).unwrap();
    assert!(guardian.wait().unwrap().success());
    reports
}

/// Nanoseconds on the clock that all processes share.
fn boot_time(later: Duration) -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32);
    u64::try_from((now + later).as_nanos()).unwrap()
}

/// After a pause in which the term has ended.
#[test]
fn a_guardian_that_hears_of_its_term_too_late_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("started");
    let script = format!("touch {}", trace.display());
    let hour = boot_time(Duration::from_secs(3600));
    for (deadlines, says, starts) in [
        ([1, 2], "unstarted 79\n", false),
        ([1, hour], "unstarted 79\n", false),
        ([hour; 2], "exited 0\n", true),
    ] {
        let reports = guardian_says(deadlines, ["sh", "-c", &script]);
        assert!(reports.ends_with(says), "{reports}");
        assert_eq!(trace.exists(), starts);
    }
}

#[test]
fn a_guardian_says_that_it_has_told_the_command_to_stop() {
    let soon = boot_time(Duration::from_secs(1));
    let script = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let deadlines = [soon, boot_time(Duration::from_secs(3600))];
    let reports = guardian_says(deadlines, ["sh", "-c", script]);
    // Where this machine is so busy that the second is over before it begins, nothing is started.
    let is_told =
        reports.ends_with("stopping\nexited 0\n") || reports.ends_with("stopping\nsignalled 15\n");
    assert!(is_told || reports == "unstarted 79\n", "{reports}");
}

/// `run` sees the end of the command only after the guardian has told it to stop, and it has ended with 0.
#[test]
fn what_its_guardian_has_stopped_while_run_stood_still_is_lost() {
    let cluster = Cluster::start();
    for command in ["run --on-loss exit --lock lease/job", "once configmap/jobs:key"] {
        let mut command = cluster.command(&format!("{command} --lease-duration 1s -- sh -c"));
        command.arg(format!("trap 'exit 0' TERM; {UP} {WORK}"));
        let mut john = Candidate::start(command);
        let up = john.event("up");
        john.signal(Signal::STOP);
        eventually("the command has ended", || !is_alive(pid(&up, "pid")));
        john.signal(Signal::CONT);
        assert_eq!(john.end(), 79);
    }
}
