//! Enough of the Kubernetes API, in one process.
#![allow(dead_code)]

mod object;
mod resources;
mod schema;
mod selector;
mod status;
mod time;
mod validate;

pub use status::Status;
