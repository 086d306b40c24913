//! The protocol, in one file.
//!
//! Read [`State`] first, then [`Elector::step`], then `plan`: what a candidate in that state wants to
//! send next, and when.

use std::time::Duration;

use crate::message::{
    Asked, Change, Follow, Input, Loss, Observation, Operation, Output, Release, Reply, Request,
    Term,
};
use crate::record::{
    Card, FencingToken, HandOver, Identity, Record, Session, Snapshot, Stamp, Uid, Version,
};
use crate::seen::{Observer, Origin, Seen};
use crate::time::{Instant, Now, WallTime, Window};
use crate::timing::Timing;
use crate::waitlist::{Waiter, Waitlist};

/// What one candidate is told at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// The durations of the election.
    pub timing: Timing,
    /// The name that others see.
    pub identity: Identity,
    /// Drawn at random for each start of a process.
    pub session: Session,
    /// No token will be lower; for a lock that moves to another cluster or a restored backup.
    pub token_floor: FencingToken,
    /// Who has a higher one goes before others in the line, and a leader of a lower one hands over to it.
    pub priority: i32,
    /// What this candidate says of itself when it leads.
    pub card: Card,
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
    /// A write on this revision has an unknown outcome: it may land for as long as nothing else does.
    unresolved: Option<u64>,
    /// Conflicts in a row.
    conflicts: u32,
    /// Nothing is sent before this, after a failure.
    pause: Window,
    /// The line is not joined or left before this, after a conflict. Nothing else waits for that.
    line_pause: Instant,
    next_poll: Window,
    /// The times written by the last successful write, and by those since whose outcome is not known.
    /// A record with any other is not ours. They rise, so that each write is a change.
    stamps: Vec<WallTime>,
    latest: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Follows, and does not want to lead.
    Idle,
    /// Wants to lead, and has no work running: joins the line, and acquires the lock when it is free and
    /// those before it have had their chance.
    Campaigning { has_joined: bool },
    /// May act until `valid_until`, and renews well before.
    Leading(Reign),
    /// May not act, but its work may not have stopped yet. Waits for [`Input::Release`].
    Lost { stop_by: Instant },
    /// The work has stopped: gives the lock back, if it is (or may be) ours, or leaves the line.
    Releasing { until: Instant, to: Option<Identity> },
}

/// A term from the inside: all that is needed to recognise it in a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reign {
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
    /// The newest revision known then; for a replace, the one that it replaces.
    known: u64,
    stamp: WallTime,
    /// The token that an acquiring write carries.
    token: Option<FencingToken>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    Read,
    Create,
    Acquire,
    Renew,
    Release,
    Join,
    Leave,
}

impl Purpose {
    /// Whether the write says who holds the lock, and when it said so.
    fn is_stamped(self) -> bool {
        match self {
            Self::Create | Self::Acquire | Self::Renew | Self::Release => true,
            Self::Read | Self::Join | Self::Leave => false,
        }
    }

    /// Whether the write says no more than who waits.
    fn is_of_the_line(self) -> bool {
        matches!(self, Self::Join | Self::Leave)
    }
}

/// Who holds the lock, as far as this candidate knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It was not read yet.
    Unknown,
    /// Nobody holds it.
    Vacant,
    /// Somebody does.
    Held {
        /// Nobody's name, where it was taken out of the record while the term was running.
        holder: Option<Identity>,
        /// The token of the running term, where the holder writes one.
        token: Option<FencingToken>,
        /// When the term is over unless it is renewed before.
        expires_at: Instant,
    },
}

impl Elector {
    /// A candidate that follows, and has read nothing yet.
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
            stamps: Vec::new(),
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
                self.seen.learn_gone(now.instant, Some(revision), Origin::Event);
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
            Input::Introduce(card) => {
                self.config.card = card;
                None
            }
        };
        let change = change.or_else(|| self.judge()).or(expired);
        let request = self.next_request(now);
        self.assert_invariants(now.instant);
        Output { request, change, wake: self.next_wake() }
    }

    /// The running term, if this candidate leads.
    pub fn term(&self) -> Option<Term> {
        match &self.state {
            State::Leading(reign) => Some(reign.term),
            _ => None,
        }
    }

    /// Whether this candidate only follows: it does not want to lead, and has nothing to give back.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Who holds the lock, as far as this candidate knows.
    pub fn sighting(&self) -> Sighting {
        self.seen.sighting()
    }

    /// Whether this candidate wants to lead, and does not.
    pub fn is_campaigning(&self) -> bool {
        matches!(self.state, State::Campaigning { .. })
    }

    /// Whether the request in flight only joins or leaves the line: a refusal of it says nothing of whether this
    /// candidate can lead.
    pub fn is_editing_the_line(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|sent| sent.purpose.is_of_the_line())
    }

    /// How many are before this candidate in the line. `None` where it is not in the line.
    pub fn rank(&self) -> Option<usize> {
        self.record()?.waitlist.rank_of(&self.config.identity, self.config.session)
    }

    /// What the lock says, as far as this candidate knows.
    pub fn record(&self) -> Option<&Record> {
        self.seen.snapshot().map(|lock| &lock.record)
    }

    /// Whether this candidate leads and is asked to hand over: by somebody's edit of the lock, or because
    /// one of a higher priority waits. It may act until it has.
    ///
    /// A higher priority counts only once a term is a lease duration old, so that a candidate which keeps
    /// failing does not take the lead away from others more often than that.
    pub fn asked_to_hand_over(&self) -> Option<Asked> {
        let State::Leading(reign) = &self.state else { return None };
        let (record, identity) = (self.record()?, &self.config.identity);
        match &record.hand_over {
            Some(HandOver::To(to)) if to == identity => {}
            Some(HandOver::To(to)) => return Some(Asked::ByRequest(Some(to.clone()))),
            Some(HandOver::ToNext) => return Some(Asked::ByRequest(None)),
            None => {}
        }
        if record.is_cordoned(identity) {
            return Some(Asked::Cordoned);
        }
        let is_settled = self.latest >= reign.since + self.config.timing.lease_duration();
        let head = record.waitlist.waiters().first().filter(|_| is_settled)?;
        let goes_before = head.priority > self.config.priority;
        goes_before.then(|| Asked::ByPriority(head.identity.clone()))
    }

    /// The newest known version of the lock: the one that the next replace will be based on.
    pub fn version(&self) -> Option<&Version> {
        self.seen.snapshot().map(|lock| &lock.version)
    }

    /// Whether another living process was seen to use this candidate's identity.
    pub fn has_namesake(&self) -> bool {
        self.seen.has_namesake()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    // What time does.

    fn expire(&mut self, now: Instant) -> Option<Change> {
        match &self.state {
            State::Leading(reign) if now >= reign.term.valid_until => {
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
            State::Leading(reign) => reign.term.stop_by,
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
            // What happened before the watch was open, it may not show.
            self.knowledge = Knowledge::Outdated;
        }
    }

    // What is learnt of the lock.

    fn on_reply(&mut self, now: Instant, reply: Reply) -> Option<Change> {
        let sent = self.in_flight.take()?;
        let change = self.on_reply_to(now, &sent, reply);
        // A place that is left behind costs the next handover one short step; nobody waits for more.
        let has_left =
            sent.purpose == Purpose::Leave && matches!(self.state, State::Releasing { .. });
        if has_left { self.end(Release::NotHeld) } else { change }
    }

    fn on_reply_to(&mut self, now: Instant, sent: &InFlight, reply: Reply) -> Option<Change> {
        match reply {
            Reply::Found(snapshot) => {
                self.on_read(now);
                self.learn(now, snapshot, Origin::Read { known: sent.known });
                None
            }
            Reply::Missing if sent.purpose == Purpose::Read => {
                self.on_read(now);
                self.seen.learn_gone(now, None, Origin::Read { known: sent.known });
                None
            }
            Reply::Written(snapshot) => self.on_written(now, sent, snapshot),
            Reply::Missing | Reply::Conflict => {
                self.on_conflict(now, sent);
                None
            }
            Reply::Refused { retry_after } => {
                self.on_refused(now, sent, retry_after);
                None
            }
            Reply::Unknown => {
                if sent.purpose != Purpose::Read {
                    self.knowledge = Knowledge::Outdated;
                }
                if matches!(sent.purpose, Purpose::Acquire | Purpose::Renew) {
                    self.unresolved = Some(sent.known);
                }
                self.pause_until(sent.sent_at + self.config.timing.retry_period());
                None
            }
        }
    }

    fn on_read(&mut self, now: Instant) {
        let retry_period = self.config.timing.retry_period();
        self.knowledge = Knowledge::Current;
        self.next_poll = Window::from(now + retry_period, retry_period / 5);
    }

    fn on_written(&mut self, now: Instant, sent: &InFlight, stored: Snapshot) -> Option<Change> {
        self.knowledge = Knowledge::Current;
        self.conflicts = 0;
        if sent.purpose.is_stamped() {
            self.stamps.retain(|stamp| *stamp == sent.stamp);
        }
        let is_in_line = self.is_in_line(&stored.record);
        let is_held = stored.record.is_held();
        let is_own = observer(&self.config, &self.stamps).is_own(&stored.record);
        self.learn(now, stored, Origin::Event);
        if matches!(sent.purpose, Purpose::Acquire | Purpose::Renew) && !is_own {
            // In our name, but by ourselves: something changes what we write.
            self.seen.forget_namesakes();
        }
        match (sent.purpose, &mut self.state) {
            (Purpose::Join, State::Campaigning { has_joined }) => {
                *has_joined = true;
                self.pause_line_unless(is_in_line, now);
                None
            }
            (Purpose::Leave, State::Campaigning { .. }) => {
                self.pause_line_unless(!is_in_line, now);
                None
            }
            (Purpose::Acquire, State::Campaigning { .. }) => {
                let started = self.start(now, sent);
                if started.is_none() {
                    self.pause_until(sent.sent_at + self.config.timing.retry_period());
                }
                started
            }
            (Purpose::Renew, State::Leading(_)) => self.extend(sent),
            (Purpose::Release, State::Releasing { .. }) if is_held => {
                self.end(Release::LeftToExpire)
            }
            (Purpose::Release, State::Releasing { .. }) => self.end(Release::Done),
            _ => None,
        }
    }

    fn is_in_line(&self, record: &Record) -> bool {
        record.waitlist.rank_of(&self.config.identity, self.config.session).is_some()
    }

    /// What is stored may differ from what was written: an admission webhook may change each write. To
    /// write the same again at once would be a loop without end.
    fn pause_line_unless(&mut self, has_worked: bool, now: Instant) {
        if !has_worked {
            self.line_pause = now + self.config.timing.lease_duration();
        }
    }

    fn on_refused(&mut self, now: Instant, sent: &InFlight, retry_after: Option<Duration>) {
        if sent.purpose.is_of_the_line() {
            // The line is a hint. Where the cluster lets nobody but the holder write, the candidate waits
            // without a place in it, and acquires the lock in time all the same.
            self.pause_line_unless(false, now);
            if retry_after.is_none() {
                return;
            }
        }
        let polite = match self.state {
            State::Leading(_) | State::Releasing { .. } => Instant::START,
            _ => now + retry_after.unwrap_or_default().min(MAX_PATIENCE),
        };
        self.pause_until(polite.max(sent.sent_at + self.config.timing.retry_period()));
    }

    /// A conflict says "go and read", never "I lost": an edit of a label conflicts, too.
    fn on_conflict(&mut self, now: Instant, sent: &InFlight) {
        if self.seen.revision() == sent.known {
            self.knowledge = Knowledge::Outdated;
        }
        if !sent.purpose.is_stamped() {
            let retry_period = self.config.timing.retry_period();
            // Never none: at the same moment the same lot is drawn.
            let shares = lot(self.config.session, now, 1024).max(1);
            self.line_pause = now + retry_period / 1024 * shares;
            return;
        }
        self.conflicts += 1;
        if self.conflicts > 1 {
            self.pause_until(now + self.config.timing.retry_period() / 4);
        }
    }

    fn learn(&mut self, now: Instant, snapshot: Snapshot, origin: Origin) {
        let observer = observer(&self.config, &self.stamps);
        self.seen.learn(now, snapshot, origin, observer);
        if self.seen.expires_at() > now && !self.is_ours() {
            self.conflicts = 0;
        }
    }

    // How a term begins, goes on and ends.

    /// The only way to lead: a `Written` reply to one's own acquiring write, processed in time.
    fn start(&mut self, now: Instant, sent: &InFlight) -> Option<Change> {
        let lock = self.seen.snapshot()?;
        let reign = Reign {
            term: self.term_from(sent.token?, sent.sent_at),
            uid: lock.version.uid.clone(),
            acquired: sent.stamp,
            since: sent.sent_at,
            renewed_at: sent.sent_at,
        };
        if now >= reign.term.valid_until || self.why_lost(&reign).is_some() {
            return None;
        }
        let term = reign.term;
        self.state = State::Leading(reign);
        Some(Change::Started(term))
    }

    fn extend(&mut self, sent: &InFlight) -> Option<Change> {
        let State::Leading(reign) = &self.state else { return None };
        if self.why_lost(reign).is_some() {
            return None;
        }
        let term = self.term_from(reign.term.token, sent.sent_at);
        let State::Leading(reign) = &mut self.state else { return None };
        reign.term = term;
        reign.renewed_at = sent.sent_at;
        Some(Change::Renewed(term))
    }

    /// Counted from when the request was *sent*: that is the earliest moment from which a follower
    /// may count.
    fn term_from(&self, token: FencingToken, sent_at: Instant) -> Term {
        let timing = &self.config.timing;
        Term {
            token,
            valid_until: sent_at + timing.renew_deadline(),
            stop_by: sent_at + timing.stop_deadline(),
        }
    }

    /// Draws the consequence of what was just learnt.
    fn judge(&mut self) -> Option<Change> {
        match &self.state {
            State::Leading(reign) => self.why_lost(reign).and_then(|loss| self.lose(loss)),
            State::Releasing { .. }
                if self.is_settled() && !self.is_ours() && self.rank().is_none() =>
            {
                self.end(Release::NotHeld)
            }
            _ => None,
        }
    }

    /// Whether nothing can change what we know but what others do.
    fn is_settled(&self) -> bool {
        self.knowledge == Knowledge::Current && self.in_flight.is_none()
    }

    fn why_lost(&self, reign: &Reign) -> Option<Loss> {
        let Some(lock) = self.seen.snapshot() else { return Some(Loss::LockGone) };
        if lock.version.uid != reign.uid {
            return Some(Loss::LockGone);
        }
        let record = &lock.record;
        let ours = record.holder.as_ref() == Some(&self.config.identity)
            && observer(&self.config, &self.stamps).is_own(record)
            && record.last_token == reign.term.token
            && record.lease_duration == Some(self.config.timing.lease_duration())
            && record.acquired == Some(Stamp::At(reign.acquired));
        (!ours).then(|| Loss::RecordChanged { holder: record.holder.clone() })
    }

    /// Whether the record is ours, or a write of ours may still make it so. An old copy of ours that was
    /// written over somebody's running term is not ours to give back.
    fn is_ours(&self) -> bool {
        self.seen.snapshot().is_some_and(|lock| {
            let may_become_ours =
                !lock.record.is_held() && self.unresolved == Some(lock.version.revision);
            let is_own = observer(&self.config, &self.stamps).is_own(&lock.record)
                && self.seen.earlier_until() <= self.latest;
            is_own || may_become_ours
        })
    }

    fn lose(&mut self, loss: Loss) -> Option<Change> {
        if let State::Leading(reign) = &self.state {
            self.state = State::Lost { stop_by: reign.term.stop_by };
        }
        Some(Change::Lost(loss))
    }

    fn end(&mut self, how: Release) -> Option<Change> {
        self.state = State::Idle;
        Some(Change::Released(how))
    }

    // What to send next, and when.

    /// What this candidate wants to send, and from when on it may.
    fn plan(&self) -> Option<(Window, Purpose)> {
        let at_once = Window::at(Instant::START);
        let (window, purpose) = match &self.state {
            _ if self.knowledge == Knowledge::Outdated => (at_once, Purpose::Read),
            State::Idle | State::Lost { .. } => match self.follow {
                Follow::Poll => (self.next_poll, Purpose::Read),
                Follow::Watch => return None,
            },
            State::Campaigning { .. } => return self.plan_campaign(),
            State::Leading(reign) => (self.renewal_of(reign), Purpose::Renew),
            State::Releasing { .. } if self.is_ours() => (at_once, Purpose::Release),
            State::Releasing { .. } => (at_once, Purpose::Leave),
        };
        Some((window.not_before(self.pause), purpose))
    }

    /// The first renewal comes sooner than the others, by lot: terms that began together, as those of a
    /// process with many, are not renewed together.
    fn renewal_of(&self, reign: &Reign) -> Window {
        let interval = self.config.timing.renew_interval();
        let sooner = match reign.renewed_at == reign.since {
            true => interval / 1024 * lot(self.config.session, reign.since, 820),
            false => Duration::ZERO,
        };
        Window::from(reign.renewed_at + (interval - interval / 10 - sooner), interval / 10)
    }

    fn plan_campaign(&self) -> Option<(Window, Purpose)> {
        let poll = (self.follow == Follow::Poll).then_some((self.next_poll, Purpose::Read));
        let is_cordoned =
            self.record().is_some_and(|record| record.is_cordoned(&self.config.identity));
        let plans = match is_cordoned {
            true => [poll, self.plan_to_leave(), None],
            false => {
                let (window, purpose) = self.plan_to_acquire();
                let poll = poll.map(|(poll, read)| (poll.not_after(window.earliest), read));
                [Some((window, purpose)), poll, self.plan_to_join()]
            }
        };
        // Of two that are due at one time, the first: an acquire, above all.
        let next = plans.into_iter().flatten().min_by_key(|(window, _)| window.earliest);
        next.map(|(window, purpose)| (window.not_before(self.pause), purpose))
    }

    fn plan_to_acquire(&self) -> (Window, Purpose) {
        let observer = observer(&self.config, &self.stamps);
        let free_at = self.seen.free_at(observer);
        // Where many wait for one moment, the first to wake spares the others the conflict.
        let spread = (self.config.timing.retry_period() / 10).min(MAX_SPREAD);
        let Some(lock) = self.seen.snapshot() else {
            return (Window::from(free_at, spread), Purpose::Create);
        };
        let window = match self.rank() {
            _ if observer.is_own(&lock.record) => Window::at(free_at),
            Some(rank) => Window::at(free_at + Waitlist::STEP * count(rank)),
            // All who are in the line go before all who found no place.
            None => {
                let waiting = count(lock.record.waitlist.waiters().len());
                Window::from(free_at + Waitlist::STEP * waiting, spread)
            }
        };
        (window, Purpose::Acquire)
    }

    /// Joins the line behind a leader that knows of lines, soon where few wait: who finds `n` of them joins
    /// within `n` retry periods, so that a hundred who find one free place do not all ask for it.
    fn plan_to_join(&self) -> Option<(Window, Purpose)> {
        let record = self.record()?;
        let is_led = record.holder.is_some()
            && record.session.is_some_and(|session| session != self.config.session)
            && self.latest < self.seen.expires_at();
        let line = self.line_to_join(record);
        if !is_led || self.rank().is_some() || !line.has_room_for(self.config.priority) {
            return None;
        }
        let changed_at = self.seen.line_changed_at();
        let most = self.config.timing.retry_period() * count(line.waiters().len());
        let delay = most / 1024 * lot(self.config.session, changed_at, 1024);
        Some((Window::at((changed_at + delay).max(self.line_pause)), Purpose::Join))
    }

    /// The first time without the place of a process that ran under this name before. Only then: two who
    /// share a name by mistake would push each other out for ever.
    fn line_to_join(&self, record: &Record) -> Waitlist {
        match self.state {
            State::Campaigning { has_joined: false } => {
                record.waitlist.without_predecessors_of(&self.config.identity)
            }
            _ => record.waitlist.clone(),
        }
    }

    fn plan_to_leave(&self) -> Option<(Window, Purpose)> {
        self.rank().map(|_| (Window::at(self.line_pause), Purpose::Leave))
    }

    fn next_request(&mut self, now: Now) -> Option<Request> {
        if self.in_flight.is_some() {
            return None;
        }
        let (window, purpose) = self.plan()?;
        if now.instant < window.earliest {
            return None;
        }
        let stamp = self.stamps.last().map_or(now.wall, |last| now.wall.rising_from(*last));
        let operation = self.operation(purpose, stamp);
        if purpose.is_stamped() {
            self.stamps.push(stamp);
            let outdated = self.stamps.len().saturating_sub(MAX_STAMPS);
            self.stamps.drain(..outdated);
        }
        let token = match &operation {
            Operation::Replace { record, .. } if purpose == Purpose::Acquire => {
                Some(record.last_token)
            }
            _ => None,
        };
        let known = self.seen.revision();
        self.in_flight = Some(InFlight { purpose, sent_at: now.instant, known, stamp, token });
        let latest = self.horizon().unwrap_or(Instant::new(Duration::MAX));
        let deadline = (now.instant + self.config.timing.request_timeout()).min(latest);
        Some(Request { operation, deadline })
    }

    fn operation(&self, purpose: Purpose, stamp: WallTime) -> Operation {
        let Some(lock) = self.seen.snapshot() else {
            return match purpose {
                Purpose::Create => Operation::Create(self.vacant_record(None, stamp)),
                _ => Operation::Read,
            };
        };
        let record = match purpose {
            Purpose::Read | Purpose::Create => return Operation::Read,
            Purpose::Acquire => self.acquired_record(lock, stamp),
            Purpose::Renew => self.renewed_record(&lock.record, stamp),
            Purpose::Release => self.vacant_record(Some(&lock.record), stamp),
            Purpose::Join => self.joined_record(&lock.record),
            Purpose::Leave => {
                Record { waitlist: self.left_line(&lock.record), ..lock.record.clone() }
            }
        };
        Operation::Replace { base: lock.version.clone(), record }
    }

    fn acquired_record(&self, lock: &Snapshot, stamp: WallTime) -> Record {
        let never_held = lock.record.transitions == 0 && lock.record.acquired.is_none();
        let floor = FencingToken(self.config.token_floor.0.saturating_sub(1));
        let last_token = self.seen.highest_token().max(floor);
        Record {
            holder: Some(self.config.identity.clone()),
            session: Some(self.config.session),
            last_token: FencingToken::for_grant(lock.version.revision, last_token),
            lease_duration: Some(self.config.timing.lease_duration()),
            acquired: Some(Stamp::At(stamp)),
            renewed: Some(Stamp::At(stamp)),
            transitions: lock
                .record
                .transitions
                .saturating_add(u32::from(!never_held))
                .min(MOST_TRANSITIONS),
            card: self.config.card.clone(),
            waitlist: self.line_behind(&lock.record),
            hand_over: None,
            cordoned: lock.record.cordoned.clone(),
        }
    }

    /// Who acquires drops those before it that did not come.
    fn line_behind(&self, record: &Record) -> Waitlist {
        if observer(&self.config, &self.stamps).is_own(record) {
            return self.left_line(record);
        }
        let Some(rank) = self.rank() else { return Waitlist::default() };
        let behind = record.waitlist.after(rank + 1);
        behind.left_by(&self.config.identity, self.config.session)
    }

    fn left_line(&self, record: &Record) -> Waitlist {
        record.waitlist.left_by(&self.config.identity, self.config.session)
    }

    fn joined_record(&self, before: &Record) -> Record {
        let newcomer = Waiter {
            identity: self.config.identity.clone(),
            session: Some(self.config.session),
            priority: self.config.priority,
        };
        let waitlist = self.line_to_join(before).joined_by(newcomer);
        Record { waitlist, ..before.clone() }
    }

    fn renewed_record(&self, before: &Record, stamp: WallTime) -> Record {
        let own_name = Some(HandOver::To(self.config.identity.clone()));
        let hand_over = before.hand_over.clone().filter(|_| before.hand_over != own_name);
        let card = self.config.card.clone();
        Record { renewed: Some(Stamp::At(stamp)), hand_over, card, ..before.clone() }
    }

    /// The lock as nobody's. The last token stays, so that the next one is higher.
    fn vacant_record(&self, before: Option<&Record>, stamp: WallTime) -> Record {
        Record {
            holder: None,
            session: None,
            last_token: self.seen.highest_token(),
            // As client-go releases: candidates that wait out even a vacant lock wait for a second.
            lease_duration: Some(Duration::from_secs(1)),
            acquired: before.map(|_| Stamp::At(stamp)),
            renewed: before.map(|_| Stamp::At(stamp)),
            transitions: before.map_or(0, |record| record.transitions),
            card: Card::default(),
            waitlist: before.map(|record| self.line_after_release(record)).unwrap_or_default(),
            hand_over: None,
            cordoned: before.map(|record| record.cordoned.clone()).unwrap_or_default(),
        }
    }

    fn line_after_release(&self, record: &Record) -> Waitlist {
        let line = self.left_line(record);
        match (&self.state, &record.hand_over) {
            (State::Releasing { to: Some(to), .. }, _) | (_, Some(HandOver::To(to)))
                if *to != self.config.identity =>
            {
                line.headed_by(to)
            }
            _ => line,
        }
    }

    fn next_wake(&self) -> Option<Window> {
        let plan = if self.in_flight.is_some() { None } else { self.plan() };
        match (plan, self.horizon()) {
            (Some((window, _)), Some(horizon)) => Some(window.not_after(horizon)),
            (Some((window, _)), None) => Some(window),
            (None, horizon) => horizon.map(Window::at),
        }
    }

    /// The moment at which this state is over by itself.
    fn horizon(&self) -> Option<Instant> {
        match &self.state {
            State::Leading(reign) => Some(reign.term.valid_until),
            State::Releasing { until, .. } => Some(*until),
            _ => None,
        }
    }

    fn pause_until(&mut self, moment: Instant) {
        self.pause = Window::from(moment, self.config.timing.retry_period() / 5);
    }

    fn assert_invariants(&self, now: Instant) {
        let State::Leading(reign) = &self.state else { return };
        assert!(now < reign.term.valid_until, "leads past its deadline");
        assert!(reign.term.valid_until < reign.term.stop_by, "no time to stop");
        assert_eq!(self.why_lost(reign), None, "leads without the record's word");
    }
}

/// However long the retry period, nobody waits longer than this for others at an expiry: with it, a
/// crash costs at most the lease duration and a tenth of a second.
const MAX_SPREAD: Duration = Duration::from_millis(50);

/// A server that asks to be left alone for longer than this is asked again all the same.
const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// More writes than this without one that succeeds, and the oldest are forgotten: were they to land after
/// all, their record would count as somebody else's, and be waited out.
const MAX_STAMPS: usize = 32;

/// Kubernetes keeps the count in 32 bits with a sign.
const MOST_TRANSITIONS: u32 = i32::MAX as u32;

/// There are at most sixteen of whatever is counted here.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A number below `sides` that differs from candidate to candidate and from one moment to the next, by the
/// one thing here that is random: the session. Drawn once and not at each step, for at each step all would
/// draw together.
fn lot(session: Session, since: Instant, sides: u32) -> u32 {
    let moment = since.since_start().as_nanos();
    let mixed = (session.0 ^ moment).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mixed = (mixed ^ (mixed >> 67)).wrapping_mul(0xd6e8_feb8_6659_fd93_2b7e_1516_28ae_d2a7);
    (mixed >> 64) as u32 % sides
}

/// What this candidate knows of itself when it looks at a record.
fn observer<'a>(config: &'a Config, stamps: &'a [WallTime]) -> Observer<'a> {
    Observer {
        identity: &config.identity,
        session: config.session,
        stamps,
        default_patience: config.timing.lease_duration(),
    }
}
