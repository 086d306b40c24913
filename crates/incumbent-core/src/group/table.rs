//! The table: who owns which task.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::identity::Identity;
use crate::record::{FencingToken, Uid};
pub use crate::seat::{PageIndex, TaskName};

/// What the tasks of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Each has a name.
    Named,
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
    pub fn page_of(self, task: &TaskName) -> PageIndex {
        let slot = u32::from(crc16(task.as_str().as_bytes())) % SLOTS;
        let page = slot * u32::from(self.pages) / SLOTS;
        PageIndex(u8::try_from(page).expect("less than the number of pages"))
    }
}

/// Names are spread over this many slots, as in Redis Cluster, and slots over pages.
const SLOTS: u32 = 16_384;

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
    /// The tasks. Never empty.
    pub tasks: BTreeMap<TaskName, Assignment>,
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

    /// The shape of the table, if this is page 0.
    pub fn shape(&self) -> Option<Shape> {
        match self.place {
            Place::First(shape) => Some(shape),
            Place::Further { .. } => None,
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
