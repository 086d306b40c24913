//! Looking at elections from outside: what the locks of a namespace say, and what of that is true.
//!
//! A record says who holds a lock, not whether its holder is alive: that shows only to an observer that watches
//! for a while. A [`Survey`] does. Nothing here decides anything; who takes part uses a
//! [`Candidate`](crate::Candidate).

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::{Instant, Observation, Observed, ObserverState, Snapshot};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::error::Error;
use crate::lock::Lock;

mod dry_run;
mod look;
mod scope;
mod view;

pub use dry_run::dry_run_write;
pub(crate) use look::encoded;
use look::{Found, Heard, Lookout};
pub use scope::Scope;
use view::is_late;
pub use view::{LockView, Registration};

/// What is known about the locks in a [`Scope`], kept up to date by watches.
///
/// It learns only while [`next`](Self::next) is awaited.
#[derive(Debug)]
pub struct Survey {
    clock: Clock,
    lookouts: Vec<Lookout>,
    heard: mpsc::Receiver<Heard>,
    rows: BTreeMap<Lock, Row>,
    changes: VecDeque<Change>,
}

#[derive(Debug)]
struct Row {
    view: Arc<LockView>,
    observer_state: ObserverState,
    /// Which of the lookouts sees it.
    lookout: usize,
    /// When the last read was sent that showed it.
    read_at: Option<Instant>,
    end: End,
}

/// What is known of the end of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is still to come.
    Ahead,
    /// The watch shows no sign of life; a read is to confirm it.
    Asked,
    /// It has come.
    Certain,
}

/// A change of a lock, or of what can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The lock names another holder, another term of the same holder, or none; or it is seen for
    /// the first time.
    Leader(Lock),
    /// Its holder has renewed.
    Renewed(Lock),
    /// Something else in it was edited: the waitlist, a request, a label.
    Edited(Lock),
    /// Its holder has been silent for the length of its term, and a read has confirmed that.
    Expired(Lock),
    /// It was deleted, or is no longer a lock.
    Gone(Lock),
    /// Something can no longer be seen, or can be seen again: see [`Survey::blind`].
    Visibility,
}

/// What is known about one lock at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ObservedLock {
    /// What it says.
    pub view: Arc<LockView>,
    /// What is true of it.
    pub state: State,
    /// Whether `state` is based on what this survey has seen. If not, it is based on the wall
    /// clocks of the holder and of this machine, which is only a hint until the lock has been
    /// watched for a while; or, if the state is unknown, on nothing.
    pub is_certain: bool,
    /// How long ago a sign of life arrived. `None` if none has arrived since the first read.
    pub beat_age: Option<Duration>,
    /// How long until the term ends if it is not renewed, counted from the last sign of life or
    /// from the first read. Zero if it is over. `None` if nothing expires.
    pub expires_in: Option<Duration>,
    /// How long ago the term ended. `None` if it has not ended.
    pub over_for: Option<Duration>,
    /// How long it has been observed.
    pub looked_for: Duration,
    /// How long it has not been visible; `None` if it is visible.
    pub unseen_for: Option<Duration>,
    /// How long ago the API server last reported anything about it, or about locks that are watched
    /// together with it. This is the age of a state that has no time of its own: a claim or a
    /// vacancy.
    pub heard_age: Duration,
    /// The time of this observation, on the clock of the survey. The durations above count from
    /// here.
    pub at: Instant,
}

/// What is true of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It has no holder.
    Vacant,
    /// It has a name that does not expire.
    Claimed,
    /// Its holder renews.
    Held,
    /// Its holder has not renewed for two thirds of its term: a leader with the usual timing has
    /// stopped by now.
    Late,
    /// Its holder has been silent for the length of its term, and no candidate has taken over.
    Expired,
    /// It cannot be seen: its last known state may be outdated.
    Unknown,
}

impl Survey {
    /// Reads once, and continues with watches. It is not an error if a lock does not exist: it may
    /// be created later.
    ///
    /// # Errors
    /// If nothing in the scope may be read, or if the API server cannot be reached.
    pub async fn start(client: kube::Client, scope: &Scope) -> Result<Self, Error> {
        Self::start_with(client, scope, Clock::system()).await
    }

    /// The same with another clock, for tests in paused time.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub async fn start_with(
        client: kube::Client,
        scope: &Scope,
        clock: Clock,
    ) -> Result<Self, Error> {
        let mut reads = Vec::new();
        for look in scope.looks(&client)? {
            let sent_at = clock.instant();
            match look.now().await {
                Err(error) if !error.is_forbidden() => return Err(error),
                outcome => reads.push((look, sent_at, outcome)),
            }
        }
        if reads.iter().all(|(_, _, outcome)| outcome.is_err()) {
            let errors = reads.into_iter().filter_map(|(_, _, outcome)| outcome.err());
            return Err(errors.into_iter().next().expect("there is something to look at"));
        }
        let (sender, heard) = mpsc::channel(BACKLOG);
        let (lookouts, rows, changes) = (Vec::new(), BTreeMap::new(), VecDeque::new());
        let mut survey = Self { clock, lookouts, heard, rows, changes };
        for (number, (look, sent_at, outcome)) in reads.into_iter().enumerate() {
            let after = outcome.as_ref().ok().and_then(|found| found.revision.clone());
            survey.lookouts.push(Lookout::start(number, look, after, sender.clone(), clock));
            match outcome {
                Ok(found) => survey.read(number, sent_at, found),
                Err(error) => survey.lookouts[number].blind = Some((sent_at, error.to_string())),
            }
        }
        survey.changes.clear();
        Ok(survey)
    }

    /// All locks, in order, as they are known now.
    pub fn locks(&self) -> impl Iterator<Item = ObservedLock> + '_ {
        let (now, wall) = (self.clock.instant(), self.clock.timestamp());
        self.rows.values().map(move |row| self.sighted(row, now, wall))
    }

    /// One of them.
    pub fn get(&self, lock: &Lock) -> Option<ObservedLock> {
        let (now, wall) = (self.clock.instant(), self.clock.timestamp());
        self.rows.get(lock).map(|row| self.sighted(row, now, wall))
    }

    /// What cannot be seen, why, and since when. Empty if everything can be seen.
    pub fn blind(&self) -> Vec<(Duration, String)> {
        let now = self.clock.instant();
        let blind = self.lookouts.iter().filter_map(|lookout| lookout.blind.as_ref());
        blind.map(|(since, message)| (now.saturating_since(*since), message.clone())).collect()
    }

    /// Waits for the next change, and returns it.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return change;
            }
            let expiry = self.next_expiry();
            tokio::select! {
                heard = self.heard.recv() => match heard {
                    Some(heard) => self.learn(heard),
                    // The lookouts live for as long as the survey.
                    None => std::future::pending().await,
                },
                () = self.clock.sleep_until(expiry) => self.expire(),
            }
        }
    }

    fn learn(&mut self, heard: Heard) {
        match heard {
            Heard::Read { number, sent_at, found } => {
                self.lookouts[number].heard_at = sent_at;
                let was_blind = self.lookouts[number].blind.take().is_some();
                // Report first what changed in the meantime, because it is unknown when it changed.
                self.read(number, sent_at, found);
                if was_blind {
                    self.changes.push_back(Change::Visibility);
                }
            }
            Heard::Alive { number, at } => self.lookouts[number].heard_at = at,
            Heard::Shown { number, at, namespace, name, views } => {
                self.lookouts[number].heard_at = at;
                let is_of_it = |lock: &Lock| lock.namespace() == namespace && lock.name() == name;
                let is_listed = |lock: &Lock| views.iter().any(|(view, _)| view.lock == *lock);
                self.forget(number, |lock| is_of_it(lock) && !is_listed(lock));
                for (view, snapshot) in views {
                    self.see(number, at, None, view, snapshot);
                }
            }
            Heard::Blind { number, at, message } => {
                let blind = &mut self.lookouts[number].blind;
                let since = blind.as_ref().map_or(at, |(since, _)| *since);
                if blind.replace((since, message)).is_none() {
                    self.changes.push_back(Change::Visibility);
                    // What cuts off one of them mostly cuts off all, and a quiet one would not notice.
                    let seeing = self.lookouts.iter().filter(|lookout| lookout.blind.is_none());
                    seeing.for_each(Lookout::look_again);
                }
            }
        }
    }

    /// A read shows all that there is.
    fn read(&mut self, number: usize, sent_at: Instant, found: Found) {
        let listed: HashSet<_> = found.views.iter().map(|(view, _)| view.lock.clone()).collect();
        self.forget(number, |lock| !listed.contains(lock));
        let now = self.clock.instant();
        for (view, snapshot) in found.views {
            self.see(number, now, Some(sent_at), view, snapshot);
        }
        self.expire();
    }

    fn forget(&mut self, number: usize, is_gone: impl Fn(&Lock) -> bool) {
        let gone = self.rows.iter().filter(|(lock, row)| row.lookout == number && is_gone(lock));
        let gone: Vec<_> = gone.map(|(lock, _)| lock.clone()).collect();
        for lock in gone {
            self.rows.remove(&lock);
            self.changes.push_back(Change::Gone(lock));
        }
    }

    fn see(
        &mut self,
        number: usize,
        now: Instant,
        read_at: Option<Instant>,
        view: LockView,
        snapshot: Snapshot,
    ) {
        let lock = view.lock.clone();
        let row = self.rows.entry(lock.clone()).or_insert_with(|| Row::new(&view, number));
        let (version, beat) =
            (row.observer_state.version().cloned(), row.observer_state.last_beat());
        match read_at {
            Some(_) => row.observer_state.find(now, snapshot),
            None => row.observer_state.observe(now, Observation::Present(snapshot)),
        }
        row.read_at = row.read_at.max(read_at);
        if row.observer_state.version() == version.as_ref() {
            return;
        }
        let before = std::mem::replace(&mut row.view, Arc::new(view));
        let has_beaten = row.observer_state.last_beat() != beat;
        if has_beaten {
            row.end = End::Ahead;
        }
        self.changes.push_back(if version.is_none() || !before.is_same_term(&row.view) {
            Change::Leader(lock)
        } else if has_beaten {
            Change::Renewed(lock)
        } else {
            Change::Edited(lock)
        });
    }

    /// The next moment at which a term ends unless it is renewed.
    fn next_expiry(&self) -> Instant {
        let running = self.rows.values().filter(|row| row.end == End::Ahead);
        running.filter_map(Row::expires_at).min().unwrap_or(NEVER)
    }

    /// A term that has ended as far as the watch shows is looked at once more, for the watch may be silent.
    /// It has ended when a read that was sent after that shows no sign of life either.
    fn expire(&mut self) {
        let now = self.clock.instant();
        for (lock, row) in &mut self.rows {
            let Some(expiry) = row.expires_at().filter(|expiry| now >= *expiry) else { continue };
            let is_confirmed = row.read_at.is_some_and(|read_at| read_at >= expiry);
            match row.end {
                End::Ahead | End::Asked if is_confirmed => {
                    row.end = End::Certain;
                    self.changes.push_back(Change::Expired(lock.clone()));
                }
                End::Ahead => {
                    row.end = End::Asked;
                    self.lookouts[row.lookout].look_again();
                }
                End::Asked | End::Certain => {}
            }
        }
    }

    fn sighted(&self, row: &Row, now: Instant, wall: jiff::Timestamp) -> ObservedLock {
        let since = |moment| now.saturating_since(moment);
        let blind = self.lookouts[row.lookout].blind.as_ref();
        let (state, is_certain) =
            if blind.is_some() { (State::Unknown, false) } else { row.state(now, wall) };
        ObservedLock {
            view: row.view.clone(),
            state,
            is_certain,
            beat_age: row.observer_state.last_beat().map(since),
            expires_in: row.expires_at().map(|expiry| expiry.saturating_since(now)),
            over_for: row.expires_at().filter(|expiry| now >= *expiry).map(since),
            looked_for: row.observer_state.looking_since().map(since).unwrap_or_default(),
            unseen_for: blind.map(|(blind_since, _)| since(*blind_since)),
            heard_age: since(self.lookouts[row.lookout].heard_at),
            at: now,
        }
    }
}

impl Row {
    fn new(view: &LockView, lookout: usize) -> Self {
        let observer_state = ObserverState::new(DEFAULT_TERM);
        Self {
            view: Arc::new(view.clone()),
            observer_state,
            lookout,
            read_at: None,
            end: End::Ahead,
        }
    }

    /// When the term is over, where one is running that can be.
    fn expires_at(&self) -> Option<Instant> {
        match self.observer_state.observed() {
            Observed::Held { expires_at, .. } if self.view.registration != Registration::Claim => {
                Some(expires_at)
            }
            _ => None,
        }
    }

    /// What is true, and whether it was seen to be.
    fn state(&self, now: Instant, wall: jiff::Timestamp) -> (State, bool) {
        let Some(expiry) = self.expires_at() else {
            return match self.view.registration {
                Registration::Claim => (State::Claimed, true),
                _ => (State::Vacant, true),
            };
        };
        match (self.end, self.observer_state.last_beat()) {
            (End::Certain, _) => (State::Expired, true),
            _ if now >= expiry => (State::Unknown, false),
            (_, Some(beat)) => {
                let (age, left) = (now.saturating_since(beat), expiry.saturating_since(now));
                (if is_late(age, left) { State::Late } else { State::Held }, true)
            }
            (_, None) => (self.view.state_by_wall_clock(wall), false),
        }
    }
}

/// A term whose record does not say how long it lasts, is taken to be of the usual length.
const DEFAULT_TERM: Duration = Duration::from_secs(15);

/// What lookouts may be ahead of who asks.
const BACKLOG: usize = 256;

const NEVER: Instant = Instant::new(Duration::MAX);
