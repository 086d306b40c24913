//! The numbers of an election, measured over real processes and HTTPS on this machine.
//!
//! `cargo bench -p incumbent-cli` prints them; it takes about a minute and a half. Absolute times are
//! those of one machine: compare within one run.

#[path = "../tests/support/mod.rs"]
mod support;

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use incumbent_apiserver::{Requests, Verb};
use rustix::process::Signal;
use serde_json::Value;
use support::{Candidate, Cluster};

const HANDOVERS: usize = 40;
const CRASHES: usize = 12;
const LEASE: f64 = 3.0;

fn main() {
    // Cargo's own test runs of a bench ask only whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    eprintln!("graceful handover: {HANDOVERS} times, three candidates ...");
    report("graceful handover, ms from SIGTERM to the next leader", graceful());
    eprintln!("crash: {CRASHES} times, lease {LEASE} s ...");
    report("crash, s from kill -9 to the next leader", crash());
    println!("    lease {LEASE} s, renewed every 1 s: {} to {} expected", LEASE - 1.0, LEASE + 0.1);
    eprintln!("idle: one leads and nine wait, for 20 s ...");
    idle();
}

fn start(cluster: &Cluster, name: &str, timing: &str) -> Candidate {
    let arguments = format!("elect --lock lease/numbers --identity {name} {timing}");
    Candidate::start(cluster.command(&arguments))
}

fn graceful() -> Vec<f64> {
    let cluster = Cluster::start();
    let mut candidates: Vec<_> =
        ["a", "b", "c"].map(|name| (name, start(&cluster, name, ""))).into();
    // Whoever is started first leads; the others wait in the order of the list.
    candidates[0].1.event("leading");
    let mut times = Vec::new();
    for _ in 0..HANDOVERS {
        sleep(Duration::from_millis(150));
        let (name, mut leader) = candidates.remove(0);
        let asked_at = SystemTime::now();
        leader.signal(Signal::TERM);
        leader.end();
        sleep(Duration::from_millis(50));
        let next = holder(&cluster);
        let at = candidates.iter().position(|(name, _)| *name == next).unwrap();
        candidates.swap(0, at);
        let led_at = time(&candidates[0].1.event("leading"));
        times.push(led_at - seconds(asked_at));
        candidates.push((name, start(&cluster, name, "")));
    }
    times.iter().map(|seconds| seconds * 1e3).collect()
}

fn crash() -> Vec<f64> {
    let cluster = Cluster::start();
    let timing = format!("--lease-duration {LEASE}s");
    let mut candidates: Vec<_> =
        ["a", "b", "c"].map(|name| (name, start(&cluster, name, &timing))).into();
    candidates[0].1.event("leading");
    let mut times = Vec::new();
    for round in 0..CRASHES {
        // At all phases of the renewal.
        sleep(Duration::from_millis(1000 + 97 * round as u64));
        let (name, mut leader) = candidates.remove(0);
        let killed_at = SystemTime::now();
        leader.signal(Signal::KILL);
        leader.end();
        sleep(Duration::from_secs_f64(LEASE + 0.5));
        let next = holder(&cluster);
        let at = candidates.iter().position(|(name, _)| *name == next).unwrap();
        candidates.swap(0, at);
        times.push(time(&candidates[0].1.event("leading")) - seconds(killed_at));
        candidates.push((name, start(&cluster, name, &timing)));
    }
    times
}

fn idle() {
    let cluster = Cluster::start();
    let mut candidates: Vec<_> = (0..10)
        .map(|number| {
            let candidate = start(&cluster, &format!("c{number}"), "");
            sleep(Duration::from_millis(100));
            candidate
        })
        .collect();
    candidates[0].event("leading");
    sleep(Duration::from_secs(2));
    let cpu = |candidate: &Candidate| candidate.cpu_ticks();
    let (before, ticks, since) = (cluster.server.requests(), cpu(&candidates[1]), Instant::now());
    sleep(Duration::from_secs(20));
    let (after, passed) = (cluster.server.requests(), since.elapsed().as_secs_f64());
    println!("idle, requests a second of one leader (renewing every 5 s) and nine that wait");
    let count = |requests: &Requests, verb| requests.of(verb) as f64;
    for (name, verb) in
        [("PUT", Verb::Update), ("GET", Verb::Get), ("LIST", Verb::List), ("WATCH", Verb::Watch)]
    {
        let rate = (count(&after, verb) - count(&before, verb)) / passed;
        println!("    {name:<5} {rate:.2}");
    }
    println!("resident memory, KiB");
    println!("    leader  {}", candidates[0].resident_kib());
    println!("    waiting {}", candidates[1].resident_kib());
    println!("processor time of one that waits, ticks of 10 ms in {passed:.0} s");
    println!("    {}", cpu(&candidates[1]) - ticks);
}

fn holder(cluster: &Cluster) -> String {
    let shown: Value =
        serde_json::from_str(&cluster.run("get numbers -o json").stdout).expect("a list");
    shown[0]["holder"].as_str().expect("somebody leads").to_owned()
}

fn time(line: &Value) -> f64 {
    let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().unwrap();
    time.as_microsecond() as f64 / 1e6
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn report(what: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    println!("{what}");
    println!(
        "    min {:.2}   median {:.2}   p90 {:.2}   max {:.2}   of {}",
        times[0],
        at(0.5),
        at(0.9),
        times[times.len() - 1],
        times.len()
    );
}
