//! Many elections in one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::candidate::{Builder, Candidate};
use crate::follow::Feed;
use crate::limiter::Limiter;
use crate::lock::Lock;
use crate::lock_api::LockApi;

/// Many elections in one process, which share one client, and one watch for all locks of a kind in
/// a namespace.
///
/// Each election is as independent of the others as if it were alone: a renewal that is due leaves
/// at once. Requests that can wait are sent a few at a time, so that a start or a broken watch does
/// not open a connection for each election. Only the watch needs more: the account needs the verb
/// `watch` on all objects of the kind in the namespace, not only on the locks by name, and the
/// watch shows all of them, even those of no election. If the account may not watch, the elections
/// poll.
///
/// ```no_run
/// # use incumbent::{Elections, Error, Lock, connect};
/// # async fn example() -> Result<(), Error> {
/// let elections = Elections::new(connect().await?);
/// for shard in 0..1000 {
///     let lock = Lock::lease("prod", format!("shard-{shard}"));
///     let mut candidate = elections.candidate(lock).build()?;
///     tokio::spawn(async move {
///         candidate.run(async |leadership| { /* work on this shard */ Ok(()) }).await
///     });
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Elections {
    client: kube::Client,
    /// By the path of the collection.
    feeds: Arc<Mutex<HashMap<String, Feed>>>,
    limiter: Limiter,
}

impl Elections {
    /// Elections over `client`, which should come from [`connect`](crate::connect).
    pub fn new(client: kube::Client) -> Self {
        Self { client, feeds: Arc::default(), limiter: Limiter::new() }
    }

    /// The client that they share.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Starts to describe a candidate for `lock`, as [`Candidate::builder`] does.
    pub fn candidate(&self, lock: Lock) -> Builder {
        let api = LockApi::new(self.client.clone(), lock.clone());
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let feed = feeds.entry(lock.collection_path()).or_insert_with(|| Feed::of_all(api));
        Candidate::builder(self.client.clone(), lock).shared(feed.clone(), self.limiter.clone())
    }
}

impl std::fmt::Debug for Elections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elections").finish_non_exhaustive()
    }
}
