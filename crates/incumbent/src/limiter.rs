//! When a request leaves, in a process with many elections.
//!
//! A thousand elections that have to ask at the same moment must not open a thousand connections: at the
//! start, after a watch broke, after the API server came back. So each request waits for a place. There
//! are as many places as the rate of the requests needs, and nothing that hangs keeps one. A leader's
//! request waits for a place only while it has time for that: once it is due, it leaves.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use incumbent_core::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;

/// The places that the elections of a process share.
#[derive(Clone)]
pub(crate) struct Limiter(Arc<Shared>);

struct Shared {
    free: Arc<Semaphore>,
    size: Mutex<Size>,
}

struct Size {
    /// Free or taken.
    places: usize,
    /// What all shares come to, in millionths of a place.
    needed: u64,
}

/// What one election adds to the places, for as long as it exists.
pub(crate) struct Share {
    limiter: Limiter,
    clock: Clock,
    /// In millionths of a place.
    part: u64,
}

/// How long a request waits for a place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// Until a place is free.
    ForPlace,
    /// At most until this moment; then it does not leave.
    GiveUpAt(Instant),
    /// At most until this moment; then it leaves without a place.
    LeaveAt(Instant),
}

/// Leave to send one request. It may be without a place, so that it holds up no other.
pub(crate) struct Turn {
    place: Option<(OwnedSemaphorePermit, Clock)>,
}

impl Limiter {
    pub(crate) fn new() -> Self {
        let size = Mutex::new(Size { places: FEWEST, needed: 0 });
        Self(Arc::new(Shared { free: Arc::new(Semaphore::new(FEWEST)), size }))
    }

    /// Takes in an election that asks no more often than once a `retry_period` while it does not lead.
    ///
    /// What it needs is that rate times how long a request has a place, as Little's law says.
    pub(crate) fn share(&self, clock: Clock, retry_period: Duration) -> Share {
        let share_of_time = HOLD.as_nanos() * MILLION / retry_period.as_nanos().max(1);
        let part = share_of_time.min(MILLION) as u64;
        self.resize(|needed| needed + part);
        Share { limiter: self.clone(), clock, part }
    }

    fn resize(&self, change: impl FnOnce(u64) -> u64) {
        let mut size = self.0.size.lock().unwrap_or_else(PoisonError::into_inner);
        size.needed = change(size.needed);
        let wanted = size.needed.div_ceil(MILLION as u64);
        let wanted = usize::try_from(wanted).unwrap_or(FEWEST).max(FEWEST);
        if wanted > size.places {
            self.0.free.add_permits(wanted - size.places);
            size.places = wanted;
        } else {
            // A place that is taken now stays until the next change.
            size.places -= self.0.free.forget_permits(size.places - wanted);
        }
    }
}

impl Share {
    /// Waits for the turn of a request. `None` where it gave up: it has not left, and must not.
    pub(crate) async fn turn(&self, wait: Wait) -> Option<Turn> {
        let place = self.place(wait).await;
        match wait {
            // Where time stood still for this process, a place may come too late.
            Wait::GiveUpAt(moment) if self.clock.instant() >= moment => None,
            Wait::LeaveAt(_) if place.is_none() => Some(Turn::FREE),
            _ => place.map(|place| Turn { place: Some((place, self.clock)) }),
        }
    }

    async fn place(&self, wait: Wait) -> Option<OwnedSemaphorePermit> {
        let free = &self.limiter.0.free;
        if let Ok(place) = free.clone().try_acquire_owned() {
            return Some(place);
        }
        let until = match wait {
            Wait::ForPlace => Instant::new(Duration::MAX),
            Wait::GiveUpAt(moment) | Wait::LeaveAt(moment) => moment,
        };
        while self.clock.instant() < until {
            tokio::select! {
                biased;
                place = free.clone().acquire_owned() => return place.ok(),
                () = self.clock.sleep_until(until) => {}
            }
        }
        None
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.limiter.resize(|needed| needed - self.part);
    }
}

impl Turn {
    /// Of a request that nothing limits.
    pub(crate) const FREE: Self = Self { place: None };

    /// Makes the request. Its place is free again once it is done, and at the latest after [`HOLD`]: a
    /// server that is slow to some requests delays no others.
    pub(crate) async fn take<T>(self, request: impl Future<Output = T>) -> T {
        let Some((place, clock)) = self.place else { return request.await };
        let mut request = std::pin::pin!(request);
        tokio::select! {
            biased;
            done = &mut request => return done,
            () = clock.sleep_until(clock.instant() + HOLD) => drop(place),
        }
        request.await
    }
}

/// What few elections have: enough to keep a server busy.
const FEWEST: usize = 8;

/// How long a request counts: several times what one takes on a good day. On a worse one, places come free
/// by time, so that the rate stays what the elections need, however slow the answers are.
const HOLD: Duration = Duration::from_millis(50);

const MILLION: u128 = 1_000_000;

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Takes all places, with requests that are never answered, and says how many there were.
    async fn exhaust(share: &Share) -> Vec<Turn> {
        let mut turns = Vec::new();
        let soon = share.clock.instant() + Duration::from_millis(1);
        while let Some(turn) = share.turn(Wait::GiveUpAt(soon)).await {
            turns.push(turn);
        }
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_places_for_the_rate_that_the_elections_need() {
        let (limiter, clock) = (Limiter::new(), Clock::tokio());
        let alone = limiter.share(clock, seconds(2));
        assert_eq!(exhaust(&alone).await.len(), FEWEST);
        let more: Vec<_> = (0..999).map(|_| limiter.share(clock, seconds(2))).collect();
        // A thousand that ask every 2 s are 500 requests a second, each with a place for 50 ms.
        assert_eq!(exhaust(&alone).await.len(), 25);
        drop(more);
        assert_eq!(exhaust(&alone).await.len(), FEWEST, "those that left take their places along");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_hangs_keeps_no_place() {
        let (limiter, clock) = (Limiter::new(), Clock::tokio());
        let share = limiter.share(clock, seconds(2));
        for turn in exhaust(&share).await {
            tokio::spawn(turn.take(pending::<()>()));
        }
        let before = clock.instant();
        assert!(share.turn(Wait::ForPlace).await.is_some());
        assert!(clock.instant().saturating_since(before) <= HOLD + Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leaders_request_leaves_when_it_is_due_and_any_other_gives_up() {
        let (limiter, clock) = (Limiter::new(), Clock::tokio());
        let share = limiter.share(clock, seconds(2));
        let taken = exhaust(&share).await;
        let due = clock.instant() + seconds(1);
        assert!(share.turn(Wait::LeaveAt(due)).await.is_some());
        assert!(clock.instant().saturating_since(due) <= Duration::from_millis(2));
        // What is overdue does not even wait for a timer.
        let before = clock.instant();
        assert!(share.turn(Wait::LeaveAt(due)).await.is_some());
        assert_eq!(clock.instant(), before);
        let patience = clock.instant() + seconds(2);
        assert!(share.turn(Wait::GiveUpAt(patience)).await.is_none());
        assert!(clock.instant() >= patience);
        // A place that is free, but comes after a pause of the process, is of no use any more.
        drop(taken);
        assert!(share.turn(Wait::GiveUpAt(patience)).await.is_none());
    }
}
