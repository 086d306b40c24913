//! What an allocator wants to send next, and what it learns from the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::evidence::Fate;
use super::message::{Answer, Ask};
use super::{Allocator, FullList, View, onlooker};
use crate::group::known::PageVersion;
use crate::group::member::RELEASE_INTERVAL;
use crate::group::table::{Assignment, Kind, Page, PageIndex, Place, SeatTerm, Shape};
use crate::identity::Identity;
use crate::record::{Stamp, Uid};
use crate::seat::SeatInfo;
use crate::seen::Origin;
use crate::time::{Instant, Now, WallTime};

/// A request and what was known when it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct InFlight {
    ask: Ask,
    /// The uid and version of each page that was known to exist.
    pages: BTreeMap<PageIndex, (Uid, u64)>,
    /// The highest version that was known of the object that is asked for.
    known: u64,
}

/// The earliest moment at which time alone gives something to do.
#[derive(Debug, Default)]
pub(super) struct Earliest(pub(super) Option<Instant>);

impl Earliest {
    pub(super) fn at(&mut self, moment: Instant) {
        self.0 = Some(self.0.map_or(moment, |earlier| earlier.min(moment)));
    }
}

impl Allocator {
    pub(super) fn next_ask(&mut self, now: Now) -> (Option<Ask>, Option<Instant>) {
        let has_listed = self.has_listed_pages && self.has_listed_seats;
        if self.in_flight.is_some() || !self.is_active || !has_listed {
            return (None, None);
        }
        if now.instant < self.pause {
            return (None, Some(self.pause));
        }
        let mut earliest = Earliest::default();
        let ask = self
            .look_again()
            .or_else(|| self.keep_pages())
            .or_else(|| self.vacate(now.wall, &mut earliest))
            .or_else(|| self.look_for_seats(&mut earliest))
            .or_else(|| self.list_seats())
            .or_else(|| self.change_a_page(&mut earliest))
            .or_else(|| self.clear_away(now.wall));
        if let Some(ask) = &ask {
            self.in_flight = Some(self.sent(ask.clone()));
        }
        (ask, earliest.0)
    }

    fn sent(&self, ask: Ask) -> InFlight {
        let known = match &ask {
            Ask::CreatePage(index, _) | Ask::ReadPage(index) => self.pages.highest(*index),
            Ask::ReplacePage { index, .. } | Ask::DeletePage { index, .. } => {
                self.pages.highest(*index)
            }
            Ask::CreateSeat(member)
            | Ask::ReadSeat(member)
            | Ask::VacateSeat { member, .. }
            | Ask::DeleteSeat { member, .. } => {
                self.seats.get(member).map_or(0, |seat| seat.seen.revision())
            }
            Ask::ListSeats => 0,
        };
        let pages = self.pages.all_present().map(|(index, PageVersion { version, .. })| {
            (index, (version.uid.clone(), version.revision))
        });
        InFlight { ask, pages: pages.collect(), known }
    }

    // What it sends.

    /// Reads what a write that did not succeed was based on.
    fn look_again(&self) -> Option<Ask> {
        let page = self.doubtful.first().map(|index| Ask::ReadPage(*index));
        page.or_else(|| self.doubtful_seats.first().cloned().map(Ask::ReadSeat))
    }

    /// Creates what is missing, empties what cannot be read, and deletes what belongs to another table (G9).
    fn keep_pages(&self) -> Option<Ask> {
        let Some(first) = self.pages.present(PageIndex::FIRST) else {
            // Where there was a table, members may work by it until they see another one.
            let has_tasks = !self.wished().tasks.is_empty();
            let is_needed = has_tasks || self.named_table.is_some() || self.has_seen_a_table();
            let page = Page::empty(Place::First(self.shape_of_a_new_table()));
            return is_needed.then_some(Ask::CreatePage(PageIndex::FIRST, page));
        };
        let Some((table, shape)) = self.pages.table() else {
            // Not even the number of pages can be read.
            let base = first.version.clone();
            return Some(Ask::DeletePage { index: PageIndex::FIRST, base });
        };
        let (table_uid, seen) = (table.clone(), first.version.revision);
        let further = Place::Further { table: table_uid, seen, kind: shape.kind };
        let pages = shape.pages().find_map(|index| {
            let place = match index {
                PageIndex::FIRST => Place::First(shape),
                _ => further.clone(),
            };
            self.keep_page(index, Page::empty(place), table)
        });
        pages.or_else(|| {
            let mut beyond = self.pages.all_present().filter(|(index, _)| index.0 >= shape.pages);
            beyond.next().map(|(index, page)| self.delete(index, page))
        })
    }

    /// Whether a page 0 was known that is gone, or a member says that it saw one.
    fn has_seen_a_table(&self) -> bool {
        let knows_one = |info: &SeatInfo| info.released.pages.contains_key(&PageIndex::FIRST);
        let locks = self.seats.values().filter_map(|seat| seat.seen.snapshot());
        let mut infos = locks.filter_map(|lock| lock.record.holder_info.seat.as_ref());
        self.pages.newest(PageIndex::FIRST).is_some() || infos.any(knows_one)
    }

    fn keep_page(&self, index: PageIndex, empty: Page, table: &Uid) -> Option<Ask> {
        let Some(present) = self.pages.present(index) else {
            return Some(Ask::CreatePage(index, empty));
        };
        match &present.page {
            // It stays closed until each member has released this very version.
            None => {
                let base = present.version.clone();
                let highest_token = self.pages.highest_token(index);
                let page = Page { replaces: base.revision, highest_token, ..empty };
                Some(Ask::ReplacePage { index, base, page })
            }
            Some(page) if !page.is_of(&present.version.uid, table) => {
                Some(self.delete(index, present))
            }
            // Its label is missing, so that members do not see it: each write puts it back.
            Some(page) if self.pages.is_hidden(index) => {
                let base = present.version.clone();
                let page = Page { replaces: base.revision, ..page.clone() };
                Some(Ask::ReplacePage { index, base, page })
            }
            Some(_) => None,
        }
    }

    /// Deletes a page of another table, after a read of page 0 that began when the page was known.
    fn delete(&self, index: PageIndex, page: &PageVersion) -> Ask {
        let read = self.read_of_first.get(&index).copied().unwrap_or_default();
        if read < page.version.revision {
            return Ask::ReadPage(PageIndex::FIRST);
        }
        Ask::DeletePage { index, base: page.version.clone() }
    }

    /// As many pages as the tasks that are wanted now fill to a half. For slots, few enough that a member is not named on
    /// many, and enough that not all of the table changes when a member joins.
    pub(super) fn shape_of_a_new_table(&self) -> Shape {
        const PAGE_BYTES: usize = 32 * 1024 / 2;
        const PAGE_SLOTS: u16 = 256;
        /// A page holds about 1,500 tasks with names of 80 characters.
        const PAGES_TO_GROW: usize = 8;
        let wished = self.wished();
        let pages = match wished.kind {
            Kind::Named if wished.may_grow => {
                wished.names_bytes().div_ceil(PAGE_BYTES).max(PAGES_TO_GROW)
            }
            Kind::Named => wished.names_bytes().div_ceil(PAGE_BYTES),
            Kind::Slots(count) => usize::from(count.div_ceil(PAGE_SLOTS).min(32)),
            Kind::Permits(_) => 1,
        };
        let pages = pages.clamp(1, usize::from(Shape::MOST_PAGES));
        Shape { kind: wished.kind, pages: u8::try_from(pages).expect("at most 64") }
    }

    /// Vacates a seat whose term is over, which says so for ever.
    fn vacate(&self, wall: WallTime, earliest: &mut Earliest) -> Option<Ask> {
        self.seats.iter().find_map(|(member, seat)| {
            let lock = seat.seen.snapshot().filter(|_| seat.view != View::Unseen)?;
            if !lock.record.is_held() {
                return None;
            }
            let over_at = seat.seen.free_at(onlooker(&self.settings));
            if over_at > self.latest {
                earliest.at(over_at);
                return None;
            }
            let record = lock.record.vacated(Stamp::At(wall));
            let (member, base) = (member.clone(), lock.version.clone());
            Some(Ask::VacateSeat { member, base, record })
        })
    }

    /// Finds out whether a seat exists that nothing shows. The cache without it proves nothing (G3c).
    fn look_for_seats(&self, earliest: &mut Earliest) -> Option<Ask> {
        let members: BTreeSet<&Identity> = self.terms_that_matter().collect();
        members.into_iter().find_map(|member| match self.seats.get(member).map(|seat| seat.view) {
            Some(View::Watched) => None,
            Some(View::ReadAt(at)) if at + self.settings.retry_period > self.latest => {
                earliest.at(at + self.settings.retry_period);
                None
            }
            Some(View::ReadAt(_)) => Some(Ask::ReadSeat(member.clone())),
            Some(View::Unseen) | None => Some(Ask::CreateSeat(member.clone())),
        })
    }

    /// Members whose term has to end, or to release something, and is not known to be over.
    fn terms_that_matter(&self) -> impl Iterator<Item = &Identity> {
        let owners = self.pages.readable().flat_map(|(_, _, page)| &page.orders);
        let owners = owners.filter(|(_, order)| !order.tasks.is_empty());
        let owners = owners.map(|(term, order)| (term, order.lease_duration));
        let waits_to_open = self.pages.readable().any(|(_, _, page)| !page.is_open);
        let listed = self.list.iter().filter(move |_| waits_to_open).flat_map(|list| &list.held);
        let listed = listed.map(|held| (&held.term, held.lease_duration));
        let is_open = |(term, lease): &(&SeatTerm, Duration)| {
            matches!(self.fate_of(term, *lease), Fate::Running | Fate::Unseen)
        };
        owners.chain(listed).filter(is_open).map(|(term, _)| &term.member)
    }

    fn list_seats(&self) -> Option<Ask> {
        let mut closed = self
            .pages
            .readable()
            .filter(|(index, _, page)| !page.is_open && self.pages.present(*index).is_some());
        closed.any(|(index, ..)| self.list_for(index).is_none()).then_some(Ask::ListSeats)
    }

    // What it learns.

    pub(super) fn on_answer(&mut self, answer: Answer) {
        let Some(sent) = self.in_flight.take() else { return };
        let retry_at = self.latest + self.settings.retry_period;
        match &answer {
            Answer::Unknown => self.pause = retry_at,
            Answer::Refused { retry_after } => {
                let polite = retry_after.unwrap_or_default().min(MAX_PATIENCE);
                self.pause = retry_at.max(self.latest + polite);
            }
            _ => {}
        }
        match (sent.ask.clone(), answer) {
            (
                Ask::CreatePage(index, _)
                | Ask::ReplacePage { index, .. }
                | Ask::DeletePage { index, .. }
                | Ask::ReadPage(index),
                answer,
            ) => self.on_page(index, &sent, answer),
            (Ask::CreateSeat(member) | Ask::VacateSeat { member, .. }, Answer::Seat(seat)) => {
                let view = View::ReadAt(self.latest);
                self.learn_seat(member, seat, view, Origin::Event);
            }
            (Ask::ReadSeat(member), Answer::Seat(seat)) => {
                self.doubtful_seats.remove(&member);
                let origin = Origin::Read { known: sent.known };
                self.learn_seat(member, seat, View::ReadAt(self.latest), origin);
            }
            (Ask::ReadSeat(member), Answer::Missing) => self.unseen(&member),
            (Ask::DeleteSeat { member, .. }, Answer::Deleted | Answer::Missing) => {
                self.seats.remove(&member);
            }
            // The seat exists, or is not what was known.
            (Ask::CreateSeat(member), Answer::Conflict) => {
                self.doubtful_seats.insert(member);
            }
            (
                Ask::VacateSeat { member, .. } | Ask::DeleteSeat { member, .. },
                Answer::Conflict | Answer::Missing | Answer::Unknown,
            ) => {
                self.doubtful_seats.insert(member);
            }
            (Ask::ListSeats, Answer::Seats(list)) => {
                self.list = Some(FullList {
                    known: sent.pages,
                    received: self.latest,
                    held: list.held,
                    is_before_any_table: list.is_before_any_table,
                });
            }
            _ => {}
        }
    }

    fn on_page(&mut self, index: PageIndex, sent: &InFlight, answer: Answer) {
        let is_read = matches!(sent.ask, Ask::ReadPage(_));
        match answer {
            Answer::Page(page) if is_read => {
                self.pages.learn_read(index, page, sent.known);
                self.doubtful.remove(&index);
                if index == PageIndex::FIRST {
                    let known = sent.pages.iter().map(|(index, (_, revision))| (*index, *revision));
                    self.read_of_first = known.collect();
                }
            }
            Answer::Page(page) => {
                self.pages.learn(index, page);
                if let Ask::ReplacePage { page, .. } = &sent.ask {
                    self.next_move = self.next_move.max(self.latest + self.pause_after(page));
                }
                self.doubtful.remove(&index);
            }
            Answer::Missing if is_read => {
                self.pages.learn_missing(index, sent.known);
                self.doubtful.remove(&index);
            }
            Answer::Refused { .. } => {}
            _ => {
                self.doubtful.insert(index);
            }
        }
    }

    /// Until the watches of all members have delivered this page; and where it revokes, until the owners can release
    /// something again.
    fn pause_after(&self, page: &Page) -> Duration {
        let bytes = 512 + 48 * page.entries().count();
        let fan_out =
            Duration::from_nanos(10) * u32::try_from(bytes * self.seats.len()).unwrap_or(u32::MAX);
        let revokes = |assignment: Assignment| assignment.revoked == Some(page.replaces);
        match page.entries().any(|(.., assignment)| revokes(assignment)) {
            true => fan_out.max(RELEASE_INTERVAL),
            false => fan_out,
        }
    }

    fn unseen(&mut self, member: &Identity) {
        self.doubtful_seats.remove(member);
        if let Some(seat) = self.seats.get_mut(member) {
            seat.view = View::Unseen;
        }
        self.pause = self.latest + self.settings.retry_period / 8;
    }
}

/// The longest Retry-After that is obeyed.
const MAX_PATIENCE: Duration = Duration::from_secs(60);
