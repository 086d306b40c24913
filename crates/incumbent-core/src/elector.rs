//! The protocol.
//!
//! Read [`State`] first, then [`Elector::step`]. Then read `plan.rs`, which says what a candidate in that state wants
//! to send next and when, and `write.rs`, which says what it writes.

mod plan;
mod query;
mod reply;
mod write;

use self::write::Purpose;
use crate::identity::{Identity, Session};
use crate::message::{Change, Follow, Input, Loss, Observation, Output, Release, Term};
use crate::record::{FencingToken, HolderInfo, Stamp, Uid};
use crate::seen::{Observer, Origin, Seen};
use crate::time::{Instant, Now, WallTime, Window};
use crate::timing::Timing;

/// The configuration of one candidate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// The durations of the election.
    pub timing: Timing,
    /// The name that others see.
    pub identity: Identity,
    /// Drawn at random for each start of a process.
    pub session: Session,
    /// The lowest token to use, for a lock that moves to another cluster or after a restored backup.
    pub token_floor: FencingToken,
    /// A candidate with a higher one goes first on the waitlist, and a leader with a lower one hands over to it.
    pub priority: i32,
    /// What this candidate says of itself when it leads.
    pub holder_info: HolderInfo,
}

/// One candidate's side of an election.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Elector {
    config: Config,
    state: State,
    seen: Seen,
    knowledge: Knowledge,
    follow: Follow,
    in_flight: Option<InFlight>,
    /// A write on this revision has an unknown outcome: it may land as long as no other write does.
    unresolved: Option<u64>,
    /// Conflicts in a row.
    conflicts: u32,
    /// Nothing is sent before this, after a failure.
    pause: Window,
    /// After a conflict, the waitlist is not joined or left before this. Nothing else waits for it.
    line_pause: Instant,
    next_poll: Window,
    /// The renew times of the last successful write, and of later writes whose outcome is unknown.
    /// A record with another one is not ours. They rise, so that each write is a change.
    own_renew_times: Vec<WallTime>,
    /// What the next write says for the first time is not to wait for the next renewal.
    is_urgent: bool,
    /// The table that the lock is to name. `None` where it keeps the one that it names.
    table: Option<Uid>,
    latest: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Follows, and does not want to lead.
    Idle,
    /// Wants to lead, and its work does not run: joins the waitlist, and acquires the lock when it is free and
    /// the candidates before it have had their chance.
    Campaigning { has_joined: bool },
    /// May act until `valid_until`, and renews well before.
    Leading(ActiveTerm),
    /// May not act, but its work may not have stopped yet. Waits for [`Input::Release`].
    Lost { stop_by: Instant },
    /// The work has stopped: releases the lock, if it is (or may be) ours, or leaves the line.
    Releasing { until: Instant, to: Option<Identity> },
}

/// A term as its leader knows it: all that is needed to recognise it in a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ActiveTerm {
    term: Term,
    uid: Uid,
    acquired: WallTime,
    /// When its acquiring write was sent.
    since: Instant,
    /// When the last successful renewal was sent.
    renewed_at: Instant,
}

/// Whether a write may be based on what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Knowledge {
    Current,
    /// Nothing was read yet, or a write conflicted or vanished: read before writing again.
    Outdated,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    purpose: Purpose,
    /// Read before the request left: this is what a term is counted from.
    sent_at: Instant,
    /// The newest revision known at that moment. For a replace, the one that it replaces.
    known: u64,
    stamp: WallTime,
    /// The token that an acquiring write carries.
    token: Option<FencingToken>,
    /// Whether it says something that others wait for.
    is_urgent: bool,
}

impl Elector {
    /// A candidate that only follows, and has read nothing yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: State::Idle,
            seen: Seen::NOTHING,
            knowledge: Knowledge::Outdated,
            follow: Follow::Poll,
            in_flight: None,
            unresolved: None,
            conflicts: 0,
            pause: Window::at(Instant::START),
            line_pause: Instant::START,
            next_poll: Window::at(Instant::START),
            own_renew_times: Vec::new(),
            is_urgent: false,
            table: None,
            latest: Instant::START,
        }
    }

    /// Advances the election and says what to do next.
    ///
    /// It cannot fail, and calling it early or twice is harmless. A `now` before that of an earlier
    /// step counts as that earlier one.
    ///
    /// # Panics
    /// Where an invariant is broken, which is a bug. A panic ends leadership, which is the safe side.
    pub fn step(&mut self, now: Now, input: Input) -> Output {
        let now = Now { instant: now.instant.max(self.latest), ..now };
        self.latest = now.instant;
        let expired = self.expire(now.instant);
        let change = match input {
            Input::Wake => None,
            Input::Reply(reply) => self.on_reply(now.instant, reply),
            Input::Observed(Observation::Present(snapshot)) => {
                self.learn(now.instant, snapshot, Origin::Event);
                None
            }
            Input::Observed(Observation::Gone { revision }) => {
                let own = self.config.session;
                self.seen.learn_gone(now.instant, Some(revision), Origin::Event, own);
                None
            }
            Input::Follow(follow) => {
                self.on_follow(now.instant, follow);
                None
            }
            Input::Campaign => {
                self.on_campaign();
                None
            }
            Input::Release => self.on_release(now.instant, None),
            Input::HandOver(to) => self.on_release(now.instant, Some(to)),
            Input::Ended(session) => {
                self.seen.learn_ended(now.instant, session);
                None
            }
            Input::Introduce(holder_info) => {
                self.config.holder_info = holder_info;
                None
            }
            Input::Publish(holder_info) => {
                self.config.holder_info = holder_info;
                self.is_urgent = true;
                None
            }
            Input::Name(table) => {
                self.is_urgent |= self.table.as_ref() != Some(&table);
                self.table = Some(table);
                None
            }
        };
        let change = change.or_else(|| self.judge()).or(expired);
        let request = self.next_request(now);
        self.assert_invariants(now.instant);
        Output { request, change, wake: self.next_wake() }
    }

    // What time does.

    fn expire(&mut self, now: Instant) -> Option<Change> {
        match &self.state {
            State::Leading(active) if now >= active.term.valid_until => {
                self.lose(Loss::DeadlinePassed)
            }
            State::Releasing { until, .. } if now >= *until => self.end(Release::LeftToExpire),
            _ => None,
        }
    }

    // What the caller asks for.

    fn on_campaign(&mut self) {
        if self.state == State::Idle {
            self.state = State::Campaigning { has_joined: false };
            self.seen.forget_namesakes();
        }
    }

    fn on_release(&mut self, now: Instant, to: Option<Identity>) -> Option<Change> {
        let until = match &self.state {
            State::Idle => return self.end(Release::NotHeld),
            State::Releasing { .. } => return None,
            State::Lost { stop_by } if now > *stop_by => return self.end(Release::LeftToExpire),
            State::Lost { stop_by } => *stop_by,
            State::Leading(active) => active.term.stop_by,
            State::Campaigning { .. } => now + self.config.timing.renew_deadline(),
        };
        self.state = State::Releasing { until, to };
        self.pause = Window::at(Instant::START);
        None
    }

    fn on_follow(&mut self, now: Instant, follow: Follow) {
        if self.follow != follow {
            self.follow = follow;
            self.next_poll = Window::at(now);
            // The watch may not show what happened before it was open.
            self.knowledge = Knowledge::Outdated;
        }
    }

    // How a term begins, continues and ends.

    /// The only way to lead: a `Written` reply to one's own acquiring write, processed in time.
    fn start(&mut self, now: Instant, sent: &InFlight) -> Option<Change> {
        let lock = self.seen.snapshot()?;
        let active = ActiveTerm {
            term: self.term_from(sent.token?, sent.sent_at),
            uid: lock.version.uid.clone(),
            acquired: sent.stamp,
            since: sent.sent_at,
            renewed_at: sent.sent_at,
        };
        if now >= active.term.valid_until || self.why_lost(&active).is_some() {
            return None;
        }
        let term = active.term;
        self.state = State::Leading(active);
        Some(Change::Started(term))
    }

    fn extend(&mut self, sent: &InFlight) -> Option<Change> {
        let State::Leading(active) = &self.state else { return None };
        if self.why_lost(active).is_some() {
            return None;
        }
        let term = self.term_from(active.term.token, sent.sent_at);
        let State::Leading(active) = &mut self.state else { return None };
        active.term = term;
        active.renewed_at = sent.sent_at;
        Some(Change::Renewed(term))
    }

    /// Counted from when the request was *sent*: the earliest moment from which a follower
    /// may count.
    fn term_from(&self, token: FencingToken, sent_at: Instant) -> Term {
        let timing = &self.config.timing;
        Term {
            token,
            valid_until: sent_at + timing.renew_deadline(),
            stop_by: sent_at + timing.stop_deadline(),
        }
    }

    /// Applies what was just learnt.
    fn judge(&mut self) -> Option<Change> {
        match &self.state {
            State::Leading(active) => self.why_lost(active).and_then(|loss| self.lose(loss)),
            State::Releasing { .. }
                if self.is_settled() && !self.is_ours() && self.rank().is_none() =>
            {
                self.end(Release::NotHeld)
            }
            _ => None,
        }
    }

    /// Whether only acts of others can change what we know.
    fn is_settled(&self) -> bool {
        self.knowledge == Knowledge::Current && self.in_flight.is_none()
    }

    fn why_lost(&self, active: &ActiveTerm) -> Option<Loss> {
        let Some(lock) = self.seen.snapshot() else { return Some(Loss::LockGone) };
        if lock.version.uid != active.uid {
            return Some(Loss::LockGone);
        }
        let record = &lock.record;
        let ours = record.holder.as_ref() == Some(&self.config.identity)
            && observer(&self.config, &self.own_renew_times).is_own(record)
            && record.last_token == active.term.token
            && record.lease_duration == Some(self.config.timing.lease_duration())
            && record.acquired == Some(Stamp::At(active.acquired));
        (!ours).then(|| Loss::RecordChanged { holder: record.holder.clone() })
    }

    /// Whether the record is ours, or one of our writes may still make it so. An old copy of ours that was
    /// written over another process's running term is not ours to release.
    fn is_ours(&self) -> bool {
        self.seen.snapshot().is_some_and(|lock| {
            let may_become_ours =
                !lock.record.is_held() && self.unresolved == Some(lock.version.revision);
            let is_own = observer(&self.config, &self.own_renew_times).is_own(&lock.record)
                && self.seen.others_until() <= self.latest;
            is_own || may_become_ours
        })
    }

    fn lose(&mut self, loss: Loss) -> Option<Change> {
        if let State::Leading(active) = &self.state {
            self.state = State::Lost { stop_by: active.term.stop_by };
        }
        Some(Change::Lost(loss))
    }

    fn end(&mut self, how: Release) -> Option<Change> {
        self.state = State::Idle;
        Some(Change::Released(how))
    }

    fn pause_until(&mut self, moment: Instant) {
        self.pause = Window::from(moment, self.config.timing.retry_period() / 5);
    }

    fn assert_invariants(&self, now: Instant) {
        let State::Leading(active) = &self.state else { return };
        assert!(now < active.term.valid_until, "leads past its deadline");
        assert!(active.term.valid_until < active.term.stop_by, "no time to stop");
        assert_eq!(self.why_lost(active), None, "leads without the record's word");
    }
}

/// This candidate as it reads records.
fn observer<'a>(config: &'a Config, own_renew_times: &'a [WallTime]) -> Observer<'a> {
    Observer {
        identity: &config.identity,
        session: config.session,
        own_renew_times,
        default_patience: config.timing.lease_duration(),
    }
}
