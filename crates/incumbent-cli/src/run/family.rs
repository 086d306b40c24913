//! The children of this process, also those that it got because their own parent died.
//!
//! Only children are killed here, never grandchildren: a child that nobody has waited for keeps its number, so
//! that no stranger can be hit. When a child dies, its own children come to this process, which asked for
//! that (`PR_SET_CHILD_SUBREAPER`), and their turn is next.

use std::fs;
use std::path::Path;

use rustix::process::{self, Pid, Signal, WaitOptions};

/// Makes this process the parent of all its descendants whose own parents have died.
pub(crate) fn adopt_orphans() -> rustix::io::Result<()> {
    process::set_child_subreaper(Some(process::getpid()))
}

/// The children there are, dead ones among them.
pub(crate) fn children() -> Vec<Pid> {
    let own = process::getpid().as_raw_nonzero();
    match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        // Of the first thread alone, which is the one that starts processes and that orphans come to.
        Ok(numbers) => numbers.split_whitespace().filter_map(pid).collect(),
        // Not all kernels have that file.
        Err(_) => of_all_processes(&own.to_string()),
    }
}

/// The process group of this process; none where it is one from outside of this PID namespace.
pub(crate) fn own_group() -> Option<Pid> {
    pid(&stat_field("/proc/self/stat", 2)?)
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

/// Kills and buries the children, except for `spared`. Says whether there was any: in its place there may be
/// its own children now.
pub(crate) fn kill_children(spared: Option<Pid>) -> bool {
    let mut was_any = false;
    for child in children() {
        if Some(child) == spared {
            continue;
        }
        was_any = true;
        let _ = process::kill_process(child, Signal::KILL);
        let _ = process::waitpid(Some(child), WaitOptions::NOHANG);
    }
    was_any
}

/// Whether the kernel knows of no child, alive or dead, which is more reliable than a list.
pub(crate) fn is_childless() -> bool {
    matches!(process::wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD))
}

/// Buries the children that are dead, except for `spared`.
pub(crate) fn bury_children(spared: Option<Pid>) {
    for child in children() {
        if Some(child) != spared {
            let _ = process::waitpid(Some(child), WaitOptions::NOHANG);
        }
    }
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
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!of_all_processes(&own).contains(&expected));
    }
}
