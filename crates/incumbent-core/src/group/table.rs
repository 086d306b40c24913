//! The table: who owns which task.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::identity::Identity;
use crate::record::{FencingToken, Uid};
pub use crate::seat::{PageIndex, TaskName};

/// What the tasks of a table are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Each has a name.
    #[default]
    Named,
    /// Numbers from zero up to, and without, this one: parts of a set of keys. [`slot_of`] says which.
    Slots(u16),
    /// Numbers from zero up to, and without, this one. They are alike, and a member gets one at most.
    Permits(u16),
}

impl Kind {
    /// The most slots or permits.
    pub const MOST: u16 = 16_384;

    /// How many tasks there are; `None` if they have names.
    pub fn count(self) -> Option<u16> {
        match self {
            Self::Named => None,
            Self::Slots(count) | Self::Permits(count) => Some(count),
        }
    }

    /// All tasks, if they have numbers.
    pub fn tasks(self) -> impl Iterator<Item = TaskName> {
        (0..self.count().unwrap_or_default()).map(TaskName::numbered)
    }
}

/// What never changes in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// What the tasks are.
    pub kind: Kind,
    /// How many pages there are: 1 to [`MOST_PAGES`](Self::MOST_PAGES).
    pub pages: u8,
}

impl Shape {
    /// The most pages of a table.
    pub const MOST_PAGES: u8 = 64;

    /// The pages, the first one first.
    pub fn pages(self) -> impl Iterator<Item = PageIndex> {
        (0..self.pages).map(PageIndex)
    }

    /// The one page on which `task` can be (G9).
    ///
    /// Neighbouring slots are on one page. Permits are all on page 0, because compare-and-swap cannot see across pages.
    pub fn page_of(self, task: &TaskName) -> PageIndex {
        let (slot, slots) = match self.kind {
            Kind::Named => (crc16(task.as_str().as_bytes()) % Kind::MOST, Kind::MOST),
            Kind::Slots(slots) => (task.number().unwrap_or_default().min(slots - 1), slots),
            Kind::Permits(_) => (0, 1),
        };
        let page = u32::from(slot) * u32::from(self.pages) / u32::from(slots);
        PageIndex(u8::try_from(page).expect("less than the number of pages"))
    }
}

/// The slot of a key, of `slots` in all.
///
/// As in Redis Cluster: CRC16/XMODEM, modulo the number of slots. If the key contains `{`, and `}` at least two bytes
/// later, only what is between the first two of them counts, so that keys can be put into one slot.
///
/// # Panics
///
/// If `slots` is zero.
pub fn slot_of(key: &[u8], slots: u16) -> u16 {
    crc16(hashed_part(key)) % slots
}

fn hashed_part(key: &[u8]) -> &[u8] {
    let position = |text: &[u8], byte: u8| text.iter().position(|other| *other == byte);
    let Some(tag) = position(key, b'{').map(|start| &key[start + 1..]) else { return key };
    match position(tag, b'}') {
        None | Some(0) => key,
        Some(end) => &tag[..end],
    }
}

/// CRC16/XMODEM, which every language has.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 }
        })
    })
}

/// One page of the table: one ConfigMap, changed only by replacing the version that was judged (G1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// Where it is in which table.
    pub place: Place,
    /// Whether it assigns anything (G8).
    pub is_open: bool,
    /// The highest token that it gave.
    pub highest_token: FencingToken,
    /// The version that this content replaced; zero where the page was created with it. An allocator replaces the
    /// newest version, so a page that states an older one than was known is an old copy that was written back.
    pub replaces: u64,
    /// Who owns which task.
    pub orders: BTreeMap<SeatTerm, Order>,
}

/// Where a page is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It is page 0, whose uid is the table's.
    First(Shape),
    /// It is another page.
    Further {
        /// The uid of the page 0 that it belongs to.
        table: Uid,
        /// The version of page 0 that its creator saw.
        seen: u64,
        /// What the tasks of the table are, as page 0 says.
        kind: Kind,
    },
}

/// One term of one member: what an entry counts for (G2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeatTerm {
    /// The member.
    pub member: Identity,
    /// The object that its seat is.
    pub seat: Uid,
    /// The token of its term on that seat.
    pub token: FencingToken,
}

/// What one term is to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// The lease duration of the term.
    pub lease_duration: Duration,
    /// Where the member can be reached. Not empty, and without control characters.
    pub address: Option<String>,
    /// The tasks that it owns.
    pub tasks: BTreeMap<TaskName, Assignment>,
    /// Tasks that it will get when their owner has stopped them, so that it can prepare them; with the version of the page
    /// that the write which says so replaced. They are not its own: it must not work on them. Of `tasks` and this, one at
    /// least is not empty.
    pub next: BTreeMap<TaskName, u64>,
}

/// One task of one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// The fencing token to work with. It differs each time that the task is assigned (G5).
    pub token: FencingToken,
    /// The owner is asked to stop: the version of the page that the revoking write replaced. It is never taken back (G4).
    pub revoked: Option<u64>,
}

impl Page {
    /// An empty page, as it is created.
    pub fn empty(place: Place) -> Self {
        Self {
            place,
            is_open: false,
            highest_token: FencingToken(0),
            replaces: 0,
            orders: BTreeMap::new(),
        }
    }

    /// Who owns `task`.
    pub fn owner_of(&self, task: &TaskName) -> Option<(&SeatTerm, &Order, Assignment)> {
        let mut owners = self.entries().filter(|(_, _, name, _)| *name == task);
        owners.next().map(|(term, order, _, assignment)| (term, order, assignment))
    }

    /// All tasks that have an owner.
    pub fn entries(&self) -> impl Iterator<Item = (&SeatTerm, &Order, &TaskName, Assignment)> {
        self.orders.iter().flat_map(|(term, order)| {
            order.tasks.iter().map(move |(task, assignment)| (term, order, task, *assignment))
        })
    }

    /// All tasks that move to a member that prepares them, with that member's term, and the version that was replaced when
    /// it was asked to.
    pub fn preparations(&self) -> impl Iterator<Item = (&SeatTerm, &TaskName, u64)> {
        self.orders.iter().flat_map(|(term, order)| {
            order.next.iter().map(move |(task, since)| (term, task, *since))
        })
    }

    /// The shape of the table, if this is page 0.
    pub fn shape(&self) -> Option<Shape> {
        match self.place {
            Place::First(shape) => Some(shape),
            Place::Further { .. } => None,
        }
    }

    /// What the tasks of the table are.
    pub fn kind(&self) -> Kind {
        match self.place {
            Place::First(Shape { kind, .. }) | Place::Further { kind, .. } => kind,
        }
    }

    /// Whether this page belongs to the table whose page 0 has the uid `table`; `own` is its own uid.
    pub fn is_of(&self, own: &Uid, table: &Uid) -> bool {
        match &self.place {
            Place::First(_) => own == table,
            Place::Further { table: named, .. } => named == table,
        }
    }
}
