//! Other people's clients, as `interop/build` built them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    ClientGo,
    Python,
}

/// The program of this peer: the candidate itself, or the interpreter for it.
///
/// # Panics
/// It was not built, and `INCUMBENT_REQUIRE_PEERS` is set.
pub(crate) fn find(peer: Peer) -> Option<PathBuf> {
    let (name, file) = match peer {
        Peer::ClientGo => ("client-go", "client-go"),
        Peer::Python => ("the Python client", "python/bin/python"),
    };
    let file = folder().join(file);
    if file.exists() {
        return Some(file);
    }
    missing(name, "interop/build builds it");
    None
}

/// Beside the folder that the binary is in: `target/interop`, beside `target/debug`.
pub(crate) fn folder() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_incumbent")).ancestors().nth(2).unwrap();
    target.join("interop")
}

/// Says once that a peer is missing, past the test runner, which keeps what passing tests print.
///
/// # Panics
/// `INCUMBENT_REQUIRE_PEERS` is set.
pub(crate) fn missing(peer: &str, hint: &str) {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    assert!(std::env::var_os("INCUMBENT_REQUIRE_PEERS").is_none(), "{peer} is missing: {hint}");
    let mut said = SAID.lock().unwrap();
    if !said.iter().any(|other| other == peer) {
        said.push(peer.to_owned());
        let _ = writeln!(std::io::stderr(), "skipped: {peer} is missing ({hint})");
    }
}
