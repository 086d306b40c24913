//! One process: its two electors, its member and its allocator, and the work that it runs.

use std::collections::BTreeMap;

use incumbent_core::group::{Allocator, Kind, Member, SeatInfo, Settings, TaskName, Wishes};
use incumbent_core::{Config, Elector, FencingToken, HolderInfo, Identity, Instant, Session, Uid};

use super::plan::GroupPlan;
use crate::clock::{Clock, Micros};

/// What sends requests. Each has at most one in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    Seat,
    Lock,
    Allocator,
    Member,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Pages,
    Seats,
    Lock,
    OwnSeat,
}

impl Stream {
    pub(super) const ALL: [Self; 4] = [Self::Pages, Self::Seats, Self::Lock, Self::OwnSeat];
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    /// The number of the next change in the server's log.
    pub(super) position: usize,
    pub(super) is_open: bool,
    pub(super) is_scheduled: bool,
    /// It shows nothing before this.
    pub(super) blind_until: Micros,
}

/// A place for a process. Processes come and go; each has a life of its own.
pub(super) struct Node {
    /// The number of its member's name.
    pub(super) name: usize,
    pub(super) life: u64,
    pub(super) process: Option<Process>,
    pub(super) cut_until: Micros,
    /// Whether it starts again after a crash.
    pub(super) restarts: bool,
    pub(super) requests: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) token: FencingToken,
    pub(super) is_stopping: bool,
}

pub(super) struct Process {
    pub(super) clock: Clock,
    pub(super) seat: Elector,
    pub(super) lock: Elector,
    pub(super) member: Member,
    pub(super) allocator: Allocator,
    pub(super) holder_info: HolderInfo,
    pub(super) work: BTreeMap<TaskName, Work>,
    /// What it prepares, and whether that is done.
    pub(super) preparing: BTreeMap<TaskName, bool>,
    pub(super) pending: [Option<u64>; 4],
    pub(super) wakes: [Option<Micros>; 4],
    pub(super) watches: [Watch; 4],
    /// Until when the work of the last term has to have stopped.
    pub(super) stop_by: Instant,
    /// The term was lost, and the work may not have stopped.
    pub(super) is_lost: bool,
    pub(super) losses: u64,
    pub(super) is_leaving: bool,
    pub(super) is_rogue: bool,
    /// What the allocator was last told of the Lease.
    pub(super) told_table: Option<Uid>,
    pub(super) named_table: Option<Uid>,
}

impl Process {
    pub(super) fn new(
        plan: &GroupPlan,
        name: usize,
        session: u64,
        version: u64,
        clock: Clock,
    ) -> Self {
        let identity = identity(name);
        let info = SeatInfo {
            version: format!("v{version}"),
            // Some processes of a group may run a program that prepares nothing.
            prepares_within: plan.prepares_within.filter(|_| name % 3 < 2),
            ..SeatInfo::default()
        };
        let holder_info = HolderInfo { seat: Some(info.clone()), ..HolderInfo::default() };
        let elector = |holder_info: HolderInfo, session: u64| {
            Elector::new(Config {
                timing: plan.timing,
                identity: identity.clone(),
                session: Session(u128::from(session)),
                token_floor: FencingToken(0),
                priority: 0,
                holder_info,
            })
        };
        let settings = Settings {
            request_timeout: plan.timing.request_timeout(),
            retry_period: plan.timing.retry_period(),
            longest_lease: plan.longest_lease,
        };
        Self {
            clock,
            seat: elector(holder_info.clone(), session * 2),
            lock: elector(HolderInfo::default(), session * 2 + 1),
            member: Member::new(identity.clone(), info),
            allocator: Allocator::new(settings),
            holder_info,
            work: BTreeMap::new(),
            preparing: BTreeMap::new(),
            pending: [None; 4],
            wakes: [None; 4],
            watches: [Watch::default(); 4],
            stop_by: Instant::START,
            is_lost: false,
            losses: 0,
            is_leaving: false,
            is_rogue: false,
            told_table: None,
            named_table: None,
        }
    }
}

/// The name of a member.
pub(super) fn identity(name: usize) -> Identity {
    Identity::new(format!("m{name}")).expect("it is a name")
}

/// The number of a name.
pub(super) fn number(name: &str) -> usize {
    name.strip_prefix('m').and_then(|number| number.parse().ok()).expect("a member's name")
}

/// What a process wants whose program is of this kind: where the tasks have names, those of these numbers.
pub(super) fn wishes(kind: Kind, tasks: impl IntoIterator<Item = usize>) -> Wishes {
    let name = |task| TaskName::new(format!("t{task}")).expect("it is a name");
    let tasks = tasks.into_iter().filter(|_| kind == Kind::Named);
    let tasks = tasks.map(|task| (name(task), Default::default()));
    Wishes { kind, tasks: tasks.collect(), ..Wishes::default() }
}

/// The same kind, with more tasks if they are numbers.
pub(super) fn larger(kind: Kind, by: u16) -> Kind {
    match kind {
        Kind::Named => Kind::Named,
        Kind::Slots(count) => Kind::Slots(count + by),
        Kind::Permits(count) => Kind::Permits(count + by),
    }
}
