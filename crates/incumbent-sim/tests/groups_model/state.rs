//! One moment of a world.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use incumbent_core::group::{
    Allocator, Ask, Event, Happening, Kind, Member, Page, PageIndex, Place, SeatInfo, SeatTerm,
    Settings, Shape, TaskName, Wishes,
};
use incumbent_core::{FencingToken, Instant, Uid};

use crate::part::Part;
use crate::store::{LEASE, Store, identity};

/// What an allocator sees some time after it has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Late {
    pub(crate) pages: bool,
    pub(crate) seats: bool,
    /// It sends nothing.
    pub(crate) rests: bool,
}

impl Late {
    pub(crate) const NOTHING: Self = Self { pages: false, seats: false, rests: false };
    pub(crate) const PAGES_AND_SEATS: Self = Self { pages: true, seats: true, rests: false };
    pub(crate) const RESTS: Self = Self { rests: true, ..Self::NOTHING };
}

/// How often each fault may still occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Luck {
    /// Processes that die.
    pub(crate) crashes: u8,
    /// Processes that start in the place of one that has ended.
    pub(crate) starts: u8,
    /// Members that lose their term although their seat shows it.
    pub(crate) cuts: u8,
    /// Members that leave.
    pub(crate) leaves: u8,
    /// Requests of allocators whose outcome stays unknown. They may be performed later.
    pub(crate) losses: u8,
    pub(crate) pages_deleted: u8,
    pub(crate) seats_deleted: u8,
    /// Labels that are taken from seats.
    pub(crate) labels: u8,
    /// Tasks that leave the list, or come back.
    pub(crate) edits: u8,
    /// How often an allocator's clock runs past the longest lease.
    pub(crate) passes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) members: Vec<Part<Process>>,
    pub(crate) allocators: [Part<Acting>; 2],
    /// A write whose sender has given up.
    pub(crate) adrift: Option<Ask>,
    pub(crate) listed: BTreeSet<&'static str>,
    pub(crate) luck: Luck,
    /// What the second allocator sees late.
    pub(crate) late: Late,
    /// The highest token with which each task was started.
    pub(crate) highest: BTreeMap<TaskName, FencingToken>,
    /// What must never happen, and did.
    pub(crate) broken: Option<&'static str>,
}

/// A process with a member. Its elector is not part of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) name: usize,
    pub(crate) life: u128,
    /// `None` where it does not run.
    pub(crate) member: Option<Member>,
    /// A member times nothing but its own releases, so each has a clock of its own.
    pub(crate) clock: Instant,
    pub(crate) wake: Option<Instant>,
    pub(crate) term: Option<SeatTerm>,
    pub(crate) info: SeatInfo,
    pub(crate) has_to_write: bool,
    pub(crate) is_leaving: bool,
    /// What runs, at true time.
    pub(crate) work: BTreeMap<TaskName, FencingToken>,
    pub(crate) stopping: BTreeSet<TaskName>,
    pub(crate) seen: [u64; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Acting {
    pub(crate) allocator: Allocator,
    pub(crate) clock: Instant,
    pub(crate) wake: Option<Instant>,
    pub(crate) sent: Option<Ask>,
    pub(crate) wants_to_name: Option<Uid>,
    pub(crate) pages_seen: [u64; 2],
    pub(crate) seats_seen: [u64; 2],
}

/// With two pages, the first is on page 1 and the second on page 0. With one, both are on it.
pub(crate) const TASKS: [&str; 2] = ["t1", "t2"];

impl Process {
    pub(crate) fn new(name: usize) -> Self {
        Self {
            name,
            life: 0,
            member: None,
            clock: Instant::START,
            wake: None,
            term: None,
            info: SeatInfo::default(),
            has_to_write: false,
            is_leaving: false,
            work: BTreeMap::new(),
            stopping: BTreeSet::new(),
            seen: [0; 2],
        }
    }

    pub(crate) fn session(&self, index: usize) -> u128 {
        self.life * 8 + index as u128
    }
}

impl Acting {
    fn new() -> Self {
        let settings = Settings {
            request_timeout: Duration::from_secs(1),
            retry_period: LEASE / 4,
            longest_lease: LEASE,
        };
        Self {
            allocator: Allocator::new(settings),
            clock: Instant::START,
            wake: None,
            sent: None,
            wants_to_name: None,
            pages_seen: [0; 2],
            seats_seen: [0; 2],
        }
    }
}

impl State {
    /// Two members, or three processes of which two bear one name, and two allocators. Nothing has happened, but that
    /// page 0 was created for so many pages.
    pub(crate) fn new(processes: usize, pages: u8) -> Self {
        let mut state = Self {
            store: Store::new(),
            members: (0..processes).map(|index| Part::new(Process::new(index % 2))).collect(),
            allocators: [Part::new(Acting::new()), Part::new(Acting::new())],
            adrift: None,
            listed: TASKS.into(),
            luck: Luck::default(),
            late: Late::PAGES_AND_SEATS,
            highest: BTreeMap::new(),
            broken: None,
        };
        let first = Page::empty(Place::First(Shape { kind: Kind::Named, pages }));
        state.store.put_page(0, first);
        for index in 0..2 {
            state.start(index);
            let pages = Happening::PagesListed { revision: 0, pages: Vec::new() };
            state.step_allocator(index, Happening::Active(true));
            state.step_allocator(index, Happening::Wishes(state.wishes()));
            state.step_allocator(index, pages);
            state.step_allocator(index, Happening::SeatsListed((0, Vec::new())));
        }
        state
    }

    pub(crate) fn wishes(&self) -> Wishes {
        let tasks = self.listed.iter().map(|name| (task(name), Default::default()));
        Wishes { tasks: tasks.collect(), ..Wishes::default() }
    }

    /// A new process takes the place of one that has ended.
    pub(crate) fn start(&mut self, index: usize) {
        let Process { name, life, .. } = *self.members[index];
        let info = SeatInfo::default();
        *self.members[index] = Process {
            life: life + 1,
            member: Some(Member::new(identity(name), info)),
            ..Process::new(name)
        };
        // Its list is no older than its start.
        for page in 0..2 {
            let log = &self.store.pages[page];
            let (revision, newest) = (log.revision, log.present().cloned());
            self.members[index].seen[page] = revision;
            if let Some(newest) = newest {
                self.step_member(index, Event::Page(PageIndex(page as u8), newest));
            }
        }
    }

    /// All work of the process ends with it.
    pub(crate) fn end(&mut self, index: usize) {
        let Process { name, life, .. } = *self.members[index];
        *self.members[index] = Process { life, ..Process::new(name) };
    }

    pub(crate) fn step_member(&mut self, index: usize, event: Event) {
        let process = &mut *self.members[index];
        let Some(member) = &mut process.member else { return };
        let orders = member.step(process.clock, event);
        process.wake = orders.wake;
        if let Some(info) = orders.publish {
            process.info = info;
            process.has_to_write = process.term.is_some();
        }
        process.stopping.extend(orders.stop);
        for (task, token) in orders.start {
            self.members[index].work.insert(task.clone(), token);
            let is_alone =
                self.members.iter().filter(|other| other.work.contains_key(&task)).count() == 1;
            let highest = self.highest.entry(task).or_default();
            if !is_alone {
                self.broken = Some("a task has two owners");
            } else if token <= *highest {
                self.broken = Some("a token does not rise");
            }
            *highest = token.max(*highest);
        }
    }

    pub(crate) fn step_allocator(&mut self, index: usize, happening: Happening) {
        let acting = &mut *self.allocators[index];
        let now = incumbent_core::Now {
            instant: acting.clock,
            wall: incumbent_core::WallTime::from_unix_micros(0),
        };
        let sought = acting.allocator.step(now, happening);
        acting.wake = sought.wake;
        acting.sent = sought.ask.or_else(|| acting.sent.take());
        acting.wants_to_name = sought.table;
    }

    /// Each listed task runs once, and no other.
    pub(crate) fn is_good(&self) -> bool {
        TASKS.iter().all(|name| {
            let owners =
                self.members.iter().filter(|process| process.work.contains_key(&task(name)));
            owners.count() == usize::from(self.listed.contains(name))
        })
    }

    /// Of each object, only what somebody has not seen matters.
    pub(crate) fn forget_what_all_have_seen(&mut self) {
        for page in 0..2 {
            let running = self.members.iter().filter(|process| process.member.is_some());
            let members = running.map(|process| process.seen[page]);
            let allocators = self.allocators.iter().map(|acting| acting.pages_seen[page]);
            let seen = members.chain(allocators).min().unwrap_or(0);
            if self.store.pages[page].forgettable(seen) > 0 {
                self.store.pages[page].forget(seen);
            }
        }
        for name in 0..2 {
            let seen = self.allocators.iter().map(|acting| acting.seats_seen[name]).min();
            let seen = seen.unwrap_or(0);
            if self.store.seats[name].forgettable(seen) > 0 {
                self.store.seats[name].forget(seen);
            }
        }
    }
}

pub(crate) fn task(name: &str) -> TaskName {
    TaskName::new(name).expect("it is a name")
}
