//! When to stop.

use std::future::Future;

/// Completes when this process is asked to stop: by SIGTERM, as a Pod is, or by ctrl-c (SIGINT).
///
/// Pass it to [`Candidate::run_until`](crate::Candidate::run_until), which then stops the work and gives the
/// lock back, so that the next candidate leads at once. Call it first in `main`: the signals are handled from
/// the call on, not from the first poll. It matters in a container, whose first process does not end by a
/// SIGTERM that it does not handle: it leads on until it is killed, and the lock is left to expire.
///
/// Each call makes a separate future, and a signal completes all of them. After the first call, a signal no
/// longer ends the process by default.
///
/// SIGHUP is left as it is. It ends the process when its terminal is closed, without giving the lock back;
/// under `nohup` it is ignored; and many programs read their configuration again. On Windows it completes on
/// ctrl-c, ctrl-break, when the console is closed, and when the system shuts down.
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
/// Outside of a tokio runtime whose io is enabled, and where the system refuses to handle the signals.
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
