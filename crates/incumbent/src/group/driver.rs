//! The loop of one member: it hands what happened to the two machines, and does what they say.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use incumbent_core::group::{
    Allocator, Answer, Ask, Event, Happening, Member, Orders, Page, PageIndex, PageVersion, Sought,
    TaskName,
};
use incumbent_core::{FencingToken, Identity, Instant, Observation, Timing, Uid};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::note::{Note, Shown};
use super::seat::Wish;
use super::source::Source;
use super::store::{Done, Named, Store};
use super::table::Table;
use super::task::Task;
use super::watching::{Pace, Selection, follow};
use crate::answer::Failure;
use crate::candidate::Publisher;
use crate::clock::Clock;
use crate::error::Error;
use crate::leadership::Leadership;
use crate::lock::{LockKind, Resource};
use crate::stored::Stored;

pub(super) struct Driver {
    pub(super) member: Member,
    pub(super) allocator: Allocator,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) timing: Timing,
    pub(super) source: Source,
    pub(super) notes: mpsc::UnboundedReceiver<Note>,
    /// For tasks, and for what the driver starts.
    pub(super) sender: mpsc::UnboundedSender<Note>,
    pub(super) assigned: mpsc::UnboundedSender<Result<Task, Error>>,
    pub(super) table: watch::Sender<Arc<Table>>,
    pub(super) seat: Publisher,
    pub(super) lock: Publisher,
    pub(super) wish: watch::Sender<Wish>,
    pub(super) leaves: watch::Sender<bool>,
    pub(super) state: State,
}

/// What changes while it runs.
#[derive(Default)]
pub(super) struct State {
    leadership: Option<Arc<Leadership>>,
    /// Tells each task when it is revoked.
    revoked: BTreeMap<TaskName, watch::Sender<bool>>,
    /// The pages' objects, to base the next write on.
    pages: BTreeMap<PageIndex, Stored>,
    in_flight: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
    member_wake: Option<Instant>,
    allocator_wake: Option<Instant>,
    named_table: Option<Uid>,
    is_leaving: bool,
    watches_seats: bool,
    has_left: bool,
    /// The last trouble that was logged, so that it is logged once.
    told: Option<String>,
}

impl Driver {
    pub(super) async fn run(mut self: Box<Self>) {
        self.watch(LockKind::ConfigMap);
        self.want();
        self.seat.publish(self.member.published().clone());
        while !self.state.has_left {
            self.next().await;
        }
    }

    async fn next(&mut self) {
        let wakes = self.state.member_wake.into_iter().chain(self.state.allocator_wake);
        let wake = wakes.min();
        let clock = self.clock;
        let until = async {
            match wake {
                Some(moment) => clock.sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        let answer = async {
            match &mut self.state.in_flight {
                Some(answer) => answer.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(note) = self.notes.recv() => self.on_note(note),
            done = answer => self.on_answer(done),
            () = until => {
                self.work(Event::Wake);
                self.allocate(Happening::Wake);
            }
        }
    }

    fn on_note(&mut self, note: Note) {
        match note {
            Note::Shown(LockKind::ConfigMap, shown) => self.on_table(*shown),
            Note::Shown(LockKind::Lease, shown) => self.on_seats(*shown),
            Note::Started { seat, leadership } => self.on_started(seat, leadership),
            Note::Over => self.over(),
            Note::Left => self.state.has_left = true,
            Note::Failed(error) => {
                let _ = self.assigned.send(Err(error));
            }
            Note::Lock { table, is_next } => {
                if is_next {
                    self.watch_seats();
                }
                self.allocate(Happening::Lease { table });
            }
            Note::Allocates(is_active) => {
                if is_active {
                    self.watch_seats();
                    tracing::info!(group = self.store.group(), "allocating");
                }
                self.allocate(Happening::Active(is_active));
            }
            Note::Stopped(task) => {
                // Work may know of the end of the term before this does. It is not to begin again.
                let leadership = self.state.leadership.as_ref();
                if leadership.is_some_and(|leadership| !leadership.is_valid()) {
                    self.over();
                }
                self.state.revoked.remove(&task);
                self.work(Event::Stopped(task));
            }
            Note::Leave => {
                self.state.is_leaving = true;
                let _ = self.leaves.send_replace(true);
                self.work(Event::Leave);
            }
            Note::Drain(wants_none) => self.work(Event::Drain(wants_none)),
        }
    }

    // The member.

    fn on_started(&mut self, seat: Uid, leadership: Arc<Leadership>) {
        let token = leadership.fencing_token();
        self.state.leadership = Some(leadership);
        let _ = self.wish.send_replace(Wish::Keep);
        self.work(Event::Started { seat, token });
    }

    fn over(&mut self) {
        for revoked in self.state.revoked.values() {
            let _ = revoked.send_replace(true);
        }
        self.work(Event::Over);
    }

    /// Hands an event to the member, and does what it says.
    fn work(&mut self, event: Event) {
        let Orders { stop, start, publish, wake } = self.member.step(self.clock.instant(), event);
        self.state.member_wake = wake;
        for task in stop {
            if let Some(revoked) = self.state.revoked.get(&task) {
                tracing::info!(group = self.store.group(), %task, "stopping");
                let _ = revoked.send_replace(true);
            }
        }
        for (task, token) in start {
            self.start(task, token);
        }
        if let Some(info) = publish {
            self.seat.publish(info);
        }
        self.let_go();
    }

    fn start(&mut self, task: TaskName, token: FencingToken) {
        let Some(seat) = self.state.leadership.clone() else { return };
        tracing::info!(group = self.store.group(), %task, %token, "starting");
        let (revoke, revoked) = watch::channel(false);
        self.state.revoked.insert(task.clone(), revoke);
        let started = Task::new(task, token, seat, revoked, self.sender.clone());
        // If the group is gone, the task is dropped here, and with that stopped.
        let _ = self.assigned.send(Ok(started));
    }

    /// Gives the seat up where nothing runs any more, for now or for good.
    fn let_go(&mut self) {
        if !self.member.is_idle() {
            return;
        }
        let has_term = self.member.has_term();
        if !has_term {
            self.state.leadership = None;
        }
        let wish = match (self.state.is_leaving, has_term) {
            (true, _) => {
                self.state.leadership = None;
                Wish::Leave
            }
            (false, true) => Wish::Keep,
            (false, false) => Wish::Hold,
        };
        self.wish.send_if_modified(|known| std::mem::replace(known, wish) != wish);
    }

    // The allocator.

    fn want(&mut self) {
        if let Some(wishes) = self.source.wishes() {
            self.allocate(Happening::Wishes(wishes));
        }
    }

    fn allocate(&mut self, happening: Happening) {
        let Sought { ask, wake, table } = self.allocator.step(self.clock.now(), happening);
        self.state.allocator_wake = wake;
        if let Some(table) = table.filter(|table| self.state.named_table.as_ref() != Some(table)) {
            self.state.named_table = Some(table.clone());
            self.lock.name(table);
        }
        let Some(ask) = ask else { return };
        let current = match &ask {
            Ask::ReplacePage { index, .. } => self.state.pages.get(index).cloned(),
            _ => None,
        };
        tracing::debug!(group = self.store.group(), action = action(&ask), "asking");
        let (store, clock, patience) =
            (self.store.clone(), self.clock, self.timing.request_timeout());
        self.state.in_flight = Some(Box::pin(async move {
            let done = clock.timeout(patience, store.send(ask, current)).await;
            done.unwrap_or_else(Done::late)
        }));
    }

    fn on_answer(&mut self, done: Done) {
        self.state.in_flight = None;
        if let Some((index, stored)) = done.page {
            self.keep(index, stored);
        }
        match done.trouble {
            Some(failure) => self.tell_trouble(&failure),
            None => self.state.told = None,
        }
        if let Answer::Page(page) = &done.answer {
            // The member need not wait for its watch.
            if let Some(index) = self.index_of(page) {
                self.show_page(index, page.page.clone());
                self.work(Event::Page(index, page.clone()));
            }
        }
        self.allocate(Happening::Answer(done.answer));
    }

    fn index_of(&self, page: &PageVersion) -> Option<PageIndex> {
        let mut pages = self.state.pages.iter();
        pages.find(|(_, stored)| *stored.version() == page.version).map(|(index, _)| *index)
    }

    fn tell_trouble(&mut self, failure: &Failure) {
        if self.state.told.as_ref() != Some(&failure.message) {
            let (group, error) = (self.store.group(), &failure.message);
            tracing::warn!(group, error, "the allocator cannot do what it should");
            self.state.told = Some(failure.message.clone());
        }
    }

    // What watches show.

    fn watch(&self, kind: LockKind) {
        let selection = Selection {
            kind,
            namespace: self.store.namespace().into(),
            group: self.store.group().into(),
        };
        let (requests, clock) = (self.store.requests().clone(), self.clock);
        let notes = self.sender.downgrade();
        let lease = self.timing.lease_duration();
        let patience = match kind {
            // Seats are renewed three times a lease, one's own among them.
            LockKind::Lease => lease,
            LockKind::ConfigMap => lease * QUIET_LEASES,
        };
        let pace = Pace { retry_period: self.timing.retry_period(), patience };
        tokio::spawn(follow(requests, clock, selection, pace, notes));
    }

    /// The allocator, and the next ones, know all seats.
    fn watch_seats(&mut self) {
        if !std::mem::replace(&mut self.state.watches_seats, true) {
            self.watch(LockKind::Lease);
        }
    }

    fn on_table(&mut self, shown: Shown) {
        match shown {
            Shown::Listed(revision, objects) => {
                let mut pages = Vec::new();
                for object in objects {
                    pages.extend(self.on_config_map(object));
                }
                self.work(Event::Listed { revision, pages: pages.clone() });
                self.allocate(Happening::PagesListed { revision, pages });
            }
            Shown::Present(object) => {
                if let Some((index, page)) = self.on_config_map(object) {
                    self.work(Event::Page(index, page.clone()));
                    self.allocate(Happening::Page(index, page));
                }
            }
            Shown::Gone(name, revision) => {
                if let Named::Page(index) = self.store.named(&name) {
                    self.show_page(index, None);
                    self.work(Event::PageGone(index, revision));
                    self.allocate(Happening::PageGone(index, revision));
                }
            }
            Shown::Refused(failure) => {
                let resource = Resource::All {
                    kind: LockKind::ConfigMap,
                    namespace: Some(self.store.namespace().to_owned()),
                };
                if !failure.passes() {
                    let error = failure.into_error(resource, "list");
                    let _ = self.assigned.send(Err(error));
                }
            }
        }
    }

    fn on_config_map(&mut self, object: Value) -> Option<(PageIndex, PageVersion)> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        match self.store.named(name) {
            Named::Page(index) => {
                let (page, why) = self.store.read_page(index, &object)?;
                if let Some(why) = why {
                    tracing::warn!(group = self.store.group(), page = index.0, error = %why, "a page cannot be read");
                }
                self.show_page(index, page.page.clone());
                self.keep(index, Stored::new(object)?);
                Some((index, page))
            }
            Named::Config => {
                match self.source.configure(&object) {
                    Ok(()) => self.want(),
                    Err(error) => {
                        let group = self.store.group();
                        tracing::warn!(group, error, "the configuration stays as it was");
                    }
                }
                None
            }
            Named::Other => None,
        }
    }

    fn keep(&mut self, index: PageIndex, stored: Stored) {
        let known = self.state.pages.get(&index).map_or(0, |known| known.version().revision);
        if stored.version().revision > known {
            self.state.pages.insert(index, stored);
        }
    }

    fn show_page(&self, index: PageIndex, page: Option<Page>) {
        self.table.send_modify(|table| *table = Arc::new(table.with(index, page)));
    }

    fn on_seats(&mut self, shown: Shown) {
        match shown {
            Shown::Listed(revision, objects) => {
                let seats = objects.iter().filter_map(|object| self.store.read_seat(object));
                let seats = seats.collect();
                self.allocate(Happening::SeatsListed((revision, seats)));
            }
            Shown::Present(object) => {
                if let Some((member, snapshot)) = self.store.read_seat(&object) {
                    let seen = Observation::Present(snapshot);
                    self.allocate(Happening::Seat(member, seen));
                }
            }
            Shown::Gone(name, revision) => {
                let member = name.strip_prefix(self.store.group());
                let member = member.and_then(|rest| rest.strip_prefix('.'));
                if let Some(member) = member.and_then(Identity::new) {
                    self.allocate(Happening::Seat(member, Observation::Gone { revision }));
                }
            }
            Shown::Refused(failure) => self.tell_trouble(&failure),
        }
    }
}

/// What is asked for, as a word for the log.
fn action(ask: &Ask) -> &'static str {
    match ask {
        Ask::CreatePage(..) => "create-page",
        Ask::ReplacePage { .. } => "replace-page",
        Ask::DeletePage { .. } => "delete-page",
        Ask::ReadPage(_) => "read-page",
        Ask::CreateSeat(_) => "create-seat",
        Ask::ReadSeat(_) => "read-seat",
        Ask::VacateSeat { .. } => "vacate-seat",
        Ask::ListSeats => "list-seats",
    }
}

/// For how many leases a watch of the table may show nothing. A table changes rarely, but servers send a bookmark about
/// once a minute: with the usual lease, only a watch that is dead is opened again.
const QUIET_LEASES: u32 = 5;
