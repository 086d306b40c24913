//! The next request, and the record that it writes.

use std::time::Duration;

use super::{Elector, InFlight, State, observer};
use crate::message::{Operation, Request};
use crate::record::{FencingToken, HandOver, HolderInfo, Record, Snapshot, Stamp};
use crate::time::{Instant, Now, WallTime};
use crate::waitlist::{Waiter, Waitlist};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
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
    pub(super) fn is_stamped(self) -> bool {
        match self {
            Self::Create | Self::Acquire | Self::Renew | Self::Release => true,
            Self::Read | Self::Join | Self::Leave => false,
        }
    }

    /// Whether the write changes the waitlist alone.
    pub(super) fn is_of_waitlist(self) -> bool {
        matches!(self, Self::Join | Self::Leave)
    }
}

impl Elector {
    pub(super) fn next_request(&mut self, now: Now) -> Option<Request> {
        if self.in_flight.is_some() {
            return None;
        }
        let (window, purpose) = self.plan()?;
        if now.instant < window.earliest {
            return None;
        }
        let stamp =
            self.own_renew_times.last().map_or(now.wall, |last| now.wall.rising_from(*last));
        let operation = self.operation(purpose, stamp);
        if purpose.is_stamped() {
            self.own_renew_times.push(stamp);
            let outdated = self.own_renew_times.len().saturating_sub(MAX_OWN_RENEW_TIMES);
            self.own_renew_times.drain(..outdated);
        }
        let token = match &operation {
            Operation::Replace { record, .. } if purpose == Purpose::Acquire => {
                Some(record.last_token)
            }
            _ => None,
        };
        let known = self.seen.revision();
        let says_all = matches!(purpose, Purpose::Acquire | Purpose::Renew);
        let is_urgent = says_all && std::mem::take(&mut self.is_urgent);
        let sent_at = now.instant;
        self.in_flight = Some(InFlight { purpose, sent_at, known, stamp, token, is_urgent });
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
        let transitions = lock.record.transitions.saturating_add(u32::from(!never_held));
        let floor = FencingToken(self.config.token_floor.0.saturating_sub(1));
        let last_token = self.seen.highest_token().max(floor);
        Record {
            holder: Some(self.config.identity.clone()),
            session: Some(self.config.session),
            last_token: FencingToken::for_grant(lock.version.revision, last_token),
            lease_duration: Some(self.config.timing.lease_duration()),
            acquired: Some(Stamp::At(stamp)),
            renewed: Some(Stamp::At(stamp)),
            transitions: transitions.min(MOST_TRANSITIONS),
            holder_info: self.config.holder_info.clone(),
            waitlist: self.line_behind(&lock.record),
            hand_over: None,
            paused: lock.record.paused.clone(),
            table: self.table.clone().or_else(|| lock.record.table.clone()),
        }
    }

    /// A candidate that acquires drops those before it that did not come.
    fn line_behind(&self, record: &Record) -> Waitlist {
        if observer(&self.config, &self.own_renew_times).is_own(record) {
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
        let holder_info = self.config.holder_info.clone();
        let table = self.table.clone().or_else(|| before.table.clone());
        Record { renewed: Some(Stamp::At(stamp)), hand_over, holder_info, table, ..before.clone() }
    }

    /// The vacant lock. The last token stays, so that the next one is higher.
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
            holder_info: HolderInfo::default(),
            waitlist: before.map(|record| self.line_after_release(record)).unwrap_or_default(),
            hand_over: None,
            paused: before.map(|record| record.paused.clone()).unwrap_or_default(),
            table: before.and_then(|record| record.table.clone()),
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
}

/// After more writes than this without a success, the oldest are forgotten. If one of them landed after
/// all, its record would count as another process's, and its lease would be waited out.
const MAX_OWN_RENEW_TIMES: usize = 32;

/// Kubernetes keeps the count in 32 bits with a sign.
const MOST_TRANSITIONS: u32 = i32::MAX as u32;
