//! Three `once` for the same task, whose commands write down when they begin and end, and what is done to the
//! one that runs it.
//!
//! One round a fault here, at most once and at least once; `INCUMBENT_FAULT_RUNS=100 cargo test -p incumbent-cli
//! --test run once_faults -- --nocapture` does more and prints what it saw.

use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::is_alive;
use super::support::Candidate;
use super::support::proxy::{Proxy, State};
use super::support::testbed::Testbed;
use super::{UP, pid};

/// One task.
struct Round {
    testbed: Arc<Testbed>,
    diary: PathBuf,
    members: Vec<(Proxy, Candidate)>,
    is_over: Arc<AtomicBool>,
    /// Sees each token that the record shows.
    witness: Option<JoinHandle<Vec<u64>>>,
    _folder: tempfile::TempDir,
}

const TASK: &str = "configmap/jobs:task";

/// Longer than a lease, so that what goes wrong meets it in the middle.
const WORK: &str =
    r#"echo "begin $INCUMBENT_TOKEN" >> $DIARY; sleep 1.2; echo "end $INCUMBENT_TOKEN" >> $DIARY"#;

impl Round {
    fn start(flags: &str) -> Self {
        let (testbed, folder) = (Arc::new(Testbed::start()), tempfile::tempdir().unwrap());
        let diary = folder.path().join("diary");
        let members = ["alpha", "beta", "gamma"].map(|name| {
            let flags = format!("--lease-duration 1s --identity {name} {flags}");
            member(&testbed, &diary, &flags)
        });
        let is_over = Arc::new(AtomicBool::new(false));
        let (seen_by, until) = (testbed.clone(), is_over.clone());
        let witness = std::thread::spawn(move || {
            let mut tokens = Vec::new();
            while !until.load(Ordering::Relaxed) {
                tokens.extend(record(&seen_by).and_then(|record| record["token"].as_u64()));
                std::thread::sleep(Duration::from_millis(10));
            }
            tokens
        });
        let members = members.into();
        Self { testbed, diary, members, is_over, witness: Some(witness), _folder: folder }
    }

    /// Which member runs it, and the words of its command.
    fn runner(&self) -> (usize, Value) {
        let start = Instant::now();
        loop {
            let ups = self.members.iter().enumerate().flat_map(|(number, (_, member))| {
                let ups = member.history().into_iter().filter(|line| line["event"] == "up");
                ups.map(move |up| (number, up))
            });
            if let Some(found) = ups.max_by_key(|(_, up)| up["token"].as_u64()) {
                return found;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "nobody runs it");
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn has_ended(&mut self) -> bool {
        self.members.iter_mut().all(|(_, member)| member.has_ended())
    }

    fn judge(mut self, what: &str, again: bool) {
        let start = Instant::now();
        while !self.has_ended() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}: not all have ended");
            std::thread::sleep(Duration::from_millis(5));
        }
        let codes: Vec<_> = self.members.iter_mut().map(|(_, member)| member.end()).collect();
        let record = || record(&self.testbed).unwrap_or_else(|| panic!("{what}: no record"));
        if record()["state"] == "running" {
            // A starved machine can end all three: the next `once` says what became of the task.
            let flags = if again { "--at-least-once" } else { "" };
            member(&self.testbed, &self.diary, flags).1.end();
        }
        self.is_over.store(true, Ordering::Relaxed);
        let mut tokens = self.witness.take().unwrap().join().unwrap();
        let last = record();
        tokens.extend(last["token"].as_u64());
        assert!(tokens.is_sorted(), "{what}: the token of the record goes back: {tokens:?}");
        let diary = std::fs::read_to_string(&self.diary).unwrap();
        let said = |word: &str| -> Vec<u64> {
            let lines = diary.lines().filter_map(|line| line.strip_prefix(word));
            lines.map(|token| token.trim().parse().unwrap()).collect()
        };
        let (begun, ended) = (said("begin"), said("end"));
        let what =
            format!("{what}: {last}, begun {begun:?}, ended {ended:?}, exit codes {codes:?}");
        assert!(begun.is_sorted_by(|a, b| a < b), "{what}");
        let token = last["token"].as_u64().unwrap();
        assert!(begun.contains(&token), "{what}");
        match last["state"].as_str().unwrap() {
            "done" => assert!(ended.contains(&token), "{what}"),
            "in-doubt" => assert!(!again, "{what}"),
            _ => panic!("{what}"),
        }
        if !again {
            assert_eq!(begun.len(), 1, "{what}");
        }
        eprintln!("{what}");
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn member(testbed: &Testbed, diary: &Path, flags: &str) -> (Proxy, Candidate) {
    let proxy = testbed.proxy();
    let mut command = testbed.command(&format!("once {TASK} --wait {flags}"), Some(&proxy));
    command.args(["--", "sh", "-c", &format!("{UP} {WORK}")]).env("DIARY", diary);
    command.env("RUST_LOG", "off").stderr(std::process::Stdio::null());
    (proxy, Candidate::start(command))
}

fn record(testbed: &Testbed) -> Option<Value> {
    let object = testbed.try_stored("configmap/jobs")?;
    serde_json::from_str(object["data"]["task.once"].as_str()?).ok()
}

/// Does this to the member that runs the task, and judges what came of it.
fn play(fault: &str, mut harm: impl FnMut(&mut Round, usize, &Value, &mut fastrand::Rng)) {
    let runs = std::env::var("INCUMBENT_FAULT_RUNS").map_or(1, |runs| runs.parse().unwrap());
    for _ in 0..runs {
        for (flags, again) in [("", false), ("--at-least-once", true)] {
            let seed = fastrand::u64(..);
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut round = Round::start(flags);
            let (number, up) = round.runner();
            std::thread::sleep(millis(rng.u64(0..1300)));
            harm(&mut round, number, &up, &mut rng);
            round.judge(&format!("{fault} {flags}, seed {seed}"), again);
        }
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn once_killed() {
    play("once: kill -9", |round, runner, up, _| {
        round.members[runner].1.kill();
        while is_alive(pid(up, "pid")) {
            std::thread::sleep(millis(3));
        }
    });
}

#[test]
fn once_stopped() {
    play("once: SIGSTOP", |round, runner, _, rng| {
        let member = &mut round.members[runner].1;
        if !member.has_ended() {
            member.signal(Signal::STOP);
            std::thread::sleep(millis(rng.u64(100..2500)));
            member.signal(Signal::CONT);
        }
    });
}

#[test]
fn once_cut_off() {
    play("once: cut off", |round, runner, _, rng| {
        round.members[runner].0.cut();
        std::thread::sleep(millis(rng.u64(100..2500)));
        round.members[runner].0.mend();
    });
}

#[test]
fn once_gets_no_answers() {
    play("once: answers held", |round, runner, _, rng| {
        let cable = &round.members[runner].0;
        cable.set(State::AnswersHeld);
        std::thread::sleep(millis(rng.u64(100..2500)));
        if rng.bool() {
            cable.close(Shutdown::Both);
        }
        cable.mend();
    });
}

#[test]
fn once_behind_a_slow_line() {
    play("once: slow line", |round, runner, _, rng| {
        round.members[runner].0.set(State::Slow(millis(rng.u64(50..900))));
        std::thread::sleep(millis(rng.u64(500..2500)));
        round.members[runner].0.mend();
    });
}

#[test]
fn once_with_connections_half_closed_or_reset() {
    play("once: half closed", |round, runner, _, rng| {
        let how = [Shutdown::Write, Shutdown::Read, Shutdown::Both][rng.usize(..3)];
        round.members[runner].0.close(how);
    });
}

#[test]
fn once_while_the_server_is_away() {
    play("once: server away", |round, _, _, rng| {
        for (cable, _) in &round.members {
            cable.cut();
            cable.close(Shutdown::Both);
        }
        std::thread::sleep(millis(rng.u64(10..2500)));
        round.members.iter().for_each(|(cable, _)| cable.mend());
    });
}
