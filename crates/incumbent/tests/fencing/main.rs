//! The recipes of `docs/fencing.md`, as they stand there, against the stores that they are for.
//!
//! Each store is driven by its own command line, and started here, in a folder of its own and on a Unix
//! socket. What is not installed is skipped, in one line, unless `INCUMBENT_REQUIRE_PEERS` is set.

#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

mod groups;
mod kubernetes;
mod object_store;
mod page;
mod postgresql;
mod program;
mod redis;
mod rule;
mod sql;
mod sqlite;
