//! What the commands that answer over HTTP share: who may ask, where they listen, and what an answer is.
//!
//! Not named `http`, which is the crate of its vocabulary.

pub(crate) mod access;
pub(crate) mod answer;
pub(crate) mod listen;
