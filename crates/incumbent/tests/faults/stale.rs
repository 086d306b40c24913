//! Reads that show the lock as it was: what an API server answers from a cache that has fallen behind.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request};
use incumbent_apiserver::{ApiServer, Backup, Service as Server};
use tokio::time::{Instant, sleep};
use tower_service::Service;

use crate::ledger::Ledger;

/// What the server held, second by second, and another that is brought back to it to answer reads.
#[derive(Clone)]
pub(crate) struct Past {
    backups: Arc<Mutex<VecDeque<(Instant, Backup)>>>,
    cache: ApiServer,
}

impl Past {
    pub(crate) fn new() -> Self {
        Self { backups: Arc::default(), cache: ApiServer::new() }
    }

    /// For as long as the trial goes on.
    pub(crate) async fn write_down(self, server: ApiServer) {
        loop {
            self.add(server.backup());
            sleep(Duration::from_secs(1)).await;
        }
    }

    fn add(&self, backup: Backup) {
        let mut backups = self.backups.lock().unwrap();
        backups.push_back((Instant::now(), backup));
        let outdated = backups.len().saturating_sub(60);
        backups.drain(..outdated);
    }

    /// A server that is restored from a backup has no caches of what is undone.
    pub(crate) fn forget(&self) {
        self.backups.lock().unwrap().clear();
    }

    /// A server that is so far behind.
    fn behind(&self, lag: Duration) -> Option<Server> {
        let backups = self.backups.lock().unwrap();
        let (_, then) = backups.iter().rev().find(|(at, _)| at.elapsed() >= lag)?;
        self.cache.restore(then);
        Some(self.cache.service())
    }
}

/// How far reads of one candidate lag behind, and until when.
#[derive(Clone)]
pub(crate) struct Lag {
    ledger: Ledger,
    past: Past,
    stale: Arc<Mutex<(Duration, Instant)>>,
}

impl Lag {
    pub(crate) fn new(ledger: &Ledger, past: &Past) -> Self {
        let stale = Arc::new(Mutex::new((Duration::ZERO, Instant::now())));
        Self { ledger: ledger.clone(), past: past.clone(), stale }
    }

    pub(crate) fn fall_behind(&self, by: Duration, lasts: Duration) {
        *self.stale.lock().unwrap() = (by, Instant::now() + lasts);
    }

    /// Who answers this request instead of the server.
    fn server_for<B>(&self, request: &Request<B>) -> Option<Server> {
        let (by, until) = *self.stale.lock().unwrap();
        let is_read = request.method() == Method::GET && request.uri().path().ends_with("/lock");
        let is_stale = is_read && Instant::now() < until;
        let server = is_stale.then(|| self.past.behind(by)).flatten()?;
        self.ledger.count("stale read", 1);
        Some(server)
    }
}

/// A way to the server on which reads lag behind so far.
#[derive(Clone)]
pub(crate) struct StaleReads {
    pub(crate) server: Server,
    pub(crate) lag: Lag,
}

impl<B> Service<Request<B>> for StaleReads
where
    Server: Service<Request<B>>,
{
    type Response = <Server as Service<Request<B>>>::Response;
    type Error = <Server as Service<Request<B>>>::Error;
    type Future = <Server as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.server.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.lag.server_for(&request) {
            Some(mut server) => server.call(request),
            None => self.server.call(request),
        }
    }
}
