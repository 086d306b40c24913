//! The one task that looks: it owns the survey and the history of terms, and publishes what they come to.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use incumbent::survey::{Change, LockView, Scope, Survey};
use incumbent::{Clock, Error, HandOver, Lock};
use jiff::Timestamp;
use tokio::sync::watch;

use super::board::{Board, Known};
use super::group_board::GroupName;
use super::groups::Groups;
use super::past_events;
use crate::flags::cluster::LockSelection;
use crate::model::term_history::TermHistory;

type Publish = watch::Sender<Arc<Board>>;

/// Looks until something is wrong that does not pass by itself. An API server that is away comes back.
pub(crate) async fn keep(
    client: kube::Client,
    (selection, scope): (LockSelection, Scope),
    events_in: Option<String>,
    publish: Publish,
) -> anyhow::Result<Infallible> {
    let survey = start(&client, &scope, &publish).await?;
    let mut collector = Collector {
        clock: Clock::system(),
        selection,
        survey,
        term_history: TermHistory::default(),
        asked: BTreeMap::new(),
        groups: Groups::new(client.clone()),
        publish,
    };
    collector.begin();
    collector.show();
    // The page is there already; what Events tell of the past joins it.
    let told = past_events::tell(&client, events_in.as_deref());
    tokio::pin!(told);
    let mut has_told = false;
    loop {
        tokio::select! {
            told = &mut told, if !has_told => {
                collector.remember(&told);
                has_told = true;
            }
            () = collector.listen() => {}
        }
        collector.show();
    }
}

async fn start(client: &kube::Client, scope: &Scope, publish: &Publish) -> Result<Survey, Error> {
    let clock = Clock::system();
    let since = clock.instant();
    loop {
        let error = match Survey::start(client.clone(), scope).await {
            Ok(survey) => return Ok(survey),
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(error),
        };
        publish.send_modify(|board| {
            if board.blind.is_empty() {
                tracing::warn!(%error, "cannot look yet: will retry");
            }
            *board = Arc::new(Board {
                at: clock.instant().since_start(),
                now: Timestamp::now(),
                blind: vec![(since.since_start(), error.to_string())],
                ..Board::default()
            });
        });
        tokio::time::sleep(PAUSE).await;
    }
}

struct Collector {
    clock: Clock,
    selection: LockSelection,
    survey: Survey,
    term_history: TermHistory,
    /// Which request to hand over stands on each lock, and since when.
    asked: BTreeMap<Lock, (HandOver, Duration)>,
    groups: Groups,
    publish: Publish,
}

impl Collector {
    fn begin(&mut self) {
        let now = Timestamp::now();
        for sighted in self.survey.locks() {
            self.term_history.begin(now, &sighted);
        }
        self.look_at_requests();
        self.note_sight(now);
    }

    fn remember(&mut self, told: &past_events::PastEvents) {
        for sighted in self.survey.locks() {
            let lock = &sighted.view.lock;
            self.term_history.recall(lock, told.of(lock));
        }
    }

    /// Takes in what comes until it is time to show it: at once, but not more often than people can see.
    async fn listen(&mut self) {
        let rows = u32::try_from(self.publish.borrow().rows.len()).unwrap_or(u32::MAX);
        let pause = LEAST_PAUSE + PAUSE_OF_A_ROW.saturating_mul(rows).min(PAUSE);
        let now = self.clock.instant().since_start();
        let expiry = self.publish.borrow().next_expiry();
        let expiry = expiry.map_or(PAUSE, |expiry| expiry.saturating_sub(now).max(LEAST_PAUSE));
        let tick = tokio::time::sleep(expiry.min(PAUSE).max(pause));
        tokio::pin!(tick);
        let soon = tokio::time::Instant::now() + pause;
        let mut is_news = false;
        loop {
            tokio::select! {
                change = self.survey.next() => {
                    self.take(&change);
                    is_news = true;
                }
                () = self.groups.changed() => is_news = true,
                () = tokio::time::sleep_until(soon), if is_news => return,
                () = &mut tick => return,
            }
        }
    }

    fn take(&mut self, change: &Change) {
        let now = Timestamp::now();
        match change {
            Change::Visibility => self.note_sight(now),
            Change::Leader(lock)
            | Change::Renewed(lock)
            | Change::Edited(lock)
            | Change::Expired(lock)
            | Change::Gone(lock) => {
                let sighted = self.survey.get(lock);
                self.term_history.note(now, change, sighted.as_ref());
                if !matches!(change, Change::Renewed(_)) {
                    self.look_at_request(&lock.clone());
                }
            }
            _ => {}
        }
    }

    fn note_sight(&mut self, now: Timestamp) {
        for sighted in self.survey.locks() {
            let is_seen = sighted.unseen_for.is_none();
            self.term_history.sight(now, &sighted.view.lock, is_seen);
        }
    }

    fn look_at_requests(&mut self) {
        let locks: Vec<_> = self.survey.locks().map(|sighted| sighted.view.lock.clone()).collect();
        locks.iter().for_each(|lock| self.look_at_request(lock));
    }

    fn look_at_request(&mut self, lock: &Lock) {
        let asked = self.survey.get(lock).and_then(|sighted| sighted.view.hand_over.clone());
        let known = self.asked.get(lock).map(|(known, _)| known);
        match asked {
            None => drop(self.asked.remove(lock)),
            Some(asked) if known == Some(&asked) => {}
            Some(asked) => {
                let now = self.clock.instant().since_start();
                self.asked.insert(lock.clone(), (asked, now));
            }
        }
    }

    /// Whether it is on the page of a group: a seat, or the Lease that the allocators compete for.
    fn is_of_group(&self, view: &LockView) -> bool {
        let allocators = || GroupName {
            namespace: view.lock.namespace().to_owned(),
            name: view.lock.name().to_owned(),
        };
        let group = GroupName::of_seat(view).unwrap_or_else(allocators);
        view.lock.key().is_none() && self.groups.is_followed(&group)
    }

    fn show(&mut self) {
        let now = Timestamp::now();
        let in_groups: BTreeSet<_> =
            self.survey.locks().filter_map(|sighted| GroupName::of_seat(&sighted.view)).collect();
        self.groups.follow(&in_groups);
        let elections = self.survey.locks().filter(|sighted| !self.is_of_group(&sighted.view));
        let (sighted, left_over): (Vec<_>, Vec<_>) =
            elections.partition(|sighted| self.selection.shows(&sighted.view, now));
        // What is gone is forgotten, but not at once: a lock that is created again has a past.
        if self.term_history.len() > 2 * (sighted.len() + left_over.len()) + FEW {
            let survey = &self.survey;
            self.term_history.retain(|lock| survey.get(lock).is_some());
        }
        let asked = self.asked.iter().map(|(lock, (_, since))| (lock.clone(), *since)).collect();
        let known = Known {
            at: self.clock.instant().since_start(),
            now,
            blind: self.survey.blind(),
            sighted,
            left_over: left_over.len(),
            groups: self.groups.boards(),
            groups_left_out: in_groups.iter().filter(|name| !self.groups.is_followed(name)).count(),
            term_history: &self.term_history,
            asked: &asked,
        };
        self.publish.send_modify(|board| *board = Arc::new(Board::of(known, board)));
    }
}

/// Ages grow, and a term becomes late without anything happening.
const PAUSE: Duration = Duration::from_secs(1);

/// Twenty pictures a second look like no waiting.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// To make a board of 500 elections takes some milliseconds, and there may be a hundred renewals a second.
const PAUSE_OF_A_ROW: Duration = Duration::from_micros(500);

const FEW: usize = 100;
