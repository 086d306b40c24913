//! What the commands that serve HTTP share: who may ask, where they listen, what they answer.
//!
//! Modules below name the crate `http` as usual: this module is `crate::http`.

#[cfg(unix)]
pub(crate) mod access;
#[cfg(unix)]
pub(crate) mod listener;
pub(crate) mod metrics;
#[cfg(unix)]
pub(crate) mod response;
