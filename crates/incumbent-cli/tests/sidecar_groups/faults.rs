//! Members under real faults: no task is valid in two applications at one moment, and each is worked on again in time.
//!
//! Two runs a fault here; `INCUMBENT_FAULT_RUNS=50` does more.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::support::proxy::{Proxy, State};
use super::support::sidecar::{Sidecar, boot_ms};
use super::support::{Cluster, seed};
use super::{made_at, number};

const TASKS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// By when each task runs again after a fault: the lease, and a second for what follows it; and what a machine that is
/// busy with other tests may add.
const BOUND: Duration = Duration::from_secs(1 + 1 + 30);

/// What an application believes, or does.
#[derive(Debug)]
enum Note {
    /// It may work on the task under this token, from the moment of an answer until another.
    May { task: String, token: u64, from: u64, until: u64 },
    /// It has stopped. Noted before it says so.
    Stopped { task: String, token: u64, at: u64 },
}

/// A Pod: its sidecar, the line to the API server, and an application that notes what it learns.
struct Member {
    name: &'static str,
    sidecar: Sidecar,
    proxy: Proxy,
    application: JoinHandle<()>,
}

impl Member {
    fn start(
        cluster: &Cluster,
        name: &'static str,
        path: &'static str,
        notes: &Sender<Note>,
    ) -> Self {
        let server = cluster.listening().address();
        let proxy = Proxy::to((server.ip().to_string(), server.port()));
        let kubeconfig = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
        let own = format!("https://{}", proxy.address());
        let file = cluster.folder.path().join(format!("kubeconfig-{name}"));
        std::fs::write(&file, kubeconfig.replace(&cluster.listening().url(), &own)).unwrap();
        let mut command = cluster.command("");
        command.env("KUBECONFIG", file).env("RUST_LOG", "off");
        let flags = format!("--lease-duration 1s --tasks {}", TASKS.join(","));
        let sidecar = Sidecar::member_with(cluster, command, name, &flags);
        let (mut events, notes) = (sidecar.events(path, &[]), notes.clone());
        let place = sidecar.place.clone();
        let application = std::thread::spawn(move || {
            let mut application = Application { notes, known: BTreeMap::new(), place };
            while let Some(event) = events.next() {
                application.hear(&event.kind, &event.data);
            }
        });
        Self { name, sidecar, proxy, application }
    }

    /// Kills the sidecar, and fails if the application has found a fault in what it has learned.
    fn end(self) {
        drop(self.sidecar);
        if let Err(panic) = self.application.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// It believes each answer, and stops when it is asked to.
struct Application {
    notes: Sender<Note>,
    /// The tasks on which it works, with their tokens.
    known: BTreeMap<String, u64>,
    place: String,
}

impl Application {
    fn hear(&mut self, kind: &str, data: &Value) {
        match kind {
            "tasks" => {
                self.known.clear();
                for task in data["tasks"].as_array().unwrap() {
                    self.hear_of(task);
                }
            }
            "valid" => {
                assert_eq!(number(data, "running"), self.known.len() as u64, "{data}");
                for (task, token) in &self.known {
                    self.note(task, *token, data);
                }
            }
            _ => self.hear_of(data),
        }
    }

    fn hear_of(&mut self, task: &Value) {
        let (name, token) = (task["name"].as_str().unwrap().to_owned(), number(task, "token"));
        match task["state"].as_str().unwrap() {
            "running" => {
                self.note(&name, token, task);
                self.known.insert(name, token);
            }
            state => {
                if self.known.get(&name) == Some(&token) {
                    self.known.remove(&name);
                }
                if state == "revoked" {
                    let at = boot_ms();
                    let stopped = Note::Stopped { task: name.clone(), token, at };
                    let _ = self.notes.send(stopped);
                    let place = self.place.clone();
                    // The sidecar may be frozen.
                    std::thread::spawn(move || Sidecar::post_released(&place, &name, token));
                }
            }
        }
    }

    fn note(&self, task: &str, token: u64, data: &Value) {
        let (from, until) = (made_at(data), number(data, "validUntilBootMs"));
        let _ = self.notes.send(Note::May { task: task.to_owned(), token, from, until });
    }
}

/// All that applications have noted.
struct Witness {
    notes: Receiver<Note>,
    /// For each task and token: from when, and until when, it was believed to be owned.
    terms: BTreeMap<String, BTreeMap<u64, (u64, u64)>>,
    beliefs: u64,
}

impl Witness {
    fn read(&mut self) {
        while let Ok(note) = self.notes.try_recv() {
            match note {
                Note::May { task, token, from, until } => {
                    let term = self.terms.entry(task).or_default();
                    let term = term.entry(token).or_insert((from, until));
                    *term = (term.0.min(from), term.1.max(until));
                    self.beliefs += 1;
                }
                Note::Stopped { task, token, at } => {
                    let term = self.terms.get_mut(&task).and_then(|terms| terms.get_mut(&token));
                    if let Some(term) = term {
                        term.1 = term.1.min(at);
                    }
                }
            }
        }
    }

    /// Waits until each task is owned by an application that has learned so after this moment.
    fn all_run(&mut self, since: u64) {
        let begun = Instant::now();
        loop {
            self.read();
            let now = boot_ms();
            let runs = |task: &&str| {
                let newest = self.terms.get(*task).and_then(|terms| terms.values().next_back());
                newest.is_some_and(|(_, until)| *until > now.max(since + 1500))
            };
            let idle: Vec<_> = TASKS.iter().filter(|task| !runs(task)).collect();
            if idle.is_empty() {
                return;
            }
            let terms = &self.terms;
            assert!(begun.elapsed() < BOUND, "{idle:?} do not run at {now}: {terms:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn judge(mut self, faults: u64, seed: u64) {
        self.read();
        let mut overlaps = Vec::new();
        for (task, terms) in &self.terms {
            let pairs: Vec<_> = terms.iter().collect();
            for pair in pairs.windows(2).filter(|pair| pair[1].1.0 < pair[0].1.1) {
                overlaps.push((task.clone(), pair[0], pair[1]));
            }
        }
        let terms: usize = self.terms.values().map(BTreeMap::len).sum();
        println!(
            "sidecar groups: {faults} faults, {terms} terms of tasks, {} beliefs, {} overlaps, seed {seed}",
            self.beliefs,
            overlaps.len()
        );
        assert!(terms as u64 > faults, "the faults moved tasks: {terms}");
        assert!(overlaps.is_empty(), "seed {seed}: {overlaps:?}");
    }
}

#[test]
fn no_task_is_valid_in_two_applications_at_one_moment() {
    play("/v1/events");
}

#[test]
fn nor_where_the_applications_hold_lifelines() {
    play("/v1/lifeline");
}

fn play(path: &'static str) {
    let cluster = Cluster::start();
    let (sender, notes) = channel();
    let mut witness = Witness { notes, terms: BTreeMap::new(), beliefs: 0 };
    let mut members: Vec<_> =
        NAMES.into_iter().map(|name| Member::start(&cluster, name, path, &sender)).collect();
    let runs = std::env::var("INCUMBENT_FAULT_RUNS").map_or(2, |runs| runs.parse().unwrap());
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let millis = Duration::from_millis;
    witness.all_run(0);
    for _ in 0..runs {
        for fault in 0..5 {
            let at = rng.usize(..NAMES.len());
            let member = &mut members[at];
            match fault {
                // Killed, and started again in its place, at once or later.
                0 => {
                    member.sidecar.process.kill();
                    std::thread::sleep(millis([0, rng.u64(..2000)][rng.usize(..2)]));
                    let again = Member::start(&cluster, NAMES[at], path, &sender);
                    std::mem::replace(&mut members[at], again).end();
                }
                // Frozen, around each deadline.
                1 => {
                    member.sidecar.signal(Signal::STOP);
                    let around = [333, 667, 980, 1000, 1500][rng.usize(..5)];
                    std::thread::sleep(millis(around + rng.u64(..60)));
                    member.sidecar.signal(Signal::CONT);
                }
                // Cut off.
                2 => {
                    member.proxy.cut();
                    std::thread::sleep(millis(rng.u64(100..2500)));
                    member.proxy.mend();
                }
                // Without answers, or with slow ones.
                3 => {
                    let slow = State::Slow(millis(rng.u64(50..900)));
                    member.proxy.set([State::AnswersHeld, slow][rng.usize(..2)]);
                    std::thread::sleep(millis(rng.u64(100..2500)));
                    member.proxy.mend();
                }
                // On connections that are half closed, or reset.
                _ => {
                    let how = [Shutdown::Write, Shutdown::Read, Shutdown::Both][rng.usize(..3)];
                    member.proxy.close(how);
                    std::thread::sleep(millis(rng.u64(100..1500)));
                }
            }
            let name = members[at].name;
            println!("fault {fault} of {name}");
            witness.all_run(boot_ms());
        }
    }
    members.into_iter().for_each(Member::end);
    drop(sender);
    witness.judge(5 * runs, seed);
}
