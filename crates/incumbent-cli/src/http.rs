//! What the commands that serve HTTP share: who may ask, where they listen, what they answer.
//!
//! Modules below name the crate `http` as usual: this module is `crate::http`.

#![cfg_attr(
    not(unix),
    allow(dead_code, reason = "there, only metrics are served: no sidecar, no dashboard")
)]

pub(crate) mod access;
pub(crate) mod listener;
pub(crate) mod metrics;
pub(crate) mod response;
