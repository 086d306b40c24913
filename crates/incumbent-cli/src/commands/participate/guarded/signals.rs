//! The signals that this process gets, and hands to its commands.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::runtime::descendants;
use crate::runtime::signals::hangup_is_ignored;

/// The signals to come, in their order.
pub(crate) struct Signals(mpsc::UnboundedReceiver<i32>);

impl Signals {
    /// From now on no signal that can be handed on ends this process. Its dead children are buried. A SIGHUP that
    /// was ignored at the start stays ignored, here and in the command.
    pub(crate) fn listen() -> io::Result<Self> {
        let (sender, signals) = mpsc::unbounded_channel();
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
            SignalKind::alarm(),
            SignalKind::terminate(),
            SignalKind::window_change(),
        ];
        let hangup = (!hangup_is_ignored()).then(SignalKind::hangup);
        for kind in kinds.into_iter().chain(hangup) {
            let (mut source, sender) = (signal(kind)?, sender.clone());
            tokio::spawn(async move {
                while source.recv().await.is_some() && sender.send(kind.as_raw_value()).is_ok() {}
            });
        }
        let mut deaths = signal(SignalKind::child())?;
        tokio::spawn(async move {
            while deaths.recv().await.is_some() {
                descendants::bury_children(None);
            }
        });
        Ok(Self(signals))
    }

    /// Those that are sent here, for one command of many.
    pub(crate) fn relayed() -> (mpsc::UnboundedSender<i32>, Self) {
        let (sender, signals) = mpsc::unbounded_channel();
        (sender, Self(signals))
    }

    pub(crate) async fn next(&mut self) -> i32 {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

/// Whether it asks a program to end.
pub(crate) fn asks_to_end(signal: i32) -> bool {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    kinds.iter().any(|kind| kind.as_raw_value() == signal)
}

/// Whether it ends a program that does not care, and so one that only waits.
pub(crate) fn ends_by_default(signal: i32) -> bool {
    let kinds = [SignalKind::hangup(), SignalKind::quit()];
    asks_to_end(signal) || kinds.iter().any(|kind| kind.as_raw_value() == signal)
}
