//! Three `run`s, whose commands hear no signal and write down when they live, and what is done to whoever leads.
//!
//! Two runs a fault here; `INCUMBENT_FAULT_RUNS=100 cargo test -p incumbent-cli --test run faults -- --nocapture`
//! does more and prints what it saw.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::support::Candidate;
use super::support::proxy::{Proxy, State};
use super::support::testbed::Testbed;
use super::{is_alive, pid};

const LEASE_MICROS: i64 = 1_000_000;

/// Hears nothing, and has a daemon that hears nothing. Both write their token and the boot-time clock.
const WITNESS: &str = r#"
use POSIX; use Time::HiRes qw(clock_gettime sleep);
$SIG{$_} = 'IGNORE' for qw(TERM INT HUP);
open(my $out, '>>', $ENV{DIARY}) or die;
if (!fork) { setsid; exit if fork; } else {
    $| = 1; print qq({"event":"up","pid":$$,"parent":@{[getppid]},"token":$ENV{INCUMBENT_TOKEN}}\n);
}
for (;;) {
    syswrite($out, sprintf("%s %.0f\n", $ENV{INCUMBENT_TOKEN}, clock_gettime(7) * 1e6));
    sleep 0.004;
}"#;

/// The same in the process group of its guardian, which signals to its own group do not reach.
fn moved() -> String {
    format!("setpgrp(0, getpgrp(getppid())) or die; {WITNESS}")
}

struct Arena {
    testbed: Arc<Testbed>,
    witness: String,
    diary: PathBuf,
    _folder: tempfile::TempDir,
    members: Vec<(Proxy, String, Candidate)>,
    /// By token: the wall clock's microseconds when the last renewal that was stored was sent.
    renewed: Arc<Mutex<BTreeMap<u64, i64>>>,
    is_over: Arc<AtomicBool>,
}

impl Arena {
    fn start() -> Self {
        Self::start_with(WITNESS.to_owned())
    }

    fn start_with(witness: String) -> Self {
        let (testbed, folder) = (Arc::new(Testbed::start()), tempfile::tempdir().unwrap());
        let mut arena = Self {
            witness,
            diary: folder.path().join("diary"),
            _folder: folder,
            members: Vec::new(),
            renewed: Arc::default(),
            is_over: Arc::default(),
            testbed,
        };
        for name in ["alpha", "beta", "gamma"] {
            let proxy = arena.testbed.proxy();
            let member = arena.member(&proxy, name);
            arena.members.push((proxy, name.to_owned(), member));
        }
        arena.leader_after(0);
        let (testbed, renewed) = (arena.testbed.clone(), arena.renewed.clone());
        let is_over = arena.is_over.clone();
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let lease = testbed.stored("lease/job");
                let term = lease["metadata"]["annotations"]["incumbent.dev/term"].as_str();
                let term: Value = serde_json::from_str(term.unwrap_or("null")).unwrap();
                let time = term["renewTime"].as_str().map(|time| time.parse::<jiff::Timestamp>());
                if let (Some(token), Some(Ok(time))) = (term["token"].as_u64(), time) {
                    renewed.lock().unwrap().insert(token, time.as_microsecond());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        arena
    }

    fn member(&self, proxy: &Proxy, name: &str) -> Candidate {
        let flags = format!("run --lock lease/job --lease-duration 1s --identity {name}");
        let mut command = self.testbed.command(&flags, Some(proxy));
        command.args(["--", "perl", "-e", &self.witness]).env("DIARY", &self.diary);
        command.env("RUST_LOG", "off");
        Candidate::start(command)
    }

    /// Starts again who has ended.
    fn revive(&mut self) {
        for number in 0..self.members.len() {
            if self.members[number].2.has_ended() {
                let (proxy, name, _) = &self.members[number];
                self.members[number].2 = self.member(proxy, name);
            }
        }
    }

    /// Which member leads under the newest token above this one, and its words.
    fn leader_after(&self, token: u64) -> (usize, Value) {
        let start = Instant::now();
        loop {
            let ups = self.members.iter().enumerate().flat_map(|(number, (_, _, member))| {
                member.history().into_iter().map(move |up| (number, up))
            });
            let newest = ups.max_by_key(|(_, up)| up["token"].as_u64());
            if let Some((number, up)) = newest
                && up["token"].as_u64() > Some(token)
                && is_alive(pid(&up, "pid"))
            {
                return (number, up);
            }
            assert!(start.elapsed() < Duration::from_secs(60), "nobody leads after {token}");
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Does this to leaders, so often as asked for, and judges what they wrote.
    fn play(
        mut self,
        fault: &str,
        mut run: impl FnMut(&mut Self, usize, &Value, &mut fastrand::Rng),
    ) {
        let runs = std::env::var("INCUMBENT_FAULT_RUNS").map_or(2, |runs| runs.parse().unwrap());
        let seed = super::support::seed();
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..runs {
            self.revive();
            let (number, up) = self.leader_after(0);
            std::thread::sleep(millis(rng.u64(50..500)));
            run(&mut self, number, &up, &mut rng);
        }
        self.leader_after(0);
        self.is_over.store(true, Ordering::Relaxed);
        for (_, _, member) in &mut self.members {
            member.kill();
        }
        self.judge(fault, runs, seed);
    }

    fn judge(&self, fault: &str, runs: u32, seed: u64) {
        let mut reigns: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
        for line in std::fs::read_to_string(&self.diary).unwrap().lines() {
            let (token, at) = line.split_once(' ').unwrap();
            let (token, at) = (token.parse().unwrap(), at.parse().unwrap());
            let reign = reigns.entry(token).or_insert((at, at));
            *reign = (reign.0.min(at), reign.1.max(at));
        }
        let boot = clock_gettime(ClockId::Boottime);
        let boot = boot.tv_sec * 1_000_000 + boot.tv_nsec / 1000;
        let to_boot = boot - jiff::Timestamp::now().as_microsecond();
        let renewed = self.renewed.lock().unwrap();
        let mut gaps = Vec::new();
        let mut spare = i64::MAX;
        let order: Vec<_> = reigns.iter().collect();
        for pair in order.windows(2) {
            let ((token, (_, last)), (later, (first, _))) = (pair[0], pair[1]);
            assert!(
                last < first,
                "{fault}, seed {seed}: {token} acts at {last}, {later} since {first}"
            );
            gaps.push(first - last);
            if let Some(sent) = renewed.get(token) {
                let left = sent + to_boot + LEASE_MICROS - last;
                assert!(left > 0, "{fault}, seed {seed}: {token} lives {} us too long", -left);
                spare = spare.min(left);
            }
        }
        assert!(renewed.len() + 1 >= reigns.len(), "too few renewals were seen");
        gaps.sort_unstable();
        let median = gaps.get(gaps.len() / 2).map_or(0, |gap| gap / 1000);
        let dead = match spare {
            i64::MAX => "none ended".to_owned(),
            _ => format!("dead at least {} ms before the lease ends", spare / 1000),
        };
        eprintln!(
            "{fault}: {runs} runs, {} terms, no overlap; {dead}; gap {median} ms (median)",
            reigns.len(),
        );
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn token(up: &Value) -> u64 {
    up["token"].as_u64().unwrap()
}

#[test]
fn run_killed() {
    Arena::start().play("run: kill -9", |arena, leader, up, _| {
        arena.members[leader].2.kill();
        arena.leader_after(token(up));
    });
}

#[test]
fn run_stopped() {
    Arena::start().play("run: SIGSTOP", |arena, leader, _, rng| {
        arena.members[leader].2.signal(Signal::STOP);
        std::thread::sleep(millis(rng.u64(100..1800)));
        arena.members[leader].2.signal(Signal::CONT);
    });
}

#[test]
fn run_cut_off() {
    Arena::start().play("run: cut off", |arena, leader, _, rng| {
        arena.members[leader].0.cut();
        std::thread::sleep(millis(rng.u64(100..1800)));
        arena.members[leader].0.mend();
    });
}

#[test]
fn run_gets_no_answers() {
    Arena::start().play("run: answers held", |arena, leader, _, rng| {
        let cable = &arena.members[leader].0;
        cable.set(State::AnswersHeld);
        std::thread::sleep(millis(rng.u64(100..1800)));
        if rng.bool() {
            cable.close(Shutdown::Both);
        }
        cable.mend();
    });
}

#[test]
fn run_behind_a_slow_line() {
    Arena::start().play("run: slow line", |arena, leader, _, rng| {
        arena.members[leader].0.set(State::Slow(millis(rng.u64(50..900))));
        std::thread::sleep(millis(rng.u64(500..1800)));
        arena.members[leader].0.mend();
    });
}

#[test]
fn run_with_connections_half_closed_or_reset() {
    Arena::start().play("run: half closed", |arena, leader, _, rng| {
        let how = [Shutdown::Write, Shutdown::Read, Shutdown::Both][rng.usize(..3)];
        arena.members[leader].0.close(how);
        std::thread::sleep(millis(rng.u64(100..1500)));
    });
}

/// For all of them, as when it restarts.
#[test]
fn server_away() {
    Arena::start().play("server away", |arena, _, _, rng| {
        for (cable, _, _) in &arena.members {
            cable.cut();
            cable.close(Shutdown::Both);
        }
        std::thread::sleep(millis(rng.u64(10..1800)));
        arena.members.iter().for_each(|(cable, _, _)| cable.mend());
    });
}

#[test]
fn guardian_killed() {
    Arena::start().play("guardian: kill -9", |arena, _, up, _| {
        let _ = kill_process(pid(up, "parent"), Signal::KILL);
        arena.leader_after(token(up));
    });
}

#[test]
fn guardian_stopped_while_run_is_cut_off() {
    Arena::start().play("guardian: SIGSTOP, run: cut off", |arena, leader, up, rng| {
        // It may just end, of the cut before.
        let _ = kill_process(pid(up, "parent"), Signal::STOP);
        arena.members[leader].0.cut();
        std::thread::sleep(millis(rng.u64(100..1800)));
        let _ = kill_process(pid(up, "parent"), Signal::CONT);
        arena.members[leader].0.mend();
    });
}

#[test]
fn run_and_guardian_stopped() {
    Arena::start().play("run, guardian: SIGSTOP", |arena, leader, up, rng| {
        let _ = kill_process(pid(up, "parent"), Signal::STOP);
        arena.members[leader].2.signal(Signal::STOP);
        std::thread::sleep(millis(rng.u64(100..1800)));
        let _ = kill_process(pid(up, "parent"), Signal::CONT);
        arena.members[leader].2.signal(Signal::CONT);
    });
}

#[test]
fn guardian_killed_while_run_is_stopped() {
    Arena::start().play("run: SIGSTOP, guardian: kill -9", |arena, leader, up, rng| {
        arena.members[leader].2.signal(Signal::STOP);
        let _ = kill_process(pid(up, "parent"), Signal::KILL);
        std::thread::sleep(millis(rng.u64(100..1800)));
        arena.members[leader].2.signal(Signal::CONT);
    });
}

#[test]
fn run_killed_with_a_command_in_another_group() {
    Arena::start_with(moved()).play("other group, run: kill -9", |arena, leader, up, _| {
        arena.members[leader].2.kill();
        arena.leader_after(token(up));
    });
}

#[test]
fn run_and_guardian_stopped_with_a_command_in_another_group() {
    Arena::start_with(moved()).play(
        "other group, run, guardian: SIGSTOP",
        |arena, leader, up, rng| {
            let _ = kill_process(pid(up, "parent"), Signal::STOP);
            arena.members[leader].2.signal(Signal::STOP);
            std::thread::sleep(millis(rng.u64(900..1800)));
            let _ = kill_process(pid(up, "parent"), Signal::CONT);
            arena.members[leader].2.signal(Signal::CONT);
        },
    );
}

/// Nothing is to be waited for here: the gap is what a crash of the command costs.
#[test]
fn command_killed() {
    Arena::start().play("command: kill -9", |arena, _, up, _| {
        let _ = kill_process(pid(up, "pid"), Signal::KILL);
        arena.leader_after(token(up));
    });
}
