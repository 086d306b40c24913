//! Whether a command that has ended is started again.

use std::time::Duration;

use clap::ValueEnum;

use super::protocol::End;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Restart {
    Never,
    /// Unless its exit code is 0
    OnFailure,
    Always,
}

impl Restart {
    pub(crate) fn is_wanted_after(self, end: End) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => end.code() != 0,
            Self::Always => true,
        }
    }
}

/// A command that ran for so long starts with a clean slate.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_secs(60);
