//! Learning of changes by a watch, opened again and again for as long as there are listeners.
//!
//! One watch serves one candidate, or all of a process in one namespace. What it shows goes to whoever
//! follows the object of that name; a slow listener holds up no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use incumbent_core::{Follow, Observation};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::lock::Lock;
use crate::lock_api::LockApi;
use crate::requests::{WATCH_LIFETIME, only};
use crate::stored::Stored;
use crate::stream::{Seen, Shown, WatchError};

#[cfg(test)]
mod tests;

/// What a watch tells a driver.
pub(crate) enum News {
    /// A watch is open now, or no longer is.
    Follow(Follow),
    Seen(Box<(Observation, Option<Stored>)>),
}

/// A watch, and all who learn from it. It is open while there is a listener.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Inner>);

struct Inner {
    api: LockApi,
    /// Whether it shows all objects of the kind and namespace, or the one.
    is_shared: bool,
    hall: Arc<Hall>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Where the watching task meets those who listen.
#[derive(Default)]
struct Hall {
    audience: Mutex<Audience>,
    /// Somebody came first, went last, or distrusts the watch.
    changed: Notify,
}

#[derive(Default)]
struct Audience {
    listeners: HashMap<String, Vec<Listener>>,
    latest: u64,
    /// The shortest of those who listen: how long to wait after a failure.
    retry_period: Option<Duration>,
    is_open: bool,
    /// How often a watch was opened.
    generation: u64,
    /// The newest revision that the watch has shown, of any object, or from which it continues.
    shown: u64,
    is_distrusted: bool,
}

struct Listener {
    number: u64,
    lock: Lock,
    news: mpsc::Sender<News>,
    /// The revision that it knows, of which it is not told again. Of a lower one it is: the lock may have been made
    /// again after history went back.
    known: Arc<AtomicU64>,
}

/// One listener's end.
pub(crate) struct Subscription {
    feed: Feed,
    clock: Clock,
    name: String,
    number: u64,
    news: mpsc::Receiver<News>,
    known: Arc<AtomicU64>,
    /// Which of the watches it was last told of.
    generation: u64,
}

impl Feed {
    /// A watch of the lock's object alone.
    pub(crate) fn of_one(api: LockApi) -> Self {
        Self::new(api, false)
    }

    /// A watch of all objects of the lock's kind in its namespace.
    pub(crate) fn of_all(api: LockApi) -> Self {
        Self::new(api, true)
    }

    fn new(api: LockApi, is_shared: bool) -> Self {
        let (hall, task) = (Arc::default(), Mutex::default());
        Self(Arc::new(Inner { api, is_shared, hall, task }))
    }

    /// Tells of `lock` from now on. `retry_period` is how long the watch waits after a failure; the watch goes
    /// by the clock of the first who listens.
    pub(crate) fn subscribe(
        &self,
        lock: &Lock,
        retry_period: Duration,
        clock: Clock,
    ) -> Subscription {
        let (sender, news) = mpsc::channel(PATIENCE);
        let mut audience = self.0.hall.audience();
        audience.latest += 1;
        let (number, generation) = (audience.latest, audience.generation);
        if audience.is_open {
            let _ = sender.try_send(News::Follow(Follow::Watch));
        }
        let shortest = audience.retry_period.map_or(retry_period, |known| known.min(retry_period));
        audience.retry_period = Some(shortest);
        let name = lock.name().to_owned();
        let known = Arc::new(AtomicU64::new(0));
        let listener = Listener { number, lock: lock.clone(), news: sender, known: known.clone() };
        audience.listeners.entry(name.clone()).or_default().push(listener);
        drop(audience);
        self.0.hall.changed.notify_one();
        self.start(clock);
        Subscription { feed: self.clone(), clock, name, number, news, known, generation }
    }

    fn start(&self, clock: Clock) {
        let mut task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.get_or_insert_with(|| {
            let Inner { api, is_shared, hall, .. } = &*self.0;
            tokio::spawn(watch(api.clone().timed(clock), *is_shared, hall.clone()))
        });
    }
}

impl Listener {
    /// Who has not listened for a while is told no more: it will notice, and subscribe again.
    fn takes(&self, news: News) -> bool {
        self.news.try_send(news).is_ok()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Subscription {
    /// The next of the news. `None` where it did not listen for too long, and has to subscribe again.
    pub(crate) async fn next(&mut self) -> Option<News> {
        let news = self.news.recv().await;
        if let Some(News::Follow(Follow::Watch)) = news {
            self.generation = self.feed.0.hall.audience().generation;
        }
        news
    }

    /// Says which revision of the object the listener knows, so that it is not told of that one again.
    ///
    /// Where it is lower than before, history went back, as after a restored backup. A watch that has shown
    /// what came before that is silent until history has come as far again: another is opened, from the
    /// present state.
    pub(crate) fn knows(&self, revision: u64) {
        let before = self.known.swap(revision, Ordering::Relaxed);
        if revision >= before {
            return;
        }
        let mut audience = self.feed.0.hall.audience();
        if audience.shown >= before {
            audience.is_distrusted = true;
            self.feed.0.hall.changed.notify_one();
        }
    }

    /// Whether the watch has shown this revision, or a newer one of any object.
    pub(crate) fn has_shown(&self, revision: u64) -> bool {
        self.feed.0.hall.audience().shown >= revision
    }

    /// Says that the watch did not show `revision` in time. Where it has shown nothing newer either, it is
    /// silent, and another is opened.
    pub(crate) fn distrust(&self, revision: u64) {
        let mut audience = self.feed.0.hall.audience();
        let is_meant = audience.is_open && audience.generation == self.generation;
        if is_meant && audience.shown < revision {
            audience.is_distrusted = true;
            self.feed.0.hall.changed.notify_one();
        }
    }

    /// Listens again.
    pub(crate) fn renew(&mut self, lock: &Lock, retry_period: Duration) {
        *self = self.feed.clone().subscribe(lock, retry_period, self.clock);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut audience = self.feed.0.hall.audience();
        audience.remove(&self.name, self.number);
        if audience.listeners.is_empty() {
            self.feed.0.hall.changed.notify_one();
        }
    }
}

impl Hall {
    fn audience(&self) -> MutexGuard<'_, Audience> {
        self.audience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for_anybody(&self) {
        while self.audience().listeners.is_empty() {
            self.changed.notified().await;
        }
    }

    /// Waits until the watch is of no more use: nobody listens any more, or somebody distrusts it.
    async fn is_done_with_it(&self) {
        while !self.audience().is_useless() {
            self.changed.notified().await;
        }
    }

    /// Whether the last watch was distrusted. If so, the next must not continue where that one ended. Asked
    /// before the next is asked for, so that a distrust which comes later is not forgotten.
    fn takes_distrust(&self) -> bool {
        std::mem::take(&mut self.audience().is_distrusted)
    }

    /// A watch is open. One that continues where the last ended is no news to any listener.
    fn opened(&self, after: Option<&str>) {
        let mut audience = self.audience();
        if !std::mem::replace(&mut audience.is_open, true) {
            audience.generation += 1;
            audience.shown = revision(after);
            audience.tell_all(Follow::Watch);
        }
    }

    /// No watch is open. The next continues from `after`, if from anywhere.
    fn closed(&self, after: Option<&str>) {
        let mut audience = self.audience();
        audience.shown = revision(after);
        if std::mem::take(&mut audience.is_open) {
            audience.tell_all(Follow::Poll);
        }
    }
}

impl Audience {
    fn is_useless(&self) -> bool {
        self.is_distrusted || self.listeners.is_empty()
    }

    fn tell_all(&mut self, follow: Follow) {
        for listeners in self.listeners.values_mut() {
            listeners.retain(|listener| listener.takes(News::Follow(follow)));
        }
    }

    /// Tells what the watch has shown of an object to who does not know it.
    fn show(&mut self, shown: &Shown, is_gone: bool) {
        let revision = shown.revision;
        self.shown = self.shown.max(revision);
        let Some(listeners) = self.listeners.get_mut(&shown.name) else { return };
        listeners.retain(|listener| {
            if is_gone {
                return listener
                    .takes(News::Seen(Box::new((Observation::Gone { revision }, None))));
            }
            if listener.known.load(Ordering::Relaxed) == revision {
                return true;
            }
            let Ok(object) = shown.object() else { return true };
            listener.lock.decode(&object).is_ok_and(|snapshot| {
                let seen = (Observation::Present(snapshot), Stored::new(object));
                listener.takes(News::Seen(Box::new(seen)))
            })
        });
    }

    fn remove(&mut self, name: &str, number: u64) {
        if let Some(listeners) = self.listeners.get_mut(name) {
            listeners.retain(|listener| listener.number != number);
            if listeners.is_empty() {
                self.listeners.remove(name);
            }
        }
    }
}

/// Watches for as long as the feed exists.
async fn watch(api: LockApi, is_shared: bool, hall: Arc<Hall>) {
    let collection = api.lock().collection_path();
    let filter = if is_shared { String::new() } else { only(api.lock().name()) };
    let mut after: Option<String> = None;
    loop {
        hall.wait_for_anybody().await;
        let retry_period = hall.audience().retry_period.unwrap_or(OPEN_TIMEOUT);
        let is_distrusted = hall.takes_distrust();
        after = after.filter(|_| !is_distrusted);
        let pause = match api.requests().watch(&collection, &filter, after.as_deref()).await {
            Ok(events) => {
                let from = after.as_deref().map(tracing::field::display);
                tracing::trace!(lock = %api.lock(), is_shared, from, "watching");
                let opened_at = api.clock().instant();
                hall.opened(after.as_deref());
                let end = forward(events, &hall, api.clock()).await;
                let pause =
                    end.pause(retry_period, api.clock().instant().saturating_since(opened_at));
                after = end.resume_after.or_else(|| after.filter(|_| !end.expired));
                if pause.is_zero() && after.is_some() {
                    continue;
                }
                pause
            }
            Err(failure) if failure.is_forbidden() => {
                tracing::debug!(lock = %api.lock(), error = failure.message, "polling: no watch");
                WITHOUT_PERMISSION
            }
            Err(failure) => {
                tracing::debug!(lock = %api.lock(), error = failure.message, "cannot watch");
                after = None;
                retry_period
            }
        };
        hall.closed(after.as_deref());
        api.clock().sleep(pause.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
    }
}

/// What a watch that continues from `after` need not show any more.
fn revision(after: Option<&str>) -> u64 {
    after.and_then(|after| after.parse().ok()).unwrap_or(0)
}

/// How a watch ended.
#[derive(Default)]
struct End {
    resume_after: Option<String>,
    expired: bool,
    failed: bool,
}

impl End {
    /// A watch that ended as it should is opened again at once.
    fn pause(&self, retry_period: Duration, lived: Duration) -> Duration {
        match self.failed || lived < retry_period {
            true => retry_period,
            false => Duration::ZERO,
        }
    }
}

/// Passes on what the watch shows until it ends, or nobody wants it any more.
async fn forward(
    events: impl Stream<Item = Result<Seen, WatchError>>,
    hall: &Hall,
    clock: Clock,
) -> End {
    let mut events = std::pin::pin!(events);
    let mut end = End::default();
    let mut overdue = std::pin::pin!(clock.sleep(WATCH_LIFETIME + OPEN_TIMEOUT));
    let mut unwanted = std::pin::pin!(hall.is_done_with_it());
    loop {
        let event = tokio::select! {
            biased;
            // What it has not shown, the next may have to: from the present state.
            () = &mut unwanted => return End { expired: true, ..End::default() },
            // The server should have ended it by now: the connection hangs.
            () = &mut overdue => None,
            event = events.next() => event,
        };
        match event {
            Some(Ok(Seen::Present(shown))) => {
                hall.audience().show(&shown, false);
                end.resume_after = Some(shown.revision.to_string());
            }
            Some(Ok(Seen::Gone(shown))) => {
                hall.audience().show(&shown, true);
                end.resume_after = Some(shown.revision.to_string());
            }
            Some(Ok(Seen::Bookmark(revision))) => end.resume_after = Some(revision),
            Some(Ok(Seen::Expired)) => return End { expired: true, ..End::default() },
            Some(Err(error)) => {
                tracing::debug!(%error, "the watch broke");
                return End { failed: true, expired: true, ..End::default() };
            }
            None => return end,
        }
    }
}

/// How much one listener may be behind.
const PATIENCE: usize = 16;

const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Permissions change seldom.
const WITHOUT_PERMISSION: Duration = Duration::from_secs(300);
