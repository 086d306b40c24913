//! The stored objects and their history. Pure: no clock, and no waiting.
//!
//! One counter numbers all writes of all kinds, as in etcd. A replace states the version that it is based on, and
//! is refused if that is not the newest one. Leader election needs nothing else from a server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::object::{Object, text};
use crate::schema::Fields;
use crate::selector::Selection;

/// All objects, and the latest changes of each table. A clone is a backup that shares the objects.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    version: u64,
    history: usize,
    tables: BTreeMap<&'static str, Table>,
    /// Changes that were not sent to watchers yet.
    fresh: Vec<(&'static str, Arc<Change>)>,
}

/// A change of one object.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    /// The new object. For a deletion: its last state, with the version of the deletion.
    pub(crate) object: Arc<Object>,
    pub(crate) previous: Option<Arc<Object>>,
    /// The change as a line of a watch; serialized once for all watchers.
    pub(crate) line: OnceLock<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

impl Change {
    /// The kind of change that a watcher of a selection sees. `None` if it sees none.
    ///
    /// An object that enters the selection appears as added; one that leaves it appears as deleted.
    pub(crate) fn as_seen_by(&self, selection: &Selection) -> Option<ChangeKind> {
        let was_seen = self.previous.as_ref().is_some_and(|object| selection.matches(object));
        let is_seen = self.kind != ChangeKind::Deleted && selection.matches(&self.object);
        match (was_seen, is_seen) {
            (false, false) => None,
            (false, true) => Some(ChangeKind::Added),
            (true, true) => Some(ChangeKind::Modified),
            (true, false) => Some(ChangeKind::Deleted),
        }
    }

    /// The object to show with this kind of change.
    ///
    /// An object that left a selection is shown as it was in it, with the version of the change.
    pub(crate) fn object_as(&self, kind: ChangeKind) -> Arc<Object> {
        match &self.previous {
            Some(previous) if kind == ChangeKind::Deleted && self.kind != kind => {
                Arc::new(Object::new(previous.fields().clone(), self.object.version()))
            }
            _ => self.object.clone(),
        }
    }
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The object does not exist.
    Missing,
    /// The object exists already.
    Exists,
    /// The object has a newer version than the one that the write is based on.
    Changed,
}

/// The requested version is compacted: it is older than `oldest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) oldest: u64,
}

impl Store {
    /// A store that keeps this number of changes per table.
    pub(crate) fn new(history: usize) -> Self {
        // Some clients ask for all changes since version 1, so that must not be a change itself.
        Self { version: 1, history, tables: BTreeMap::new(), fresh: Vec::new() }
    }

    /// The version of the latest write.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn object(
        &self,
        table: &'static str,
        namespace: &str,
        name: &str,
    ) -> Option<&Arc<Object>> {
        self.tables.get(table)?.objects.get(namespace)?.get(name)
    }

    /// All objects of a table, by namespace and name.
    pub(crate) fn objects(
        &self,
        table: &'static str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &Arc<Object>> {
        let table = self.tables.get(table);
        let (one, all) = match namespace {
            Some(namespace) => (table.and_then(|table| table.objects.get(namespace)), None),
            None => (None, table.map(|table| table.objects.values())),
        };
        one.into_iter().chain(all.into_iter().flatten()).flat_map(BTreeMap::values)
    }

    /// All objects of a table as of this version.
    ///
    /// # Errors
    ///
    /// The version is compacted.
    pub(crate) fn objects_at(
        &self,
        table: &'static str,
        version: u64,
    ) -> Result<Vec<Arc<Object>>, Compacted> {
        let mut past: BTreeMap<(String, String), Arc<Object>> = BTreeMap::new();
        let key = |object: &Object| (object.namespace().to_owned(), object.name().to_owned());
        for object in self.objects(table, None) {
            past.insert(key(object), object.clone());
        }
        for change in self.changes_since(table, version)?.into_iter().rev() {
            match &change.previous {
                None => past.remove(&key(&change.object)),
                Some(previous) => past.insert(key(previous), previous.clone()),
            };
        }
        Ok(past.into_values().collect())
    }

    /// The changes of a table after this version, oldest first.
    ///
    /// # Errors
    ///
    /// Some of them are compacted.
    pub(crate) fn changes_since(
        &self,
        table: &'static str,
        version: u64,
    ) -> Result<Vec<Arc<Change>>, Compacted> {
        let Some(table) = self.tables.get(table) else { return Ok(Vec::new()) };
        if version < table.forgotten {
            return Err(Compacted { oldest: table.forgotten });
        }
        let start = table.log.partition_point(|change| change.object.version() <= version);
        Ok(table.log.range(start..).cloned().collect())
    }

    /// Adds an object.
    ///
    /// # Errors
    ///
    /// [`Refused::Exists`]
    pub(crate) fn create(
        &mut self,
        table: &'static str,
        fields: Fields,
    ) -> Result<Arc<Object>, Refused> {
        if self.object(table, text(&fields, "namespace"), text(&fields, "name")).is_some() {
            return Err(Refused::Exists);
        }
        Ok(self.commit(table, fields, ChangeKind::Added, None))
    }

    /// Replaces the version `based_on` of an object.
    ///
    /// A write that changes nothing is skipped: the version stays, and no watcher is notified.
    ///
    /// # Errors
    ///
    /// [`Refused::Missing`], [`Refused::Changed`]
    pub(crate) fn replace(
        &mut self,
        table: &'static str,
        based_on: u64,
        fields: Fields,
    ) -> Result<Arc<Object>, Refused> {
        let (namespace, name) = (text(&fields, "namespace"), text(&fields, "name"));
        let current = self.object(table, namespace, name).ok_or(Refused::Missing)?.clone();
        if current.version() != based_on {
            return Err(Refused::Changed);
        }
        if current.says_the_same_as(&fields) {
            return Ok(current);
        }
        Ok(self.commit(table, fields, ChangeKind::Modified, Some(current)))
    }

    /// Takes an object away if its version is still `based_on`.
    ///
    /// # Errors
    ///
    /// [`Refused::Missing`], [`Refused::Changed`]
    pub(crate) fn remove(
        &mut self,
        table: &'static str,
        namespace: &str,
        name: &str,
        based_on: u64,
    ) -> Result<Arc<Object>, Refused> {
        let current = self.object(table, namespace, name).ok_or(Refused::Missing)?.clone();
        if current.version() != based_on {
            return Err(Refused::Changed);
        }
        let fields = current.fields().clone();
        Ok(self.commit(table, fields, ChangeKind::Deleted, Some(current)))
    }

    /// Drops all past changes.
    pub(crate) fn compact(&mut self) {
        for table in self.tables.values_mut() {
            table.log.clear();
            table.weight = 0;
            table.forgotten = self.version;
        }
    }

    /// The changes since the last call, which the caller sends to the watchers.
    pub(crate) fn take_fresh(&mut self) -> Vec<(&'static str, Arc<Change>)> {
        std::mem::take(&mut self.fresh)
    }

    fn commit(
        &mut self,
        name: &'static str,
        fields: Fields,
        kind: ChangeKind,
        previous: Option<Arc<Object>>,
    ) -> Arc<Object> {
        self.version += 1;
        let object = Arc::new(Object::new(fields, self.version));
        let change =
            Arc::new(Change { kind, object: object.clone(), previous, line: OnceLock::new() });
        let table = self.tables.entry(name).or_default();
        table.apply(&change);
        table.remember(change.clone(), self.history);
        self.fresh.push((name, change));
        object
    }
}

/// The limit for the changes of one table, in bytes: about 20 ConfigMaps of the maximum size, and more
/// changes of a Lease than are kept anyway.
const HEAVIEST_HISTORY: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug, Default)]
struct Table {
    objects: BTreeMap<String, BTreeMap<String, Arc<Object>>>,
    log: VecDeque<Arc<Change>>,
    /// The weight of all objects in the log.
    weight: usize,
    /// The version of the latest change that is no longer in the log.
    forgotten: u64,
}

impl Table {
    fn apply(&mut self, change: &Change) {
        let object = &change.object;
        if change.kind != ChangeKind::Deleted {
            let namespace = self.objects.entry(object.namespace().to_owned()).or_default();
            namespace.insert(object.name().to_owned(), object.clone());
        } else if let Some(namespace) = self.objects.get_mut(object.namespace()) {
            namespace.remove(object.name());
            if namespace.is_empty() {
                self.objects.remove(object.namespace());
            }
        }
    }

    fn remember(&mut self, change: Arc<Change>, history: usize) {
        self.weight += change.object.weight();
        self.log.push_back(change);
        while self.log.len() > history || self.weight > HEAVIEST_HISTORY {
            let Some(oldest) = self.log.pop_front() else { break };
            self.weight -= oldest.object.weight();
            self.forgotten = oldest.object.version();
        }
    }
}

#[cfg(test)]
mod tests;
