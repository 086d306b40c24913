//! The API server as a schedule sees it: one object with compare-and-swap.

use std::rc::Rc;

use incumbent_core::schedule::{
    ScheduleObject, ScheduleOperation, ScheduleRecord, ScheduleReply, StoredSchedule,
};
use incumbent_core::{Operation, Record, Reply, Snapshot, Uid, Version};

/// One version of the object.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) version: Version,
    pub(super) election: Record,
    pub(super) schedule: Option<Box<ScheduleRecord>>,
}

impl Stored {
    fn snapshot(&self) -> Snapshot {
        Snapshot { version: self.version.clone(), record: self.election.clone() }
    }

    /// As a scheduler reads it.
    pub(super) fn object(&self) -> ScheduleObject {
        let election = &self.election;
        ScheduleObject {
            version: self.version.clone(),
            term: election.token().zip(election.session),
            schedule: match &self.schedule {
                Some(record) => StoredSchedule::Readable(record.clone()),
                None => StoredSchedule::Missing,
            },
            was: StoredSchedule::Missing,
        }
    }
}

/// A change of the record by a replica: the object before, and the record after.
pub(super) struct Change {
    pub(super) before: Rc<Stored>,
    pub(super) after: Box<ScheduleRecord>,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) object: Option<Rc<Stored>>,
    revision: u64,
    objects: u64,
}

impl Store {
    pub(super) fn elect(&mut self, operation: &Operation) -> Reply {
        match (operation, &self.object) {
            (Operation::Read, None) | (Operation::Replace { .. }, None) => Reply::Missing,
            (Operation::Read, Some(object)) => Reply::Found(object.snapshot()),
            (Operation::Create(_), Some(_)) => Reply::Conflict,
            (Operation::Create(record), None) => {
                self.objects += 1;
                let uid = Uid(format!("object {}", self.objects));
                let election = record.clone();
                self.put(Stored { version: self.next(uid), election, schedule: None });
                Reply::Written(self.object.as_ref().expect("it is put").snapshot())
            }
            (Operation::Replace { base, .. }, Some(object)) if *base != object.version => {
                Reply::Conflict
            }
            (Operation::Replace { record, .. }, Some(object)) => {
                let schedule = object.schedule.clone();
                let version = self.next(object.version.uid.clone());
                self.put(Stored { version, election: record.clone(), schedule });
                Reply::Written(self.object.as_ref().expect("it is put").snapshot())
            }
        }
    }

    pub(super) fn schedule(
        &mut self,
        operation: &ScheduleOperation,
    ) -> (ScheduleReply, Option<Change>) {
        let Some(before) = self.object.clone() else { return (ScheduleReply::Missing, None) };
        match operation {
            ScheduleOperation::Read => (ScheduleReply::Found(before.object()), None),
            ScheduleOperation::Replace { base, .. } if *base != before.version => {
                (ScheduleReply::Conflict, None)
            }
            ScheduleOperation::Replace { record, .. } => {
                self.edit(|schedule| *schedule = Some(record.clone()));
                let object = self.object.as_ref().expect("it is put").object();
                let change = Change { before, after: record.clone() };
                (ScheduleReply::Written(object), Some(change))
            }
        }
    }

    /// A new version with another record.
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Option<Box<ScheduleRecord>>)) {
        let Some(object) = &self.object else { return };
        let mut next = Stored::clone(object);
        next.version = self.next(object.version.uid.clone());
        change(&mut next.schedule);
        self.put(next);
    }

    pub(super) fn record(&self) -> Option<&ScheduleRecord> {
        self.object.as_ref()?.schedule.as_deref()
    }

    fn next(&self, uid: Uid) -> Version {
        Version { uid, revision: self.revision + 1 }
    }

    fn put(&mut self, stored: Stored) {
        self.revision = stored.version.revision;
        self.object = Some(Rc::new(stored));
    }
}
