//! Schedules: one run per tick, whichever replica runs it.
//!
//! A *tick* is a scheduled instant. The record of a schedule is beside an election, in the same object, and each change
//! of it replaces exactly the version that was read. A [`Scheduler`] is one replica's side of it, as pure as
//! [`Elector`](crate::Elector): its caller says what happened and what time it is, and it answers what to send, which
//! run to start or to stop, and when to call again. `docs/design.md` states the invariants, S1 to S7.
//!
//! Read `record.rs` for what is stored, then `judge.rs`, which decides what may be written over it, then
//! `scheduler.rs`.

mod clock;
mod judge;
mod message;
mod moment;
mod policy;
mod record;
mod scheduler;
mod ticks;

pub use clock::TrustedClock;
pub use judge::resumed;
pub use message::{
    ScheduleEvent, ScheduleObject, ScheduleOperation, ScheduleOrders, ScheduleReply,
    ScheduleRequest, Start, StoredSchedule, Trouble,
};
pub use moment::Moment;
pub use policy::{CatchUp, OnDeath, Overlap, Policies};
pub use record::{Asked, Counts, Outcome, Past, Run, ScheduleRecord, Spec, Suspension, Tick, When};
pub use scheduler::{ScheduleSettings, Scheduler};
pub use ticks::{Calendar, Timetable};
