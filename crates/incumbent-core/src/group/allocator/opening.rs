//! When a page may begin to assign tasks (G8).

use super::evidence::Fate;
use super::plan::Earliest;
use super::{Allocator, FullList, HeldSeat};
use crate::group::table::{Page, PageIndex, Place};
use crate::record::{Uid, Version};

impl Allocator {
    /// Whether the newest version of this page may assign tasks. Where only time is missing, `earliest` learns of it.
    pub(super) fn may_assign(
        &self,
        index: PageIndex,
        version: &Version,
        page: &Page,
        earliest: &mut Earliest,
    ) -> bool {
        if page.is_open {
            return true;
        }
        let Some(list) = self.list_for(index) else { return false };
        let Some(first) = self.pages.present(PageIndex::FIRST) else { return false };
        if self.named_table.as_ref() != Some(&first.version.uid) {
            return false;
        }
        if index == PageIndex::FIRST && list.is_before_any_table && self.waits_for_others() {
            return false;
        }
        let least_of_first = match &page.place {
            Place::First(_) => version.revision,
            Place::Further { seen, .. } => *seen,
        };
        let least = [(PageIndex::FIRST, least_of_first), (index, version.revision)];
        let has_all_released = list.held.iter().all(|seat| self.has_let_go(seat, &least, earliest));
        let is_first_open = first.page.as_ref().is_none_or(|page| page.is_open);
        let waits = !list.is_before_any_table || is_first_open;
        let waited_at = list.received + self.settings.longest_lease;
        if waits && waited_at > self.latest {
            earliest.at(waited_at);
            return false;
        }
        has_all_released
    }

    /// Whether page 0 waits for the other pages of a first table: once it is open, they wait for the longest lease (G8c).
    fn waits_for_others(&self) -> bool {
        let pages = self.pages.table().map_or(0, |(_, shape)| usize::from(shape.pages));
        let open = self.pages.readable().filter(|(_, _, page)| page.is_open);
        open.count() + 1 < pages
    }

    /// The full list, if it began after this page and page 0 were seen.
    pub(super) fn list_for(&self, index: PageIndex) -> Option<&FullList> {
        let list = self.list.as_ref()?;
        let began_after = |index| self.began_after(list, index);
        (began_after(PageIndex::FIRST) && began_after(index)).then_some(list)
    }

    fn began_after(&self, list: &FullList, index: PageIndex) -> bool {
        let Some(page) = self.pages.present(index) else { return false };
        let known: Option<&(Uid, u64)> = list.known.get(&index);
        known.is_some_and(|(uid, revision)| {
            *uid == page.version.uid && *revision >= self.pages.closed_since(index)
        })
    }

    /// Whether this seat of the list runs nothing of an earlier table, nor ever will.
    fn has_let_go(
        &self,
        held: &HeldSeat,
        least: &[(PageIndex, u64)],
        earliest: &mut Earliest,
    ) -> bool {
        let seat = self.seats.get(&held.term.member);
        if let Some(info) = seat.and_then(|seat| seat.info_of(&held.term)) {
            let released = &info.released;
            let is_above = |(index, least): &(PageIndex, u64)| {
                released.pages.get(index).is_some_and(|seen| seen >= least)
            };
            if released.exceptions.is_empty() && least.iter().all(is_above) {
                return true;
            }
        }
        match self.fate_of(&held.term, held.lease_duration) {
            Fate::Over => true,
            Fate::OverAt(end) => {
                earliest.at(end);
                false
            }
            Fate::Running | Fate::Unseen => false,
        }
    }
}
