//! Sidecars under real faults: no answer is valid any more when another candidate says that it leads.
//!
//! Two runs a fault here; `INCUMBENT_FAULT_RUNS=50` does more.

mod support;

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::Cluster;
use support::proxy::{Proxy, State};
use support::sidecar::{Sidecar, until};

/// A Pod: its sidecar, the line to the API server, and an application that notes what it learns.
struct Member {
    name: &'static str,
    sidecar: Sidecar,
    proxy: Proxy,
}

impl Member {
    fn start(cluster: &Cluster, name: &'static str, told: &Sender<Value>) -> Self {
        let server = cluster.listening().address();
        let proxy = Proxy::to((server.ip().to_string(), server.port()));
        let kubeconfig = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
        let own = format!("https://{}", proxy.address());
        let file = cluster.folder.path().join(format!("kubeconfig-{name}"));
        std::fs::write(&file, kubeconfig.replace(&cluster.listening().url(), &own)).unwrap();
        let mut command = cluster.command("");
        command.env("KUBECONFIG", file).env("RUST_LOG", "off");
        let sidecar = Sidecar::start_with(cluster, command, name, "--lease-duration 1s");
        let (mut events, told) = (sidecar.events("/v1/events", &[]), told.clone());
        std::thread::spawn(move || {
            while let Some(event) = events.next() {
                let _ = told.send(event.data);
            }
        });
        Self { name, sidecar, proxy }
    }
}

fn leader(members: &[Member], but: Option<usize>) -> usize {
    let others = || (0..members.len()).filter(|number| Some(*number) != but);
    until("there is a leader", || {
        others().find(|number| members[*number].sidecar.answer()["isSelf"] == true)
    })
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn no_two_are_told_that_they_lead_at_one_moment() {
    let cluster = Cluster::start();
    let (sender, told) = channel();
    let mut members: Vec<_> = ["alpha", "beta", "gamma"]
        .into_iter()
        .map(|name| Member::start(&cluster, name, &sender))
        .collect();
    let runs = std::env::var("INCUMBENT_FAULT_RUNS").map_or(2, |runs| runs.parse().unwrap());
    let seed = support::seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..runs {
        // Killed.
        let at = leader(&members, None);
        members[at].sidecar.process.kill();
        leader(&members, Some(at));
        members[at] = Member::start(&cluster, members[at].name, &sender);
        // Frozen, around each deadline.
        let at = leader(&members, None);
        members[at].sidecar.signal(Signal::STOP);
        std::thread::sleep(millis([333, 667, 980, 1000, 1500][rng.usize(..5)] + rng.u64(..60)));
        members[at].sidecar.signal(Signal::CONT);
        // Cut off.
        let at = leader(&members, None);
        members[at].proxy.cut();
        std::thread::sleep(millis(rng.u64(100..2500)));
        members[at].proxy.mend();
        // Without answers, or with slow ones.
        let at = leader(&members, None);
        let slow = State::Slow(millis(rng.u64(50..900)));
        members[at].proxy.set([State::AnswersHeld, slow][rng.usize(..2)]);
        std::thread::sleep(millis(rng.u64(100..2500)));
        members[at].proxy.mend();
        // On connections that are half closed, or reset.
        let at = leader(&members, None);
        members[at].proxy.close([Shutdown::Write, Shutdown::Read, Shutdown::Both][rng.usize(..3)]);
        std::thread::sleep(millis(rng.u64(100..1500)));
    }
    leader(&members, None);
    drop((members, sender));
    judge(told.into_iter(), runs, seed);
}

/// By the tokens: each term's first answer was made when the last one of the term before was over.
fn judge(told: impl Iterator<Item = Value>, runs: u64, seed: u64) {
    let mut terms: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut answers = 0;
    for answer in told.filter(|answer| answer["isSelf"] == true) {
        let number = |field: &str| answer[field].as_u64().unwrap();
        let valid_until = number("validUntilBootMs");
        let made_at = valid_until - number("validForMs");
        let term = terms.entry(number("token")).or_insert((made_at, valid_until));
        *term = (term.0.min(made_at), term.1.max(valid_until));
        answers += 1;
    }
    let terms: Vec<_> = terms.into_values().collect();
    let overlaps = terms.windows(2).filter(|pair| pair[1].0 < pair[0].1).count();
    println!(
        "sidecar faults: {} faults, {} terms, {answers} answers, {overlaps} overlaps, seed {seed}",
        5 * runs,
        terms.len(),
    );
    assert!(terms.len() as u64 > runs, "the faults ended terms: {terms:?}");
    assert_eq!(overlaps, 0, "seed {seed}: {terms:?}");
}
