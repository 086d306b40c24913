//! Groups: members that share tasks, so that no task ever has two owners.
//!
//! Three parts, all as pure as [`Elector`](crate::Elector):
//!
//! - A [`Member`] decides which tasks its process may run, and what it may say that it has released.
//! - An [`Allocator`] decides what to write into the table, and on which evidence. Any number of allocators may act at
//!   any time: each write is safe by itself.
//! - [`balance`](fn@balance) says which member should run which task.
//!
//! A member holds its *seat*, a lock of its own with an ordinary term. The *table* is a number of [`Page`]s, which name
//! an owner for each task by the seat and the term that it holds. `docs/design.md` states the invariants, G1 to G10.

mod allocator;
mod balance;
mod known;
mod member;
mod table;
mod text;

pub use crate::seat::{Released, SeatInfo};
pub use allocator::{
    Allocator, Answer, Ask, Excess, Happening, HeldSeat, SeatList, Settings, Sought, Wishes,
};
pub use balance::{Task, Worker, balance, hand_out, without_declined};
pub use known::PageVersion;
pub use member::{Event, Member, Orders};
pub use table::{
    Assignment, Kind, Order, Page, PageIndex, Place, SeatTerm, Shape, TaskName, slot_of,
};
pub use text::{Fault, PageText, Part, Unreadable};
