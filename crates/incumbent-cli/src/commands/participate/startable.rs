//! Whether a command can be started at all, to know before anything is recorded.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

use rustix::fs::{Access, access};

/// Whether there is such a program, as `execvp` would look for it. Otherwise the exit code, as shells say it, and why.
pub(crate) fn startable(program: &OsStr) -> Result<(), (u8, String)> {
    let is_path = program.as_encoded_bytes().contains(&b'/');
    let folders = env::var_os("PATH").filter(|_| !is_path);
    let found: Vec<_> = match &folders {
        Some(folders) => env::split_paths(folders).map(|folder| folder.join(program)).collect(),
        None => vec![program.into()],
    };
    let found: Vec<_> = found.into_iter().filter(|path| path.exists()).collect();
    let may_run = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let program = program.display();
    match (found.is_empty(), found.iter().any(may_run)) {
        (_, true) => Ok(()),
        (true, _) => Err((127, format!("there is no program {program}"))),
        (false, _) => Err((
            126,
            format!("{program} cannot be run: it is not a program that this user may run"),
        )),
    }
}
