//! Three candidates, each behind a line of its own, and the register that sees who acts.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use super::LEASE;
use super::namespace::{Bridge, Network};
use super::process::{self, Process, Start};
use super::register::{ObservedTerm, Register};
use super::support::Cluster;

pub(crate) struct Arena {
    fault: &'static str,
    pub(crate) cluster: Cluster,
    register: Register,
    members: Vec<Process>,
    /// What the networks of the members hang on.
    pub(crate) bridge: Option<Bridge>,
}

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

impl Arena {
    pub(crate) fn start(fault: &'static str) -> Self {
        Self::build(fault, Cluster::start(), false, |_| None)
    }

    /// Each candidate's wall clock can be turned; none where libfaketime is missing.
    pub(crate) fn with_wall_clocks(fault: &'static str) -> Option<Self> {
        if !process::can_turn_clocks() {
            return None;
        }
        Some(Self::build(fault, Cluster::start(), true, |_| None))
    }

    pub(crate) fn build(
        fault: &'static str,
        cluster: Cluster,
        has_clocks: bool,
        mut network: impl FnMut(usize) -> Option<Network>,
    ) -> Self {
        let (register, address) = Register::start(cluster.listening().address().ip()).unwrap();
        register.take_it_easy(Duration::from_millis(1));
        let mut members = Vec::new();
        for (number, name) in NAMES.into_iter().enumerate() {
            let start = Start::new(&cluster, name, has_clocks, network(number), move || {
                super::support::incumbent(&format!(
                    "elect --lock lease/scanner --lease-duration {}s --identity {name} --register {address}",
                    LEASE.as_secs(),
                ))
            });
            members.push(Process::start(name, start));
        }
        Self { fault, cluster, register, members, bridge: None }
    }

    /// Plays the fault so often as asked for, and judges what the register saw.
    pub(crate) fn play(&mut self, mut run: impl FnMut(&mut Self, &mut fastrand::Rng)) {
        let runs = runs();
        let seed = super::support::seed();
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..runs {
            run(self, &mut rng);
            self.leader();
            std::thread::sleep(millis(rng.u64(..700)));
        }
        self.report(runs, seed);
    }

    /// Waits until somebody acts, and returns its name.
    pub(crate) fn leader(&mut self) -> String {
        self.wait("nobody leads", |arena| {
            let (token, term) = arena.register.newest()?;
            std::thread::sleep(Duration::from_millis(20));
            let (later, again) = arena.register.newest()?;
            (later == token && again.accepted > term.accepted).then_some(again.identity)
        })
    }

    /// Waits until somebody else acts.
    pub(crate) fn next_after(&mut self, name: &str) -> String {
        self.wait("nobody took over", |arena| {
            let (_, term) = arena.register.newest()?;
            (term.identity != name).then_some(term.identity)
        })
    }

    fn wait<T>(&mut self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + 60 * LEASE;
        while Instant::now() < deadline {
            if let Some(found) = found(self) {
                return found;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{}: {what}: {:#?}", self.fault, self.register.terms());
    }

    pub(crate) fn member(&mut self, name: &str) -> &mut Process {
        self.members.iter_mut().find(|member| member.name == name).unwrap()
    }

    /// Starts those again that the watchdog has ended, as a Pod's kubelet would.
    pub(crate) fn revive(&mut self) {
        self.members.iter_mut().for_each(Process::revive);
    }

    /// Turns a leader's wall clock, and waits until it shows in the record.
    pub(crate) fn turn_clock(&mut self, name: &str, seconds: i64) {
        self.member(name).turn_clock(seconds);
        self.wait("the clock does not turn", |arena| {
            let shown = arena.cluster.run("get lease/scanner -o json").stdout;
            let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
            let renewed: jiff::Timestamp = shown[0]["renewTime"].as_str()?.parse().ok()?;
            let off = renewed.as_second() - jiff::Timestamp::now().as_second();
            ((off - seconds).abs() < 5).then_some(())
        });
    }

    pub(crate) fn without_server(&mut self, for_so_long: Duration) {
        let address = self.cluster.listening().address();
        self.cluster.stop();
        std::thread::sleep(for_so_long);
        self.cluster.listen_again(address);
    }

    fn report(&self, runs: u64, seed: u64) {
        let terms = self.register.terms();
        let terms: Vec<&ObservedTerm> = terms.values().collect();
        let pairs = || terms.windows(2).map(|pair| (pair[0], pair[1]));
        let overlap: Duration =
            pairs().map(|(old, new)| old.last_belief.saturating_sub(new.first_belief)).sum();
        let mut gaps: Vec<Duration> = pairs()
            .filter_map(|(old, new)| Some(new.first_write?.saturating_sub(old.last_write?)))
            .collect();
        gaps.sort_unstable();
        let (median, longest) = (gaps.get(gaps.len() / 2), gaps.last());
        let shown = |gap: Option<&Duration>| gap.map_or(0, Duration::as_millis);
        let accepted: u64 = terms.iter().map(|term| term.accepted).sum();
        let refused: u64 = terms.iter().map(|term| term.refused).sum();
        println!(
            "{:16} {runs:4} runs {:4} terms  overlap {} ms  gap median {} ms, longest {} ms  {accepted} \
             writes, {refused} old ones refused  seed {seed}",
            self.fault,
            terms.len(),
            overlap.as_millis(),
            shown(median),
            shown(longest),
        );
        let _ = std::io::stdout().flush();
        assert_eq!(overlap, Duration::ZERO, "{}, seed {seed}: {terms:#?}", self.fault);
    }
}

/// How often a fault is played.
pub(crate) fn runs() -> u64 {
    std::env::var("INCUMBENT_FAULT_RUNS").map_or(2, |runs| runs.parse().unwrap())
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs a command that has to succeed.
pub(crate) fn run(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    output.is_ok_and(|output| output.status.success())
}
