//! Flags that several commands parse.

pub(crate) mod candidacy;
pub(crate) mod cluster;
pub(crate) mod duration;
pub(crate) mod group;
pub(crate) mod lock;
pub(crate) mod membership;
pub(crate) mod output_format;
pub(crate) mod schedule;
pub(crate) mod socket_address;
pub(crate) mod timing;
