//! The API server as a group sees it: Leases and pages with compare-and-swap, and the history of changes.

use std::collections::BTreeMap;
use std::rc::Rc;

use incumbent_core::group::{
    Answer, Ask, HeldSeat, Page, PageIndex, PageVersion, SeatList, SeatTerm,
};
use incumbent_core::{Operation, Record, Reply, Snapshot, Uid, Version};

/// The name of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Name {
    /// The allocators' Lease.
    Lock,
    /// The seat of the member of this number.
    Seat(usize),
    /// A page of the table.
    Page(PageIndex),
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "most objects are Leases")]
pub(super) enum Content {
    Lease(Record),
    /// `None` where the text is not as an allocator wrote it.
    Page(Option<Page>),
}

#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) version: Version,
    /// Whether it carries the group's label, by which lists and watches choose.
    pub(super) has_label: bool,
    pub(super) content: Content,
}

/// One change: a version, or a deletion.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) name: Name,
    pub(super) object: Option<Rc<Object>>,
    /// What was there before.
    pub(super) before: Option<Rc<Object>>,
}

#[derive(Default)]
pub(super) struct Cluster {
    objects: BTreeMap<Name, Rc<Object>>,
    log: Vec<Change>,
    revision: u64,
    uids: u64,
    /// A page that was written and cannot be read.
    pub(super) unreadable: Option<String>,
}

/// A request to the server.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Lease(Name, Operation),
    Group(Ask),
}

#[derive(Clone, Debug)]
pub(super) enum Response {
    Lease(Reply),
    Group(Answer),
}

impl Object {
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        match &self.content {
            Content::Lease(record) => {
                Some(Snapshot { version: self.version.clone(), record: record.clone() })
            }
            Content::Page(_) => None,
        }
    }

    pub(super) fn page(&self) -> Option<PageVersion> {
        match &self.content {
            Content::Page(page) => {
                Some(PageVersion { version: self.version.clone(), page: page.clone() })
            }
            Content::Lease(_) => None,
        }
    }
}

impl Cluster {
    pub(super) fn get(&self, name: Name) -> Option<&Rc<Object>> {
        self.objects.get(&name)
    }

    pub(super) fn log(&self) -> &[Change] {
        &self.log
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn names(&self) -> Vec<Name> {
        self.objects.keys().copied().collect()
    }

    /// All objects as they were at `revision`.
    pub(super) fn at(&self, revision: u64) -> BTreeMap<Name, Rc<Object>> {
        let mut objects = BTreeMap::new();
        for change in self.log.iter().take_while(|change| change.revision <= revision) {
            match &change.object {
                Some(object) => objects.insert(change.name, Rc::clone(object)),
                None => objects.remove(&change.name),
            };
        }
        objects
    }

    pub(super) fn create(&mut self, name: Name, content: Content) -> Rc<Object> {
        self.uids += 1;
        let uid = Uid(format!("u{}", self.uids));
        self.store(name, uid, true, content)
    }

    /// Replaces the object, and puts its label back.
    pub(super) fn replace(&mut self, name: Name, content: Content) -> Option<Rc<Object>> {
        let uid = self.get(name)?.version.uid.clone();
        Some(self.store(name, uid, true, content))
    }

    /// Changes the object and not its label.
    pub(super) fn edit(&mut self, name: Name, content: Content) {
        if let Some(object) = self.get(name).map(Rc::clone) {
            self.store(name, object.version.uid.clone(), object.has_label, content);
        }
    }

    pub(super) fn take_label(&mut self, name: Name) {
        if let Some(object) = self.get(name).map(Rc::clone) {
            self.store(name, object.version.uid.clone(), false, object.content.clone());
        }
    }

    fn store(&mut self, name: Name, uid: Uid, has_label: bool, content: Content) -> Rc<Object> {
        self.revision += 1;
        let version = Version { uid, revision: self.revision };
        let object = Rc::new(Object { version, has_label, content });
        let before = self.objects.insert(name, Rc::clone(&object));
        self.log.push(Change {
            revision: self.revision,
            name,
            object: Some(Rc::clone(&object)),
            before,
        });
        object
    }

    pub(super) fn delete(&mut self, name: Name) {
        if let Some(before) = self.objects.remove(&name) {
            self.revision += 1;
            let change =
                Change { revision: self.revision, name, object: None, before: Some(before) };
            self.log.push(change);
        }
    }

    /// Performs a request.
    pub(super) fn apply(&mut self, call: &Call, seat_of: &dyn Fn(&str) -> usize) -> Response {
        match call {
            Call::Lease(name, operation) => Response::Lease(self.apply_to_lease(*name, operation)),
            Call::Group(ask) => Response::Group(self.answer(ask, seat_of)),
        }
    }

    fn apply_to_lease(&mut self, name: Name, operation: &Operation) -> Reply {
        let found = self.get(name).and_then(|object| object.snapshot());
        let lease = |record: &Record| Content::Lease(record.clone());
        match (operation, found) {
            (Operation::Read, Some(snapshot)) => Reply::Found(snapshot),
            (Operation::Read | Operation::Replace { .. }, None) => Reply::Missing,
            (Operation::Create(_), Some(_)) => Reply::Conflict,
            (Operation::Create(record), None) => {
                Reply::Written(self.create(name, lease(record)).snapshot().expect("a lease"))
            }
            (Operation::Replace { base, .. }, Some(snapshot)) if *base != snapshot.version => {
                Reply::Conflict
            }
            (Operation::Replace { record, .. }, Some(_)) => {
                let stored = self.replace(name, lease(record)).expect("it exists");
                Reply::Written(stored.snapshot().expect("a lease"))
            }
        }
    }

    fn answer(&mut self, ask: &Ask, seat_of: &dyn Fn(&str) -> usize) -> Answer {
        match ask {
            Ask::CreatePage(index, page) => match self.get(Name::Page(*index)) {
                Some(_) => Answer::Conflict,
                None => {
                    let stored = self.create(Name::Page(*index), Content::Page(Some(page.clone())));
                    Answer::Page(stored.page().expect("a page"))
                }
            },
            Ask::ReplacePage { index, base, page } => {
                self.if_unchanged(Name::Page(*index), base, |cluster, name| {
                    let text = page.to_text(*index, "group", Some(&base.uid));
                    let read = text.parse(*index, "group", &base.uid);
                    if read.as_ref() != Ok(page) {
                        cluster.unreadable = Some(format!("{read:?} is read of {page:?}"));
                    }
                    let stored = cluster.replace(name, Content::Page(Some(page.clone())));
                    Answer::Page(stored.and_then(|stored| stored.page()).expect("a page"))
                })
            }
            Ask::DeletePage { index, base } => self.delete_unchanged(Name::Page(*index), base),
            Ask::ReadPage(index) => {
                let page = self.get(Name::Page(*index)).and_then(|object| object.page());
                page.map_or(Answer::Missing, Answer::Page)
            }
            Ask::CreateSeat(member) => match self.get(Name::Seat(seat_of(member.as_str()))) {
                Some(_) => Answer::Conflict,
                None => {
                    let content = Content::Lease(Record::default());
                    let stored = self.create(Name::Seat(seat_of(member.as_str())), content);
                    Answer::Seat(stored.snapshot().expect("a lease"))
                }
            },
            Ask::ReadSeat(member) => {
                let seat = self.get(Name::Seat(seat_of(member.as_str())));
                let seat = seat.and_then(|object| object.snapshot());
                seat.map_or(Answer::Missing, Answer::Seat)
            }
            Ask::VacateSeat { member, base, record } => {
                let name = Name::Seat(seat_of(member.as_str()));
                self.if_unchanged(name, base, |cluster, name| {
                    let stored = cluster.replace(name, Content::Lease(record.clone()));
                    Answer::Seat(stored.and_then(|stored| stored.snapshot()).expect("a lease"))
                })
            }
            Ask::DeleteSeat { member, base } => {
                self.delete_unchanged(Name::Seat(seat_of(member.as_str())), base)
            }
            Ask::ListSeats => Answer::Seats(self.seats()),
        }
    }

    fn delete_unchanged(&mut self, name: Name, base: &Version) -> Answer {
        self.if_unchanged(name, base, |cluster, name| {
            cluster.delete(name);
            Answer::Deleted
        })
    }

    fn if_unchanged(
        &mut self,
        name: Name,
        base: &Version,
        write: impl FnOnce(&mut Self, Name) -> Answer,
    ) -> Answer {
        match self.get(name).map(|object| object.version == *base) {
            None => Answer::Missing,
            Some(false) => Answer::Conflict,
            Some(true) => write(self, name),
        }
    }

    fn seats(&self) -> SeatList {
        let lock = self.get(Name::Lock).and_then(|lock| lock.snapshot());
        let is_seat = |name: &Name| matches!(name, Name::Seat(_));
        let seats = self.objects.iter().filter(|(name, _)| is_seat(name));
        let held = seats.filter_map(|(_, object)| {
            let Snapshot { version, record } = object.snapshot()?;
            record.holder_info.seat.as_ref()?;
            let member = record.holder.clone()?;
            let term = SeatTerm { member, seat: version.uid, token: record.token()? };
            Some(HeldSeat { term, lease_duration: record.lease_duration? })
        });
        SeatList {
            held: held.collect(),
            is_before_any_table: lock.is_some_and(|lock| lock.record.table.is_none()),
        }
    }
}
