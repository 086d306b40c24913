//! Commands to try elections with.

pub(crate) mod demo;
pub(crate) mod dev_server;
