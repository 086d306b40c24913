//! The API server, as far as an election sees it: one object with compare-and-swap.

use std::rc::Rc;

use incumbent_core::{
    FencingToken, Identity, Observation, Operation, Record, Reply, Session, Snapshot, Stamp, Uid,
    Version,
};

use crate::clock::Micros;

/// One stored version of the lock.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// As our candidates read it.
    pub(crate) snapshot: Snapshot,
    /// The term annotation; `None` if it says the same as the record.
    note: Option<Rc<Note>>,
    /// The labels and annotations of other programs, as a number that each edit raises.
    pub(crate) others: u32,
}

/// The content of our annotation. It counts only with the holder and renew time that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    holder: Option<Identity>,
    session: Option<Session>,
    renewed: Option<Stamp>,
    token: FencingToken,
}

/// A write or read, as it reaches the server.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A request of one of our candidates. `others` is what the candidate believes about the
    /// content of other programs; `session` is its process.
    Ours { operation: Operation, others: u32, session: Session },
    /// A request of a foreign candidate, which does not know our annotation and leaves it
    /// unchanged.
    Foreign(Operation),
}

impl Ask {
    pub(crate) fn operation(&self) -> &Operation {
        match self {
            Self::Ours { operation, .. } | Self::Foreign(operation) => operation,
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        *self.operation() != Operation::Read
    }
}

/// One entry of the history: a version, or a deletion.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) revision: u64,
    pub(crate) at: Micros,
    pub(crate) stored: Option<Rc<Stored>>,
}

impl Logged {
    pub(crate) fn observation(&self) -> Observation {
        match &self.stored {
            Some(stored) => Observation::Present(stored.snapshot.clone()),
            None => Observation::Gone { revision: self.revision },
        }
    }

    pub(crate) fn others(&self) -> u32 {
        self.stored.as_ref().map_or(0, |stored| stored.others)
    }
}

pub(crate) struct Server {
    /// The history. It is never empty, and its last entry is the current state.
    log: Vec<Logged>,
    objects: u32,
    /// How many revisions per second other objects use up.
    background: u64,
    /// The time up to which revisions are counted. A restored backup sets the revision back.
    counted_to: Micros,
    revision: u64,
    /// Versions that a restore has undone. None of them is used again, because revisions count the
    /// writes of a whole cluster and hardly ever repeat.
    undone: Vec<Version>,
    /// Counts the restarts. A connection does not survive a restart.
    pub(crate) incarnation: u32,
    pub(crate) away_until: Micros,
    /// Until then, a component in front of the server answers each write with a conflict.
    pub(crate) conflicts_until: Micros,
}

impl Server {
    pub(crate) fn new(background: u64, lock_exists: bool) -> Self {
        let mut server = Self {
            log: vec![Logged { revision: 1, at: 0, stored: None }],
            objects: 0,
            background,
            counted_to: 0,
            revision: 1,
            undone: Vec::new(),
            incarnation: 0,
            away_until: 0,
            conflicts_until: 0,
        };
        if lock_exists {
            server.create(0, Record::default());
        }
        server
    }

    pub(crate) fn last(&self) -> &Logged {
        self.log.last().expect("the log is never empty")
    }

    pub(crate) fn lock(&self) -> Option<&Rc<Stored>> {
        self.last().stored.as_ref()
    }

    pub(crate) fn log(&self) -> &[Logged] {
        &self.log
    }

    /// Performs the request `ask`, and returns whether anything changed.
    pub(crate) fn apply(&mut self, at: Micros, ask: Ask) -> (Reply, bool) {
        let (operation, ours) = match ask {
            Ask::Ours { operation, others, .. } => (operation, Some(others)),
            Ask::Foreign(operation) => (operation, None),
        };
        match (operation, self.lock().cloned()) {
            (Operation::Read | Operation::Replace { .. }, None) => (Reply::Missing, false),
            (Operation::Read, Some(stored)) => (Reply::Found(stored.snapshot.clone()), false),
            (Operation::Create(_), Some(_)) => (Reply::Conflict, false),
            (Operation::Create(record), None) => {
                self.create(at, record);
                (self.written(), true)
            }
            (Operation::Replace { base, .. }, Some(stored)) if base != stored.snapshot.version => {
                (Reply::Conflict, false)
            }
            (Operation::Replace { record, .. }, Some(stored)) => {
                let changed = self.replace(at, &stored, record, ours);
                (self.written(), changed)
            }
        }
    }

    fn written(&self) -> Reply {
        match self.lock() {
            Some(stored) => Reply::Written(stored.snapshot.clone()),
            None => Reply::Missing,
        }
    }

    fn create(&mut self, at: Micros, record: Record) {
        self.objects += 1;
        let version = Version { uid: Uid(format!("u{}", self.objects)), revision: 0 };
        self.store(at, Stored { snapshot: Snapshot { version, record }, note: None, others: 0 });
    }

    /// A write that changes nothing is not stored, as in Kubernetes.
    fn replace(&mut self, at: Micros, old: &Stored, record: Record, ours: Option<u32>) -> bool {
        let version = old.snapshot.version.clone();
        let stored = match ours {
            Some(others) => {
                // A candidate that joins or leaves the waitlist writes nothing else, so it leaves
                // the note unchanged.
                let is_line_alone = with_line_of(&record, old.snapshot.record.clone()) == record;
                let note = is_line_alone.then(|| old.note());
                Stored { snapshot: Snapshot { version, record }, note, others }
            }
            None => {
                let record = with_line_of(&old.snapshot.record, record);
                annotated(version, record, old.note(), old.others)
            }
        };
        let changed = stored.snapshot.record != old.snapshot.record || stored.others != old.others;
        if changed {
            self.store(at, stored);
        }
        changed
    }

    fn store(&mut self, at: Micros, mut stored: Stored) {
        self.count_revision(at);
        stored.snapshot.version.revision = self.revision;
        while self.undone.contains(&stored.snapshot.version) {
            self.revision += 1;
            stored.snapshot.version.revision = self.revision;
        }
        self.log.push(Logged { revision: self.revision, at, stored: Some(Rc::new(stored)) });
    }

    fn count_revision(&mut self, at: Micros) {
        self.revision += 1 + (at - self.counted_to) * self.background / 1_000_000;
        self.counted_to = at;
    }

    // Edits by people.

    /// Edits labels, which an election ignores.
    pub(crate) fn edit_label(&mut self, at: Micros) {
        if let Some(old) = self.lock().cloned() {
            self.store(at, Stored { others: old.others + 1, ..(*old).clone() });
        }
    }

    /// Edits the record, and leaves our annotation unchanged.
    pub(crate) fn edit(&mut self, at: Micros, change: impl FnOnce(&mut Record)) {
        if let Some(old) = self.lock().cloned() {
            let mut record = old.snapshot.record.clone();
            change(&mut record);
            let version = old.snapshot.version.clone();
            self.store(at, annotated(version, record, old.note(), old.others));
        }
    }

    /// Edits the annotations of the waitlist. An edit that changes nothing has no effect.
    pub(crate) fn edit_line(&mut self, at: Micros, change: impl FnOnce(&mut Record)) {
        if let Some(old) = self.lock().cloned() {
            let mut stored = (*old).clone();
            change(&mut stored.snapshot.record);
            if stored.snapshot != old.snapshot {
                stored.note = Some(old.note());
                self.store(at, stored);
            }
        }
    }

    /// Clears the record and our annotation: a release in the holder's name.
    pub(crate) fn make_vacant(&mut self, at: Micros) {
        if let Some(old) = self.lock().cloned() {
            let last_token = old.snapshot.record.last_token;
            let vacant = Record { last_token, ..Record::default() };
            let record = with_line_of(&old.snapshot.record, vacant);
            let version = old.snapshot.version.clone();
            let snapshot = Snapshot { version, record };
            self.store(at, Stored { snapshot, note: None, others: old.others });
        }
    }

    /// Writes back an old copy of the lock.
    pub(crate) fn write_old_copy(&mut self, at: Micros, copy: &Stored) {
        if let Some(old) = self.lock().cloned() {
            let version = old.snapshot.version.clone();
            let snapshot = Snapshot { version, record: copy.snapshot.record.clone() };
            self.store(at, Stored { snapshot, note: copy.note.clone(), others: old.others });
        }
    }

    pub(crate) fn delete(&mut self, at: Micros) {
        self.count_revision(at);
        self.log.push(Logged { revision: self.revision, at, stored: None });
    }

    /// Restores the state after entry `index` of the log, including the revisions.
    pub(crate) fn restore(&mut self, at: Micros, index: usize) {
        let undone = self.log.drain(index + 1..).filter_map(|entry| entry.stored);
        self.undone.extend(undone.map(|stored| stored.snapshot.version.clone()));
        self.revision = self.last().revision;
        self.counted_to = at;
    }
}

impl Stored {
    fn note(&self) -> Rc<Note> {
        self.note.clone().unwrap_or_else(|| {
            let record = &self.snapshot.record;
            let held = record.holder.is_some() && record.session.is_some();
            Rc::new(Note {
                holder: record.holder.clone().filter(|_| held),
                session: record.session.filter(|_| held),
                renewed: record.renewed.clone().filter(|_| held),
                token: record.last_token,
            })
        })
    }
}

/// A client that does not know the waitlist leaves its annotations unchanged.
fn with_line_of(old: &Record, record: Record) -> Record {
    Record {
        waitlist: old.waitlist.clone(),
        hand_over: old.hand_over.clone(),
        paused: old.paused.clone(),
        ..record
    }
}

/// A record that another program wrote, together with our annotation, as `lock.rs` of the adapter
/// reads it.
fn annotated(version: Version, mut record: Record, note: Rc<Note>, others: u32) -> Stored {
    let same_holder = record.holder.is_none() || record.holder == note.holder;
    record.session = note.session.filter(|_| same_holder && note.renewed == record.renewed);
    record.last_token = note.token;
    Stored { snapshot: Snapshot { version, record }, note: Some(note), others }
}
