//! The children of this process, also those that it got because their own parent died.
//!
//! Only children are killed here, never grandchildren: a child that nobody has waited for keeps its number, so
//! that no stranger can be hit. When a child dies, its own children come to this process, which asked for
//! that (`PR_SET_CHILD_SUBREAPER`), and their turn is next.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::process::{self, Pid, Signal, WaitOptions};

/// The kernel's list of the children of the first thread, which is the one that starts processes and that orphans
/// come to. It is open from the start: when it is needed, there may be no more files.
static LIST: OnceLock<File> = OnceLock::new();

/// Makes this process the parent of all its descendants whose own parents have died.
pub(crate) fn adopt_orphans() -> rustix::io::Result<()> {
    let own = process::getpid().as_raw_nonzero();
    // Not all kernels have that file.
    if let Ok(list) = File::open(format!("/proc/self/task/{own}/children")) {
        let _ = LIST.set(list);
    }
    process::set_child_subreaper(Some(process::getpid()))
}

/// The children there are, dead ones among them.
pub(crate) fn children() -> Vec<Pid> {
    match LIST.get().map(read) {
        Some(Ok(numbers)) => numbers.split_whitespace().filter_map(pid).collect(),
        _ => of_all_processes(&process::getpid().as_raw_nonzero().to_string()),
    }
}

fn read(list: &File) -> io::Result<String> {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match list.read_at(&mut piece, text.len() as u64)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            count => text.extend(&piece[..count]),
        }
    }
}

/// The process group of this process; none where it is one from outside of this PID namespace.
pub(crate) fn own_group() -> Option<Pid> {
    pid(&stat_field("/proc/self/stat", 2)?)
}

/// Whether that process is a child of the other one.
pub(crate) fn is_child_of(child: Pid, parent: Pid) -> bool {
    let field = stat_field(format!("/proc/{}/stat", child.as_raw_nonzero()), 1);
    field.as_deref().and_then(pid) == Some(parent)
}

/// proc_pid_stat(5), counted from what follows the name of the program.
fn stat_field(file: impl AsRef<Path>, number: usize) -> Option<String> {
    let stat = fs::read_to_string(file).ok()?;
    // The name, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().nth(number)?.to_owned())
}

fn of_all_processes(parent: &str) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = processes.filter_map(|entry| {
        let child = pid(entry.file_name().to_str()?)?;
        (stat_field(entry.path().join("stat"), 1)? == parent).then_some(child)
    });
    children.collect()
}

fn pid(number: &str) -> Option<Pid> {
    Pid::from_raw(number.parse().ok()?)
}

/// A child that was killed and is not known to be dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Survivor {
    pub(crate) pid: Pid,
    /// This user may send it no signal.
    pub(crate) is_out_of_reach: bool,
}

/// Kills this child.
pub(crate) fn kill(child: Pid) -> Survivor {
    let killed = process::kill_process(child, Signal::KILL);
    Survivor { pid: child, is_out_of_reach: killed == Err(rustix::io::Errno::PERM) }
}

/// Kills the children, except for `spared`, buries those that are dead, and returns the rest. In place of a dead one
/// there may be its own children now.
pub(crate) fn kill_children(spared: &[Pid]) -> Vec<Survivor> {
    let others = children().into_iter().filter(|child| !spared.contains(child));
    others.map(kill).filter(|survivor| !is_buried(survivor.pid)).collect()
}

/// Whether the kernel knows of no child, alive or dead, which is more reliable than a list.
pub(crate) fn is_childless() -> bool {
    matches!(process::wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD))
}

/// Whether there is no child, alive or dead, except for `spared`.
pub(crate) fn is_childless_but_for(spared: &[Pid]) -> bool {
    match spared {
        [] => is_childless(),
        // A child is in the list until it is buried, and its own children before that. Nothing is buried meanwhile.
        spared => children().iter().all(|child| spared.contains(child)),
    }
}

/// Buries the children that are dead, except for `spared`.
pub(crate) fn bury_children(spared: Option<Pid>) {
    for child in children() {
        if Some(child) != spared {
            is_buried(child);
        }
    }
}

/// Buries a child if it is dead.
fn is_buried(child: Pid) -> bool {
    !matches!(process::waitpid(Some(child), WaitOptions::NOHANG), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_list_children_agree() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let expected = Pid::from_child(&child);
        let own = process::getpid().as_raw_nonzero().to_string();
        assert!(of_all_processes(&own).contains(&expected));
        assert!(is_child_of(expected, process::getpid()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!of_all_processes(&own).contains(&expected));
        assert!(!is_child_of(expected, process::getpid()));
    }
}
