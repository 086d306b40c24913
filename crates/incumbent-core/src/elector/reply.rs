//! What a candidate learns from the answers to its requests.

use std::time::Duration;

use super::plan::jitter;
use super::write::Purpose;
use super::{Elector, InFlight, Knowledge, State, observer};
use crate::message::{Change, Release, Reply};
use crate::record::{Record, Snapshot};
use crate::seen::Origin;
use crate::time::{Instant, Window};

impl Elector {
    pub(super) fn on_reply(&mut self, now: Instant, reply: Reply) -> Option<Change> {
        let sent = self.in_flight.take()?;
        // Where it may not have been stored, it is still to be said.
        self.is_urgent |= sent.is_urgent && !matches!(reply, Reply::Written(_));
        let change = self.on_reply_to(now, &sent, reply);
        // A place that stays behind costs the next handover one short step, and no more.
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
                let own = self.config.session;
                self.seen.learn_gone(now, None, Origin::Read { known: sent.known }, own);
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
            self.own_renew_times.retain(|stamp| *stamp == sent.stamp);
        }
        let (is_in_line, is_held) = (self.is_in_line(&stored.record), stored.record.is_held());
        let is_own = observer(&self.config, &self.own_renew_times).is_own(&stored.record);
        self.learn(now, stored, Origin::Event);
        if matches!(sent.purpose, Purpose::Acquire | Purpose::Renew) && !is_own {
            // The record is in our name and not as we wrote it: something alters our writes, and no namesake lives.
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

    /// An admission webhook may change each write, so that what is stored differs from what was written. To write the
    /// same again at once would be an endless loop.
    fn pause_line_unless(&mut self, has_worked: bool, now: Instant) {
        if !has_worked {
            self.line_pause = now + self.config.timing.lease_duration();
        }
    }

    fn on_refused(&mut self, now: Instant, sent: &InFlight, retry_after: Option<Duration>) {
        if sent.purpose.is_of_waitlist() {
            // The waitlist is a hint. Where the cluster lets only the holder write, the candidate waits without a
            // place, and acquires the lock in time all the same.
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
            // Never zero: the same moment gives the same number again.
            let shares = jitter(self.config.session, now, 1024).max(1);
            self.line_pause = now + retry_period / 1024 * shares;
            return;
        }
        self.conflicts += 1;
        if self.conflicts > 1 {
            self.pause_until(now + self.config.timing.retry_period() / 4);
        }
    }

    pub(super) fn learn(&mut self, now: Instant, snapshot: Snapshot, origin: Origin) {
        let observer = observer(&self.config, &self.own_renew_times);
        self.seen.learn(now, snapshot, origin, observer);
        if self.seen.expires_at() > now && !self.is_ours() {
            self.conflicts = 0;
        }
    }
}

/// The longest Retry-After that is obeyed.
const MAX_PATIENCE: Duration = Duration::from_secs(60);
