//! One election with candidates of several kinds, and what has to hold for all of it.

use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::Candidate;
use super::support::peers::{self, Peer};
use super::support::proxy::Proxy;
use super::support::testbed::Testbed;

/// The lease duration of everybody. The margin between its end and the moment at which client-go stops is a
/// second and a half, enough for a busy machine.
pub(crate) const LEASE_SECONDS: i64 = 4;

/// Whose candidate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    ClientGo,
    Python,
}

/// A candidate of an election, in the order of their start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(usize);

pub(crate) struct Election {
    pub(crate) testbed: Testbed,
    lock: &'static str,
    candidates: Vec<(String, Kind, Candidate)>,
}

impl Election {
    /// An election for this lock, unless a peer that it needs was not built.
    pub(crate) fn with(peer: Kind, lock: &'static str) -> Option<Self> {
        let found = match peer {
            Kind::Ours => true,
            Kind::ClientGo => peers::find(Peer::ClientGo).is_some(),
            Kind::Python => peers::find(Peer::Python).is_some(),
        };
        found.then(|| Self { testbed: Testbed::start(), lock, candidates: Vec::new() })
    }

    pub(crate) fn start(&mut self, kind: Kind, name: &str, proxy: Option<&Proxy>) -> Number {
        let mut command = match kind {
            Kind::Ours => self.ours(name, proxy),
            Kind::ClientGo => self.client_go(name, proxy),
            Kind::Python => self.python(name, proxy),
        };
        if kind != Kind::Ours {
            command.stderr(Stdio::null());
        }
        self.candidates.push((name.to_owned(), kind, Candidate::start(command)));
        Number(self.candidates.len() - 1)
    }

    fn ours(&self, name: &str, proxy: Option<&Proxy>) -> Command {
        let elect = format!("elect --lock {} --identity {name} --act-every 5ms", self.lock);
        self.testbed.command(&format!("{elect} --lease-duration {LEASE_SECONDS}s"), proxy)
    }

    fn client_go(&self, name: &str, proxy: Option<&Proxy>) -> Command {
        let mut command = Command::new(peers::find(Peer::ClientGo).unwrap());
        command.arg("-kubeconfig").arg(self.testbed.kubeconfig_through(proxy));
        command.args(["-namespace", &self.testbed.namespace, "-identity", name]);
        command.args(["-lock", self.lock.strip_prefix("lease/").unwrap()]);
        command.args(["-lease-duration", &format!("{LEASE_SECONDS}s")]);
        command.args(["-renew-deadline", "2s", "-retry-period", "500ms"]);
        // With it, a client-go that is cut off releases before it stops its work, or tries to.
        command.arg(format!("-release={}", proxy.is_none()));
        command
    }

    fn python(&self, name: &str, proxy: Option<&Proxy>) -> Command {
        let mut command = Command::new(peers::find(Peer::Python).unwrap());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop/python/candidate.py"));
        command.arg("--kubeconfig").arg(self.testbed.kubeconfig_through(proxy));
        command.args(["--namespace", &self.testbed.namespace, "--identity", name]);
        command.args(["--lock", self.lock, "--lease-duration", &LEASE_SECONDS.to_string()]);
        command.args(["--renew-deadline", "3", "--retry-period", "1"]);
        command
    }

    pub(crate) fn candidate(&mut self, number: Number) -> &mut Candidate {
        &mut self.candidates[number.0].2
    }

    /// Waits until this candidate leads.
    pub(crate) fn leads(&mut self, number: Number) {
        self.candidate(number).event("leading");
        self.acts(number, 20);
    }

    /// Waits until this candidate has acted so often.
    pub(crate) fn acts(&mut self, number: Number, times: usize) {
        for _ in 0..times {
            self.candidate(number).event("acting");
        }
    }

    /// Waits until this candidate has stopped leading.
    pub(crate) fn stops(&mut self, number: Number) {
        let event = if self.candidates[number.0].1 == Kind::Ours { "lost" } else { "stopped" };
        self.candidate(number).event(event);
    }

    /// Waits until this candidate follows that one.
    pub(crate) fn follows(&mut self, number: Number, leader: Number) {
        let leader = self.candidates[leader.0].0.clone();
        while self.candidate(number).event("following")["leader"] != leader.as_str() {}
    }

    pub(crate) fn terminate(&mut self, number: Number) {
        self.candidate(number).signal(Signal::TERM);
        self.candidate(number).end();
    }

    /// Writes what somebody else might have written into the lock, for [`Self::judge`] to find.
    pub(crate) fn mark(&self) {
        let metadata =
            json!({ "labels": { "team": "a" }, "annotations": { "else/where": "kept" } });
        self.testbed.patch(self.lock, json!({ "metadata": metadata }));
    }

    /// Checks all that has to hold, and returns who led when.
    pub(crate) fn judge(&self, transitions: i64) -> Vec<Term> {
        let terms = self.terms();
        let last = &terms.last().unwrap().who;
        let stored = self.testbed.stored(self.lock);
        assert_eq!(stored["metadata"]["labels"]["team"], "a", "{stored}");
        let annotations = &stored["metadata"]["annotations"];
        assert_eq!(annotations["else/where"], "kept", "{stored}");

        let (spec, count) = match self.lock.starts_with("lease/") {
            true => (stored["spec"].clone(), "leaseTransitions"),
            false => (
                json_text(&annotations["control-plane.alpha.kubernetes.io/leader"]),
                "leaderTransitions",
            ),
        };
        assert_eq!(spec["holderIdentity"], last.as_str(), "{stored}");
        assert_eq!(spec[count], transitions, "{stored}");

        if !self.lock.starts_with("lease/") {
            assert_eq!(stored["data"]["leader"], last.as_str(), "{stored}");
        }

        let mut tokens = self.tokens();
        tokens.push(u64::MAX);
        assert!(tokens.is_sorted_by(|a, b| a < b), "a token went back: {tokens:?}");
        let remembered = json_text(&annotations["incumbent.dev/term"])["token"].as_u64();
        assert_eq!(remembered, tokens.iter().rev().nth(1).copied(), "{stored}");
        terms
    }

    /// Who led when, by everybody's own account.
    ///
    /// # Panics
    /// Two led at once: between two acts of one term there is an act of another.
    pub(crate) fn terms(&self) -> Vec<Term> {
        let mut acts = Vec::new();
        for (who, kind, candidate) in &self.candidates {
            let mut number = 0;
            for line in candidate.history() {
                number += u32::from(line["event"] == "leading");
                if line["event"] == "leading" || line["event"] == "acting" {
                    let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().unwrap();
                    let at = time.as_microsecond();
                    acts.push(Term { who: who.clone(), kind: *kind, number, from: at, until: at });
                }
            }
        }
        acts.sort_by_key(|act| act.from);
        let mut terms: Vec<Term> = Vec::new();
        for act in acts {
            match terms.last_mut().filter(|term| term.who == act.who && term.number == act.number) {
                Some(term) => term.until = act.until,
                None => terms.push(act),
            }
        }
        for term in &terms {
            let again = |other: &&Term| other.who == term.who && other.number == term.number;
            assert_eq!(terms.iter().filter(again).count(), 1, "two led at once: {terms:#?}");
        }
        terms
    }

    /// The tokens of our terms, in the order in which they began.
    fn tokens(&self) -> Vec<u64> {
        let ours = self.candidates.iter().filter(|(_, kind, _)| *kind == Kind::Ours);
        let mut leading: Vec<Value> = ours
            .flat_map(|(_, _, candidate)| candidate.history())
            .filter(|line| line["event"] == "leading")
            .collect();
        leading.sort_by_key(|line| line["time"].as_str().unwrap().to_owned());
        leading.iter().map(|line| line["token"].as_u64().unwrap()).collect()
    }
}

/// A reign of one candidate; times in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) who: String,
    pub(crate) kind: Kind,
    number: u32,
    pub(crate) from: i64,
    pub(crate) until: i64,
}

fn json_text(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

// What is tried with each kind of peer.

/// Ours crashes, theirs takes over; theirs crashes, ours takes over.
pub(crate) fn crashes(mut election: Election, peer: Kind, transitions: i64) {
    let john = election.start(Kind::Ours, "john", None);
    election.leads(john);
    election.mark();
    let theirs = election.start(peer, "theirs", None);
    election.candidate(john).kill();
    election.leads(theirs);
    let jane = election.start(Kind::Ours, "jane", None);
    election.follows(jane, theirs);
    election.candidate(theirs).kill();
    election.leads(jane);
    assert_eq!(names(&election.judge(transitions)), ["john", "theirs", "jane"]);
}

/// Ours is asked to end, theirs takes over; theirs is asked to end, ours takes over.
pub(crate) fn graceful_stops(mut election: Election, peer: Kind, transitions: i64) {
    let john = election.start(Kind::Ours, "john", None);
    election.leads(john);
    election.mark();
    let theirs = election.start(peer, "theirs", None);
    election.terminate(john);
    election.leads(theirs);
    let jane = election.start(Kind::Ours, "jane", None);
    election.follows(jane, theirs);
    election.terminate(theirs);
    election.leads(jane);
    assert_eq!(names(&election.judge(transitions)), ["john", "theirs", "jane"]);
}

/// Ours is cut off and stops before theirs leads, and the other way round; who comes back follows.
pub(crate) fn partitions(mut election: Election, peer: Kind, transitions: i64) {
    let (our_cable, their_cable) = (election.testbed.proxy(), election.testbed.proxy());
    let john = election.start(Kind::Ours, "john", Some(&our_cable));
    election.leads(john);
    election.mark();
    let theirs = election.start(peer, "theirs", Some(&their_cable));
    our_cable.cut();
    election.stops(john);
    election.leads(theirs);
    our_cable.mend();
    election.follows(john, theirs);
    election.acts(theirs, 200);
    their_cable.cut();
    election.stops(theirs);
    election.leads(john);
    their_cable.mend();
    election.acts(john, 300);
    assert_eq!(names(&election.judge(transitions)), ["john", "theirs", "john"]);
}

fn names(terms: &[Term]) -> Vec<&str> {
    terms.iter().map(|term| term.who.as_str()).collect()
}
