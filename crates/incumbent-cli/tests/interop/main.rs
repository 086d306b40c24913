//! Elections that our candidates share with other people's: each a real process, over HTTPS.
//!
//! `interop/build` builds the others; what is missing is skipped, in one line, unless
//! `INCUMBENT_REQUIRE_PEERS` is set. On a cluster of your own: `INCUMBENT_TEST_KUBECONFIG=FILE`.

#[path = "../support/mod.rs"]
mod support;

mod client_go;
mod election;
mod python;
