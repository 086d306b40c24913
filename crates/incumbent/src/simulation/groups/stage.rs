//! A trial while it runs, and what must hold at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use http::Method;
use serde_json::{Value, json};

use super::super::dial::Dial;
use super::super::judge::Outcome;
use super::super::line::Line;
use super::super::machine::{Machine, Stalls};
use super::super::server::Account;
use super::super::world::{Happening, World};
use super::books::Books;
use super::member::{self, Strings};
use super::trial::{FAULTY, Trial};
use crate::group::{Group, Tasks};

pub(super) struct Stage<'a> {
    pub(super) trial: &'a Trial,
    pub(super) world: World<'a>,
    pub(super) books: Books,
    rng: Rng,
    healed: Arc<AtomicBool>,
    stalls: Option<Stalls>,
    /// The process of each member, by its place.
    pub(super) seats: Vec<usize>,
    pub(super) members: BTreeMap<usize, Strings>,
    pub(super) namesakes: Vec<usize>,
    plans: Vec<Plan>,
    started: usize,
    /// The tasks that the list has.
    pub(super) listed: BTreeSet<String>,
    is_closing: bool,
}

/// Something that happens later.
pub(super) enum Plan {
    Trouble(usize),
    /// A process starts at this place.
    Start(usize),
    /// The process wants tasks again.
    Wants(usize),
}

impl<'a> Stage<'a> {
    pub(super) fn set(trial: &'a Trial, world: World<'a>, rng: Rng) -> Self {
        let longest = trial.lease;
        let books = Books::new(world.judge.clone());
        let mut stage = Self {
            trial,
            world,
            books,
            rng,
            healed: Arc::default(),
            stalls: trial.stalls.map(|once_in| Stalls { once_in, longest }),
            seats: Vec::new(),
            members: BTreeMap::new(),
            namesakes: Vec::new(),
            plans: Vec::new(),
            started: 0,
            listed: (0..trial.tasks).map(|task| format!("t{task}")).collect(),
            is_closing: false,
        };
        stage.write_list();
        for slot in 0..trial.members {
            let index = stage.start(slot, name(slot));
            stage.seats.push(index);
        }
        for (number, trouble) in trial.troubles.iter().enumerate() {
            stage.plan(trouble.at, Plan::Trouble(number));
        }
        stage
    }

    pub(super) fn play(mut self) -> Outcome {
        self.go_on(self.trial.lease * FAULTY);
        self.heal();
        self.close()
    }

    pub(super) fn plan(&mut self, at: Duration, plan: Plan) {
        self.plans.push(plan);
        self.world.plan(at, self.plans.len() - 1);
    }

    fn go_on(&mut self, until: Duration) {
        while let Some(happening) = self.world.go_on(until) {
            match happening {
                Happening::Planned(planned) => match self.plans[planned] {
                    Plan::Trouble(number) => self.strike(&self.trial.troubles[number]),
                    Plan::Wants(process) => self.drain(process, false),
                    Plan::Start(slot)
                        if self.world.processes[self.seats[slot]].machine.is_alive() => {}
                    Plan::Start(slot) => self.seats[slot] = self.start(slot, name(slot)),
                },
                Happening::Ended(process) => self.start_again(process),
            }
        }
    }

    fn start_again(&mut self, process: usize) {
        let slot = self.seats.iter().position(|seat| *seat == process);
        if let Some(slot) = slot.filter(|_| !self.is_closing) {
            let pause = self.trial.lease.mul_f64(self.rng.f64());
            self.plan(self.world.now + pause, Plan::Start(slot));
        }
    }

    pub(super) fn drain(&mut self, process: usize, wants_none: bool) {
        if let Some(strings) = self.members.get(&process) {
            strings.handle.drain(wants_none);
        }
        self.world.run(process);
    }

    pub(super) fn leave(&mut self, process: usize) {
        if let Some(strings) = self.members.get(&process) {
            strings.leaves.send_replace(true);
        }
        self.world.run(process);
    }

    /// Nothing goes wrong any more: each listed task has one owner soon, and keeps it.
    fn heal(&mut self) {
        let now = self.world.now;
        self.world.judge.trace(now, || "* healed".to_owned());
        self.world.network.heal();
        self.stalls = None;
        for index in std::mem::take(&mut self.namesakes) {
            self.world.processes[index].is_cut_off = true;
            self.world.kill(index);
        }
        for process in &mut self.world.processes {
            process.machine.heal();
        }
        self.healed.store(true, Ordering::Relaxed);
        self.write_list();
        self.world.show();
        for process in self.seats.clone() {
            self.drain(process, false);
        }
        let mut within = self.trial.lease * WITHIN + REQUESTS;
        let is_upset = ["page deleted", "page edited"].iter().any(|kind| self.trial.has(kind));
        if is_upset || !self.is_open() {
            within += LONGEST_LEASE;
        }
        self.calm_down(now + within);
        self.all_run("after the faults");
        let first = self.seats[0];
        self.is_closing = true;
        self.leave(first);
        self.go_on(self.world.now + A_LITTLE);
        self.all_run("after one has left");
    }

    /// Goes on until each task has had one owner for some leases, for which nobody has sent more than it has to.
    fn calm_down(&mut self, deadline: Duration) {
        let (mut since, mut starts, mut sent) = (self.world.now, self.books.starts(), self.sent());
        let calm = if self.trial.has("partition") { CALM_WITH_DEAD_WATCHES } else { CALM };
        while self.world.now < since + self.trial.lease * calm {
            self.go_on(self.world.now + self.trial.lease / 2);
            if self.books.starts() != starts || !self.is_settled() {
                if self.world.now > deadline {
                    return self.violation("tasks move, or have no owner, without end".to_owned());
                }
                (since, starts, sent) = (self.world.now, self.books.starts(), self.sent());
            }
        }
        for (process, (before, after)) in sent.into_iter().zip(self.sent()).enumerate() {
            if after - before > u64::from(calm) * MOST_REQUESTS {
                self.violation(format!("process {process} sends {} requests", after - before));
            }
        }
    }

    /// Whether the table may assign tasks.
    fn is_open(&mut self) -> bool {
        let page = self.by_hand(Method::GET, &format!("{MAPS}/indexers.tasks"), &Value::Null);
        let page = page.unwrap_or_default();
        page["data"]["table"].as_str().is_some_and(|table| table.contains(", open"))
    }

    /// Whether each listed task has one owner, and no other task has.
    fn is_settled(&self) -> bool {
        let running = self.books.running(self.world.now);
        let tasks: Vec<_> = running.iter().map(|(task, _)| task).collect();
        let is_alive = |process: &usize| self.world.processes[*process].machine.is_alive();
        tasks == self.listed.iter().collect::<Vec<_>>()
            && running.iter().all(|(_, process)| is_alive(process))
    }

    fn all_run(&mut self, when: &str) {
        if !self.is_settled() {
            let running = self.books.running(self.world.now);
            self.violation(format!("{when} {running:?} run, and {:?} are listed", self.listed));
        }
    }

    /// How many requests each process has sent.
    fn sent(&self) -> Vec<u64> {
        self.world.processes.iter().map(|process| process.sent).collect()
    }

    fn violation(&self, text: String) {
        self.world.judge.violation(self.world.now, text);
    }

    /// All leave: nothing runs, no seat is held, and no watch is open.
    fn close(mut self) -> Outcome {
        for seat in self.seats.clone() {
            self.leave(seat);
        }
        self.go_on(self.world.now + self.trial.lease * 2);
        let running = self.books.running(self.world.now);
        if !running.is_empty() {
            self.violation(format!("all have left, and {running:?} run"));
        }
        for slot in 0..self.trial.members {
            let seat = self.by_hand(
                Method::GET,
                &format!("{LEASES}/indexers.{}", name(slot)),
                &Value::Null,
            );
            let holder = seat.unwrap_or_default()["spec"]["holderIdentity"].clone();
            if holder.as_str().is_some_and(|holder| !holder.is_empty()) {
                self.violation(format!("all have left, and {holder} holds its seat"));
            }
        }
        self.world.close();
        self.books.close(self.world.now);
        self.world.judge.clone().close(self.world.now)
    }

    /// A process of the member of this name, on a machine whose clocks differ from all others.
    pub(super) fn start(&mut self, slot: usize, member: String) -> usize {
        self.started += 1;
        let name = format!("{member}/{}", self.started);
        let now = self.world.now;
        let shown = Duration::from_millis(self.rng.u64(1_000..100_000_000));
        let (ppm, wall) = (self.rng.i64(-9_900..9_900), self.rng.i64(-5_000_000..5_000_000));
        let dial = Dial::new(now, shown, ppm, wall);
        let machine = Machine::new(dial, now, self.rng.fork(), self.stalls);
        let index = self.world.add(name.clone(), Some(slot), Account::Admin, machine);
        let (books, healed, rng) = (self.books.clone(), self.healed.clone(), self.rng.fork());
        let lease = self.trial.lease;
        let machine = &mut self.world.processes[index].machine;
        let clock = machine.clock;
        let strings = machine.enter(|| {
            let client = kube::Client::new(Line { clock }, "default");
            let builder = Group::builder(client, "default", "indexers")
                .member(member)
                .tasks(Tasks::config_map())
                .lease_duration(lease);
            member::start(&name, clock, builder, &books, &healed, lease, rng)
        });
        if let Some(strings) = strings {
            self.world.processes[index].aborted = Some(strings.ended.clone());
            self.members.insert(index, strings);
        }
        self.world.run(index);
        index
    }

    pub(super) fn by_hand(&mut self, method: Method, path: &str, body: &Value) -> Option<Value> {
        let done = self.world.server.by_hand(self.world.now, method, path, body);
        self.world.show();
        done
    }

    /// Writes the list of tasks, whether it exists or not.
    pub(super) fn write_list(&mut self) {
        let tasks: Vec<_> = self.listed.iter().cloned().collect();
        let labels = json!({ "incumbent.dev/group": "indexers" });
        let list = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "indexers.config", "namespace": "default", "labels": labels },
            "data": { "tasks": tasks.join("\n") },
        });
        let path = format!("{MAPS}/indexers.config");
        if self.by_hand(Method::PATCH, &path, &list).is_none() {
            self.by_hand(Method::POST, MAPS, &list);
        }
    }
}

fn name(slot: usize) -> String {
    format!("m{slot}")
}

pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
pub(super) const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// By when each task has an owner after the faults, in leases: one and a half until the last process has started
/// again, up to two for seats whose member is gone, up to five until a watch that is dead is given up, and the rest for
/// one request after the other.
const WITHIN: u32 = 12;

/// A list and a watch may each hang for ten seconds.
const REQUESTS: Duration = Duration::from_secs(25);

/// After which a page that was edited or deleted may open again, or a new one whose first allocator has failed.
const LONGEST_LEASE: Duration = Duration::from_secs(61);

/// For how many leases nothing must change then.
const CALM: u32 = 3;

/// The same where a watch may be dead, which is noticed after five.
const CALM_WITH_DEAD_WATCHES: u32 = 6;

/// What a process may send in a lease: three renewals of two Leases, and watches that are opened again.
const MOST_REQUESTS: u64 = 15;

/// A few requests one after the other.
const A_LITTLE: Duration = Duration::from_secs(2);
