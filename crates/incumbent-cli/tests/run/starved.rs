//! What `run` and its guardian may lack: a reader of their log, files, processes, space.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

use super::support::peers::missing;
use super::support::{Candidate, Cluster, Outcome};
use super::{UP, eventually, holder, is_alive, line, pid, send};

/// Ignores SIGTERM, and has a daemon.
const STUBBORN: &str = "trap '' TERM; (setsid sh -c 'echo \"{\\\"event\\\":\\\"daemon\\\",\\\"pid\\\":$$}\"; while :; do sleep 1; done' >&3 &); while :; do sleep 1; done";

/// `run` that logs all there is to this place. Its lease is over after three seconds.
fn start(cluster: &Cluster, log: impl Into<Stdio>) -> Candidate {
    let flags = "run --lock lease/job --lease-duration 3s --on-loss exit -- sh -c";
    let mut command = cluster.command(flags);
    command.arg(format!("exec 3>&1 2>/dev/null; {UP} {STUBBORN}"));
    command.env("RUST_LOG", "trace").stderr(log);
    Candidate::start(command)
}

/// It is renewed twice. Then the guardian is killed, which logs, and all of the command has to end.
fn works_and_ends(cluster: &Cluster, mut john: Candidate) {
    let (first, daemon) = (line(&john, "up"), line(&john, "daemon"));
    for _ in 0..2 {
        let before = renewed(cluster);
        eventually("it is renewed", || renewed(cluster) != before);
    }
    assert!(is_alive(pid(&first, "pid")));
    send(&first, "parent", Signal::KILL);
    assert_eq!(john.end(), 128 + 9);
    assert!(!is_alive(pid(&first, "pid")) && !is_alive(pid(&daemon, "pid")));
    assert!(holder(cluster).is_null());
}

fn renewed(cluster: &Cluster) -> Value {
    let shown: Value = serde_json::from_str(&cluster.run("get job -o json").stdout).unwrap();
    shown[0]["renewTime"].clone()
}

/// The writing end of a pipe into which nothing more fits, and the end that nobody reads.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    let mut file = File::from(writer.try_clone().unwrap());
    while file.write(&[b'x'; 4096]).is_ok() {}
    while file.write(b"x").is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

#[test]
fn with_a_log_that_nobody_reads_it_works_and_ends() {
    let cluster = Cluster::start();
    let (_reader, writer) = full_pipe();
    works_and_ends(&cluster, start(&cluster, writer));
}

#[test]
fn with_a_log_whose_reader_is_gone_it_works_and_ends() {
    let cluster = Cluster::start();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    works_and_ends(&cluster, start(&cluster, writer));
}

#[test]
fn with_a_full_disk_under_its_log_it_works_and_ends() {
    let cluster = Cluster::start();
    let full = File::options().write(true).open("/dev/full").unwrap();
    works_and_ends(&cluster, start(&cluster, full));
}

#[test]
fn with_a_log_that_is_a_socket_nobody_reads_it_works_and_ends() {
    let cluster = Cluster::start();
    let (_reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    while (&writer).write(b"x").is_ok() {}
    writer.set_nonblocking(false).unwrap();
    works_and_ends(&cluster, start(&cluster, OwnedFd::from(writer)));
}

/// The guardian says an error on its way to the end when its own log is full.
#[test]
fn a_guardian_whose_log_nobody_reads_kills_in_time() {
    let cluster = Cluster::start();
    let (_reader, writer) = full_pipe();
    let mut john = start(&cluster, writer);
    let (first, daemon) = (line(&john, "up"), line(&john, "daemon"));
    john.kill();
    for process in [pid(&first, "pid"), pid(&daemon, "pid"), pid(&first, "parent")] {
        eventually("the guardian ends all", || !is_alive(process));
    }
}

#[test]
fn without_standard_input_it_runs_the_command() {
    let cluster = Cluster::start();
    let inside = cluster.command("run --lock lease/job -- sh -c");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "exec \"$@\" <&-", "sh"]).arg(inside.get_program()).args(inside.get_args());
    command.args(["read word; echo none"]).env("KUBECONFIG", cluster.kubeconfig());
    let outcome = Outcome::of(command.output().unwrap());
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "none\n"), "{outcome:?}");
}

fn no_more_files(process: Pid) {
    prlimit(Some(process), Resource::Nofile, Rlimit { current: Some(0), maximum: Some(0) })
        .unwrap();
}

#[test]
fn without_file_descriptors_run_and_the_guardian_still_kill_all() {
    for asked in [true, false] {
        let cluster = Cluster::start();
        let mut john = start(&cluster, File::options().write(true).open("/dev/null").unwrap());
        let (first, daemon) = (line(&john, "up"), line(&john, "daemon"));
        no_more_files(john.pid());
        no_more_files(pid(&first, "parent"));
        match asked {
            true => kill(&first, "pid"),
            false => kill(&first, "parent"),
        }
        assert_eq!(john.end(), 128 + 9);
        assert!(!is_alive(pid(&first, "pid")) && !is_alive(pid(&daemon, "pid")));
        assert!(holder(&cluster).is_null(), "asked: {asked}");
    }
}

fn kill(line: &Value, of: &str) {
    send(line, of, Signal::KILL);
}

#[test]
fn with_too_few_file_descriptors_nothing_starts_or_all_ends() {
    for limit in 3..40 {
        let cluster = Cluster::start();
        // With too few to connect, it waits for a server that can be reached.
        let mut command = cluster.command("run --lock lease/job --timeout 5s -- sh -c");
        command.arg(format!("{UP} (setsid sleep 60 &); exit 7"));
        let inside = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", &inside]).arg(command.get_program()).args(command.get_args());
        limited.env("KUBECONFIG", cluster.kubeconfig()).stderr(Stdio::null());
        let mut john = Candidate::start(limited);
        let code = john.end();
        let started = john.history().len();
        assert!((started == 1 && code == 7) || (started == 0 && code != 0), "{limit}: {code}");
        if started == 1 {
            return;
        }
    }
    panic!("40 files are enough");
}

#[test]
fn without_processes_nothing_starts_and_run_says_so() {
    const USER: u32 = 54_322;
    if !rustix::process::geteuid().is_root() {
        return missing("a user without processes", "becoming one needs root");
    }
    let cluster = Cluster::start();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(cluster.folder.path(), open).unwrap();
    let mut jane = cluster.command("run --lock lease/job -- sh -c");
    jane.arg(format!("{UP} exec sleep 60"));
    let mut jane = Candidate::start(jane);
    jane.event("up");
    let inside = cluster.command("run --lock lease/job -- echo started");
    let mut command = std::process::Command::new("prlimit");
    command.arg("--nproc=30").arg(inside.get_program());
    command.args(inside.get_args()).env("KUBECONFIG", cluster.kubeconfig()).uid(USER).gid(USER);
    let john = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    eventually("john waits in line", || waits(&cluster));
    // All that the user may have are others' now.
    let sleeper = || std::process::Command::new("sleep").arg("60").uid(USER).spawn().unwrap();
    let mut others: Vec<_> = (0..30).map(|_| sleeper()).collect();
    jane.signal(Signal::TERM);
    let john = Outcome::of(john.wait_with_output().unwrap());
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    assert_eq!((john.code, john.stdout.as_str()), (71, ""), "{john:?}");
    assert!(holder(&cluster).is_null());
}

fn waits(cluster: &Cluster) -> bool {
    let shown: Value = serde_json::from_str(&cluster.run("get job -o json").stdout).unwrap();
    shown[0]["waitlist"].as_array().is_some_and(|line| !line.is_empty())
}
