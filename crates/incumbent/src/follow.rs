//! Learning of changes by a watch, opened again and again for as long as the election runs.

use std::time::Duration;

use futures_util::StreamExt;
use incumbent_core::{Follow, Observation};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::api::{Api, Seen, Trouble, WATCH_LIFETIME};
use crate::error::Error;

/// What the watching task tells the driver.
pub(crate) enum News {
    /// A watch is open now, or no longer is.
    Follow(Follow),
    Seen(Box<Observation>, Option<Value>),
}

/// Watches until the driver is gone. `retry_period` is how long it waits after a failure.
pub(crate) async fn watch(api: Api, retry_period: Duration, news: mpsc::Sender<News>) {
    let mut after = None;
    loop {
        // A server that does not answer must not keep us from asking again.
        let opened = tokio::time::timeout(OPEN_TIMEOUT, api.watch(after.as_deref())).await;
        let pause = match opened.unwrap_or_else(|_| Err(Trouble::timed_out())) {
            Ok(events) => {
                tracing::trace!(lock = %api.lock(), ?after, "watching");
                let opened_at = Instant::now();
                let Some(end) = forward(events, &news).await else { return };
                let pause = end.pause(retry_period, opened_at.elapsed());
                after = end.resume_after.or_else(|| after.filter(|_| !end.expired));
                pause
            }
            Err(trouble) if matches!(*trouble.error, Error::Forbidden { .. }) => {
                tracing::debug!(lock = %api.lock(), error = %trouble.error, "polling: no watch");
                WITHOUT_PERMISSION
            }
            Err(trouble) => {
                tracing::debug!(lock = %api.lock(), error = %trouble.error, "cannot watch");
                after = None;
                retry_period
            }
        };
        if news.is_closed() {
            return;
        }
        tokio::time::sleep(pause.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
    }
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

/// Passes on what the watch shows until it ends; `None` when nobody listens any more.
async fn forward(
    events: impl futures_util::Stream<Item = Result<Seen, String>>,
    news: &mpsc::Sender<News>,
) -> Option<End> {
    let mut events = std::pin::pin!(events);
    let mut end = End::default();
    news.send(News::Follow(Follow::Watch)).await.ok()?;
    let mut overdue = std::pin::pin!(tokio::time::sleep(WATCH_LIFETIME + OPEN_TIMEOUT));
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = news.closed() => return None,
            // The server should have ended it by now: the connection hangs.
            () = &mut overdue => None,
        };
        match event {
            Some(Ok(Seen::Object(observation, object))) => {
                let revision = match &*observation {
                    Observation::Present(snapshot) => snapshot.version.revision,
                    Observation::Gone { revision } => *revision,
                };
                end.resume_after = Some(revision.to_string());
                news.send(News::Seen(observation, object)).await.ok()?;
            }
            Some(Ok(Seen::Bookmark(revision))) => end.resume_after = Some(revision),
            Some(Ok(Seen::Expired)) => {
                end = End { expired: true, ..End::default() };
                break;
            }
            Some(Err(error)) => {
                tracing::debug!(error, "the watch broke");
                end = End { failed: true, expired: true, ..End::default() };
                break;
            }
            None => break,
        }
    }
    news.send(News::Follow(Follow::Poll)).await.ok()?;
    Some(end)
}

const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Permissions change seldom.
const WITHOUT_PERMISSION: Duration = Duration::from_secs(300);
