//! The command ends, or is asked to.

use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;

use super::support::{Candidate, Cluster, Outcome};
use super::{UP, WORK, eventually, holder, is_alive, pid, send, start};

#[test]
fn its_exit_code_output_and_input_are_those_of_the_command() {
    let cluster = Cluster::start();
    let mut command = cluster.command("run --lock lease/job -- sh -c");
    let mut child = command
        .arg("read word; echo $word $INCUMBENT_LOCK $INCUMBENT_NAMESPACE $INCUMBENT_IDENTITY; exit 3")
        .env("INCUMBENT_IDENTITY", "john")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let outcome = Outcome::of(child.wait_with_output().unwrap());
    assert_eq!((outcome.code, outcome.stdout.trim()), (3, "hello lease/job default john"));
    let code = |script: &str| cluster.run(&format!("run --lock lease/job -- {script}")).code;
    assert_eq!([code("true"), code("/nonexistent"), code("/etc/passwd")], [0, 127, 126]);
    // What cannot work says so in numbers that commands rarely use.
    assert_eq!(cluster.run("run --lock lease/A_ -- true").code, 2);
    let mut nobody = super::support::incumbent("run --lock lease/a -- true");
    assert_eq!(nobody.output().unwrap().status.code(), Some(69));
}

#[test]
fn a_crash_of_the_command_hands_over_at_once() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "--identity john --lease-duration 600s", WORK);
    let first = john.event("up");
    let mut jane = start(&cluster, "--identity jane --lease-duration 600s", WORK);
    eventually("jane waits in line", || cluster.run("get job -o json").stdout.contains("jane"));
    let crash = Instant::now();
    send(&first, "pid", Signal::KILL);
    let next = jane.event("up");
    let gap = crash.elapsed();
    // Without a release, she would have waited for ten minutes.
    eprintln!("from a crash to the next start: {gap:?}");
    assert_eq!(john.end(), 128 + 9);
    assert!(next["token"].as_u64() > first["token"].as_u64());
}

#[test]
fn what_ignores_sigterm_is_killed_before_the_lock_is_given_back() {
    let cluster = Cluster::start();
    let mut john = start(
        &cluster,
        "--identity john --kill-after 300ms",
        &format!("trap '' TERM; {UP} while :; do sleep 1; done"),
    );
    let first = john.event("up");
    let mut jane = start(&cluster, "--identity jane", WORK);
    eventually("jane waits in line", || cluster.run("get job -o json").stdout.contains("jane"));
    let asked = Instant::now();
    john.signal(Signal::TERM);
    let next = jane.event("up");
    assert!(asked.elapsed().as_millis() >= 300);
    assert!(!is_alive(pid(&first, "pid")));
    assert!(next["token"].as_u64() > first["token"].as_u64());
    assert_eq!(john.end(), 128 + 9);
}

#[test]
fn sigterm_lets_the_command_end_in_its_own_way_and_time() {
    let cluster = Cluster::start();
    let script =
        format!("trap 'sleep 0.3; echo {{\\\"event\\\":\\\"bye\\\"}}; exit 7' TERM; {UP} {WORK}");
    let mut john = start(&cluster, "--identity john", &script);
    john.event("up");
    john.signal(Signal::TERM);
    john.event("bye");
    assert_eq!(john.end(), 7);
    assert_eq!(holder(&cluster), serde_json::Value::Null);
}

/// A daemon: the command's own child has ended, and its grandchild has a session of its own.
const DAEMON: &str = "(trap '' TERM HUP; setsid sh -c 'echo \"{\\\"event\\\":\\\"daemon\\\",\\\"pid\\\":$$}\"; exec sleep 60' &);";

#[test]
fn what_a_command_leaves_behind_is_gone_before_the_lock_is_given_back() {
    let cluster = Cluster::start();
    let script = format!("{DAEMON} sleep 0.2; exit 0");
    let mut john = start(&cluster, "--identity john", &script);
    let daemon = john.event("daemon");
    assert_eq!(john.end(), 0);
    assert!(!is_alive(pid(&daemon, "pid")));
}

#[test]
fn a_command_that_has_stopped_itself_is_woken_to_end() {
    let cluster = Cluster::start();
    let mut john = start(
        &cluster,
        "--identity john",
        &format!("trap 'exit 5' TERM; {UP} kill -STOP $$; {WORK}"),
    );
    let up = john.event("up");
    let stat = format!("/proc/{}/stat", pid(&up, "pid").as_raw_nonzero());
    eventually("it stops", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    john.signal(Signal::TERM);
    assert_eq!(john.end(), 5);
}

#[test]
fn signals_reach_the_command() {
    let cluster = Cluster::start();
    let traps: String = ["HUP", "QUIT", "USR1", "USR2", "WINCH", "ALRM"]
        .map(|name| format!("trap 'echo \"{{\\\"event\\\":\\\"{name}\\\"}}\"' {name};"))
        .concat();
    let script = format!("{traps} echo '{{\"event\":\"ready\"}}'; {WORK}");
    let mut john = start(&cluster, "--identity john", &script);
    john.event("ready");
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
        (Signal::ALARM, "ALRM"),
    ] {
        john.signal(signal);
        john.event(name);
    }
    john.signal(Signal::INT);
    assert_eq!(john.end(), 128 + 2);
}

#[test]
fn orphans_of_the_command_are_buried_while_it_runs() {
    let cluster = Cluster::start();
    let seen = cluster.folder.path().join("seen");
    let orphan = format!("(sh -c 'until test -e {}; do sleep 0.05; done' &);", seen.display());
    let script = format!("{orphan} {orphan} {WORK}");
    let mut john = start(&cluster, "--identity john", &script);
    let up = john.event("up");
    let guardian = pid(&up, "parent").as_raw_nonzero();
    let children = format!("/proc/{guardian}/task/{guardian}/children");
    let count = || std::fs::read_to_string(&children).unwrap().split_whitespace().count();
    eventually("orphans come", || count() > 1);
    std::fs::write(seen, "").unwrap();
    eventually("only the command is left", || count() == 1);
    assert!(is_alive(pid(&up, "pid")));
}

#[test]
fn restarts_are_made_in_the_same_term_and_have_a_limit() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "--restart on-failure --max-restarts 2", "exit 3");
    let tokens = [(); 3].map(|()| john.event("up")["token"].clone());
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    assert_eq!(john.end(), 3);
    assert_eq!(john.history().len(), 3);
}

#[test]
fn as_process_1_of_a_container_it_buries_and_ends_as_asked() {
    let cluster = Cluster::start();
    let own = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let allowed = std::process::Command::new("unshare").args(own).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return super::support::peers::missing("a PID namespace", "making one needs root");
    }
    let inside = cluster.command("run --lock lease/job --");
    let mut command = std::process::Command::new("unshare");
    command.args(own).arg(inside.get_program()).args(inside.get_args());
    command.env("KUBECONFIG", cluster.kubeconfig());
    let script = format!("(sleep 0.1 &); trap 'exit 4' TERM; {UP} sleep 0.3; kill -TERM 1; {WORK}");
    command.args(["sh", "-c", &script]);
    let mut first = Candidate::start(command);
    first.event("up");
    assert_eq!(first.end(), 4);
}

#[test]
fn at_a_terminal_the_command_can_read_and_ctrl_c_reaches_it() {
    let cluster = Cluster::start();
    let program = env!("CARGO_BIN_EXE_incumbent");
    let line = format!(
        "{program} run --lock lease/job -- sh -c 'read word; echo got $word; exec sleep 60'; echo code $?"
    );
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).env("KUBECONFIG", cluster.kubeconfig());
    terminal.stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = terminal.spawn() else {
        return super::support::peers::missing("script", "it is in util-linux");
    };
    let mut keys = child.stdin.take().unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    keys.write_all(b"hello\n").unwrap();
    let mut printed = String::new();
    while !printed.contains("got hello") {
        assert_ne!(std::io::BufRead::read_line(&mut output, &mut printed).unwrap(), 0, "{printed}");
    }
    keys.write_all(&[3]).unwrap();
    while !printed.contains("code 130") {
        assert_ne!(std::io::BufRead::read_line(&mut output, &mut printed).unwrap(), 0, "{printed}");
    }
    drop(keys);
    child.wait().unwrap();
}
