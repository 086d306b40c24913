//! Other people's clients, as `interop/build` built them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    ClientGo,
    Python,
    Helm,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::ClientGo => "client-go",
            Self::Python => "the Python client",
            Self::Helm => "helm's engine",
        }
    }

    /// The candidate itself, or the interpreter for it.
    fn program(self) -> PathBuf {
        folder().join(match self {
            Self::ClientGo => "client-go",
            Self::Python => "python/bin/python",
            Self::Helm => "helm",
        })
    }
}

/// The program of this peer.
///
/// # Panics
/// It was not built, and `INCUMBENT_REQUIRE_PEERS` is set.
pub(crate) fn find(peer: Peer) -> Option<PathBuf> {
    if peer.program().exists() {
        return Some(peer.program());
    }
    // All that are missing for elections, in one line.
    let all = if peer == Peer::Helm { vec![peer] } else { vec![Peer::ClientGo, Peer::Python] };
    let all = all.into_iter().filter(|peer| !peer.program().exists());
    let names: Vec<_> = all.map(Peer::name).collect();
    missing(&names.join(" and "), "interop/build builds it");
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
    assert!(std::env::var_os("INCUMBENT_REQUIRE_PEERS").is_none(), "missing: {peer} ({hint})");
    let mut said = SAID.lock().unwrap();
    if !said.iter().any(|other| other == peer) {
        said.push(peer.to_owned());
        let _ = writeln!(std::io::stderr(), "skipped: {peer}, missing here ({hint})");
    }
}
