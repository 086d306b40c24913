//! Groups in the same world: the real driver, watches and seats of members that share tasks.
//!
//! `trial.rs` says what a seed stands for, `stage.rs` plays it, `strike.rs` does what goes wrong, `member.rs` is what a
//! process runs, and `books.rs` has who ran what, and what must hold of that.

mod books;
mod member;
mod stage;
mod strike;
mod trial;

pub(super) use books::EVENTS;
pub(super) use trial::{COMMON, OWN, Trial};
