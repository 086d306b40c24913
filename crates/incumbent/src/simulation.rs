//! The real driver, watch, term and watchdog, in a world that is made of a seed.
//!
//! Each process runs in a separate runtime, on a machine with its own clock, over the real API server.
//! `world.rs` has true time and the order of events, `resident.rs` what waits for a process; `machine.rs` is a process
//! and its clock, `line.rs` its way
//! to the server and `network.rs` what becomes of what is on that way; `schedule.rs` says what goes wrong,
//! `strike.rs` does it, `process.rs` is what is run, `judge.rs` what must hold at any time and `trial.rs` what
//! must hold at the end.
//!
//! `groups/` plays groups in the same world: members that share tasks.
//!
//! `SEEDS=0..5000` looks longer, with `THREADS=2`. `SEED=17` replays one seed and prints all that happened.

mod client_go;
mod dial;
mod excuse;
mod groups;
mod judge;
mod line;
mod lock;
mod machine;
mod network;
mod process;
mod resident;
mod run;
mod schedule;
mod server;
mod strike;
mod trial;
mod watches;
mod world;

pub(crate) use machine::HostClock;
