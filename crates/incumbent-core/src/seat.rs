//! What a member of a group says in its seat, the lock that it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// What a member says of itself and of its work. It is part of the seat's record for as long as the term runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeatInfo {
    /// How much it can do, compared with others. A preference, not a limit.
    pub capacity: u32,
    /// The version of the program that it runs. While two versions run, tasks move only if they must.
    pub version: String,
    /// Where it runs, for people. It decides nothing. Empty where it does not say.
    pub zone: String,
    /// Whether it wants no tasks for now, so that its own are moved to others.
    pub is_draining: bool,
    /// Whether it leaves: from then on it starts nothing in this term, so that each task that is not an exception can
    /// be given to others. It is never taken back within a term.
    pub is_leaving: bool,
    /// Tasks that it wants to give to others for now, or not to get. A preference: if every other member declines the
    /// task, too, it stays where it is.
    pub declined: BTreeSet<TaskName>,
    /// For how long at most it prepares a task that is to move here, while the former owner still works on it. `None` if
    /// it prepares nothing, so that the former owner is asked to stop at once.
    pub prepares_within: Option<Duration>,
    /// For each page on which this term was asked to prepare something: all that the page has asked for before this
    /// version was replaced is prepared. A preference decides by it, and nothing else.
    pub prepared: BTreeMap<PageIndex, u64>,
    /// What it has released.
    pub released: Released,
}

/// *When this was written, the member acted on each of these pages as of that version or a newer one, and ran nothing,
/// of any page or table, that the newest page did not give to this term under that very token, except the exceptions.*
///
/// It is replaced whole, from one moment, and never merged: a part of it from another moment would be untrue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Released {
    /// The version of each page.
    pub pages: BTreeMap<PageIndex, u64>,
    /// Tasks that still run although no page gives them to this term. One list for all pages: a task that runs by a
    /// page of an earlier table would otherwise be looked for in the wrong one.
    pub exceptions: BTreeSet<TaskName>,
}

impl Default for SeatInfo {
    fn default() -> Self {
        Self {
            capacity: 1,
            version: String::new(),
            zone: String::new(),
            is_draining: false,
            is_leaving: false,
            declined: BTreeSet::new(),
            prepares_within: None,
            prepared: BTreeMap::new(),
            released: Released::default(),
        }
    }
}

impl SeatInfo {
    /// Whether this member no longer runs `task` as of the revocation that replaced version `revoked` of `page`, and
    /// will not start it again in this term (G3a, G3a').
    pub(crate) fn has_released(
        &self,
        page: PageIndex,
        task: &TaskName,
        revoked: Option<u64>,
    ) -> bool {
        if self.released.exceptions.contains(task) {
            return false;
        }
        // A release of the version that was replaced says nothing about the one that revokes.
        let is_above = |revoked| self.released.pages.get(&page).is_some_and(|seen| *seen > revoked);
        self.is_leaving || revoked.is_some_and(is_above)
    }

    /// Whether this member has prepared what the write that replaced version `since` of `page` asked it to prepare.
    pub(crate) fn has_prepared(&self, page: PageIndex, since: u64) -> bool {
        self.prepared.get(&page).is_some_and(|prepared| *prepared > since)
    }
}

/// Which page of the table. Page 0 fixes how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageIndex(pub u8);

impl PageIndex {
    /// The page that states the shape of the table, and whose uid is the table's.
    pub const FIRST: Self = Self(0);
}

/// The name of a task: 1 to [`LONGEST`](Self::LONGEST) visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskName(String);

impl TaskName {
    /// The most characters of a name.
    pub const LONGEST: usize = 253;

    /// The task of this name. `None` if a page cannot store it.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        let is_storable = (1..=Self::LONGEST).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic());
        is_storable.then_some(Self(name))
    }

    /// The task of this number: a slot or a permit.
    pub fn numbered(number: u16) -> Self {
        Self(number.to_string())
    }

    /// The number, if the name is that of a [numbered](Self::numbered) task.
    pub fn number(&self) -> Option<u16> {
        let number = self.0.parse().ok()?;
        (Self::numbered(number) == *self).then_some(number)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
