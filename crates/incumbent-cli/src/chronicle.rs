//! The terms of elections: who led from when to when, and how it ended. Pure.
//!
//! They are learnt in two ways: by watching, which tells all of the time since one looks; and from the Events
//! that electors write, which tell what they choose to, and are kept for an hour.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use incumbent::Lock;
use incumbent::survey::{Change, LockView, Sighted};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What is known of the past of some locks. A clone shares all that neither of the two changes later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chronicle {
    stories: BTreeMap<Lock, Arc<Story>>,
}

#[derive(Clone, Debug, Default)]
struct Story {
    terms: VecDeque<Term>,
    last_sign: Timestamp,
    /// When the lock could not be seen.
    unseen: VecDeque<Span>,
}

/// From when to when; `None` while it goes on.
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
    pub(crate) began: Timestamp,
    /// `None` while it goes on.
    pub(crate) end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Of one that fell silent, the last sign of life.
    pub(crate) at: Timestamp,
    pub(crate) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The lock was given back.
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
    /// Somebody leads; since when nobody has, where that is known.
    Leads {
        term: Term,
        gap: Option<Duration>,
    },
    /// Its leader has given it back.
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

impl Chronicle {
    /// A lock as it is when one begins to look.
    pub(crate) fn begin(&mut self, now: Timestamp, view: &LockView) {
        let story = self.story(&view.lock);
        story.last_sign = view.renewed.unwrap_or(now).min(now);
        if let Some(term) = term_of(view, view.acquired.unwrap_or(now).min(now)) {
            story.push(term);
        }
    }

    /// Takes a change into account, and says what it comes to.
    pub(crate) fn note(
        &mut self,
        now: Timestamp,
        change: &Change,
        sighted: Option<&Sighted>,
    ) -> Option<Turn> {
        match (change, sighted) {
            (Change::Leader(lock), Some(sighted)) => self.turn(lock, now, &sighted.view),
            (Change::Renewed(lock), _) => {
                let story = self.story(lock);
                story.last_sign = now;
                // It was thought to be over, and goes on.
                if let Some(Term { end: end @ Some(End { how: How::Silent, .. }), .. }) =
                    story.terms.back_mut()
                {
                    *end = None;
                }
                None
            }
            (Change::Expired(lock), _) => {
                let holder = self.known(lock)?.close(None, How::Silent)?;
                Some(Turn::Expired { holder })
            }
            (Change::Gone(lock), _) => {
                self.known(lock)?.close(Some(now), How::Deleted);
                Some(Turn::Deleted)
            }
            _ => None,
        }
    }

    fn turn(&mut self, lock: &Lock, now: Timestamp, view: &LockView) -> Option<Turn> {
        let story = self.story(lock);
        let Some(term) = term_of(view, now) else {
            return Some(Turn::Released { holder: story.close(Some(now), How::Released)? });
        };
        story.close(None, How::Silent);
        let ended = story.terms.back().and_then(|last| last.end);
        let gap = ended.map(|end| between(end.at, now));
        story.last_sign = now;
        story.push(term.clone());
        Some(Turn::Leads { term, gap })
    }

    /// Adds what Events tell of the time before one looked.
    pub(crate) fn recall(&mut self, lock: &Lock, events: &[Value]) {
        let mut terms = terms_of(events);
        let story = self.story(lock);
        // What was seen is known better than what was told.
        if let Some(first) = story.terms.front() {
            terms.retain(|told| told.began < first.began && !is_same(told, first));
            if let Some(last) = terms.last_mut() {
                last.end.get_or_insert(End { at: first.began, how: How::Unsaid });
            }
        }
        terms.into_iter().rev().for_each(|term| story.terms.push_front(term));
        while story.terms.len() > MOST_TERMS {
            story.terms.pop_front();
        }
    }

    /// Notes whether a lock can be seen: while it cannot, nothing tells who led.
    pub(crate) fn sight(&mut self, now: Timestamp, lock: &Lock, is_seen: bool) {
        let is_noted = self.unseen(lock).next_back().is_some_and(|last| last.to.is_none());
        if is_noted != is_seen {
            return;
        }
        let unseen = &mut self.story(lock).unseen;
        match unseen.back_mut().filter(|_| is_seen) {
            Some(last) => last.to = Some(now),
            None => unseen.push_back(Span { from: now, to: None }),
        }
        if unseen.len() > MOST_TERMS {
            unseen.pop_front();
        }
    }

    /// How many locks have a story.
    pub(crate) fn len(&self) -> usize {
        self.stories.len()
    }

    /// Keeps the stories of these locks alone.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&Lock) -> bool) {
        self.stories.retain(|lock, _| is_kept(lock));
    }

    /// The terms of a lock, the oldest first.
    pub(crate) fn terms(&self, lock: &Lock) -> impl DoubleEndedIterator<Item = &Term> {
        self.stories.get(lock).into_iter().flat_map(|story| &story.terms)
    }

    /// When a lock could not be seen.
    pub(crate) fn unseen(&self, lock: &Lock) -> impl DoubleEndedIterator<Item = &Span> {
        self.stories.get(lock).into_iter().flat_map(|story| &story.unseen)
    }

    /// How often the leader has changed since then, as far as is known.
    pub(crate) fn changes(&self, lock: &Lock, since: Timestamp) -> usize {
        let mut later = self.terms(lock).rev().take_while(|term| term.began >= since).count();
        // The first term that is known changed nothing, as far as is known.
        if later > 0 && later == self.terms(lock).count() {
            later -= 1;
        }
        later
    }

    fn story(&mut self, lock: &Lock) -> &mut Story {
        Arc::make_mut(self.stories.entry(lock.clone()).or_default())
    }

    fn known(&mut self, lock: &Lock) -> Option<&mut Story> {
        self.stories.get_mut(lock).map(Arc::make_mut)
    }
}

impl Story {
    fn push(&mut self, term: Term) {
        self.terms.push_back(term);
        if self.terms.len() > MOST_TERMS {
            self.terms.pop_front();
        }
    }

    /// Ends the term that goes on, and says whose it was.
    fn close(&mut self, at: Option<Timestamp>, how: How) -> Option<String> {
        let at = at.unwrap_or(self.last_sign);
        let open = self.terms.back_mut().filter(|term| term.end.is_none())?;
        open.end = Some(End { at: at.max(open.began), how });
        Some(open.holder.clone())
    }
}

fn term_of(view: &LockView, began: Timestamp) -> Option<Term> {
    let holder = view.holder.clone()?;
    Some(Term { holder, token: view.token.map(|token| token.0), began, end: None })
}

/// Events have whole seconds: one that tells of a term seems to be up to a second earlier.
fn is_same(told: &Term, seen: &Term) -> bool {
    told.holder == seen.holder && between(told.began, seen.began) < Duration::from_secs(1)
}

pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).unsigned_abs()
}

/// What `X became leader` and `X stopped leading` come to.
fn terms_of(events: &[Value]) -> Vec<Term> {
    let mut told: Vec<_> = events.iter().flat_map(said).collect();
    told.sort();
    told.dedup();
    let mut terms: Vec<Term> = Vec::new();
    for Said { at, began, holder, .. } in told {
        let open = terms.last_mut().filter(|term| term.end.is_none());
        match (open, began) {
            (Some(open), true) if open.holder == holder && open.began == at => {}
            (open, true) => {
                if let Some(open) = open {
                    open.end = Some(End { at, how: How::Unsaid });
                }
                terms.push(Term { holder, token: None, began: at, end: None });
            }
            (Some(open), false) if open.holder == holder => {
                open.end = Some(End { at, how: How::Stopped });
            }
            (_, false) => stopped_late(&mut terms, &holder),
        }
    }
    terms
}

/// The next leader may write its Event before the former one does: the former one's term then ended no later
/// than the next one began.
fn stopped_late(terms: &mut [Term], holder: &str) {
    let last = terms.iter_mut().rfind(|term| term.holder == holder);
    if let Some(end) = last.and_then(|term| term.end.as_mut()).filter(|end| end.how == How::Unsaid)
    {
        end.how = How::Stopped;
    }
}

/// What one Event says, in the order in which it was so: within a second, that of the writes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    at: Timestamp,
    revision: u64,
    began: bool,
    holder: String,
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
    let times = ["firstTimestamp", "lastTimestamp", "eventTime"];
    let times = times.iter().filter_map(|field| event[field].as_str()?.parse().ok());
    let said = |at| Said { at, revision, began, holder: holder.to_owned() };
    times.map(said).collect()
}

impl Term {
    /// How long it lasted, or has until now.
    pub(crate) fn lasted(&self, now: Timestamp) -> Duration {
        between(self.began, self.end.map_or(now, |end| end.at).max(self.began))
    }

    pub(crate) fn json(&self, now: Timestamp) -> Value {
        json!({
            "holder": self.holder,
            "token": self.token,
            "began": self.began.to_string(),
            "ended": self.end.map(|end| end.at.to_string()),
            "how": self.end.map(|end| end.how.word()),
            "lastedMs": u64::try_from(self.lasted(now).as_millis()).unwrap_or(u64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn event(second: i64, message: &str) -> Value {
        json!({ "message": message, "firstTimestamp": at(second).to_string(), "lastTimestamp": null })
    }

    fn told(events: &[Value]) -> Vec<(String, Option<(i64, How)>)> {
        let end =
            |term: &Term| term.end.map(|end| (end.at.as_second() - at(0).as_second(), end.how));
        terms_of(events).iter().map(|term| (term.holder.clone(), end(term))).collect()
    }

    #[test]
    fn events_tell_who_led_and_how_it_ended() {
        let events = [
            event(20, "jane became leader"),
            event(0, "john became leader"),
            event(10, "john stopped leading"),
            event(30, "jack became leader"),
            event(31, "nobody in particular"),
        ];
        assert_eq!(
            told(&events),
            [
                ("john".to_owned(), Some((10, How::Stopped))),
                ("jane".to_owned(), Some((30, How::Unsaid))),
                ("jack".to_owned(), None),
            ]
        );
    }

    #[test]
    fn within_a_second_the_order_of_the_writes_counts() {
        let in_order = |revision: u64, message: &str| {
            let mut event = event(0, message);
            event["metadata"]["resourceVersion"] = revision.to_string().into();
            event
        };
        let events = [
            in_order(14, "jane stopped leading"),
            in_order(13, "jane became leader"),
            in_order(12, "john stopped leading"),
            in_order(9, "john became leader"),
        ];
        let stopped = |name: &str| (name.to_owned(), Some((0, How::Stopped)));
        assert_eq!(told(&events), [stopped("john"), stopped("jane")]);
    }

    #[test]
    fn a_former_leader_may_say_that_it_stopped_after_the_next_one_began() {
        let events = [
            event(0, "john became leader"),
            event(10, "jane became leader"),
            event(11, "john stopped leading"),
            event(20, "jane stopped leading"),
            event(21, "john stopped leading"),
        ];
        let stopped = |name: &str, second| (name.to_owned(), Some((second, How::Stopped)));
        assert_eq!(told(&events), [stopped("john", 10), stopped("jane", 20)]);
    }

    #[test]
    fn an_event_that_stands_for_many_tells_of_the_first_and_the_last() {
        let many = json!({
            "message": "john became leader", "count": 7,
            "firstTimestamp": at(0).to_string(), "lastTimestamp": at(60).to_string(),
        });
        assert_eq!(told(&[many, event(5, "john stopped leading")]).len(), 2);
    }

    #[test]
    fn what_could_not_be_seen_is_known_as_such() {
        let (mut chronicle, lock) = (Chronicle::default(), Lock::lease("prod", "scanner"));
        chronicle.sight(at(0), &lock, true);
        assert_eq!(chronicle.unseen(&lock).count(), 0);
        for (second, is_seen) in [(1, false), (2, false), (5, true), (6, true), (9, false)] {
            chronicle.sight(at(second), &lock, is_seen);
        }
        let spans: Vec<_> = chronicle.unseen(&lock).copied().collect();
        let closed = Span { from: at(1), to: Some(at(5)) };
        assert_eq!(spans, [closed, Span { from: at(9), to: None }]);
    }

    #[test]
    fn the_first_term_that_is_known_is_no_change() {
        let (mut chronicle, lock) = (Chronicle::default(), Lock::lease("prod", "scanner"));
        assert_eq!(chronicle.changes(&lock, at(0)), 0);
        let events = ["john", "jane", "jack"];
        let event = |(n, who)| event(10 * n, &format!("{who} became leader"));
        let events: Vec<_> = (0_i64..).zip(events).map(event).collect();
        chronicle.recall(&lock, &events);
        assert_eq!(chronicle.changes(&lock, at(-5)), 2);
        assert_eq!(chronicle.changes(&lock, at(5)), 2);
        assert_eq!(chronicle.changes(&lock, at(15)), 1);
        assert_eq!(chronicle.changes(&lock, at(25)), 0);
        chronicle.retain(|_| false);
        assert_eq!(chronicle.terms(&lock).count(), 0);
    }

    #[test]
    fn an_end_that_belongs_to_nobody_is_left_out() {
        assert_eq!(told(&[event(1, "john stopped leading"), json!({}), json!({"message": 7})]), []);
        let swapped = [event(0, "john became leader"), event(5, "jane stopped leading")];
        assert_eq!(told(&swapped), [("john".to_owned(), None)]);
    }
}
