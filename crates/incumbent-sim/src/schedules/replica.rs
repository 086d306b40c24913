//! The replicas: each is a process on its own machine.

use incumbent_core::schedule::{Run, ScheduleSettings, Scheduler};
use incumbent_core::{Config, Elector, FencingToken, HolderInfo, Identity, Session, Term};

use super::plan::SchedulePlan;
use crate::clock::{Clock, Micros};

/// Which of the machines of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    Elector,
    Scheduler,
}

/// One replica.
#[derive(Default)]
pub(super) struct Replica {
    pub(super) process: Option<Process>,
    /// Changes with each start of a process.
    pub(super) life: u64,
    pub(super) cut_until: Micros,
    pub(super) frozen_until: Micros,
}

pub(super) struct Process {
    pub(super) clock: Clock,
    pub(super) elector: Elector,
    pub(super) scheduler: Scheduler,
    /// Which time zone data it has.
    pub(super) zone: usize,
    pub(super) pending: [Option<u64>; 2],
    pub(super) wakes: [Option<Micros>; 2],
    /// The term that it may act under.
    pub(super) term: Option<Term>,
    pub(super) work: Option<Work>,
    /// It was asked to hand over.
    pub(super) is_leaving: bool,
}

/// A run as the process knows it.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) number: u64,
    pub(super) run: Run,
    /// Whether the command was started. Before that, there may be a pause.
    pub(super) is_started: bool,
    pub(super) is_stopping: bool,
}

impl Process {
    pub(super) fn new(
        plan: &SchedulePlan,
        name: usize,
        session: u64,
        version: u64,
        (clock, zone): (Clock, usize),
    ) -> Self {
        let session = Session(u128::from(session));
        let elector = Elector::new(Config {
            timing: plan.timing,
            identity: Identity::new(format!("r{name}")).expect("it is a name"),
            session,
            token_floor: FencingToken(0),
            priority: 0,
            holder_info: HolderInfo::default(),
        });
        let scheduler = Scheduler::new(ScheduleSettings {
            name: "report".to_owned(),
            spec: plan.spec(version),
            policies: plan.policies.clone(),
            session,
            request_timeout: plan.timing.request_timeout(),
        });
        Self {
            clock,
            elector,
            scheduler,
            zone,
            pending: [None; 2],
            wakes: [None; 2],
            term: None,
            work: None,
            is_leaving: false,
        }
    }
}
