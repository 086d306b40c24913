//! The allocator: what to write into the table, and on which evidence.
//!
//! Read [`Allocator::step`] first, then `plan.rs`, which says what it wants to send next. `evidence.rs` says when a task
//! has no owner any more (G3), `opening.rs` when a page may begin to assign (G8), `content.rs` what a page says next,
//! `preparing.rs` when an owner is asked to stop because its successor is prepared, and `clearing.rs` which seats nobody needs any more.

mod clearing;
mod content;
mod evidence;
mod hand;
mod message;
mod opening;
mod plan;
mod preparing;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::time::Duration;

pub use self::message::{Answer, Ask, Excess, Happening, HeldSeat, SeatList, Sought, Wishes};

use self::plan::InFlight;
use super::balance::Task;
use super::known::KnownPages;
use super::table::{Kind, PageIndex, SeatTerm, TaskName};
use crate::identity::{Identity, Session};
use crate::message::Observation;
use crate::record::{FencingToken, HolderInfo, Snapshot, Uid};
use crate::seen::{Observer, Origin, Seen};
use crate::time::{Instant, Now};

/// Durations that an allocator keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How long to wait for an answer.
    pub request_timeout: Duration,
    /// How long to wait after a failure, and between two reads of a seat that no watch shows.
    pub retry_period: Duration,
    /// The longest lease that a member of any version may have: how long work may continue unseen (G8c).
    pub longest_lease: Duration,
}

/// One allocator: it knows all seats and pages, and while it is active it writes the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Allocator {
    settings: Settings,
    is_active: bool,
    /// What is wanted; `None` while nothing is known of it.
    wishes: Option<Wishes>,
    pages: KnownPages,
    /// Whether the pages were listed, so that one that is not known is missing.
    has_listed_pages: bool,
    /// Whether the seats were listed, so that one that is not known has to be looked for.
    has_listed_seats: bool,
    seats: BTreeMap<Identity, Seat>,
    /// The table that the allocators' Lease names.
    named_table: Option<Uid>,
    list: Option<FullList>,
    /// The versions of all pages that were known when the last read of page 0 was sent.
    read_of_first: BTreeMap<PageIndex, u64>,
    /// Pages to read, because a write to them did not succeed.
    doubtful: BTreeSet<PageIndex>,
    /// Seats to read by name, because a write to them did not succeed.
    doubtful_seats: BTreeSet<Identity>,
    in_flight: Option<InFlight>,
    /// Nothing is sent before this, after a failure.
    pause: Instant,
    /// When it became active.
    active_since: Instant,
    /// When a member last joined.
    joined_at: Instant,
    /// No page is written for the sake of balance alone before this, so that watches can follow.
    next_move: Instant,
    /// Before this, nothing but an event asks for something to be sent.
    idle_until: Option<Instant>,
    /// Since when this allocator has known that a member is to prepare a task.
    preparing: BTreeMap<(SeatTerm, TaskName), Instant>,
    /// Pages that had no room for all of their tasks when there was nothing left to write.
    full_pages: BTreeMap<PageIndex, usize>,
    latest: Instant,
}

/// The seat of one member, as far as this allocator knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seat {
    seen: Seen,
    view: View,
    /// When an object of the present uid first became known under this name.
    known_since: Instant,
    /// When the present version became known.
    version_since: Instant,
}

/// How a seat is known at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum View {
    /// A watch shows it.
    Watched,
    /// No watch shows it: its label may be missing. It was read by name at that moment.
    ReadAt(Instant),
    /// No watch shows it. It may be gone, or have lost its label, or the watch is behind.
    Unseen,
}

/// One list of all Leases of the namespace (G8).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FullList {
    /// The uid and version of each page that was known when the list was sent.
    known: BTreeMap<PageIndex, (Uid, u64)>,
    received: Instant,
    held: Vec<HeldSeat>,
    /// The allocators' Lease exists and has never named a table: no page has ever been open.
    is_before_any_table: bool,
}

impl Allocator {
    /// An allocator that knows nothing yet and is not active.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            is_active: false,
            wishes: None,
            pages: KnownPages::default(),
            has_listed_pages: false,
            has_listed_seats: false,
            seats: BTreeMap::new(),
            named_table: None,
            list: None,
            read_of_first: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            doubtful_seats: BTreeSet::new(),
            in_flight: None,
            pause: Instant::START,
            active_since: Instant::START,
            joined_at: Instant::START,
            next_move: Instant::START,
            idle_until: None,
            preparing: BTreeMap::new(),
            full_pages: BTreeMap::new(),
            latest: Instant::START,
        }
    }

    /// Says what to do next. It cannot fail, and calling it early or twice is harmless.
    ///
    /// There is never more than one request in flight. An allocator that is not active learns and sends nothing.
    pub fn step(&mut self, now: Now, happening: Happening) -> Sought {
        self.learn(now, happening);
        let now = Now { instant: self.latest, ..now };
        self.idle_until = self.idle_until.filter(|until| *until > now.instant);
        let (ask, wake) = match self.idle_until {
            None => self.next_ask(now),
            until => (None, until),
        };
        self.idle_until = wake.filter(|_| ask.is_none() && self.in_flight.is_none());
        Sought { ask, wake, table: self.table_to_name() }
    }

    /// Takes in what happened, and does not decide yet: of much news at a time, each [`step`](Self::step) would decide again
    /// about all tasks. The caller has to call `step` afterwards.
    pub fn learn(&mut self, now: Now, happening: Happening) {
        self.latest = self.latest.max(now.instant);
        if self.on(happening) {
            self.idle_until = None;
        }
    }

    /// Returns whether it may change what to send.
    fn on(&mut self, happening: Happening) -> bool {
        match happening {
            Happening::Wake => false,
            Happening::Answer(answer) => {
                self.on_answer(answer);
                true
            }
            Happening::Page(index, page) => self.pages.learn(index, page),
            Happening::PageGone(index, revision) => self.pages.learn_gone(index, revision),
            Happening::PagesListed { revision, pages } => {
                self.pages.learn_list(revision, pages)
                    | !std::mem::replace(&mut self.has_listed_pages, true)
            }
            Happening::Seat(member, observation) => self.on_seat(member, observation),
            Happening::SeatsListed(seats) => self.on_seats(seats),
            Happening::Ended(member, session) => {
                let seat = self.seats.get_mut(&member);
                seat.is_some_and(|seat| {
                    seat.seen.learn_ended(self.latest, session);
                    true
                })
            }
            Happening::Lease { table } => {
                std::mem::replace(&mut self.named_table, table) != self.named_table
            }
            Happening::Wishes(wishes) => {
                let wishes = Some(wishes);
                std::mem::replace(&mut self.wishes, wishes) != self.wishes
            }
            Happening::Active(is_active) => self.on_active(is_active),
        }
    }

    /// The table that the allocators' Lease should name and, as far as is known, does not.
    fn table_to_name(&self) -> Option<Uid> {
        let first = self.pages.present(PageIndex::FIRST).filter(|_| self.is_active)?;
        // A list from before the Lease named any table spares the wait of G8(c), so the list comes first.
        let is_open = first.page.as_ref().is_none_or(|page| page.is_open);
        if !is_open && self.list_for(PageIndex::FIRST).is_none() {
            return None;
        }
        let uid = &first.version.uid;
        (self.named_table.as_ref() != Some(uid)).then(|| uid.clone())
    }

    /// What is wanted of the table that there is, or of the one to be made. While nothing is known of it: what is there,
    /// where it is.
    fn wished(&self) -> Cow<'_, Wishes> {
        let table = self.kind_of_the_table();
        let Some(wishes) = self.fitting_wishes() else {
            let entries = self.pages.readable().flat_map(|(_, _, page)| page.entries());
            let tasks = entries.map(|(_, _, task, _)| (task.clone(), Task::default())).collect();
            let kind = table.unwrap_or_default();
            return Cow::Owned(Wishes { kind, tasks, is_frozen: true, ..Wishes::default() });
        };
        match table.unwrap_or(wishes.kind) {
            Kind::Named => Cow::Borrowed(wishes),
            kind => {
                let task = |name: &TaskName| wishes.tasks.get(name).cloned().unwrap_or_default();
                let tasks = kind.tasks().map(|name| (name.clone(), task(&name))).collect();
                Cow::Owned(Wishes { kind, tasks, is_frozen: wishes.is_frozen, ..Wishes::default() })
            }
        }
    }

    /// What people want, if the tasks of the table are of that sort.
    fn fitting_wishes(&self) -> Option<&Wishes> {
        let table = self.kind_of_the_table();
        self.wishes.as_ref().filter(|wishes| {
            table.is_none_or(|kind| discriminant(&kind) == discriminant(&wishes.kind))
        })
    }

    fn kind_of_the_table(&self) -> Option<Kind> {
        self.pages.table().map(|(_, shape)| shape.kind)
    }

    fn on_active(&mut self, is_active: bool) -> bool {
        let has_changed = self.is_active != is_active;
        if has_changed && is_active {
            self.active_since = self.latest;
        }
        if !is_active {
            self.full_pages.clear();
        }
        self.is_active = is_active;
        has_changed
    }

    fn on_seat(&mut self, member: Identity, observation: Observation) -> bool {
        match observation {
            Observation::Present(snapshot) => {
                self.learn_seat(member, snapshot, View::Watched, Origin::Event)
            }
            // The label may have been taken away, and the seat be held: it is looked at by name.
            Observation::Gone { revision } => self.lose_sight(&member, revision),
        }
    }

    fn on_seats(&mut self, (revision, seats): (u64, Vec<(Identity, Snapshot)>)) -> bool {
        let shown: BTreeSet<Identity> = seats.iter().map(|(member, _)| member.clone()).collect();
        let unseen: Vec<_> =
            self.seats.keys().filter(|seat| !shown.contains(seat)).cloned().collect();
        let mut is_news = !std::mem::replace(&mut self.has_listed_seats, true);
        for (member, snapshot) in seats {
            is_news |= self.learn_seat(member, snapshot, View::Watched, Origin::Event);
        }
        for member in unseen {
            is_news |= self.lose_sight(&member, revision);
        }
        is_news
    }

    fn lose_sight(&mut self, member: &Identity, revision: u64) -> bool {
        let Some(seat) = self.seats.get_mut(member) else { return false };
        let is_news = revision > seat.seen.revision() && seat.view == View::Watched;
        if is_news {
            seat.view = View::Unseen;
        }
        is_news
    }

    fn learn_seat(
        &mut self,
        member: Identity,
        snapshot: Snapshot,
        view: View,
        origin: Origin,
    ) -> bool {
        let now = self.latest;
        let seat = self.seats.entry(member).or_insert(Seat {
            seen: Seen::NOTHING,
            view: View::Unseen,
            known_since: now,
            version_since: now,
        });
        let before = seat.summary();
        let old_uid = seat.seen.snapshot().map(|lock| lock.version.uid.clone());
        let revision = seat.seen.revision();
        seat.seen.learn(now, snapshot, origin, onlooker(&self.settings));
        if seat.seen.revision() > revision || matches!(origin, Origin::Read { .. }) {
            seat.view = view;
        }
        if seat.seen.revision() != revision {
            seat.version_since = now;
        }
        if seat.seen.snapshot().map(|lock| &lock.version.uid) != old_uid.as_ref() {
            seat.known_since = now;
        }
        let after = seat.summary();
        let term_of = |summary: &Summary| summary.term.clone();
        let term = after.as_ref().and_then(term_of);
        if term.is_some() && term != before.as_ref().and_then(term_of) {
            self.joined_at = now;
        }
        before != after || matches!(origin, Origin::Read { .. })
    }
}

/// What decides about tasks. A renewal alone changes nothing of it.
#[derive(PartialEq)]
struct Summary {
    seat: Uid,
    last_token: FencingToken,
    term: Option<SeatTerm>,
    holder_info: HolderInfo,
}

impl Seat {
    fn summary(&self) -> Option<Summary> {
        let Snapshot { version, record } = self.seen.snapshot()?;
        let term = record.holder.clone().zip(record.token()).map(|(member, token)| SeatTerm {
            member,
            seat: version.uid.clone(),
            token,
        });
        Some(Summary {
            seat: version.uid.clone(),
            last_token: record.last_token,
            term,
            holder_info: record.holder_info.clone(),
        })
    }
}

/// An allocator times seats as any follower does, under no identity.
fn onlooker(settings: &Settings) -> Observer<'static> {
    Observer {
        identity: &NO_IDENTITY,
        session: Session(0),
        own_renew_times: &[],
        default_patience: settings.longest_lease,
    }
}

static NO_IDENTITY: std::sync::LazyLock<Identity> =
    std::sync::LazyLock::new(|| Identity::new("-").expect("it is a name"));
