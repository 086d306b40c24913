//! What one process knows of the table.

use std::collections::BTreeMap;

use super::table::{Page, PageIndex, Shape};
use crate::record::{FencingToken, Uid, Version};

/// One version of a page, as a read, a list or a watch shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageVersion {
    /// Which version.
    pub version: Version,
    /// What it says. `None` where it is not as an allocator wrote it.
    pub page: Option<Page>,
}

/// The newest known version of each page.
///
/// For each name of a page, it never goes below the highest version that was seen, whatever the uid (G7). A deletion
/// counts with its own version, and a page that a list lacks with that of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct KnownPages {
    pages: BTreeMap<PageIndex, Known>,
    /// The shape of the newest table. It never changes, so that it is known even if page 0 becomes unreadable.
    shape: Option<(Uid, Shape)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Known {
    /// The highest version, of a content or of a deletion.
    highest: u64,
    /// The newest content. It stays when the page is gone: a member works by it until it sees a newer one.
    content: Option<PageVersion>,
    /// The version since which the page has assigned nothing; where it is open, one since which it has existed.
    closed_since: u64,
    /// The highest token that any content stated, so that it survives a content that cannot be read.
    highest_token: FencingToken,
    is_gone: bool,
    /// What a list, a watch or a write last said, and as of which version: whether the page is there with its label.
    labelled: (u64, bool),
}

impl KnownPages {
    /// A list, a watch or a write showed this page. Returns whether this was news.
    pub(crate) fn learn(&mut self, index: PageIndex, new: PageVersion) -> bool {
        let known = self.pages.entry(index).or_default();
        known.learn_label(new.version.revision, true);
        let is_news = new.version.revision > known.highest;
        if is_news {
            known.take(new, &mut self.shape);
        }
        is_news
    }

    /// A read that was sent when `highest` was the highest version found this page.
    ///
    /// A page whose label was taken away exists all the same, but no watch and no list shows it. Its version may then be
    /// lower than that of the list.
    pub(crate) fn learn_read(&mut self, index: PageIndex, new: PageVersion, highest: u64) {
        let known = self.pages.entry(index).or_default();
        let revision = new.version.revision;
        let was_gone = known.is_gone && known.highest == highest;
        if revision > known.highest || (was_gone && revision >= known.content_revision()) {
            known.take(new, &mut self.shape);
        }
    }

    /// Whether a page exists that members do not see, because its label is missing.
    pub(crate) fn is_hidden(&self, index: PageIndex) -> bool {
        let is_hidden = |known: &Known| !known.is_gone && !known.labelled.1;
        self.pages.get(&index).is_some_and(is_hidden)
    }

    /// The page was deleted at `revision`, or lost its label. Returns whether this was news.
    pub(crate) fn learn_gone(&mut self, index: PageIndex, revision: u64) -> bool {
        let known = self.pages.entry(index).or_default();
        let has_lost_label = known.learn_label(revision, false);
        // A deletion has a version that no content has.
        let is_gone = revision > known.highest;
        if is_gone {
            known.highest = revision;
            known.is_gone = true;
        }
        is_gone || has_lost_label
    }

    /// A list shows these pages and no others. Returns whether there was news.
    pub(crate) fn learn_list(
        &mut self,
        revision: u64,
        pages: Vec<(PageIndex, PageVersion)>,
    ) -> bool {
        let known: Vec<PageIndex> = self.pages.keys().copied().collect();
        let shown: Vec<PageIndex> = pages.iter().map(|(index, _)| *index).collect();
        let mut is_news = false;
        for (index, page) in pages {
            is_news |= self.learn(index, page);
        }
        for index in known.into_iter().filter(|index| !shown.contains(index)) {
            is_news |= self.learn_gone(index, revision);
        }
        is_news
    }

    /// A read that was sent when `known` was the highest version found no such page. Returns whether this was news.
    pub(crate) fn learn_missing(&mut self, index: PageIndex, known: u64) -> bool {
        let page = self.pages.entry(index).or_default();
        let is_news = page.highest == known && !page.is_gone;
        page.is_gone |= is_news;
        is_news
    }

    /// The highest version that was seen under this name.
    pub(crate) fn highest(&self, index: PageIndex) -> u64 {
        self.pages.get(&index).map_or(0, |known| known.highest)
    }

    /// The newest version of a page, also of one that is gone.
    pub(crate) fn newest(&self, index: PageIndex) -> Option<&PageVersion> {
        self.pages.get(&index)?.content.as_ref()
    }

    /// The newest version of a page that exists, as far as is known.
    pub(crate) fn present(&self, index: PageIndex) -> Option<&PageVersion> {
        let known = self.pages.get(&index)?;
        known.content.as_ref().filter(|_| !known.is_gone)
    }

    /// The version since which this page has assigned nothing; where it is open, one since which it has existed.
    pub(crate) fn closed_since(&self, index: PageIndex) -> u64 {
        self.pages.get(&index).map_or(0, |known| known.closed_since)
    }

    /// The highest token that any content of this page stated.
    pub(crate) fn highest_token(&self, index: PageIndex) -> FencingToken {
        self.pages.get(&index).map_or(FencingToken(0), |known| known.highest_token)
    }

    /// All pages that exist, as far as is known.
    pub(crate) fn all_present(&self) -> impl Iterator<Item = (PageIndex, &PageVersion)> {
        self.pages.keys().filter_map(|index| Some((*index, self.present(*index)?)))
    }

    /// The uid and the shape of the table: those of the newest page 0.
    pub(crate) fn table(&self) -> Option<(&Uid, Shape)> {
        let first = self.newest(PageIndex::FIRST)?;
        let (uid, shape) = self.shape.as_ref()?;
        (*uid == first.version.uid).then_some((uid, *shape))
    }

    /// The pages whose newest version is not as an allocator writes it, and that version.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = (PageIndex, u64)> {
        self.pages.iter().filter_map(|(index, known)| {
            let content = known.content.as_ref().filter(|content| content.page.is_none())?;
            Some((*index, content.version.revision))
        })
    }

    /// The pages of the table that can be read, by their newest versions.
    pub(crate) fn readable(&self) -> impl Iterator<Item = (PageIndex, &Version, &Page)> {
        let table = self.table();
        let pages = table.into_iter().flat_map(|(_, shape)| shape.pages());
        pages.filter_map(move |index| {
            let (uid, _) = table?;
            let PageVersion { version, page } = self.newest(index)?;
            let page = page.as_ref().filter(|page| page.is_of(&version.uid, uid))?;
            Some((index, version, page))
        })
    }
}

impl Known {
    fn take(&mut self, new: PageVersion, shape: &mut Option<(Uid, Shape)>) {
        let PageVersion { version, page } = new;
        let page = page.filter(|page| self.may_be_followed_by(&version.uid, page));
        if let Some(of_table) = page.as_ref().and_then(Page::shape) {
            *shape = Some((version.uid.clone(), of_table));
        }
        if self.closes_with(&version.uid, page.as_ref()) {
            self.closed_since = version.revision;
        }
        let stated = page.as_ref().map_or(FencingToken(0), |page| page.highest_token);
        self.highest_token = self.highest_token.max(stated);
        self.highest = self.highest.max(version.revision);
        self.is_gone = false;
        self.content = Some(PageVersion { version, page });
    }

    /// Returns whether the label was there before and is not now.
    fn learn_label(&mut self, revision: u64, is_there: bool) -> bool {
        let (latest, was_there) = self.labelled;
        if revision > latest {
            self.labelled = (revision, is_there);
        }
        revision > latest && was_there && !is_there
    }

    /// Whether a new content is closed, or cannot be read, and the page may have been open since the one before.
    fn closes_with(&self, uid: &Uid, page: Option<&Page>) -> bool {
        let Some(old) = self.content.as_ref().filter(|old| old.version.uid == *uid) else {
            return true;
        };
        // Between two closed contents that differ, the page may have been open without this process having seen it.
        page.is_none_or(|page| !page.is_open && old.page.as_ref() != Some(page))
    }

    /// Whether an allocator can have written `page` after what is known.
    ///
    /// An allocator replaces the newest version. A content that states an older one is a copy that somebody wrote back;
    /// it would give tasks to terms that have released them. A deletion or a list does not count here: they also lack a
    /// page that has lost its label, and an allocator that puts the label back replaces an older version than theirs.
    fn may_be_followed_by(&self, uid: &Uid, page: &Page) -> bool {
        let is_same = self
            .content
            .as_ref()
            .is_some_and(|known| known.version.uid == *uid && known.page.as_ref() == Some(page));
        let is_created = page.replaces == 0 && !page.is_open && page.orders.is_empty();
        is_same || is_created || page.replaces >= self.content_revision()
    }

    fn content_revision(&self) -> u64 {
        self.content.as_ref().map_or(0, |content| content.version.revision)
    }
}
