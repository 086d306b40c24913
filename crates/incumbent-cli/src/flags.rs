//! Flags that several commands parse.

pub(crate) mod cluster;
