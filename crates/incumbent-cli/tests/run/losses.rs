//! Leadership is lost, or a part of `run` dies or stands still.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use serde_json::json;

use super::support::proxy::Proxy;
use super::support::testbed::Testbed;
use super::support::{Candidate, Cluster};
use super::{UP, WORK, eventually, is_alive, pid, send, start};

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
        cluster.command("run --lock lease/job --lease-duration 3s --on-loss exit -- sh -c");
    let script =
        format!("trap 'echo \"{{\\\"event\\\":\\\"told\\\"}}\"; exit 0' TERM; {UP} {WORK}");
    command.arg(script).env("KUBECONFIG", &file);
    let mut john = Candidate::start(command);
    john.event("up");
    proxy.cut();
    let cut = Instant::now();
    john.event("told");
    // At the renew deadline, two seconds after the last renewal was sent.
    assert!(cut.elapsed() < Duration::from_secs(3), "{:?}", cut.elapsed());
    assert_eq!(john.end(), 79);
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
    // The stop deadline is 0.98 s after the last renewal was sent.
    assert!(away.elapsed() < Duration::from_millis(1100), "{:?}", away.elapsed());
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
    let wish = json!({ "incumbent.dev/hand-over-to": "jane" });
    testbed.patch("lease/job", json!({ "metadata": { "annotations": wish } }));
    let next = jane.event("up");
    assert!(!is_alive(pid(&first, "pid")));
    send(&next, "pid", Signal::KILL);
    assert!(john.event("up")["token"].as_u64() > next["token"].as_u64());
}
