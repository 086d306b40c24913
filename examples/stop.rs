//! When to stop: ctrl-c at a terminal, SIGTERM in a Pod.

use tokio::signal::unix::{SignalKind, signal};

/// Waits until this process is asked to stop.
///
/// A Pod's first process ignores a SIGTERM that it has no handler for, and is killed half a minute later,
/// with the lock still in its hands.
pub(crate) async fn asked_to_stop() {
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
