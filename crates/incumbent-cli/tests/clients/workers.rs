//! The workers of docs/clients.md, each with its own sidecar, under faults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::support::proxy::{Proxy, State};
use super::support::sidecar::{Sidecar, boot_ms, until};
use super::support::{Cluster, blocks};
use super::{Client, ends_if_it_cannot_ask, example, found, several};

const TASKS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const LEASE: Duration = Duration::from_secs(2);

/// By when each task is worked on again after a fault: the lease, and a second for what follows it; and what a machine
/// that is busy with other tests may add.
const BOUND: Duration = Duration::from_secs(2 + 1 + 30);

/// `/proc/uptime` counts hundredths of a second.
const ROUNDED: u64 = 10;

/// A Pod: a sidecar, and a worker that asks it through a proxy.
struct Pod<'a> {
    cluster: &'a Cluster,
    command: &'a Command,
    name: &'static str,
    lease: Duration,
    sidecar: Sidecar,
    proxy: Proxy,
    worker: Client,
    /// What workers before this one have printed.
    past: Vec<String>,
}

impl<'a> Pod<'a> {
    fn start(
        cluster: &'a Cluster,
        command: &'a Command,
        name: &'static str,
        lease: Duration,
    ) -> Self {
        let flags = format!("--tasks {} --lease-duration {}s", TASKS.join(","), lease.as_secs());
        let sidecar = Sidecar::member(cluster, name, &flags);
        let place: SocketAddr = sidecar.place.parse().unwrap();
        let proxy = Proxy::to((place.ip().to_string(), place.port()));
        let worker = Self::worker(cluster, command, &proxy);
        Self { cluster, command, name, lease, sidecar, proxy, worker, past: Vec::new() }
    }

    fn worker(cluster: &Cluster, command: &Command, proxy: &Proxy) -> Client {
        let mut again = Command::new(command.get_program());
        again.args(command.get_args());
        // One whose sidecar is gone ends, and says so.
        again.stderr(Stdio::null());
        // What `Sidecar` has written for the sidecar.
        again.env("INCUMBENT_SECRET_FILE", cluster.folder.path().join("secret"));
        Client::start(again, proxy)
    }

    /// Kills the sidecar alone, and starts it again in its place, with a new worker, as a kubelet would.
    fn restart(&mut self) {
        let flags = format!(
            "--tasks {} --lease-duration {}s --listen {}",
            TASKS.join(","),
            self.lease.as_secs(),
            self.sidecar.place
        );
        self.sidecar = Sidecar::member(self.cluster, self.name, &flags);
        self.past.extend(self.worker.printed());
        self.worker = Self::worker(self.cluster, self.command, &self.proxy);
    }

    /// What it has done so far: the task, the token, and when.
    fn steps(&self) -> Vec<(String, u64, u64)> {
        let lines = self.past.iter().cloned().chain(self.worker.printed());
        let step = |line: String| {
            let words: Vec<_> = line.split(' ').collect();
            let ["work", task, token, at] = words[..] else { return None };
            Some((task.to_owned(), token.parse().ok()?, at.parse().ok()?))
        };
        lines.filter_map(step).collect()
    }
}

/// Waits until these Pods have worked on each task since then.
fn all_work(pods: &[&Pod<'_>], since: u64) {
    let deadline = Instant::now() + BOUND;
    loop {
        let steps: Vec<_> = pods.iter().flat_map(|pod| pod.steps()).collect();
        let is_done =
            |(name, _, at): &&(String, u64, u64), task: &str| name == task && *at > since + ROUNDED;
        if TASKS.iter().all(|task| steps.iter().any(|step| is_done(&step, task))) {
            return;
        }
        let latest = &steps[steps.len().saturating_sub(20)..];
        assert!(Instant::now() < deadline, "not all are worked on since {since}: {latest:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Two that worked on a task at one moment: the task, and for each token when it began and ended.
type Overlap = (String, (u64, u64, u64), (u64, u64, u64));

fn overlaps(pods: &[&Pod<'_>]) -> Vec<Overlap> {
    let mut terms: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
    for (task, token, at) in pods.iter().flat_map(|pod| pod.steps()) {
        let term = terms.entry((task, token)).or_insert((at, at));
        *term = (term.0.min(at), term.1.max(at));
    }
    let terms: Vec<_> = terms.into_iter().collect();
    let of_one_task = terms.windows(2).filter(|pair| pair[0].0.0 == pair[1].0.0);
    of_one_task
        .filter(|pair| pair[1].1.0 + ROUNDED < pair[0].1.1)
        .map(|pair| {
            let shown = |index: usize| {
                let ((_, token), (from, until)) = pair[index];
                (token, from, until)
            };
            (pair[0].0.0.clone(), shown(0), shown(1))
        })
        .collect()
}

/// Kills, freezes, holds back and restarts, and says where two worked on one task.
fn play(command: &Command) -> Vec<Overlap> {
    let cluster = Cluster::start();
    let start = |name| Pod::start(&cluster, command, name, LEASE);
    let (mut john, jane, jim) = (start("john"), start("jane"), start("jim"));
    all_work(&[&john, &jane, &jim], boot_ms());
    // His sidecar dies. His worker may end, and must not work on.
    john.sidecar.process.kill();
    all_work(&[&jane, &jim], boot_ms() + LEASE.as_millis() as u64);
    john.restart();
    until("he works again", || has_worked(&john.worker).then_some(()));
    all_work(&[&john, &jane, &jim], boot_ms());
    // Her sidecar stands still, and what it answered before comes too late.
    jane.proxy.set(State::AnswersHeld);
    jane.worker.quiet();
    jane.sidecar.signal(Signal::STOP);
    all_work(&[&john, &jim], boot_ms() + LEASE.as_millis() as u64);
    jane.proxy.mend();
    std::thread::sleep(Duration::from_millis(500));
    jane.sidecar.signal(Signal::CONT);
    all_work(&[&john, &jane, &jim], boot_ms());
    // The worker and its sidecar stand still together.
    jim.worker.signal(Signal::STOP);
    jim.sidecar.signal(Signal::STOP);
    all_work(&[&john, &jane], boot_ms() + LEASE.as_millis() as u64);
    jim.worker.signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(300));
    jim.sidecar.signal(Signal::CONT);
    all_work(&[&john, &jane, &jim], boot_ms());
    overlaps(&[&john, &jane, &jim])
}

fn has_worked(worker: &Client) -> bool {
    worker.printed().iter().any(|line| line.starts_with("work "))
}

/// With this lease, a task moves in time only if the worker says that it has stopped.
fn says_that_it_has_stopped(command: &Command) {
    let cluster = Cluster::start();
    let lease = Duration::from_secs(60);
    let john = Pod::start(&cluster, command, "john", lease);
    all_work(&[&john], boot_ms());
    let jane = Pod::start(&cluster, command, "jane", lease);
    let begun = Instant::now();
    until("a task moves", || has_worked(&jane.worker).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(overlaps(&[&john, &jane]), []);
}

fn judge(command: &Command) {
    let cluster = Cluster::start();
    let secret = cluster.folder.path().join("secret");
    std::fs::write(&secret, "correct horse battery staple").unwrap();
    ends_if_it_cannot_ask(command, Some(&secret));
    several::judge(command, &secret);
    says_that_it_has_stopped(command);
    assert_eq!(play(command), []);
}

#[test]
fn in_a_shell() {
    if found("curl", "Debian's curl").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.arg(example(folder.path(), "sh", 1, "worker.sh"));
    judge(&command);
}

#[test]
fn in_python() {
    let Some(mut command) = found("python3", "Debian's python3") else { return };
    let folder = tempfile::tempdir().unwrap();
    command.arg(example(folder.path(), "python", 1, "worker.py"));
    judge(&command);
}

#[test]
fn in_node() {
    let Some(mut command) = found("node", "Debian's nodejs") else { return };
    let folder = tempfile::tempdir().unwrap();
    command.arg(example(folder.path(), "js", 1, "worker.js"));
    judge(&command);
}

#[test]
fn in_go() {
    let Some(mut go) = found("go", "Debian's golang") else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("worker");
    go.arg("build").arg("-o").arg(&program).arg(example(folder.path(), "go", 1, "main.go"));
    assert!(go.current_dir(folder.path()).status().unwrap().success());
    judge(&Command::new(program));
}

#[test]
fn in_java() {
    let Some(mut command) = found("java", "Debian's default-jdk-headless") else { return };
    let folder = tempfile::tempdir().unwrap();
    command.arg(example(folder.path(), "java", 1, "Worker.java"));
    judge(&command);
}

/// The witness of these tests sees a worker that works on what was true once.
#[test]
fn a_worker_that_ignores_the_clock_is_seen() {
    let Some(mut command) = found("python3", "Debian's python3") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = blocks("docs/clients.md", "python").remove(1);
    let careless =
        worker.replace("now < task[\"validUntilBootMs\"]", "task[\"state\"] == \"running\"");
    assert_ne!(worker, careless);
    let path = folder.path().join("careless.py");
    std::fs::write(&path, careless).unwrap();
    command.arg(path);
    let overlaps = play(&command);
    assert!(!overlaps.is_empty(), "it worked on a late answer, and nothing noticed it");
}
