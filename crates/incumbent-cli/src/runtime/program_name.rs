//! One program, three names: which one it was called by.

use std::error::Error as _;
use std::ffi::OsStr;
use std::path::Path;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::Args;
use crate::runtime::{exit, help};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Incumbent,
    /// `kubectl-incumbent`, which kubectl runs for `kubectl incumbent`.
    Plugin,
    /// `kubectl_complete-incumbent`, which kubectl asks what may come next there.
    Completer,
}

impl Name {
    pub(crate) fn of_this_process() -> Self {
        Self::of(std::env::args_os().next().as_deref().unwrap_or_default())
    }

    fn of(program: &OsStr) -> Self {
        match Path::new(program).file_stem().and_then(OsStr::to_str) {
            Some("kubectl-incumbent") => Self::Plugin,
            Some("kubectl_complete-incumbent") => Self::Completer,
            _ => Self::Incumbent,
        }
    }

    /// What one types to run it.
    pub(crate) fn typed(self) -> &'static str {
        match self {
            Self::Incumbent => "incumbent",
            Self::Plugin | Self::Completer => "kubectl incumbent",
        }
    }
}

/// The command line of this process. Ends it where there is nothing to run: for help, or a mistake.
pub(crate) fn parse() -> Args {
    let command = Args::command().bin_name(Name::of_this_process().typed());
    let command = help::fit(command, help::width());
    let matches = command.try_get_matches().unwrap_or_else(|error| end(&error));
    Args::from_arg_matches(&matches).unwrap_or_else(|error| end(&error))
}

/// Prints an argument that our own parsers refuse in the same form as every other error.
fn end(error: &clap::Error) -> ! {
    match error.source().and_then(|source| source.downcast_ref::<incumbent::Error>()) {
        Some(refused) => exit::end_for_usage(refused),
        None => error.exit(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_file_wherever_it_lies() {
        let of = |program: &str| Name::of(OsStr::new(program));
        assert_eq!(of("/opt/krew/bin/kubectl-incumbent"), Name::Plugin);
        assert_eq!(of("kubectl_complete-incumbent"), Name::Completer);
        assert_eq!(of("kubectl-incumbent.exe"), Name::Plugin);
        assert_eq!(of("./incumbent"), Name::Incumbent);
        assert_eq!(of("incumbent-0.1.0"), Name::Incumbent);
        assert_eq!(of(""), Name::Incumbent);
    }
}
