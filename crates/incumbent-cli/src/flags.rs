//! Flags that several commands parse.

pub(crate) mod candidacy;
pub(crate) mod cluster;
pub(crate) mod duration;
pub(crate) mod group;
pub(crate) mod lock;
#[cfg(unix)]
pub(crate) mod membership;
pub(crate) mod output_format;
pub(crate) mod socket_address;
pub(crate) mod timing;
