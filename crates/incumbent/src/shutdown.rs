//! When to stop.

use std::future::Future;

/// Completes when this process is asked to stop: by SIGTERM, as in a Pod, or by Ctrl-C (SIGINT).
///
/// Pass it to [`Candidate::run_until`](crate::Candidate::run_until), which then stops the work and
/// releases the lock, so that the next candidate leads at once. Call it first in `main`, because it
/// handles the signals from the call on, not from the first poll. This matters in a container: the
/// kernel does not end its first process by a SIGTERM that the process does not handle. Such a
/// process would lead until it is killed, and the lock would have to expire.
///
/// Each call returns a new future, and a signal completes all of them. After the first call, these
/// signals no longer end the process by default.
///
/// SIGHUP is left as it is. It ends the process when its terminal is closed, without releasing the
/// lock; under `nohup` it is ignored; and many programs reload their configuration on it. On
/// Windows, the future completes on Ctrl-C, Ctrl-Break, when the console is closed, and when the
/// system shuts down.
///
/// ```no_run
/// # use incumbent::{Candidate, Error, Lock, connect, shutdown_signal};
/// # async fn example() -> Result<(), Error> {
/// let shutdown = shutdown_signal();
/// let mut candidate =
///     Candidate::builder(connect().await?, Lock::lease("default", "scanner")).build()?;
/// candidate.run_until(shutdown, |_leadership| async { Ok(std::future::pending::<()>().await) }).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Outside of a tokio runtime with io enabled, or if the system refuses to handle the
/// signals.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    signals::any().expect("the system lets this process handle its signals")
}

#[cfg(unix)]
mod signals {
    use std::io;

    use tokio::signal::unix::{SignalKind, signal};

    pub(super) fn any() -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
}

#[cfg(windows)]
mod signals {
    use std::io;

    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};

    pub(super) fn any() -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let (mut c, mut break_) = (ctrl_c()?, ctrl_break()?);
        let (mut close, mut shutdown) = (ctrl_close()?, ctrl_shutdown()?);
        Ok(async move {
            tokio::select! {
                _ = c.recv() => {}
                _ = break_.recv() => {}
                _ = close.recv() => {}
                _ = shutdown.recv() => {}
            }
        })
    }
}

#[cfg(not(any(unix, windows)))]
mod signals {
    use std::io;

    pub(super) fn any() -> io::Result<impl Future<Output = ()> + Send + 'static> {
        Ok(std::future::pending())
    }
}
