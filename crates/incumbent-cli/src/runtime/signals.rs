//! When to stop, by the signals that this process gets.

/// Waits for SIGTERM, SIGINT or SIGHUP; not for a SIGHUP that was ignored at the start.
pub(crate) async fn shutdown_signal() {
    tokio::select! {
        () = incumbent::shutdown_signal() => {}
        () = hangup() => {}
    }
}

#[cfg(unix)]
async fn hangup() {
    use tokio::signal::unix::{SignalKind, signal};

    if !hangup_is_ignored()
        && let Ok(mut hangup) = signal(SignalKind::hangup())
    {
        hangup.recv().await;
        return;
    }
    std::future::pending().await
}

#[cfg(not(unix))]
async fn hangup() {
    std::future::pending().await
}

/// Whether SIGHUP was ignored when this process began, as under `nohup`. It stays ignored, because this process and
/// what it starts are meant to outlive the terminal. On other systems than Linux the answer is no: there is no safe
/// way to ask.
#[cfg(unix)]
pub(crate) fn hangup_is_ignored() -> bool {
    static AT_START: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *AT_START.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        ignores_hangup(&status)
    })
}

/// SIGHUP is signal 1, so its bit is the lowest.
#[cfg(unix)]
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}

#[cfg(all(test, unix))]
mod tests {
    use super::ignores_hangup;

    #[test]
    fn whether_sighup_is_ignored_is_read_from_the_mask() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        assert!(!ignores_hangup("SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
