//! Exit codes, and how an error reads.

use std::io;
use std::process::ExitCode;

use incumbent::Error;

use crate::model::format;
use crate::runtime::stderr;

/// The demo was interrupted, as a shell says it.
pub(crate) const INTERRUPTED: u8 = 130;
/// Another candidate leads; or the demo saw a promise broken.
pub(crate) const NO: u8 = 1;
const USAGE: u8 = 2;
/// It is unknown.
pub(crate) const UNREACHABLE: u8 = 3;
const FORBIDDEN: u8 = 4;
const MISSING: u8 = 5;
const DUPLICATE_IDENTITY: u8 = 6;
const SYSTEM: u8 = 7;
const FULL: u8 = 8;

/// The table for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  no: another leads (claim, check), the condition was not met in time (wait), it was refused as unsafe \
(step-down), \
something is wrong (doctor), or a promise was broken (demo)
  2  usage: a flag, a name or a timing that cannot work
  3  the API server cannot be reached or cannot answer now, or nothing says where it is
  4  a permission is missing, the credentials are not accepted, or an admission webhook or policy refuses or changes \
the write
  5  the object or its namespace does not exist, or the namespace is being deleted
  6  another living process takes part under the same identity
  7  this system refuses: a file, a port, a process
  8  the object, or the quota of its namespace, has no room for more
130  interrupted (demo)
134  aborted: work still ran at the end of its lease, and nothing else could stop it";

/// It is unknown how far it came.
#[cfg(target_os = "linux")]
pub(crate) const IN_DOUBT: u8 = 80;
/// It was run by somebody earlier, and failed.
#[cfg(target_os = "linux")]
pub(crate) const FAILED_BEFORE: u8 = 81;
/// Another candidate leads.
#[cfg(target_os = "linux")]
pub(crate) const CONFLICT: u8 = 75;
/// Leadership was lost, and the command was stopped.
#[cfg(target_os = "linux")]
pub(crate) const LOST: u8 = 79;

/// Prints the error as [`report`] does, and returns its code in sysexits.h's numbers.
#[cfg(target_os = "linux")]
pub(crate) fn report_as_wrapper(error: &anyhow::Error) -> ExitCode {
    report(error);
    ExitCode::from(match error.downcast_ref::<Error>().map_or(SYSTEM, code) {
        UNREACHABLE => 69,
        FORBIDDEN => 77,
        USAGE | MISSING | DUPLICATE_IDENTITY => 78,
        FULL => 73,
        _ => 71,
    })
}

/// Prints the error and what to do about it, and returns its code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS; // Whoever read our output has seen enough.
    }
    let known = error.downcast_ref::<Error>();
    let hint = match known {
        Some(known) => known.hint(),
        None => system_hint(error),
    };
    say(&format!("{error:#}"), &hint);
    ExitCode::from(known.map_or(SYSTEM, code))
}

/// The same for what cannot be understood on the command line, whatever the command.
pub(crate) fn end_for_usage(error: &Error) -> ! {
    say(&error.to_string(), &error.hint());
    std::process::exit(USAGE.into())
}

fn say(error: &str, hint: &str) {
    stderr::say(&format!("error: {}", format::printable_text(error)));
    for (number, line) in hint.lines().enumerate() {
        stderr::say(&format!("  {}{line}", if number == 0 { "hint: " } else { "      " }));
    }
}

fn code(error: &Error) -> u8 {
    match error {
        Error::Invalid { .. } | Error::Rejected { .. } => USAGE,
        Error::NotConfigured { .. }
        | Error::Configuration { .. }
        | Error::Unreachable { .. }
        | Error::Unavailable { .. }
        | Error::NotKubernetes { .. }
        | Error::Plugin { .. } => UNREACHABLE,
        Error::Forbidden { .. }
        | Error::Unauthorized { .. }
        | Error::Denied { .. }
        | Error::Altered { .. } => FORBIDDEN,
        Error::Missing { .. } | Error::Terminating { .. } => MISSING,
        Error::DuplicateIdentity { .. } => DUPLICATE_IDENTITY,
        Error::Full { .. } => FULL,
        _ => SYSTEM,
    }
}

fn system_hint(error: &anyhow::Error) -> String {
    let kind =
        error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let hint = match kind {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            "the disk is full: free some space, or set TMPDIR to another folder"
        }
        Some(io::ErrorKind::PermissionDenied) => "choose a file or port that this user may use",
        Some(io::ErrorKind::AddrInUse) => {
            "another program listens there: choose another port, or 0"
        }
        Some(io::ErrorKind::NotFound) => "check the path",
        _ => "",
    };
    hint.to_owned()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use incumbent::Lock;

    use super::*;

    #[test]
    fn what_may_pass_or_is_refused_by_a_rule_is_never_called_usage() {
        let (lock, message) = (|| Lock::lease("default", "a"), || "why".to_owned());
        for (error, expected) in [
            (Error::Unreachable { message: message() }, UNREACHABLE),
            (Error::Unavailable { code: 503, message: message() }, UNREACHABLE),
            (Error::NotKubernetes { code: 404, message: message() }, UNREACHABLE),
            (
                Error::Denied { resource: (&lock()).into(), verb: "update", message: message() },
                FORBIDDEN,
            ),
            (Error::Terminating { namespace: "a".to_owned(), message: message() }, MISSING),
        ] {
            assert_eq!(code(&error), expected, "{error}");
            assert!(!error.hint().is_empty() && !error.hint().contains("verbs"), "{error}");
        }
    }
}
