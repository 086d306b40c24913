//! Answers that are on their way for a while: what was asked is done at once, and nobody knows yet.
//!
//! The server's own faults delay requests, so that a leader that counts its deadline from the
//! answer would look as good as one that counts it from the request.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tower_service::Service;

use crate::ledger::Ledger;

/// How slow the answers to one candidate are, and until when.
#[derive(Clone)]
pub(crate) struct Pace {
    ledger: Ledger,
    slow: Arc<Mutex<(Duration, Instant)>>,
}

impl Pace {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        let slow = Arc::new(Mutex::new((Duration::ZERO, Instant::now())));
        Self { ledger: ledger.clone(), slow }
    }

    pub(crate) fn slow_down(&self, by: Duration, lasts: Duration) {
        *self.slow.lock().unwrap() = (by, Instant::now() + lasts);
    }

    async fn wait(&self) {
        let (by, until) = *self.slow.lock().unwrap();
        if Instant::now() < until {
            self.ledger.count("slow answer", 1);
            sleep(by).await;
        }
    }
}

/// A way to the server on which answers come at this pace.
#[derive(Clone)]
pub(crate) struct SlowAnswers<S> {
    pub(crate) inner: S,
    pub(crate) pace: Pace,
}

impl<S, R> Service<R> for SlowAnswers<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (answer, pace) = (self.inner.call(request), self.pace.clone());
        Box::pin(async move {
            let answer = answer.await;
            pace.wait().await;
            answer
        })
    }
}
