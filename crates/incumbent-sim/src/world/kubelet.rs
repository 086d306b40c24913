//! Pods, their containers and the kubelet: where candidates run, and how their ends are reported.
//!
//! Each candidate is a process in a container. The shape of its deployment decides what the kernel
//! shows to it and what the kubelet reports about it. The production code decides whether that
//! proves a death. This module checks the decision against the true state of the process.

use incumbent_core::{
    Container, ContainerReport, HolderInfo, Input, Mark, MessageFile, Session, Surroundings,
    Termination,
};

use super::{Event, World};
use crate::chance::Chance;
use crate::clock::Micros;
use crate::properties;
use crate::tally::{Fault, Outcome};

/// How the candidates of one election are deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Each runs in a separate Pod, on a separate node.
    Pods,
    /// Each runs in a separate container, and all containers are in one Pod.
    OnePod,
    /// All are processes of one container.
    OneContainer,
    /// The same, but each candidate has created its own PID namespace.
    InnerPidNamespaces,
    /// All are processes of one container and survive its first process, because the container
    /// shares its Pod's PID namespace.
    SharedPidNamespace,
    /// The same, with the node's PID namespace.
    HostPid,
    /// Static Pods: one manifest that contains a uid, on several nodes.
    StaticPods,
    /// The same, on nodes that share a kernel.
    StaticPodsOnOneKernel,
    /// The container runtime has lost track of earlier containers, which still run.
    ForgetfulRuntime,
    /// The same, in the node's IPC namespace.
    ForgetfulRuntimeHostIpc,
    /// Pods with the same name. The earlier Pods were deleted by force and still run.
    OneName,
}

const SHAPES: [Shape; 11] = [
    Shape::Pods,
    Shape::OnePod,
    Shape::OneContainer,
    Shape::InnerPidNamespaces,
    Shape::SharedPidNamespace,
    Shape::HostPid,
    Shape::StaticPods,
    Shape::StaticPodsOnOneKernel,
    Shape::ForgetfulRuntime,
    Shape::ForgetfulRuntimeHostIpc,
    Shape::OneName,
];

/// All Pods of one election, and the reports of their kubelets.
pub(super) struct Cluster {
    shape: Shape,
    /// Separate from the random numbers of the world, so that a draw here does not change the rest
    /// of a seed.
    chance: Chance,
    /// The start of each candidate's container. If all share a container, only the first entry is
    /// used.
    starts: Vec<Start>,
    /// The mark that each process has left in its container's termination message.
    marks: Vec<Mark>,
    /// The contents of all statuses, in the order in which they occurred. A copy may be of any age.
    reports: Vec<Report>,
}

/// The current start of a container.
#[derive(Clone, Default)]
struct Start {
    /// How often its node has started.
    boot: u64,
    /// How many sandboxes its Pod has had.
    sandbox: u64,
    /// How often the container itself has started.
    number: u64,
    /// When its first process began; `None` until it has one.
    began: Option<Micros>,
}

/// A Pod's status that reports the termination of a container.
#[derive(Clone)]
struct Report {
    pod: String,
    pod_uid: String,
    is_mirror: bool,
    container: String,
    reason: &'static str,
    message: String,
}

impl Shape {
    /// Whether all candidates are processes of one container.
    fn is_crowd(self) -> bool {
        self.ends_with_its_first() || self.outlives_its_first()
    }

    /// When the first process of a PID namespace ends, the kernel ends all its other processes.
    fn ends_with_its_first(self) -> bool {
        matches!(self, Self::OneContainer | Self::InnerPidNamespaces)
    }

    fn outlives_its_first(self) -> bool {
        matches!(self, Self::SharedPidNamespace | Self::HostPid)
    }

    fn has_own_node(self) -> bool {
        matches!(self, Self::Pods | Self::StaticPods)
    }

    fn is_static(self) -> bool {
        matches!(self, Self::StaticPods | Self::StaticPodsOnOneKernel)
    }

    fn pod_uid(self, index: usize) -> String {
        let has_own = matches!(self, Self::Pods | Self::OneName);
        if has_own { format!("uid-{index}") } else { "uid".to_owned() }
    }

    fn pod(self, index: usize) -> String {
        let has_own = self.has_own_node() || self == Self::StaticPodsOnOneKernel;
        if has_own { format!("app-{index}") } else { "app-0".to_owned() }
    }

    fn container(self, index: usize) -> String {
        if self == Self::OnePod { format!("app-{index}") } else { "app".to_owned() }
    }

    /// The inode of the IPC namespace. Different nodes may use the same number.
    fn ipc_namespace(self, index: usize, start: &Start) -> u64 {
        let is_one_sandbox = self.is_crowd() || self.has_own_node() || self == Self::OnePod;
        match self {
            Self::ForgetfulRuntimeHostIpc => 0xEFFF_FFFF,
            _ if is_one_sandbox => 4_026_532_000 + start.sandbox,
            _ => 4_026_532_000 + 1000 * index as u64 + start.sandbox,
        }
    }
}

impl Cluster {
    pub(super) fn new(seed: u64, candidates: usize) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(0x9e37_79b9) ^ 0x706f_6473);
        let shape = match chance.permille(300) {
            true => Shape::Pods,
            false => SHAPES[chance.below(SHAPES.len() as u64) as usize],
        };
        let (starts, marks) = (vec![Start::default(); candidates], vec![Mark(0); candidates]);
        Self { shape, chance, starts, marks, reports: Vec::new() }
    }

    fn container_of(&self, index: usize) -> usize {
        if self.shape.is_crowd() { 0 } else { index }
    }

    /// What a process reports about itself when it starts.
    fn holder_info(&mut self, index: usize, now: Micros) -> HolderInfo {
        let shape = self.shape;
        let container = self.container_of(index);
        let mark = Mark(u128::from(self.chance.below(u64::MAX)));
        self.marks[index] = mark;
        let start = &mut self.starts[container];
        let began = *start.began.get_or_insert(now);
        let file = MessageFile {
            pod_uid: shape.pod_uid(index),
            container: shape.container(index),
            file: format!("{container}-{}", start.number),
        };
        let first_began = match shape {
            Shape::InnerPidNamespaces => now,
            _ if shape.outlives_its_first() => 0,
            _ => began,
        };
        let node = if shape.has_own_node() { index } else { 0 };
        let shown = Surroundings {
            boot_id: format!("boot {node}.{}", start.boot),
            ipc_namespace: shape.ipc_namespace(index, start),
            own_files: vec![file.clone()],
            first_files: if shape.outlives_its_first() { Vec::new() } else { vec![file] },
            first_ticks: first_began / TICK,
        };
        let (namespace, pod) = ("default".to_owned(), shape.pod(index));
        // The process leaves its mark in every shape. The candidates that read it decide whether it
        // counts.
        let report = Some(ContainerReport { namespace, pod, mark });
        let container = Container::seen(shown).map(|seen| Container { report, ..seen });
        HolderInfo { address: None, container, seat: None }
    }

    /// A container has ended. The kubelet reports that, and will start the container again.
    fn end(&mut self, index: usize) {
        self.report(index, "Error");
        let what_else = self.chance.below(8);
        let container = self.container_of(index);
        let start = &mut self.starts[container];
        (start.number, start.began) = (start.number + 1, None);
        match what_else {
            0 if self.shape.has_own_node() => start.boot += 1,
            1 if self.shape != Shape::OnePod => start.sandbox += 1,
            _ => {}
        }
    }

    /// Adds a report whose message contains the marks of all processes that were in the container.
    fn report(&mut self, index: usize, reason: &'static str) {
        let shape = self.shape;
        let marks = if shape.is_crowd() { &self.marks[..] } else { &self.marks[index..=index] };
        self.reports.push(Report {
            pod: shape.pod(index),
            pod_uid: shape.pod_uid(index),
            is_mirror: shape.is_static(),
            container: shape.container(index),
            reason,
            message: marks.iter().map(|mark| format!("\n{mark}\n")).collect(),
        });
    }
}

impl Report {
    fn says(&self) -> Termination<'_> {
        Termination {
            pod_uid: &self.pod_uid,
            is_mirror: self.is_mirror,
            container: &self.container,
            reason: self.reason,
            message: &self.message,
        }
    }
}

impl World {
    /// A process starts, and learns where it runs.
    pub(super) fn introduce(&mut self, index: usize) {
        if self.plan.has(Fault::EndProven) {
            let holder_info = self.cluster.holder_info(index, self.now);
            self.step(index, Input::Introduce(holder_info), 0);
        }
    }

    /// The processes that end together with this one: itself, and all others of its container if it
    /// is the first process there.
    pub(super) fn ends_with(&self, index: usize) -> Vec<usize> {
        let is_first = index == 0 && self.plan.has(Fault::EndProven);
        let stands_still = |node: &super::node::Node| node.machine_paused_at > self.now;
        match is_first && self.cluster.shape.ends_with_its_first() {
            true if !self.nodes.iter().any(stands_still) => (0..self.nodes.len()).collect(),
            _ => vec![index],
        }
    }

    /// Several processes have ended at once. Their kubelet reports it, and sometimes it also
    /// reports something false.
    pub(super) fn report_end(&mut self, ended: &[usize]) {
        if !self.plan.has(Fault::EndProven) {
            return;
        }
        let index = ended[0];
        let shape = self.cluster.shape;
        // If a container has several processes, only the end of the first one counts.
        let has_ended = match shape.is_crowd() {
            true => index == 0 && (shape.outlives_its_first() || ended.len() == self.nodes.len()),
            false => true,
        };
        if has_ended {
            self.cluster.end(index);
        }
        if self.cluster.chance.permille(200) {
            let lost = self.cluster.chance.below(self.nodes.len() as u64) as usize;
            self.cluster.report(lost, "ContainerStatusUnknown");
        }
        self.show_statuses();
    }

    /// Statuses reach some candidates: a while later, twice, or not at all. Some are old copies.
    fn show_statuses(&mut self) {
        let newest = self.cluster.reports.len() as u64;
        let rate = self.plan.rate(Fault::EndProven) * 4;
        for node in (0..self.nodes.len()).flat_map(|node| [node, node]) {
            let age = self.cluster.chance.below(3);
            let delay = self.cluster.chance.below(1_500_000);
            let shown = newest.checked_sub(1 + age).filter(|_| self.cluster.chance.permille(rate));
            if let Some(report) = shown {
                self.tally.fault(Fault::EndProven);
                self.after(delay, Event::StatusSeen { node, report: report as usize });
            }
        }
    }

    /// A candidate sees the status of a Pod. It asks for that status if the holder's record names
    /// that Pod.
    pub(super) fn on_status_seen(&mut self, index: usize, report: usize) {
        let Some((session, holder)) = self.other_holder(index) else { return };
        let status = &self.cluster.reports[report];
        if holder.report.as_ref().is_none_or(|asked| asked.pod != status.pod) {
            return;
        }
        match holder.has_ended(&status.says()) {
            true => {
                let ended = self.believe_end(index, session);
                self.step(index, ended, 0);
            }
            false => self.tally.outcome(Outcome::NoProof),
        }
    }

    /// What a candidate concludes from the record, each time it looks at it.
    pub(super) fn conclude_end(&mut self, index: usize) -> Option<Input> {
        let (session, holder) = self.other_holder(index)?;
        let node = &self.nodes[index];
        let own = node.elector.config().holder_info.container.as_ref()?;
        let is_news = node.told_ended != Some(session);
        (is_news && own.succeeds(&holder)).then(|| {
            self.tally.outcome(Outcome::LaterStart);
            self.believe_end(index, session)
        })
    }

    fn other_holder(&self, index: usize) -> Option<(Session, Container)> {
        let node = &self.nodes[index];
        let is_awake = node.is_running(self.now) && node.stalled_until <= self.now;
        let record = node.elector.record().filter(|_| is_awake)?;
        let (session, container) = record.other_holder(node.elector.config().session)?;
        Some((session, container.clone()))
    }

    fn believe_end(&mut self, index: usize, session: Session) -> Input {
        let lives = |node: &super::node::Node| Session(u128::from(node.life)) == session;
        let alive = self.nodes.iter().position(lives);
        let shape = self.cluster.shape;
        self.violate(properties::proof_implies_a_death(index, alive, || format!("{shape:?}")));
        self.nodes[index].told_ended = Some(session);
        Input::Ended(session)
    }
}

/// USER_HZ: hundredths of a second.
const TICK: Micros = 10_000;
