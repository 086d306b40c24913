//! Four workers of a group, each behind a line of its own, and for each task a register that sees who runs it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use super::arena::{millis, runs};
use super::namespace::{Bridge, Hosts, Network};
use super::process::{self, Process, Start};
use super::register::{ObservedTerm, Register};
use super::support::Cluster;
use super::worker::{Program, Worker};

pub(crate) struct Workers {
    fault: &'static str,
    pub(crate) cluster: Cluster,
    lease: Duration,
    registers: BTreeMap<&'static str, Register>,
    members: Vec<Process>,
    /// The version of the program of workers that are started from now on.
    version: Rc<Cell<u32>>,
    listed: BTreeSet<&'static str>,
    /// When which task was taken from the list: then it has no owner for a while, as it should.
    unlisted: Vec<(&'static str, Duration)>,
    gaps: Vec<Duration>,
    /// How often a task had no owner for longer than the bound.
    late: usize,
    _bridge: Option<Bridge>,
}

pub(crate) const NAMES: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
pub(crate) const TASKS: [&str; 8] = ["ap", "br", "ca", "de", "eu", "fr", "gb", "hk"];

impl Workers {
    pub(crate) fn start(fault: &'static str) -> Self {
        Self::build(fault, Program::Library, LEASE, Cluster::start(), false, |_| None)
    }

    /// Each worker is an `incumbent work`, and the register of a task hears from its command.
    pub(crate) fn with_commands(fault: &'static str) -> Self {
        Self::build(fault, Program::Command, LEASE, Cluster::start(), false, |_| None)
    }

    /// With a lease that no busy machine loses.
    pub(crate) fn with_long_leases(fault: &'static str) -> Self {
        Self::build(fault, Program::Library, 5 * LEASE, Cluster::start(), false, |_| None)
    }

    /// Each worker's wall clock can be turned; none where libfaketime is missing.
    pub(crate) fn with_wall_clocks(fault: &'static str) -> Option<Self> {
        let can = process::can_turn_clocks();
        can.then(|| Self::build(fault, Program::Library, LEASE, Cluster::start(), true, |_| None))
    }

    /// Each worker is on a host of its own; none where namespaces may not be made.
    pub(crate) fn on_hosts(fault: &'static str) -> Option<Self> {
        let hosts = Hosts::new(1)?;
        let id = hosts.id();
        let network = |number| Some(Hosts::host(id, number));
        let mut workers =
            Self::build(fault, Program::Library, LEASE, hosts.cluster, false, network);
        workers._bridge = Some(hosts.bridge);
        Some(workers)
    }

    fn build(
        fault: &'static str,
        program: Program,
        lease: Duration,
        cluster: Cluster,
        has_clocks: bool,
        mut network: impl FnMut(usize) -> Option<Network>,
    ) -> Self {
        let (mut registers, mut addresses) = (BTreeMap::new(), BTreeMap::new());
        for task in TASKS {
            let ip = cluster.listening().address().ip();
            let (register, address) = Register::start(ip).unwrap();
            register.take_it_easy(PACE);
            registers.insert(task, register);
            addresses.insert(task, address);
        }
        let listed: BTreeSet<&str> = TASKS.into();
        cluster.server.create(config(&listed)).unwrap();
        let version = Rc::new(Cell::new(1));
        let mut members = Vec::new();
        for (number, name) in NAMES.into_iter().enumerate() {
            let worker = Worker { name, program, lease, registers: addresses.clone() };
            let version = version.clone();
            let command = move || worker.command(version.get());
            let start = Start::new(&cluster, name, has_clocks, network(number), command);
            members.push(Process::start(name, start));
        }
        let (unlisted, gaps) = (Vec::new(), Vec::new());
        Self {
            fault,
            cluster,
            lease,
            registers,
            members,
            version,
            listed,
            unlisted,
            gaps,
            late: 0,
            _bridge: None,
        }
    }

    /// Plays the fault so often as asked for. Each time, each listed task has an owner again within `bound`, counted
    /// from the end of the fault; and never had two.
    pub(crate) fn play(self, bound: Duration, run: impl FnMut(&mut Self, &mut fastrand::Rng)) {
        self.play_so_often(runs(), bound, run);
    }

    pub(crate) fn play_so_often(
        mut self,
        runs: u64,
        bound: Duration,
        mut run: impl FnMut(&mut Self, &mut fastrand::Rng),
    ) {
        let seed = super::support::seed();
        let mut rng = fastrand::Rng::with_seed(seed);
        self.all_run(30 * self.lease);
        for _ in 0..runs {
            let began = now();
            run(&mut self, &mut rng);
            let lasted = now() - began;
            self.all_run(bound);
            self.judge_gaps(began, bound + lasted);
            self.members.iter_mut().for_each(Process::revive);
            sleep(millis(rng.u64(..700)));
        }
        self.report(runs, seed);
    }

    /// Waits until each listed task has been worked on after now.
    pub(crate) fn all_run(&self, bound: Duration) {
        let before = self.newest();
        let deadline = Instant::now() + bound + SLACK;
        loop {
            let now = self.newest();
            let idle: Vec<_> =
                self.listed.iter().filter(|task| now.get(*task) <= before.get(*task)).collect();
            if idle.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{}: nobody runs {idle:?}", self.fault);
            sleep(millis(5));
        }
    }

    /// The newest term of each task that has written, and how often it has.
    fn newest(&self) -> BTreeMap<&'static str, (u64, u64)> {
        let newest = |(task, register): (&&'static str, &Register)| {
            let (token, term) = register.newest()?;
            Some((*task, (token, term.accepted)))
        };
        self.registers.iter().filter_map(newest).collect()
    }

    /// How often tasks have begun.
    pub(crate) fn starts(&self) -> usize {
        self.registers.values().map(|register| register.terms().len()).sum()
    }

    /// Waits until nothing has begun for a while.
    pub(crate) fn calm_down(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let (mut known, mut since) = (self.starts(), Instant::now());
        while since.elapsed() < millis(2500) {
            assert!(Instant::now() < deadline, "{}: tasks move without end", self.fault);
            sleep(millis(20));
            let starts = self.starts();
            if starts != known {
                (known, since) = (starts, Instant::now());
            }
        }
    }

    pub(crate) fn member(&mut self, name: &str) -> &mut Process {
        self.members.iter_mut().find(|member| member.name == name).unwrap()
    }

    /// The allocator, or any.
    pub(crate) fn victim(&self, rng: &mut fastrand::Rng) -> &'static str {
        let allocator = self.allocator().filter(|_| rng.bool());
        allocator.unwrap_or_else(|| NAMES[rng.usize(..NAMES.len())])
    }

    pub(crate) fn allocator(&self) -> Option<&'static str> {
        let holder = self.holder("indexers")?;
        NAMES.into_iter().find(|name| *name == holder)
    }

    fn holder(&self, lease: &str) -> Option<String> {
        let lease = self.cluster.stored(&format!("{LEASES}/{lease}"))?;
        Some(lease["spec"]["holderIdentity"].as_str()?.to_owned())
    }

    /// Waits until this worker has its seat.
    pub(crate) fn takes_seat(&self, name: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.holder(&format!("indexers.{name}")).as_deref() != Some(name) {
            assert!(Instant::now() < deadline, "{}: {name} has no seat", self.fault);
            sleep(millis(5));
        }
    }

    /// Workers that are started from now on run a newer version of the program.
    pub(crate) fn roll_out(&self) {
        self.version.set(self.version.get() + 1);
    }

    pub(crate) fn delete_seat(&self, name: &str) {
        self.cluster.delete(&format!("{LEASES}/indexers.{name}"));
    }

    pub(crate) fn delete_page(&self) {
        self.cluster.delete(&format!("{MAPS}/indexers.tasks"));
    }

    /// Takes a task from the list, or puts it there again.
    pub(crate) fn edit_list(&mut self, task: &'static str) {
        if self.listed.remove(task) {
            self.unlisted.push((task, now()));
        } else {
            self.listed.insert(task);
        }
        let data = &config(&self.listed)["data"];
        self.cluster.patch(&format!("{MAPS}/indexers.config"), &json!({ "data": data }));
    }

    pub(crate) fn without_server(&mut self, for_so_long: Duration) {
        let address = self.cluster.listening().address();
        self.cluster.stop();
        sleep(for_so_long);
        self.cluster.listen_again(address);
    }

    /// How long each task had no owner, where it got one again since then.
    fn judge_gaps(&mut self, since: Duration, bound: Duration) {
        for (task, register) in &self.registers {
            let terms = register.terms();
            let wrote = |term: &ObservedTerm| Some((term.first_write?, term.last_write?));
            let written: Vec<_> = terms.values().filter_map(wrote).collect();
            for pair in written.windows(2) {
                let ((began, ended), (again, _)) = (pair[0], pair[1]);
                let is_away = |(unlisted, at): &(&str, Duration)| {
                    unlisted == task && (began..again).contains(at)
                };
                if again < since || self.unlisted.iter().any(is_away) {
                    continue;
                }
                let gap = again.saturating_sub(ended);
                self.gaps.push(gap);
                self.late += usize::from(gap > bound);
                let fault = self.fault;
                assert!(gap < bound + SLACK, "{fault}: nobody ran {task} for {gap:?}");
            }
        }
    }

    fn report(mut self, runs: u64, seed: u64) {
        let terms: Vec<_> = self.registers.values().map(Register::terms).collect();
        let overlap: Duration = terms.iter().map(|terms| overlap(terms.values())).sum();
        let terms: Vec<&ObservedTerm> = terms.iter().flat_map(BTreeMap::values).collect();
        let sum = |of: fn(&ObservedTerm) -> u64| terms.iter().map(|term| of(term)).sum::<u64>();
        self.gaps.sort_unstable();
        let shown = |gap: Option<&Duration>| gap.map_or(0, Duration::as_millis);
        println!(
            "group: {:30} {runs:4} runs {:5} terms  overlap {} ms  gap median {} ms, longest {} ms, beyond the bound \
             {}  {} writes, {} old ones refused  seed {seed}",
            self.fault,
            terms.len(),
            overlap.as_millis(),
            shown(self.gaps.get(self.gaps.len() / 2)),
            shown(self.gaps.last()),
            self.late,
            sum(|term| term.accepted),
            sum(|term| term.refused),
        );
        let _ = std::io::stdout().flush();
        assert_eq!(overlap, Duration::ZERO, "{}, seed {seed}: {terms:#?}", self.fault);
        assert_eq!(sum(|term| term.of_others), 0, "{}, seed {seed}: one token twice", self.fault);
    }
}

/// For how long somebody believed to own a task after the next one did.
fn overlap<'a>(terms: impl Iterator<Item = &'a ObservedTerm>) -> Duration {
    let (mut overlap, mut latest) = (Duration::ZERO, Duration::ZERO);
    for term in terms {
        overlap += latest.saturating_sub(term.first_belief);
        latest = latest.max(term.last_belief);
    }
    overlap
}

fn config(tasks: &BTreeSet<&str>) -> serde_json::Value {
    let tasks: Vec<_> = tasks.iter().copied().collect();
    let labels = json!({ "incumbent.dev/group": "indexers" });
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "indexers.config", "namespace": "default", "labels": labels },
        "data": { "tasks": tasks.join("\n") },
    })
}

/// On the clock of the registers.
fn now() -> Duration {
    incumbent::Clock::system().instant().since_start()
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// Eight tasks write, on a machine that has other things to do.
const PACE: Duration = Duration::from_millis(4);

/// What a machine that is busy with other tests may add to a bound. What is beyond the bound itself is counted.
const SLACK: Duration = Duration::from_secs(30);
