//! Exit codes, and how an error reads.

use std::io;
use std::process::ExitCode;

use incumbent::Error;

use crate::stderr;

/// The demo was interrupted, as a shell says it.
pub(crate) const INTERRUPTED: u8 = 130;
/// Somebody else leads; or the demo saw a promise broken.
pub(crate) const NO: u8 = 1;
const USAGE: u8 = 2;
/// Nobody can say.
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
  1  no: somebody else leads (claim, check), it did not come in time (wait),
     it was refused as unsafe (step-down), something is wrong (doctor), or a promise
     was broken (demo)
  2  usage: a flag, a name or a timing that cannot work
  3  the API server cannot be reached, or nothing says where it is
  4  a permission is missing, or the credentials are not accepted
  5  the object or its namespace does not exist
  6  another living process takes part under the same identity
  7  this system refuses: a file, a port, a process
  8  the object has no room for more
130  interrupted (demo)
134  aborted: work still ran at the end of its lease, and nothing else could stop it";

/// The same for `run`, which has to leave the low numbers to its command.
pub(crate) const RUN_HELP: &str = "\
Exit codes:
  the command's own, or 128 plus the number of the signal that ended it; and
   2  usage, before anything was started
  69  the API server cannot be reached, or nothing says where it is
  71  this system refuses: a file, a port, a process
  75  somebody else leads: --try or --timeout gave up, and nothing was started
  77  a permission is missing, or the credentials are not accepted
  78  a name or a timing cannot work, or something does not exist
  79  leadership was lost, and the command stopped (--on-loss exit)
  126, 127  the command cannot be run, or does not exist
  128 plus the signal's number, too, if one ends this program while it waits";

/// The table for `once`.
pub(crate) const ONCE_HELP: &str = "\
At most once, by default: what was begun is never begun again by itself. Who dies in the
middle leaves it in doubt, for somebody to look at and to settle.
At least once, with --at-least-once: what has not ended with 0 is run again by the next
that comes. Who dies in the middle, or fails, may have done it, and it is done twice.

Exit codes:
   0  done, now or earlier
  the command's own, where it was run now; and
  73  the ConfigMap has no room for another record, and nothing was started
  75  in progress elsewhere: by whom and since when is printed
  79  leadership was lost, and the command stopped: the next that comes finds it in doubt
  80  in doubt: who ran it died in the middle, or its end could not be recorded
  81  it has failed earlier: with which code is printed
  others as of incumbent run";

/// Nobody knows how far it came.
#[cfg(target_os = "linux")]
pub(crate) const IN_DOUBT: u8 = 80;
/// It was run by somebody earlier, and failed.
#[cfg(target_os = "linux")]
pub(crate) const FAILED_BEFORE: u8 = 81;
/// Somebody else leads.
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
    stderr::say(&format!("error: {error:#}"));
    let known = error.downcast_ref::<Error>();
    let hint = match known {
        Some(known) => known.hint(),
        None => system_hint(error),
    };
    for (number, line) in hint.lines().enumerate() {
        stderr::say(&format!("  {}{line}", if number == 0 { "hint: " } else { "      " }));
    }
    ExitCode::from(known.map_or(SYSTEM, code))
}

fn code(error: &Error) -> u8 {
    match error {
        Error::Invalid { .. } | Error::Rejected { .. } => USAGE,
        Error::NotConfigured { .. }
        | Error::Configuration { .. }
        | Error::Unreachable { .. }
        | Error::Plugin { .. } => UNREACHABLE,
        Error::Forbidden { .. } | Error::Unauthorized { .. } => FORBIDDEN,
        Error::Missing { .. } => MISSING,
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
