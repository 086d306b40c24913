//! The loop of one member: it hands what happened to the two machines, and does what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::group::{Allocator, Event, Happening, Member, Orders, PageIndex, TaskName};
use incumbent_core::{Container, FencingToken, Instant, Timing, Uid};
use tokio::sync::{mpsc, watch};

use super::board::Board;
use super::bulletin::Bulletin;
use super::note::Note;
use super::preparing::Preparations;
use super::seat::Wish;
use super::source::Source;
use super::store::{Done, Store};
use super::task::Task;
use super::troubles::{Act, Asked, Trouble, Troubles};
use crate::candidate::Publisher;
use crate::clock::Clock;
use crate::error::Error;
use crate::leadership::Leadership;
use crate::lock::LockKind;
use crate::proof::Suspects;
use crate::report;
use crate::stored::Stored;

mod allocating;
mod listing;
mod showing;

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
    pub(super) board: watch::Sender<Board>,
    /// For how long a task may wait before it counts as stuck.
    pub(super) bound: Duration,
    /// Tells people, by Events, what this member has done as the allocator. `None` where that is not asked for.
    pub(super) bulletin: Option<Bulletin>,
    /// The container of this process, and whether the kubelet's reports count.
    pub(super) own: Option<Container>,
    pub(super) heeds_kubelet: bool,
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
    preparations: Preparations,
    /// The pages' objects, to base the next write on.
    pages: BTreeMap<PageIndex, Stored>,
    in_flight: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// Whether the last write was refused as a conflict.
    has_conflicted: bool,
    member_wake: Option<Instant>,
    allocator_wake: Option<Instant>,
    named_table: Option<Uid>,
    is_leaving: bool,
    watches_seats: bool,
    has_left: bool,
    allocates: bool,
    /// How much news the allocator has learned of and not decided about, and whether the group may have grown by it.
    undecided: Undecided,
    /// How many stops the member has learned of and not looked at.
    unsettled: usize,
    drains: bool,
    is_unwell: bool,
    troubles: Troubles,
    /// Members that live, in containers whose end can be proven.
    suspects: watch::Sender<Suspects>,
    /// Namespaces whose Pods are watched.
    watched_pods: BTreeSet<String>,
}

#[derive(Default)]
struct Undecided {
    news: usize,
    may_have_grown: bool,
}

impl State {
    pub(super) fn new(is_unwell: bool, preparations: Preparations) -> Self {
        Self { is_unwell, preparations, ..Self::default() }
    }
}

impl Driver {
    pub(super) async fn run(mut self: Box<Self>) {
        self.watch(LockKind::ConfigMap);
        self.want();
        self.work(Event::Drain(self.state.is_unwell));
        self.seat.publish(self.member.published().clone());
        while !self.state.has_left {
            self.next().await;
        }
    }

    async fn next(&mut self) {
        let bulletin = self.bulletin.as_ref().filter(|_| self.state.allocates);
        let report_at = bulletin.and_then(|bulletin| bulletin.wake());
        let wakes = [self.state.member_wake, self.state.allocator_wake, report_at];
        let wake = wakes.into_iter().flatten().min();
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
                self.report();
            }
        }
    }

    fn on_note(&mut self, note: Note) {
        match note {
            Note::Shown(kind, shown) => self.on_shown(kind, *shown),
            Note::Started { seat, leadership } => self.on_started(seat, leadership),
            Note::Over => self.over(),
            Note::Left => self.state.has_left = true,
            Note::Failed(error) => self.fail(error),
            Note::CannotAllocate(error) => {
                let error = self.with_role(error);
                self.on_trouble(Trouble { asked: COMPETING, error, lasts: true });
            }
            Note::Competes => self.settle_trouble(COMPETING),
            Note::Lock { table, is_next } => {
                if is_next {
                    self.watch_seats();
                }
                self.allocate(Happening::Lease { table });
            }
            Note::Allocates(is_active) => {
                if is_active {
                    self.settle_trouble(COMPETING);
                    self.watch_seats();
                    tracing::info!(group = self.store.group(), "allocating");
                }
                self.state.allocates = is_active;
                if !is_active {
                    self.state.troubles.forget_all();
                    self.show_trouble();
                }
                self.board.send_modify(|board| board.allocate(is_active));
                self.allocate(Happening::Active(is_active));
                self.report();
            }
            Note::Stopped(task) => self.on_stopped(task),
            Note::Prepared(task, number) => {
                if self.state.preparations.is_latest(&task, number) {
                    self.work(Event::Prepared(task));
                }
            }
            Note::Leave => {
                self.state.is_leaving = true;
                let _ = self.leaves.send_replace(true);
                self.work(Event::Leave);
            }
            Note::Drain(wants_none) => {
                self.state.drains = wants_none;
                self.drain();
            }
            Note::Decline(task, declines) => self.work(Event::Decline(task, declines)),
            Note::Health(is_well) => {
                self.state.is_unwell = !is_well;
                self.drain();
            }
            Note::Ended(member, session) => self.allocate(Happening::Ended(member, session)),
            Note::Objects(sight) => self.on_objects(sight),
            Note::HiddenConfig => self.on_hidden_config(),
            Note::Trouble(trouble) => self.on_trouble(*trouble),
        }
    }

    fn on_stopped(&mut self, task: TaskName) {
        // Work may know of the end of the term before this does. It is not to begin again.
        let leadership = self.state.leadership.as_ref();
        if leadership.is_some_and(|leadership| !leadership.is_valid()) {
            self.over();
        }
        self.state.revoked.remove(&task);
        self.work(Event::Stopped(task));
    }

    /// The member cannot take part.
    fn fail(&self, error: Error) {
        let error = match self.with_role(error) {
            // Whichever of the two elections has met it, the name is that of the member.
            Error::DuplicateIdentity { identity, .. } => {
                Error::DuplicateIdentity { lock: self.store.seat(&identity), identity }
            }
            other => other,
        };
        let _ = self.assigned.send(Err(error));
    }

    /// Of a missing right, the error shows the whole Role.
    fn with_role(&self, error: Error) -> Error {
        match error {
            Error::Forbidden { resource, verb, message } => {
                let kind = resource.lock_kind();
                let resource = kind.map_or(resource, |kind| self.store.resource(kind));
                Error::Forbidden { resource, verb, message }
            }
            other => other,
        }
    }

    fn on_trouble(&mut self, trouble: Trouble) {
        self.tell_trouble(trouble, self.member.is_idle());
    }

    /// Shows and logs what is wrong, once. It ends a member that may end, and cannot take part for this reason.
    fn tell_trouble(&mut self, trouble: Trouble, may_end: bool) {
        let act = self.state.troubles.judge(&trouble, may_end);
        if act == Act::Nothing {
            return;
        }
        self.show_trouble();
        let Trouble { error, asked, .. } = trouble;
        let (group, hint) = (self.store.group().to_owned(), error.hint());
        match act {
            Act::End => self.fail(error),
            _ => {
                if self.clock.is_system() {
                    report::unlogged(&format!("group {group}: {error}; will retry"), &hint);
                }
                match asked == COMPETING {
                    true => tracing::warn!(group, %error, hint, "cannot become the allocator"),
                    false => {
                        tracing::warn!(group, %error, hint, "the allocator cannot do what it should");
                    }
                }
            }
        }
    }

    fn show_trouble(&self) {
        let shown = self.state.troubles.shown();
        self.board.send_if_modified(|board| board.tell(shown));
    }

    /// This has worked.
    fn forget_trouble(&mut self, asked: Asked) {
        self.state.troubles.forget(asked);
        self.show_trouble();
    }

    /// What is asked of the group is possible again.
    fn settle_trouble(&mut self, asked: Asked) {
        self.state.troubles.settle(asked);
        self.show_trouble();
    }

    // The member.

    /// It wants no tasks if it is asked to drain, or is not well.
    fn drain(&mut self) {
        self.work(Event::Drain(self.state.drains || self.state.is_unwell));
    }

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
        let now = self.clock.instant();
        // Of many tasks that stop together, what is left is looked at once.
        let is_stop = matches!(event, Event::Stopped(_));
        if is_stop && !self.notes.is_empty() && self.state.unsettled < MOST_UNDECIDED {
            self.state.unsettled += 1;
            self.member.learn(now, event);
            self.state.member_wake = Some(now);
            return;
        }
        self.state.unsettled = 0;
        let orders = self.member.step(now, event);
        let Orders { stop, end_preparing, start, prepare, publish, wake } = orders;
        self.state.member_wake = wake;
        for task in stop {
            if let Some(revoked) = self.state.revoked.get(&task) {
                tracing::info!(group = self.store.group(), %task, "stopping");
                let _ = revoked.send_replace(true);
            }
        }
        for task in end_preparing {
            self.state.preparations.end(&task);
        }
        for (task, token) in start {
            self.start(task, token);
        }
        for task in prepare {
            tracing::info!(group = self.store.group(), %task, "preparing");
            self.state.preparations.begin(task, self.sender.downgrade());
        }
        if let Some(info) = publish {
            self.seat.publish(info);
        }
        let own = self.member.running().count();
        self.board.send_if_modified(|board| board.run(own));
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
}

/// The election of the allocator, among what can go wrong.
const COMPETING: Asked = (LockKind::Lease, "compete");

/// However much news comes in, it is decided on after so many.
const MOST_UNDECIDED: usize = 100;
