//! Schedules: one run per tick, whichever replica runs it.
//!
//! A *tick* is a scheduled instant. The record of a schedule is in the object of an election, and each change of it
//! replaces exactly the version that was read. A [`Scheduler`] is one replica's side of it, and as pure as
//! [`Elector`](crate::Elector). Its caller passes events and the time. It returns the request to send, the run to start
//! or stop, and when to call it again. `docs/design.md` states the invariants, S1 to S7.
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
