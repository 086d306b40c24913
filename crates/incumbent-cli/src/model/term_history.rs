//! The terms of elections: who led from when to when, and how it ended. Pure.
//!
//! They are learnt in two ways: by watching, which tells all of the time since one looks; and from the Events
//! that electors write, which tell what they choose to, and are kept for an hour.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use incumbent::Lock;
use incumbent::survey::{Change, LockView, ObservedLock, State};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::event;
use crate::model::lock_status::expires;
use crate::model::time_bounds::{DurationBounds, TimeBounds, after};

/// What is known of the past of some locks. A clone shares all that neither of the two changes later.
#[derive(Clone, Debug, Default)]
pub(crate) struct TermHistory {
    histories: BTreeMap<Lock, Arc<LockHistory>>,
}

#[derive(Clone, Debug, Default)]
struct LockHistory {
    terms: VecDeque<Term>,
    /// When a sign of life last came in; before one did, when the holder says that it renewed.
    last_sign: Timestamp,
    /// How long others wait after it. `None` for a claim, which does not expire.
    lease: Option<Duration>,
    /// When the lock could not be seen.
    unseen: VecDeque<Span>,
}

/// From when to when; `None` while it continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Timestamp,
    pub(crate) to: Option<Timestamp>,
}

/// One term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) holder: String,
    pub(crate) token: Option<u64>,
    pub(crate) began: TimeBounds,
    /// `None` where no end is known. The lock's standing says whether the term still runs.
    pub(crate) end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Of one that fell silent, from the last sign of life until its term was over at the latest.
    pub(crate) when: TimeBounds,
    pub(crate) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The lock was released.
    Released,
    /// No more was heard: a crash, a pause, a cut line.
    Silent,
    /// The lock is gone.
    Deleted,
    /// The holder said that it stopped.
    Stopped,
    /// Nothing tells: another came.
    Unsaid,
}

impl How {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Silent => "fell silent",
            Self::Deleted => "lock deleted",
            Self::Stopped => "stopped",
            Self::Unsaid => "not said",
        }
    }
}

/// What a change of a lock comes to, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Another term is seen, with the time without a leader before it, where that is known.
    Leads {
        term: Term,
        gap: Option<DurationBounds>,
    },
    /// The lock is vacant again.
    Released {
        holder: String,
    },
    /// Its leader has been silent for as long as a term lasts.
    Expired {
        holder: String,
    },
    Deleted,
}

/// Each lock remembers so many terms.
const MOST_TERMS: usize = 200;

impl TermHistory {
    /// A lock as it is when one begins to look.
    pub(crate) fn begin(&mut self, now: Timestamp, sighted: &ObservedLock) {
        let view = &*sighted.view;
        let history = self.history(&view.lock);
        history.look_at(now, view);
        let Some(term) = term_of(view, began(now, view)) else { return };
        history.push(term);
        if sighted.state == State::Expired {
            history.close_silent(now);
        }
    }

    /// Takes a change into account, and says what it comes to.
    pub(crate) fn note(
        &mut self,
        now: Timestamp,
        change: &Change,
        sighted: Option<&ObservedLock>,
    ) -> Option<Turn> {
        match (change, sighted) {
            (Change::Leader(lock), Some(sighted)) => self.turn(lock, now, sighted),
            (Change::Renewed(lock), Some(sighted)) => {
                let history = self.history(lock);
                history.look_at(now, &sighted.view);
                history.last_sign = now;
                // It was thought to be over, and continues.
                if let Some(Term { end: end @ Some(End { how: How::Silent, .. }), .. }) =
                    history.terms.back_mut()
                {
                    *end = None;
                }
                None
            }
            (Change::Expired(lock), _) => {
                let holder = self.known(lock)?.close_silent(now)?;
                Some(Turn::Expired { holder })
            }
            (Change::Gone(lock), _) => {
                let moment = self.moment(now, lock);
                self.known(lock)?.close(moment, How::Deleted);
                Some(Turn::Deleted)
            }
            _ => None,
        }
    }

    fn turn(&mut self, lock: &Lock, now: Timestamp, sighted: &ObservedLock) -> Option<Turn> {
        let (view, moment) = (&*sighted.view, self.moment(now, lock));
        // What was never seen to change may be as old as it says.
        let began = if sighted.beat_age.is_some() { moment } else { began(now, view) };
        let history = self.history(lock);
        let Some(term) = term_of(view, began) else {
            return Some(Turn::Released { holder: history.close(moment, How::Released)? });
        };
        match history.lease {
            None => history.close(moment, How::Unsaid),
            Some(lease) if now >= after(history.last_sign, lease) => history.close_silent(now),
            // Its term was not over: it ended in a way that was not seen.
            Some(_) => history.close(TimeBounds::between(history.last_sign, now), How::Unsaid),
        };
        let ended = history.terms.back().and_then(|last| last.end);
        let gap = ended.map(|end| end.when.until(began));
        history.look_at(now, view);
        if sighted.beat_age.is_some() {
            history.last_sign = now;
        }
        history.push(term.clone());
        Some(Turn::Leads { term, gap })
    }

    /// When something was that is seen now: now, unless the lock could not be seen before.
    fn moment(&self, now: Timestamp, lock: &Lock) -> TimeBounds {
        let unseen = self.unseen(lock).next_back().filter(|span| span.to.is_none());
        unseen.map_or_else(|| TimeBounds::at(now), |span| TimeBounds::between(span.from, now))
    }

    /// Adds what Events tell of the time before one looked.
    pub(crate) fn recall(&mut self, lock: &Lock, events: &[Value]) {
        let mut terms = terms_of(events);
        let history = self.history(lock);
        // What was seen is known better than what was told.
        if let Some(first) = history.terms.front() {
            let first_began = first.began.mostly();
            terms.retain(|told| told.began.mostly() < first_began && !is_same(told, first));
            if let Some(last) = terms.last_mut() {
                last.end.get_or_insert_with(|| End {
                    when: TimeBounds::by(first_began),
                    how: How::Unsaid,
                });
            }
        }
        terms.into_iter().rev().for_each(|term| history.terms.push_front(term));
        while history.terms.len() > MOST_TERMS {
            history.terms.pop_front();
        }
    }

    /// Notes whether a lock can be seen: while it cannot, nothing tells who led. Says whether that is news.
    pub(crate) fn sight(&mut self, now: Timestamp, lock: &Lock, is_seen: bool) -> bool {
        let is_noted = self.unseen(lock).next_back().is_some_and(|last| last.to.is_none());
        if is_noted != is_seen {
            return false;
        }
        let unseen = &mut self.history(lock).unseen;
        match unseen.back_mut().filter(|_| is_seen) {
            Some(last) => last.to = Some(now),
            None => unseen.push_back(Span { from: now, to: None }),
        }
        if unseen.len() > MOST_TERMS {
            unseen.pop_front();
        }
        true
    }

    /// How many locks have a history.
    pub(crate) fn len(&self) -> usize {
        self.histories.len()
    }

    /// Keeps the history of these locks only.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&Lock) -> bool) {
        self.histories.retain(|lock, _| is_kept(lock));
    }

    /// The terms of a lock, the oldest first.
    pub(crate) fn terms(&self, lock: &Lock) -> impl DoubleEndedIterator<Item = &Term> {
        self.histories.get(lock).into_iter().flat_map(|history| &history.terms)
    }

    /// When a lock could not be seen.
    pub(crate) fn unseen(&self, lock: &Lock) -> impl DoubleEndedIterator<Item = &Span> {
        self.histories.get(lock).into_iter().flat_map(|history| &history.unseen)
    }

    /// How often the leader has changed since then, as far as is known.
    pub(crate) fn changes(&self, lock: &Lock, since: Timestamp) -> usize {
        let mut later =
            self.terms(lock).rev().take_while(|term| term.began.mostly() >= since).count();
        // The first term that is known changed nothing, as far as is known.
        if later > 0 && later == self.terms(lock).count() {
            later -= 1;
        }
        later
    }

    fn history(&mut self, lock: &Lock) -> &mut LockHistory {
        Arc::make_mut(self.histories.entry(lock.clone()).or_default())
    }

    fn known(&mut self, lock: &Lock) -> Option<&mut LockHistory> {
        self.histories.get_mut(lock).map(Arc::make_mut)
    }
}

impl LockHistory {
    fn push(&mut self, term: Term) {
        self.terms.push_back(term);
        if self.terms.len() > MOST_TERMS {
            self.terms.pop_front();
        }
    }

    /// What a record says of its holder's life, as far as nothing is known better.
    fn look_at(&mut self, now: Timestamp, view: &LockView) {
        self.last_sign = view.renewed.unwrap_or(now).min(now);
        self.lease = expires(view).then(|| view.lease_duration.unwrap_or(USUAL_LEASE));
    }

    /// Ends the term that continues, and says whose it was.
    fn close(&mut self, when: TimeBounds, how: How) -> Option<String> {
        let open = self.terms.back_mut().filter(|term| term.end.is_none())?;
        open.end = Some(End { when: when.no_earlier_than(open.began), how });
        Some(open.holder.clone())
    }

    fn close_silent(&mut self, now: Timestamp) -> Option<String> {
        let over = after(self.last_sign, self.lease.unwrap_or(USUAL_LEASE)).min(now);
        self.close(TimeBounds::between(self.last_sign, over), How::Silent)
    }
}

fn term_of(view: &LockView, began: TimeBounds) -> Option<Term> {
    let holder = view.holder.clone()?;
    Some(Term { holder, token: view.token.map(|token| token.0), began, end: None })
}

/// When the term began that the record shows, by its holder's clock. A claim does not say.
fn began(now: Timestamp, view: &LockView) -> TimeBounds {
    let acquired = view.acquired.filter(|_| expires(view));
    acquired.map_or_else(|| TimeBounds::by(now), |acquired| TimeBounds::at(acquired.min(now)))
}

/// An Event that says whole seconds seems to be up to a second earlier than the record.
fn is_same(told: &Term, seen: &Term) -> bool {
    told.holder == seen.holder && told.began.until(seen.began).least.is_zero()
}

/// What `X became leader` and `X stopped leading` come to.
fn terms_of(events: &[Value]) -> Vec<Term> {
    let mut terms: Vec<Term> = Vec::new();
    for Said { when, began, holder, .. } in in_order(events.iter().flat_map(said).collect()) {
        let open = terms.last_mut().filter(|term| term.end.is_none());
        match (open, began) {
            (Some(open), true) if open.holder == holder && open.began == when => {}
            (open, true) => {
                if let Some(open) = open {
                    let when = TimeBounds { earliest: None, latest: when.latest };
                    open.end = Some(End { when, how: How::Unsaid });
                }
                terms.push(Term { holder, token: None, began: when, end: None });
            }
            (Some(open), false) if open.holder == holder => {
                open.end = Some(End { when, how: How::Stopped });
            }
            (_, false) => stopped_late(&mut terms, &holder, when),
        }
    }
    terms
}

/// The next leader may write its Event before the former one does, or its clock may be behind: the former one's
/// term then ended no later than the next one began.
fn stopped_late(terms: &mut [Term], holder: &str, when: TimeBounds) {
    let Some(place) = terms.iter().rposition(|term| term.holder == holder) else { return };
    let Some(next) = terms.get(place + 1).map(|next| next.began) else { return };
    if let Some(end) = terms[place].end.as_mut().filter(|end| end.how == How::Unsaid) {
        let when = TimeBounds {
            earliest: when.earliest.min(next.earliest),
            latest: when.latest.min(next.latest),
        };
        *end = End { when, how: How::Stopped };
    }
}

/// What one Event says.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    when: TimeBounds,
    /// In the order of the writes.
    revision: u64,
    began: bool,
    holder: String,
}

impl Said {
    fn second(&self) -> i64 {
        self.when.mostly().as_second()
    }
}

/// In the order in which it was so. Of what was in one second, and is known no better, the order of the writes
/// counts.
fn in_order(mut told: Vec<Said>) -> Vec<Said> {
    let key = |said: &Said| (said.second(), said.revision, said.began, said.holder.clone());
    told.sort_by_cached_key(key);
    told.dedup();
    for of_a_second in told.chunk_by_mut(|one, next| one.second() == next.second()) {
        if of_a_second.iter().all(|said| said.when.earliest == said.when.latest) {
            of_a_second.sort_by_key(|said| said.when.mostly());
        }
    }
    told
}

/// An Event that stands for many tells of the first and the last.
fn said(event: &Value) -> Vec<Said> {
    let message = event["message"].as_str().unwrap_or_default();
    let (began, holder) = match message.strip_suffix(" became leader") {
        Some(holder) => (true, holder),
        None => match message.strip_suffix(" stopped leading") {
            Some(holder) => (false, holder),
            None => return Vec::new(),
        },
    };
    let revision = event["metadata"]["resourceVersion"].as_str();
    let revision = revision.and_then(|revision| revision.parse().ok()).unwrap_or(0);
    let said = |when| Said { when, revision, began, holder: holder.to_owned() };
    event::times(event).into_iter().map(said).collect()
}

impl Term {
    /// How long it lasted; or has until now, if it `goes_on`.
    pub(crate) fn lasted(&self, now: Timestamp, goes_on: bool) -> DurationBounds {
        let until_now = if goes_on { TimeBounds::at(now) } else { TimeBounds::by(now) };
        self.began.until(self.end.map_or(until_now, |end| end.when))
    }

    pub(crate) fn json(&self, now: Timestamp, goes_on: bool) -> Value {
        json!({
            "holder": self.holder,
            "token": self.token,
            "began": self.began.json(),
            "ended": self.end.map(|end| end.when.json()),
            "how": self.end.map(|end| end.how.word()),
            "lastedMs": self.lasted(now, goes_on).json(),
        })
    }
}

/// For a record that does not say.
const USUAL_LEASE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
