//! The objects of a group, each with a count of versions of its own that survives deletions.
//!
//! Versions are compared only between objects of one name, so this is a finer order than that of a real server, and
//! writes to different objects commute, which keeps the number of states small.

use std::time::Duration;

use incumbent_core::group::{
    Answer, Ask, HeldSeat, PageIndex, PageVersion, SeatInfo, SeatList, SeatTerm,
};
use incumbent_core::{
    FencingToken, HolderInfo, Identity, Record, Session, Snapshot, Stamp, Uid, Version, WallTime,
};

use crate::part::Part;

/// All leases: far longer than all short waits of a run together.
pub(crate) const LEASE: Duration = Duration::from_secs(10_000);

/// The versions of the object of one name that somebody has not seen, and the one before them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Object<T> {
    name: &'static str,
    pub(crate) revision: u64,
    log: Vec<(u64, Option<T>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seat {
    pub(crate) lock: Snapshot,
    pub(crate) has_label: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    pub(crate) pages: [Part<Object<PageVersion>>; 2],
    pub(crate) seats: [Part<Object<Seat>>; 2],
    /// The table that the allocators' Lease names.
    pub(crate) named: Option<Uid>,
}

impl<T: Clone> Object<T> {
    fn new(name: &'static str) -> Self {
        Self { name, revision: 0, log: Vec::new() }
    }

    pub(crate) fn present(&self) -> Option<&T> {
        self.log.last().and_then(|(_, content)| content.as_ref())
    }

    /// The first version after `seen`.
    pub(crate) fn after(&self, seen: u64) -> Option<&(u64, Option<T>)> {
        self.log.iter().find(|(revision, _)| *revision > seen)
    }

    /// The last version before `seen`.
    pub(crate) fn before(&self, seen: u64) -> Option<&(u64, Option<T>)> {
        self.log.iter().rfind(|(revision, _)| *revision < seen)
    }

    fn put(&mut self, make: impl FnOnce(u64, &'static str) -> T) {
        self.revision += 1;
        self.log.push((self.revision, Some(make(self.revision, self.name))));
    }

    pub(crate) fn delete(&mut self) {
        self.revision += 1;
        self.log.push((self.revision, None));
    }

    /// How many versions nobody needs any more.
    pub(crate) fn forgettable(&self, seen: u64) -> usize {
        let known = self.log.iter().filter(|(revision, _)| *revision <= seen).count();
        known.saturating_sub(2)
    }

    /// Everybody has seen `seen`; one version before it is kept, to be shown once more.
    pub(crate) fn forget(&mut self, seen: u64) {
        self.log.drain(..self.forgettable(seen));
    }
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            pages: ["p", "q"].map(|name| Part::new(Object::new(name))),
            seats: ["a", "b"].map(|name| Part::new(Object::new(name))),
            named: None,
        }
    }

    pub(crate) fn put_page(&mut self, index: usize, page: incumbent_core::group::Page) {
        let uid = self.pages[index].present().map(|page| page.version.uid.clone());
        self.pages[index].put(|revision, name| {
            let uid = uid.unwrap_or_else(|| Uid(format!("{name}{revision}")));
            PageVersion { version: Version { uid, revision }, page: Some(page) }
        });
    }

    /// Each write gives the seat its label, unless it is the one that takes it away.
    pub(crate) fn put_seat(&mut self, name: usize, record: Record, has_label: bool) {
        let uid = self.seats[name].present().map(|seat| seat.lock.version.uid.clone());
        self.seats[name].put(|revision, name| {
            let uid = uid.unwrap_or_else(|| Uid(format!("{name}{revision}")));
            let renewed = Some(Stamp::At(WallTime::from_unix_micros(revision as i64)));
            let record = Record { renewed, ..record };
            Seat { lock: Snapshot { version: Version { uid, revision }, record }, has_label }
        });
    }

    /// Takes the seat for a process, as an elector does, and returns the term.
    pub(crate) fn acquire(&mut self, name: usize, session: u128, info: &SeatInfo) -> SeatTerm {
        if self.seats[name].present().is_none() {
            self.put_seat(name, Record::default(), true);
        }
        let before = self.seats[name].present().expect("it was created").lock.clone();
        let next = before.record.last_token.0 + 1;
        let token = FencingToken(before.version.revision.max(next));
        let member = identity(name);
        let record = Record {
            holder: Some(member.clone()),
            session: Some(Session(session)),
            last_token: token,
            lease_duration: Some(LEASE),
            holder_info: HolderInfo { seat: Some(info.clone()), ..HolderInfo::default() },
            ..Record::default()
        };
        self.put_seat(name, record, true);
        SeatTerm { member, seat: before.version.uid, token }
    }

    /// Whether the seat of this name is held in this very term.
    pub(crate) fn is_held_in(&self, name: usize, term: &SeatTerm) -> bool {
        self.seats[name].present().is_some_and(|seat| {
            seat.lock.version.uid == term.seat && seat.lock.record.token() == Some(term.token)
        })
    }

    pub(crate) fn answer(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::CreatePage(index, _) if self.page(*index).is_some() => Answer::Conflict,
            Ask::CreatePage(index, page) => {
                self.put_page(usize::from(index.0), page.clone());
                Answer::Page(self.page(*index).expect("it was created").clone())
            }
            Ask::ReplacePage { index, base, .. } | Ask::DeletePage { index, base } => {
                match self.page(*index).map(|page| page.version == *base) {
                    None => return Answer::Missing,
                    Some(false) => return Answer::Conflict,
                    Some(true) => {}
                }
                if let Ask::ReplacePage { page, .. } = ask {
                    self.put_page(usize::from(index.0), page.clone());
                    return Answer::Page(self.page(*index).expect("it exists").clone());
                }
                self.pages[usize::from(index.0)].delete();
                Answer::Deleted
            }
            Ask::ReadPage(index) => {
                self.page(*index).cloned().map_or(Answer::Missing, Answer::Page)
            }
            Ask::CreateSeat(member) if self.seat(member).is_some() => Answer::Conflict,
            Ask::CreateSeat(member) => {
                self.put_seat(number(member), Record::default(), true);
                Answer::Seat(self.seat(member).expect("it was created").clone())
            }
            Ask::ReadSeat(member) => {
                self.seat(member).cloned().map_or(Answer::Missing, Answer::Seat)
            }
            Ask::VacateSeat { member, base, record } => {
                match self.seat(member).map(|seat| seat.version == *base) {
                    None => Answer::Missing,
                    Some(false) => Answer::Conflict,
                    Some(true) => {
                        self.put_seat(number(member), record.clone(), true);
                        Answer::Seat(self.seat(member).expect("it exists").clone())
                    }
                }
            }
            Ask::DeleteSeat { .. } => unreachable!("no day passes here"),
            Ask::ListSeats => Answer::Seats(self.list()),
        }
    }

    fn page(&self, index: PageIndex) -> Option<&PageVersion> {
        self.pages[usize::from(index.0)].present()
    }

    fn seat(&self, member: &Identity) -> Option<&Snapshot> {
        self.seats[number(member)].present().map(|seat| &seat.lock)
    }

    fn list(&self) -> SeatList {
        let held = self.seats.iter().filter_map(|seat| {
            let Snapshot { version, record } = &seat.present()?.lock;
            let (member, token) = record.holder.clone().zip(record.token())?;
            let term = SeatTerm { member, seat: version.uid.clone(), token };
            Some(HeldSeat { term, lease_duration: record.lease_duration? })
        });
        SeatList { held: held.collect(), is_before_any_table: self.named.is_none() }
    }
}

/// Members are called a and b.
pub(crate) fn identity(name: usize) -> Identity {
    Identity::new(["a", "b"][name]).expect("it is a name")
}

fn number(member: &Identity) -> usize {
    usize::from(member.as_str() == "b")
}
