//! Looking: one kind of object, in one place, by a read and then by a watch.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use incumbent_core::{Instant, Snapshot};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::LockView;
use crate::clock::Clock;
use crate::error::Error;
use crate::lock::{Lock, LockKind, Resource};
use crate::lock_api::LockApi;
use crate::requests::{Requests, WATCH_LIFETIME, only};
use crate::stream::Seen;

/// What to read and to watch.
#[derive(Clone, Debug)]
pub(super) struct Look {
    target: Target,
    collection: String,
    /// The rest of the query.
    filter: String,
}

#[derive(Clone, Debug)]
enum Target {
    One(LockApi),
    All { requests: Requests, kind: LockKind, namespace: Option<String> },
}

type Views = Vec<(LockView, Snapshot)>;

/// What a read has found.
pub(super) struct Found {
    pub(super) views: Views,
    /// From when on a watch shows what comes.
    pub(super) revision: Option<String>,
}

/// What a lookout tells.
pub(super) enum Heard {
    Read {
        number: usize,
        sent_at: Instant,
        found: Found,
    },
    /// What an object carries now.
    Shown {
        number: usize,
        at: Instant,
        namespace: String,
        name: String,
        views: Views,
    },
    /// The API server has answered, and nothing is another than before.
    Alive {
        number: usize,
        at: Instant,
    },
    Blind {
        number: usize,
        at: Instant,
        message: String,
    },
}

impl Look {
    pub(super) fn at_one(client: kube::Client, lock: Lock) -> Self {
        let (collection, filter) = (lock.collection_path(), only(lock.name()));
        Self { target: Target::One(LockApi::new(client, lock)), collection, filter }
    }

    /// All of a kind, in one namespace or in all.
    pub(super) fn at_all(
        client: kube::Client,
        kind: LockKind,
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Self {
        let collection = kind.collection_path(namespace);
        let labels = labels.map(|labels| format!("&labelSelector={}", encoded(labels)));
        let fields = fields.map(|fields| format!("&fieldSelector={}", encoded(fields)));
        let filter = labels.unwrap_or_default() + &fields.unwrap_or_default();
        let (requests, namespace) = (Requests::new(client), namespace.map(str::to_owned));
        Self { target: Target::All { requests, kind, namespace }, collection, filter }
    }

    /// Reads what there is, page by page.
    pub(super) async fn now(&self) -> Result<Found, Error> {
        let kind = match &self.target {
            Target::One(api) => {
                let object = api.object().await?;
                let revision = object.as_ref().and_then(revision);
                let views = object.iter().flat_map(|object| self.views(object)).collect();
                return Ok(Found { views, revision });
            }
            Target::All { kind, .. } => kind,
        };
        let limit = match kind {
            LockKind::Lease => MANY,
            LockKind::ConfigMap => FEW,
        };
        let (mut views, mut page) = (Vec::new(), String::new());
        loop {
            let list = self.list(limit, &page).await?;
            let items = list["items"].as_array();
            views.extend(items.into_iter().flatten().flat_map(|object| self.views(object)));
            match list["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => page = format!("&continue={}", encoded(token)),
                None => return Ok(Found { views, revision: revision(&list) }),
            }
        }
    }

    async fn list(&self, limit: usize, page: &str) -> Result<Value, Error> {
        let path = format!("{}?limit={limit}{}{page}", self.collection, self.filter);
        let list = self.target.requests().list(&path).await;
        list.map_err(|failure| failure.into_error(self.target.resource(), "list"))
    }

    /// The locks in one object. A lock that was asked for by name is one also where nothing is written on it
    /// yet: an empty ConfigMap is a vacant blackboard.
    fn views(&self, object: &Value) -> Views {
        match &self.target {
            Target::One(api) => {
                LockView::with_snapshot(api.lock().clone(), object).into_iter().collect()
            }
            Target::All { kind, .. } => LockView::all_of(*kind, object),
        }
    }

    /// The least that shows that the API server still answers this.
    async fn probe(&self) -> Result<(), Error> {
        self.list(1, "").await.map(drop)
    }
}

impl Target {
    fn requests(&self) -> &Requests {
        match self {
            Self::One(api) => api.requests(),
            Self::All { requests, .. } => requests,
        }
    }

    fn resource(&self) -> Resource {
        match self {
            Self::One(api) => api.lock().into(),
            Self::All { kind, namespace, .. } => {
                Resource::All { kind: *kind, namespace: namespace.clone() }
            }
        }
    }
}

fn revision(object: &Value) -> Option<String> {
    object["metadata"]["resourceVersion"].as_str().map(str::to_owned)
}

/// A task that looks, for as long as this exists.
#[derive(Debug)]
pub(super) struct Lookout {
    /// Since when it sees nothing, and why.
    pub(super) blind: Option<(Instant, String)>,
    /// When the API server last said something to it.
    pub(super) heard_at: Instant,
    again: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Lookout {
    /// Watches from `after` on, or, where there was no read yet, reads first.
    pub(super) fn start(
        number: usize,
        look: Look,
        after: Option<String>,
        heard: mpsc::Sender<Heard>,
        clock: Clock,
    ) -> Self {
        let again = Arc::new(Notify::new());
        let watcher = Watcher { number, look, heard, clock, again: again.clone() };
        let heard_at = clock.instant();
        Self { blind: None, heard_at, again, task: tokio::spawn(watcher.keep(after)) }
    }

    /// Reads everything once more: something should have come, and has not.
    pub(super) fn look_again(&self) {
        self.again.notify_one();
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watcher {
    number: usize,
    look: Look,
    heard: mpsc::Sender<Heard>,
    clock: Clock,
    again: Arc<Notify>,
}

/// How a watch ended.
enum End {
    /// As it should: the next one continues from here.
    At(Option<String>),
    /// What there is has to be read again.
    Lost,
    /// It may not be watched.
    Refused,
}

impl Watcher {
    async fn keep(self, mut after: Option<String>) {
        loop {
            let opened_at = self.clock.instant();
            match self.watch(after.as_deref()).await {
                End::At(Some(revision)) if self.has_lived(opened_at) => after = Some(revision),
                End::At(_) | End::Lost => after = self.read().await,
                End::Refused => {
                    let _ = tokio::time::timeout(POLL, self.again.notified()).await;
                    after = self.read().await;
                }
            }
            if self.heard.is_closed() {
                return;
            }
            // Whatever happens, no more often than this.
            let pause = PAUSE.saturating_sub(self.clock.instant().saturating_since(opened_at));
            tokio::time::sleep(pause).await;
        }
    }

    fn has_lived(&self, opened_at: Instant) -> bool {
        self.clock.instant().saturating_since(opened_at) > PAUSE
    }

    /// Reads what there is, until that works.
    async fn read(&self) -> Option<String> {
        loop {
            let sent_at = self.clock.instant();
            match self.look.now().await {
                Ok(found) => {
                    let revision = found.revision.clone();
                    self.tell(Heard::Read { number: self.number, sent_at, found }).await;
                    return revision;
                }
                Err(error) => {
                    let (at, message) = (self.clock.instant(), error.to_string());
                    self.tell(Heard::Blind { number: self.number, at, message }).await;
                    let pause = if error.is_forbidden() { WITHOUT_PERMISSION } else { PAUSE };
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn watch(&self, after: Option<&str>) -> End {
        let Look { target, collection, filter } = &self.look;
        let events = match target.requests().watch(collection, filter, after).await {
            Ok(events) => events,
            Err(failure) if failure.is_forbidden() => return End::Refused,
            Err(_) => return End::Lost,
        };
        let mut events = pin!(events);
        let mut overdue = pin!(tokio::time::sleep(WATCH_LIFETIME + OPEN_TIMEOUT));
        let mut last = after.map(str::to_owned);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.again.notified() => return End::Lost,
                () = &mut overdue => return End::Lost,
                () = tokio::time::sleep(QUIET) => match self.ask().await {
                    true => continue,
                    false => return End::Lost,
                },
            };
            let (shown, is_gone) = match event {
                Some(Ok(Seen::Present(shown))) => (shown, false),
                Some(Ok(Seen::Gone(shown))) => (shown, true),
                Some(Ok(Seen::Bookmark(revision))) => {
                    last = Some(revision);
                    let at = self.clock.instant();
                    self.tell(Heard::Alive { number: self.number, at }).await;
                    continue;
                }
                Some(Ok(Seen::Expired) | Err(_)) => return End::Lost,
                None => return End::At(last),
            };
            last = Some(shown.revision.to_string());
            let Ok(object) = shown.object() else { continue };
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            self.tell(Heard::Shown {
                number: self.number,
                at: self.clock.instant(),
                namespace: text("namespace").to_owned(),
                name: shown.name,
                views: if is_gone { Vec::new() } else { self.look.views(&object) },
            })
            .await;
        }
    }

    /// Whether the API server still answers. A watch that is cut off without a word looks like a quiet one.
    async fn ask(&self) -> bool {
        let (number, at) = (self.number, self.clock.instant());
        // One lock is read as a whole; of many, that would be too much to ask.
        let heard = match self.look.target {
            Target::One(_) => {
                self.look.now().await.map(|found| Heard::Read { number, sent_at: at, found })
            }
            Target::All { .. } => self.look.probe().await.map(|()| Heard::Alive { number, at }),
        };
        match heard {
            Ok(heard) => {
                self.tell(heard).await;
                true
            }
            Err(_) => false,
        }
    }

    async fn tell(&self, heard: Heard) {
        // Where nobody listens any more, the task is about to be ended.
        let _ = self.heard.send(heard).await;
    }
}

/// Text as a part of a query.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// How many Leases a page has, as with kubectl.
const MANY: usize = 500;

/// How many ConfigMaps, of which each may have a megabyte.
const FEW: usize = 50;

/// How long a watch may be quiet before it is asked whether the API server is still there.
const QUIET: Duration = Duration::from_secs(10);

/// How often what may not be watched is read.
const POLL: Duration = Duration::from_secs(2);

/// The least time between two tries.
const PAUSE: Duration = Duration::from_secs(1);

const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Permissions change seldom.
const WITHOUT_PERMISSION: Duration = Duration::from_secs(60);
