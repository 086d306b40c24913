//! Looking at a group from outside: its table, its seats, and what people ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::group::{Page, PageIndex, SeatTerm, Shape, TaskName};
use incumbent_core::{Identity, Instant, Uid};
use serde_json::Value;
use tokio::sync::mpsc;

use self::counted::{Counted, Entry};
use self::sought::{Found, Part, Search};
use super::config::{Config, revision};
use super::note::Shown;
use super::store::{Named, Store};
use super::watching::{Pace, Selection, follow};
use crate::clock::Clock;
use crate::error::Error;
use crate::invalid::InvalidSetting;
use crate::lock::{GROUP_LABEL, Lock, LockKind, Resource, version};
use crate::requests::Requests;
use crate::survey::{Change, ObservedLock, Scope, Survey};

mod counted;
mod shown;
mod sought;

/// What is known about one group, kept up to date by watches. It takes no part in the group.
///
/// It learns only while [`next`](Self::next) is awaited. `get`, `list` and `watch` on the Leases and ConfigMaps of the
/// namespace are enough.
#[derive(Debug)]
pub struct GroupSurvey {
    store: Store,
    clock: Clock,
    /// The seats, and the allocators' Lease.
    locks: Survey,
    heard: mpsc::UnboundedReceiver<(Instant, Heard)>,
    /// The watch of the table, and reads by name, end without it.
    sender: mpsc::UnboundedSender<(Instant, Heard)>,
    pages: BTreeMap<PageIndex, SeenPage>,
    /// The shape that page 0 of this uid has stated. It never changes, so it is known even if page 0 becomes unreadable.
    table: Option<(Uid, Shape)>,
    config: Option<SeenConfig>,
    /// The tasks that the members' program names, if the caller knows them.
    expected: Option<BTreeSet<TaskName>>,
    /// What should exist, and no list of the group shows.
    sought: BTreeMap<Part, Search>,
    counted: Counted,
    heard_at: Instant,
    unseen: Option<(Instant, String)>,
}

/// What a survey hears about the table.
enum Heard {
    /// By the watch.
    Shown(Shown),
    /// By a read that was sent at that moment.
    Found(Part, Instant, Found, Option<Value>),
}

/// A change of a group, or of what can be seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupChange {
    /// The table has changed.
    Table,
    /// What people ask for has changed.
    Config,
    /// A seat or the allocator has changed: a term began or ended, or a member said something else.
    Members,
    /// A member or the allocator has renewed, and nothing else has changed.
    Renewed,
    /// Something can no longer be seen, or can be seen again.
    Visibility,
}

#[derive(Debug)]
struct SeenPage {
    revision: u64,
    uid: Uid,
    page: Result<Page, String>,
    object: Arc<Value>,
}

#[derive(Debug)]
struct SeenConfig {
    revision: u64,
    config: Result<Config, String>,
    /// Without it, no member reads it.
    has_label: bool,
    object: Arc<Value>,
}

impl GroupSurvey {
    /// Reads once, and continues with watches. It is not an error if nothing of the group exists.
    ///
    /// # Errors
    /// If the name cannot be that of a group, if the table may not be read, or if the API server cannot be reached.
    pub async fn start(
        client: kube::Client,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Result<Self, Error> {
        Self::start_with(client, namespace, name, Clock::system()).await
    }

    /// The same with another clock, for tests in paused time.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub async fn start_with(
        client: kube::Client,
        namespace: impl Into<String>,
        name: impl Into<String>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let (namespace, name) = (namespace.into(), name.into());
        check_name(&name)?;
        let requests = Requests::new(client.clone()).timed(clock);
        let store = Store::new(requests.clone(), namespace.clone(), name.clone());
        let locks = Survey::start_with(client, &Scope::group(&namespace, &name), clock).await?;
        let (sender, heard) = mpsc::unbounded_channel();
        let mut survey = Self {
            store,
            clock,
            locks,
            heard,
            sender: sender.clone(),
            pages: BTreeMap::new(),
            table: None,
            config: None,
            expected: None,
            sought: BTreeMap::new(),
            counted: Counted::default(),
            heard_at: clock.instant(),
            unseen: None,
        };
        survey.read().await?;
        let selection = Selection::of_group(LockKind::ConfigMap, &namespace, &name);
        let pace = Pace { retry_period: RETRY_PERIOD, patience: PATIENCE };
        // What comes in while no call waits for it counts from the moment at which it came.
        let heard = move |shown| (clock.instant(), Heard::Shown(shown));
        tokio::spawn(follow(requests, clock, selection, pace, sender.downgrade(), heard));
        Ok(survey)
    }

    /// The groups of this namespace, or of all: the namespace and the name of each, in order.
    ///
    /// # Errors
    /// If neither Leases nor ConfigMaps can be listed.
    pub async fn list(
        client: kube::Client,
        namespace: Option<&str>,
    ) -> Result<Vec<(String, String)>, Error> {
        let requests = Requests::new(client);
        let mut groups = BTreeSet::new();
        let mut refused = Vec::new();
        for kind in LockKind::ALL {
            match labelled(&requests, kind, namespace).await {
                Ok(found) => groups.extend(found),
                Err(error) if error.is_forbidden() => refused.push(error),
                Err(error) => return Err(error),
            }
        }
        match refused.len() == LockKind::ALL.len() {
            true => Err(refused.swap_remove(0)),
            false => Ok(groups.into_iter().collect()),
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.store.namespace()
    }

    /// The name of the group.
    pub fn name(&self) -> &str {
        self.store.group()
    }

    /// Names the tasks that the members' program names, which no object of the group lists. Those of them that no page
    /// gives to a member are then among [`GroupView::unowned`](super::GroupView::unowned).
    ///
    /// # Errors
    /// If a name cannot be that of a task.
    pub fn expect<N: AsRef<str>>(
        &mut self,
        tasks: impl IntoIterator<Item = N>,
    ) -> Result<(), Error> {
        let task = |name: N| {
            let name = name.as_ref();
            TaskName::new(name).ok_or_else(|| InvalidSetting::TaskName(name.to_owned()))
        };
        let tasks: Result<BTreeSet<_>, _> = tasks.into_iter().map(task).collect();
        self.expected = Some(tasks?);
        self.count(self.clock.instant());
        Ok(())
    }

    /// Waits for the next change. Dropping the future loses nothing.
    pub async fn next(&mut self) -> GroupChange {
        loop {
            let (clock, search_at) = (self.clock, self.next_search());
            tokio::select! {
                change = self.locks.next() => {
                    let now = self.clock.instant();
                    let change = match change {
                        Change::Renewed(_) => return GroupChange::Renewed,
                        Change::Visibility => GroupChange::Visibility,
                        _ => GroupChange::Members,
                    };
                    self.count_ended(now);
                    self.search(now);
                    return change;
                }
                Some((at, heard)) = self.heard.recv() => {
                    let change = match heard {
                        Heard::Shown(shown) => self.learn(at, shown),
                        Heard::Found(part, sent_at, found, object) => {
                            self.find(part, sent_at, found, object)
                        }
                    };
                    self.count(at);
                    self.search(self.clock.instant());
                    if let Some(change) = change {
                        return change;
                    }
                }
                () = clock.sleep_until(search_at) => self.search(self.clock.instant()),
            }
        }
    }

    // What it learns.

    /// The first look, from the store itself.
    async fn read(&mut self) -> Result<(), Error> {
        let collection = LockKind::ConfigMap.collection_path(Some(self.store.namespace()));
        let path = format!("{collection}?labelSelector={GROUP_LABEL}%3D{}", self.store.group());
        self.heard_at = self.clock.instant();
        let list = self.store.requests().list(&path).await;
        let resource = self.store.resource(LockKind::ConfigMap);
        let mut list = list.map_err(|failure| failure.into_error(resource, "list"))?;
        if let Value::Array(objects) = list["items"].take() {
            for object in objects {
                self.see(object);
            }
        }
        // What lacks the label is in no list.
        self.search_once().await;
        self.count(self.clock.instant());
        Ok(())
    }

    fn learn(&mut self, at: Instant, shown: Shown) -> Option<GroupChange> {
        if !matches!(shown, Shown::Refused(..)) {
            self.heard_at = at;
        }
        match shown {
            Shown::Listed(revision, objects) => self.learn_list(revision, objects),
            Shown::Present(object) => self.see(object),
            Shown::Gone(object, revision) => self.forget(&name_of(&object)?, revision),
            Shown::Refused("list", failure) => {
                let since = self.unseen.as_ref().map_or(at, |(since, _)| *since);
                let error = failure.into_error(self.store.resource(LockKind::ConfigMap), "list");
                let was_seen = self.unseen.replace((since, error.to_string())).is_none();
                was_seen.then_some(GroupChange::Visibility)
            }
            Shown::Refused(..) | Shown::Opened | Shown::Alive => None,
        }
    }

    /// What a list does not show is gone.
    fn learn_list(&mut self, revision: u64, objects: Vec<Value>) -> Option<GroupChange> {
        let was_unseen = self.unseen.take().is_some();
        let shown: BTreeSet<_> = objects.iter().filter_map(name_of).collect();
        let pages = self.pages.keys().map(|page| self.store.page_name(*page));
        let config = self.config.iter().filter(|config| config.has_label);
        let config = config.map(|_| self.store.config_name());
        let gone: Vec<_> = pages.chain(config).filter(|name| !shown.contains(name)).collect();
        let mut change = None;
        for name in gone {
            change = self.forget(&name, revision).or(change);
        }
        for object in objects {
            change = self.see(object).or(change);
        }
        if was_unseen { Some(GroupChange::Visibility) } else { change }
    }

    fn see(&mut self, object: Value) -> Option<GroupChange> {
        let name = name_of(&object)?;
        let version = version(&object).ok()?;
        match self.store.named(&name) {
            Named::Page(index) => {
                let known = self.pages.get(&index);
                if known.is_some_and(|known| known.revision >= version.revision) {
                    return None;
                }
                let (seen, why) = self.store.read_page(index, &object)?;
                let unreadable = || why.map(|why| why.to_string()).unwrap_or_default();
                let page = seen.page.ok_or_else(unreadable);
                let (uid, revision) = (version.uid, version.revision);
                if let Some(shape) = page.as_ref().ok().and_then(Page::shape) {
                    self.table = Some((uid.clone(), shape));
                }
                self.pages.insert(index, SeenPage { revision, uid, page, object: object.into() });
                Some(GroupChange::Table)
            }
            Named::Config => {
                let known = self.config.as_ref();
                if known.is_some_and(|known| known.revision >= version.revision) {
                    return None;
                }
                let config = Config::read(&object).map_err(|mistake| mistake.to_string());
                let (revision, has_label) = (version.revision, self.store.has_label(&object));
                let object = object.into();
                self.config = Some(SeenConfig { revision, config, has_label, object });
                Some(GroupChange::Config)
            }
            Named::Other => None,
        }
    }

    fn forget(&mut self, name: &str, revision: u64) -> Option<GroupChange> {
        match self.store.named(name) {
            Named::Page(index) => {
                self.pages.get(&index).filter(|known| known.revision < revision)?;
                self.pages.remove(&index);
                Some(GroupChange::Table)
            }
            Named::Config => {
                self.config.as_ref().filter(|known| known.revision < revision)?;
                self.config = None;
                Some(GroupChange::Config)
            }
            Named::Other => None,
        }
    }

    // What follows from it.

    /// What page 0 says of the table, or has said before it became unreadable.
    fn shape(&self) -> Option<Shape> {
        let first = self.pages.get(&PageIndex::FIRST)?;
        let (table, shape) = self.table.as_ref()?;
        (*table == first.uid).then_some(*shape)
    }

    /// The pages that members obey.
    fn obeyed(&self) -> impl Iterator<Item = (PageIndex, &Page)> {
        let table = self.pages.get(&PageIndex::FIRST).map(|first| &first.uid);
        let shape = self.shape();
        self.pages.iter().filter_map(move |(index, seen)| {
            let page = seen.page.as_ref().ok()?;
            let is_of_it = index.0 < shape?.pages && page.is_of(&seen.uid, table?);
            is_of_it.then_some((*index, page))
        })
    }

    /// The tasks that have an owner, and the page of each.
    fn owned(&self) -> BTreeMap<TaskName, (Entry, PageIndex)> {
        let entries = self.obeyed().flat_map(|(index, page)| {
            let entry = move |(term, _, task, given): (&SeatTerm, _, &TaskName, _)| {
                (task.clone(), ((term.clone(), given), index))
            };
            page.entries().map(entry)
        });
        entries.collect()
    }

    /// The tasks that are known to belong to the group.
    fn listed(&self) -> BTreeSet<TaskName> {
        let config = self.config.as_ref().filter(|config| config.has_label);
        let config = config.and_then(|config| config.config.as_ref().ok());
        match (self.shape().map(|shape| shape.kind), &self.expected) {
            (Some(kind), _) if kind.count().is_some() => kind.tasks().collect(),
            (_, Some(expected)) => expected.clone(),
            _ => {
                let tasks = config.and_then(|config| config.tasks.as_ref());
                tasks.into_iter().flat_map(BTreeMap::keys).cloned().collect()
            }
        }
    }

    /// The page that would name this task. `None` while no page 0 says how many there are.
    fn page_of(&self, task: &TaskName) -> Option<PageIndex> {
        self.shape().map(|shape| shape.page_of(task))
    }

    /// What shows the seat of this member.
    fn seat(&self, member: &Identity) -> Option<ObservedLock> {
        let name = format!("{}.{member}", self.store.group());
        self.locks.get(&Lock::lease(self.store.namespace(), name))
    }
}

/// Whether a group can have this name: a DNS label.
pub(super) fn check_name(name: &str) -> Result<(), InvalidSetting> {
    let is_label = !name.contains('.') && name.len() <= 63;
    let lock = Lock::lease("default", name).checked();
    match is_label && lock.is_ok() {
        true => Ok(()),
        false => Err(InvalidSetting::GroupName(name.to_owned())),
    }
}

fn name_of(object: &Value) -> Option<String> {
    object["metadata"]["name"].as_str().map(str::to_owned)
}

/// The groups that objects of this kind belong to.
async fn labelled(
    requests: &Requests,
    kind: LockKind,
    namespace: Option<&str>,
) -> Result<BTreeSet<(String, String)>, Error> {
    let collection = kind.collection_path(namespace);
    let (mut groups, mut page) = (BTreeSet::new(), String::new());
    loop {
        let path = format!("{collection}?labelSelector={GROUP_LABEL}&limit={LIMIT}{page}");
        let list = requests.list(&path).await.map_err(|failure| {
            let namespace = namespace.map(str::to_owned);
            failure.into_error(Resource::All { kind, namespace }, "list")
        })?;
        let items = list["items"].as_array().into_iter().flatten();
        groups.extend(items.filter_map(|item| {
            let metadata = &item["metadata"];
            let group = metadata["labels"][GROUP_LABEL].as_str()?;
            check_name(group).ok()?;
            Some((metadata["namespace"].as_str()?.to_owned(), group.to_owned()))
        }));
        match list["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
            Some(token) => page = format!("&continue={}", crate::survey::encoded(token)),
            None => return Ok(groups),
        }
    }
}

/// A page of a table may have 256 KiB.
const LIMIT: usize = 50;

/// Before the next try, after a failure.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// For how long the watch of the table may show nothing. Then another is opened: a connection may be dead without a word.
const PATIENCE: Duration = Duration::from_secs(20);
