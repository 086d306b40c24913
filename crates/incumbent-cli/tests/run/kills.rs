//! Commands that are hard to kill, and helpers that do not work when it has to be done.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::support::peers::missing;
use super::support::{Candidate, Cluster};
use super::{WORK, eventually, holder, is_alive, line, pid, send, start};

/// Ignores SIGTERM, and moves to the process group of its guardian.
const MOVES: &str = r#"$SIG{TERM} = "IGNORE"; setpgrp(0, getpgrp(getppid())) or die $!; $| = 1; print "{\"event\":\"up\",\"pid\":$$,\"token\":$ENV{INCUMBENT_TOKEN}}\n"; sleep 1 while 1;"#;

fn start_perl(cluster: &Cluster, flags: &str, script: &str) -> Candidate {
    let mut command = cluster.command(&format!("run --lock lease/job {flags} -- perl -e"));
    command.arg(script);
    Candidate::start(command)
}

#[test]
fn a_command_in_another_group_ends_when_run_is_asked_to_end() {
    let cluster = Cluster::start();
    let mut john = start_perl(&cluster, "--kill-after 300ms", MOVES);
    let first = john.event("up");
    john.signal(Signal::TERM);
    assert_eq!(john.end(), 128 + 9);
    assert!(!is_alive(pid(&first, "pid")));
}

#[test]
fn a_command_in_another_group_hears_signals() {
    let cluster = Cluster::start();
    let script = MOVES.replace(r#""IGNORE""#, "sub { exit 9 }");
    let mut john = start_perl(&cluster, "", &script);
    john.event("up");
    john.signal(Signal::TERM);
    assert_eq!(john.end(), 9);
}

#[test]
fn a_command_in_another_group_ends_with_run() {
    let cluster = Cluster::start();
    let mut john = start_perl(&cluster, "--identity john --lease-duration 1s", MOVES);
    let first = john.event("up");
    let mut jane = start(&cluster, "--identity jane --lease-duration 1s", WORK);
    john.kill();
    jane.event("up");
    assert!(!is_alive(pid(&first, "pid")));
}

/// A command with a child, a grandchild and a great-grandchild in sessions of their own. When the last one lives, it
/// ends if it is to, or waits. Of each generation, a parent that adopts orphans sees only the next one.
const NESTED: &str = r#"
use POSIX; $SIG{TERM} = "IGNORE"; $| = 1; pipe(my $in, my $out);
sub says { print qq({"event":"$_[0]","pid":$$,"parent":@{[getppid]},"token":$ENV{INCUMBENT_TOKEN}}\n); }
if (!fork) {
    for (1 .. 2) { setsid; if (fork) { sleep 1 while 1; } }
    setsid; says("deep"); syswrite($out, "x"); sleep 1 while 1;
}
says("up"); sysread($in, my $byte, 1);
exit 3 if $ENV{ENDS}; sleep 1 while 1;"#;

#[test]
fn descendants_of_any_depth_are_gone_before_the_lock_is_given_back() {
    let cluster = Cluster::start();
    let script = format!("$ENV{{ENDS}} = 1; {NESTED}");
    let mut john = start_perl(&cluster, "--lease-duration 600s", &script);
    assert_eq!(john.end(), 3);
    assert!(!is_alive(pid(&line(&john, "deep"), "pid")));
}

#[test]
fn the_guardian_is_killed_and_run_kills_descendants_of_any_depth() {
    let cluster = Cluster::start();
    let mut john = start_perl(&cluster, "--lease-duration 600s", NESTED);
    let (first, deep) = (line(&john, "up"), line(&john, "deep"));
    send(&first, "parent", Signal::KILL);
    assert_eq!(john.end(), 128 + 9);
    assert!(!is_alive(pid(&deep, "pid")));
}

#[test]
fn the_kernel_kills_the_command_when_the_guardian_dies_while_run_stands_still() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "--lease-duration 600s", "trap '' TERM; exec sleep 60");
    let first = john.event("up");
    john.signal(Signal::STOP);
    send(&first, "parent", Signal::KILL);
    eventually("the command dies", || !is_alive(pid(&first, "pid")));
}

/// A child in the process group of the command.
const CHILD: &str =
    r#"sh -c 'echo "{\"event\":\"child\",\"pid\":$$}"; while :; do sleep 1; done' &"#;

/// Ignores SIGTERM, as do its child and its daemon.
const STUBBORN: &str = r#"trap '' TERM; (setsid sh -c 'echo "{\"event\":\"daemon\",\"pid\":$$}"; while :; do sleep 1; done' &); sh -c 'echo "{\"event\":\"child\",\"pid\":$$}"; while :; do sleep 1; done' & while :; do sleep 1; done"#;

#[test]
fn run_and_the_guardian_are_stopped_and_nothing_of_the_command_lives_when_the_next_leads() {
    let cluster = Cluster::start();
    let john = start(&cluster, "--identity john --lease-duration 1s", STUBBORN);
    let first = line(&john, "up");
    let processes = ["up", "daemon", "child"].map(|event| (event, pid(&line(&john, event), "pid")));
    let mut jane = start(&cluster, "--identity jane --lease-duration 1s", WORK);
    send(&first, "parent", Signal::STOP);
    john.signal(Signal::STOP);
    let next = jane.event("up");
    for (name, process) in processes {
        assert!(!is_alive(process), "{name}");
    }
    assert!(next["token"].as_u64() > first["token"].as_u64());
}

#[test]
fn the_guardian_is_killed_while_run_is_stopped_and_run_wakes_up_to_kill_the_rest() {
    let cluster = Cluster::start();
    let john = start(&cluster, "--identity john --lease-duration 1s", STUBBORN);
    let (first, daemon) = (line(&john, "up"), line(&john, "daemon"));
    let mut jane = start(&cluster, "--identity jane --lease-duration 1s", WORK);
    john.signal(Signal::STOP);
    send(&first, "parent", Signal::KILL);
    jane.event("up");
    assert!(!is_alive(pid(&daemon, "pid")));
}

/// A process that a debugger holds is not woken by SIGCONT. Then the kernel kills the guardian and by that the
/// command, and the watchdog's thread in `run`, which is not held, the process group.
#[test]
fn a_debugger_holds_run_and_the_guardian_and_the_watchdog_kills_the_command_and_its_group() {
    let cluster = Cluster::start();
    // Without a daemon: nothing would be left to kill it when the test kills `run`.
    let script = format!("trap '' TERM; {CHILD} while :; do sleep 1; done");
    let john = start(&cluster, "--lease-duration 1s", &script);
    let (first, child) = (line(&john, "up"), line(&john, "child"));
    let threads = [john.pid(), pid(&first, "parent")].map(|pid| pid.as_raw_nonzero().get());
    let Some(_held) = hold(threads) else {
        return missing("ptrace", "this user may not trace processes");
    };
    for name in ["pid", "parent"] {
        eventually("it is killed", || !is_alive(pid(&first, name)));
    }
    eventually("its child is killed", || !is_alive(pid(&child, "pid")));
}

/// Of all that could kill the command, only the kernel is left.
#[test]
fn a_debugger_holds_all_threads_and_the_kernel_kills_the_guardian_and_the_command() {
    let cluster = Cluster::start();
    let john = start(&cluster, "--lease-duration 1s", "trap '' TERM; exec sleep 60");
    let first = line(&john, "up");
    let threads = fs::read_dir(format!("/proc/{}/task", john.pid().as_raw_nonzero())).unwrap();
    let threads =
        threads.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let guardian = pid(&first, "parent").as_raw_nonzero().get();
    let Some(_held) = hold(threads.chain([guardian])) else {
        return missing("ptrace", "this user may not trace processes");
    };
    for name in ["pid", "parent"] {
        eventually("it is killed", || !is_alive(pid(&first, name)));
    }
}

/// Threads that stand still as under a debugger, until this is dropped.
struct Held(Vec<nix::unistd::Pid>);

/// None where this user may not do that.
fn hold(threads: impl IntoIterator<Item = i32>) -> Option<Held> {
    let threads: Vec<_> = threads.into_iter().map(nix::unistd::Pid::from_raw).collect();
    let held = threads.iter().all(|thread| ptrace::attach(*thread).is_ok());
    held.then_some(Held(threads))
}

impl Drop for Held {
    fn drop(&mut self) {
        for thread in &self.0 {
            let _ = ptrace::detach(*thread, None);
        }
    }
}

const USER: u32 = 54_321;

/// A setuid program of root's; or nothing where that cannot be had, with one line that says so.
fn setuid_program(folder: &Path) -> Option<PathBuf> {
    let program = folder.join("setuid");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run/setuid.c");
    let built = Command::new("cc").arg(source).arg("-o").arg(&program).output();
    if !rustix::process::geteuid().is_root() || !built.is_ok_and(|built| built.status.success()) {
        missing("a setuid program", "making one needs root and cc");
        return None;
    }
    fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    // The test is pointless where that user may not reach this program.
    let reaches = Command::new(env!("CARGO_BIN_EXE_incumbent")).arg("--help").uid(USER).output();
    if reaches.is_err() {
        missing("a user without rights", "it may not start this program");
        return None;
    }
    Some(program)
}

/// `run` as a user without rights, of that setuid program.
fn start_setuid(cluster: &Cluster, flags: &str, program: &Path) -> (Candidate, PathBuf) {
    let log = cluster.folder.path().join("log");
    let mut command = cluster.command(&format!("run --lock lease/job {flags} --"));
    command.arg(program).uid(USER).gid(USER).stderr(File::create(&log).unwrap());
    (Candidate::start(command), log)
}

#[test]
fn a_setuid_program_gains_no_rights_and_is_killed() {
    let cluster = Cluster::start();
    let Some(program) = setuid_program(cluster.folder.path()) else { return };
    let (mut john, log) = start_setuid(&cluster, "--kill-after 100ms", &program);
    let up = john.event("up");
    assert_eq!(up["root"], false);
    john.signal(Signal::TERM);
    assert_eq!(john.end(), 128 + 9);
    assert!(!is_alive(pid(&up, "pid")));
    assert_eq!(fs::read_to_string(log).unwrap(), "", "there is nothing to warn of");
}

#[test]
fn run_holds_the_lock_while_a_process_that_it_cannot_kill_lives_and_says_so() {
    let cluster = Cluster::start();
    let Some(program) = setuid_program(cluster.folder.path()) else { return };
    let flags = "--kill-after 100ms --lease-duration 3s --allow-privilege-escalation";
    let (mut john, log) = start_setuid(&cluster, flags, &program);
    let log = || fs::read_to_string(&log).unwrap();
    let up = john.event("up");
    if up["root"] == false {
        return missing(
            "a setuid program",
            "this file system, or this container, lets none gain rights",
        );
    }
    assert!(log().contains("cannot be killed"), "it warns at the start: {}", log());
    john.signal(Signal::TERM);
    let number = up["pid"].to_string();
    eventually("it says so", || log().contains(&format!("process {number} of the command")));
    // The guardian is lost on top of it.
    send(&up, "parent", Signal::KILL);
    let renewed = || {
        let shown: Value = serde_json::from_str(&cluster.run("get job -o json").stdout).unwrap();
        shown[0]["renewTime"].clone()
    };
    let before = renewed();
    eventually("the lock is renewed", || renewed() != before);
    assert!(!john.has_ended() && !holder(&cluster).is_null());
    kill_process(pid(&up, "pid"), Signal::KILL).unwrap();
    john.end();
    assert!(holder(&cluster).is_null());
}

/// A control group of the second version that belongs to the user, and what it is called below its mount.
struct ControlGroup(PathBuf);

impl ControlGroup {
    fn create() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let mount =
            mounts.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
                [_, place, "cgroup2", ..] => Some(PathBuf::from(place)),
                _ => None,
            })?;
        let group = Self(mount.join(format!("incumbent-test-{}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        for path in [group.0.clone(), group.0.join("cgroup.procs")] {
            std::os::unix::fs::chown(path, Some(USER), Some(USER)).ok()?;
        }
        group.0.join("cgroup.kill").exists().then_some(group)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let start = Instant::now();
        while fs::remove_dir(&self.0).is_err() && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_control_group_kills_what_no_signal_may_reach() {
    let cluster = Cluster::start();
    let Some(program) = setuid_program(cluster.folder.path()) else { return };
    let Some(group) = ControlGroup::create() else {
        return missing("a control group", "making one needs cgroup2 and root");
    };
    let flags = "--kill-after 100ms --allow-privilege-escalation";
    let inside = cluster.command(&format!("run --lock lease/job {flags} --"));
    let mut command = Command::new("sh");
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\"",
        group.0.display()
    );
    command.args(["-c", &script, "sh"]).arg(inside.get_program()).args(inside.get_args());
    command.arg(&program).env("KUBECONFIG", cluster.kubeconfig()).env_remove("RUST_LOG");
    let log = cluster.folder.path().join("log");
    command.stderr(File::create(&log).unwrap());
    let mut john = Candidate::start(command);
    let up = john.event("up");
    if up["root"] == false {
        return missing(
            "a setuid program",
            "this file system, or this container, lets none gain rights",
        );
    }
    john.signal(Signal::TERM);
    assert_eq!(john.end(), 128 + 9);
    assert!(!is_alive(pid(&up, "pid")));
    assert_eq!(fs::read_to_string(log).unwrap(), "", "there is nothing to warn of");
    let left = fs::read_dir(&group.0).unwrap().flatten();
    assert_eq!(left.filter(|entry| entry.path().is_dir()).count(), 0);
}
