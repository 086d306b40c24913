//! What a candidate wants to send next, and when.

use std::time::Duration;

use super::write::Purpose;
use super::{ActiveTerm, Elector, Knowledge, State, observer};
use crate::identity::Session;
use crate::message::Follow;
use crate::record::Record;
use crate::time::{Instant, Window};
use crate::waitlist::Waitlist;

impl Elector {
    /// What this candidate wants to send, and from when it may.
    pub(super) fn plan(&self) -> Option<(Window, Purpose)> {
        let at_once = Window::at(Instant::START);
        let (window, purpose) = match &self.state {
            _ if self.knowledge == Knowledge::Outdated => (at_once, Purpose::Read),
            State::Idle | State::Lost { .. } => match self.follow {
                Follow::Poll => (self.next_poll, Purpose::Read),
                Follow::Watch => return None,
            },
            State::Campaigning { .. } => return self.plan_campaign(),
            State::Leading(_) if self.is_urgent => (at_once, Purpose::Renew),
            State::Leading(active) => (self.renewal_of(active), Purpose::Renew),
            State::Releasing { .. } if self.is_ours() => (at_once, Purpose::Release),
            State::Releasing { .. } => (at_once, Purpose::Leave),
        };
        Some((window.not_before(self.pause), purpose))
    }

    /// The first renewal comes sooner than the others, by a random share: terms that began together, as those of a
    /// process with many elections, are not renewed together.
    fn renewal_of(&self, active: &ActiveTerm) -> Window {
        let interval = self.config.timing.renew_interval();
        let sooner = match active.renewed_at == active.since {
            true => interval / 1024 * jitter(self.config.session, active.since, 820),
            false => Duration::ZERO,
        };
        Window::from(active.renewed_at + (interval - interval / 10 - sooner), interval / 10)
    }

    fn plan_campaign(&self) -> Option<(Window, Purpose)> {
        let poll = (self.follow == Follow::Poll).then_some((self.next_poll, Purpose::Read));
        let is_paused = self.record().is_some_and(|record| record.is_paused(&self.config.identity));
        let plans = match is_paused {
            true => [poll, self.plan_to_leave(), None],
            false => {
                let (window, purpose) = self.plan_to_acquire();
                let poll = poll.map(|(poll, read)| (poll.not_after(window.earliest), read));
                [Some((window, purpose)), poll, self.plan_to_join()]
            }
        };
        // Of two that are due at once, the first one, so that acquiring wins.
        let next = plans.into_iter().flatten().min_by_key(|(window, _)| window.earliest);
        next.map(|(window, purpose)| (window.not_before(self.pause), purpose))
    }

    fn plan_to_acquire(&self) -> (Window, Purpose) {
        let observer = observer(&self.config, &self.own_renew_times);
        let free_at = self.seen.free_at(observer);
        // When many wait for one moment, the first to wake spares the others the conflict.
        let spread = (self.config.timing.retry_period() / 10).min(MAX_SPREAD);
        let Some(lock) = self.seen.snapshot() else {
            return (Window::from(free_at, spread), Purpose::Create);
        };
        let window = match self.rank() {
            _ if observer.is_own(&lock.record) => Window::at(free_at),
            Some(rank) => Window::at(free_at + Waitlist::STEP * count(rank)),
            // All candidates on the waitlist go before those that found no place.
            None => {
                let waiting = count(lock.record.waitlist.waiters().len());
                Window::from(free_at + Waitlist::STEP * waiting, spread)
            }
        };
        (window, Purpose::Acquire)
    }

    /// Joins the waitlist behind a leader that writes one, soon if few wait: a candidate that finds `n` of them joins
    /// within `n` retry periods, so that a hundred that find one free place do not all ask for it.
    fn plan_to_join(&self) -> Option<(Window, Purpose)> {
        let record = self.record()?;
        let is_led = record.holder.is_some()
            && record.session.is_some_and(|session| session != self.config.session)
            && self.latest < self.seen.expires_at();
        let line = self.line_to_join(record);
        if !is_led || self.rank().is_some() || !line.has_room_for(self.config.priority) {
            return None;
        }
        let changed_at = self.seen.waitlist_changed_at();
        let most = self.config.timing.retry_period() * count(line.waiters().len());
        let delay = most / 1024 * jitter(self.config.session, changed_at, 1024);
        Some((Window::at((changed_at + delay).max(self.line_pause)), Purpose::Join))
    }

    /// The first join drops the place of a process that ran under this name before. Only the first: two that
    /// share a name by mistake would push each other out for ever.
    pub(super) fn line_to_join(&self, record: &Record) -> Waitlist {
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

    pub(super) fn next_wake(&self) -> Option<Window> {
        let plan = if self.in_flight.is_some() { None } else { self.plan() };
        match (plan, self.horizon()) {
            (Some((window, _)), Some(horizon)) => Some(window.not_after(horizon)),
            (Some((window, _)), None) => Some(window),
            (None, horizon) => horizon.map(Window::at),
        }
    }

    /// When time alone ends this state.
    pub(super) fn horizon(&self) -> Option<Instant> {
        match &self.state {
            State::Leading(active) => Some(active.term.valid_until),
            State::Releasing { until, .. } => Some(*until),
            _ => None,
        }
    }
}

/// However long the retry period, no candidate waits longer than this for others at an expiry. With it, a
/// crash costs at most the lease duration and a tenth of a second.
const MAX_SPREAD: Duration = Duration::from_millis(50);

/// A waitlist's length, which is at most sixteen.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A number below `sides` that differs from candidate to candidate and from one moment to the next. It comes from the
/// session, the one random value here. It is drawn once and not at each step: otherwise all candidates would
/// draw together.
pub(super) fn jitter(session: Session, since: Instant, sides: u32) -> u32 {
    let moment = since.since_start().as_nanos();
    let mixed = (session.0 ^ moment).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mixed = (mixed ^ (mixed >> 67)).wrapping_mul(0xd6e8_feb8_6659_fd93_2b7e_1516_28ae_d2a7);
    (mixed >> 64) as u32 % sides
}
