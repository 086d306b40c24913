//! The lock, reduced to its essence: one object with compare-and-swap.

use incumbent_core::{Observation, Operation, Record, Reply, Snapshot, Uid, Version};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Register {
    lock: Option<Snapshot>,
    /// The previous version.
    before: Option<Snapshot>,
    /// The revision of the last write or deletion.
    revision: u64,
    /// How many objects there have been.
    objects: u8,
}

impl Register {
    /// A vacant lock. How it was created does not matter here.
    pub(crate) fn new() -> Self {
        let mut register = Self { lock: None, before: None, revision: 0, objects: 0 };
        register.create(Record::default());
        register
    }

    pub(crate) fn lock(&self) -> Option<&Snapshot> {
        self.lock.as_ref()
    }

    pub(crate) fn before(&self) -> Option<&Snapshot> {
        self.before.as_ref()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// What a watch shows if it has missed nothing.
    pub(crate) fn newest(&self) -> Observation {
        match &self.lock {
            Some(lock) => Observation::Present(lock.clone()),
            None => Observation::Gone { revision: self.revision },
        }
    }

    /// Performs the operation. A `blind` register does not compare versions.
    pub(crate) fn apply(&mut self, operation: &Operation, blind: bool) -> Reply {
        match (operation, &self.lock) {
            (Operation::Read, None) => Reply::Missing,
            (Operation::Read, Some(lock)) => Reply::Found(lock.clone()),
            (Operation::Create(_), Some(_)) => Reply::Conflict,
            (Operation::Create(record), None) => Reply::Written(self.create(record.clone())),
            (Operation::Replace { .. }, None) => Reply::Missing,
            (Operation::Replace { base, record }, Some(lock)) => {
                if lock.version != *base && !blind {
                    return Reply::Conflict;
                }
                Reply::Written(self.replace(record.clone()))
            }
        }
    }

    /// Another program changes content that does not belong to the election.
    pub(crate) fn edit(&mut self) {
        if let Some(lock) = self.lock.take() {
            self.before = Some(lock.clone());
            self.revision += 1;
            self.lock = Some(self.version_of(lock.record));
        }
    }

    pub(crate) fn delete(&mut self, forget_revisions: bool) {
        self.lock = None;
        self.before = None;
        self.revision = if forget_revisions { 0 } else { self.revision + 1 };
    }

    fn create(&mut self, record: Record) -> Snapshot {
        self.objects += 1;
        self.replace(record)
    }

    /// If the same record is already stored, nothing is written.
    fn replace(&mut self, record: Record) -> Snapshot {
        if self.lock.as_ref().is_none_or(|lock| lock.record != record) {
            self.before = self.lock.take();
            self.revision += 1;
        }
        let lock = self.version_of(record);
        self.lock = Some(lock.clone());
        lock
    }

    fn version_of(&self, record: Record) -> Snapshot {
        let uid = Uid(self.objects.to_string());
        Snapshot { version: Version { uid, revision: self.revision }, record }
    }
}
