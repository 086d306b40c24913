//! The objects and the order in which they came. Pure: no clock, no waiting, nobody else.
//!
//! One counter numbers all writes of all kinds, as an etcd does. A replace says on which version
//! it is based and is refused when that is no longer the newest one: this is all that leader
//! election needs of a server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::object::{Object, text};
use crate::schema::Fields;
use crate::selector::Selection;

/// All objects, and of each table the latest changes. A clone is a backup, and shares the objects.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    version: u64,
    history: usize,
    tables: BTreeMap<&'static str, Table>,
    /// Changes that the watchers have not been told of.
    fresh: Vec<(&'static str, Arc<Change>)>,
}

/// What happened to one object.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    /// As it was last, where it is deleted, but with the version of the deletion.
    pub(crate) object: Arc<Object>,
    pub(crate) previous: Option<Arc<Object>>,
    /// The line of a watch that tells of it; made once for all who watch.
    pub(crate) line: OnceLock<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

impl Change {
    /// What the change is to somebody who sees only a selection; nothing if it is outside of it.
    ///
    /// An object that comes into the selection is as good as added, one that leaves it as deleted.
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

    /// The object that goes with what the change is to somebody.
    ///
    /// What left a selection is shown as it was in it, but with the version of its leaving.
    pub(crate) fn object_as(&self, kind: ChangeKind) -> Arc<Object> {
        match &self.previous {
            Some(previous) if kind == ChangeKind::Deleted && self.kind != kind => {
                Arc::new(Object::new(previous.fields().clone(), self.object.version()))
            }
            _ => self.object.clone(),
        }
    }
}

/// Why a write was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such object.
    Missing,
    /// There already is such an object.
    Exists,
    /// The object is no longer the one that the write is based on.
    Changed,
}

/// The past that was asked for is forgotten; what is older than this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) oldest: u64,
}

impl Store {
    /// A store that remembers so many changes of each table.
    pub(crate) fn new(history: usize) -> Self {
        // Some clients ask for everything since version 1, so nothing may have happened there.
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

    /// All objects of a table as they were right after the write of this version.
    ///
    /// # Errors
    ///
    /// That past is forgotten.
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
    /// Some of them are forgotten.
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

    /// Puts an object in the place of its version `based_on`.
    ///
    /// Where nothing changes nothing is written: the version stays, and no watcher hears of it.
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

    /// Forgets all past changes.
    pub(crate) fn compact(&mut self) {
        for table in self.tables.values_mut() {
            table.log.clear();
            table.weight = 0;
            table.forgotten = self.version;
        }
    }

    /// The changes since the last call, to be told to the watchers.
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

/// Bytes that the changes of one table may take; some 20 ConfigMaps of the greatest size, and far
/// more changes of a Lease than are kept anyhow.
const HEAVIEST_HISTORY: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug, Default)]
struct Table {
    objects: BTreeMap<String, BTreeMap<String, Arc<Object>>>,
    log: VecDeque<Arc<Change>>,
    /// Of all objects in the log.
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
