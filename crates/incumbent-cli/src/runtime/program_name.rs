//! One program, three names: which one it was called by.

use std::ffi::OsStr;
use std::path::Path;

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
