//! Which container this process runs in, from what the kernel shows.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use incumbent_core::{Container, Mark, MessageFile, Surroundings};

/// The container of this process, and its file for the termination message as the process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) container: Container,
    message_file: PathBuf,
}

/// What this process found out when it first asked. `None` outside of Pods.
pub(super) fn own() -> Option<&'static Own> {
    static OWN: OnceLock<Option<Own>> = OnceLock::new();
    OWN.get_or_init(|| find(Path::new("/"))).as_ref()
}

/// This process's mark. The first call writes it into the file for the termination message.
pub(super) fn own_mark() -> Option<Mark> {
    static MARK: OnceLock<Option<Mark>> = OnceLock::new();
    *MARK.get_or_init(|| {
        let left = leave_mark(&own()?.message_file);
        let hint = "followers wait for the lease, as without kubelet_reports";
        left.inspect_err(|error| tracing::warn!(%error, hint, "no termination message")).ok()
    })
}

/// `root` is `/`, except in tests.
fn find(root: &Path) -> Option<Own> {
    let proc = root.join("proc");
    let own_mounts = fs::read_to_string(proc.join("self/mountinfo")).ok()?;
    let message_file = own_mounts.lines().find_map(message_file).map(|(_, at)| at)?;
    let shown = surroundings(&proc, &own_mounts);
    let unknown = || Surroundings { own_files: message_files(&own_mounts), ..Default::default() };
    let container = Container::seen(shown.unwrap_or_else(unknown))?;
    Some(Own { container, message_file })
}

/// `None` where not even one's own part of `/proc` can be read. Of process 1, that is common.
fn surroundings(proc: &Path, own_mounts: &str) -> Option<Surroundings> {
    let namespace = fs::read_link(proc.join("self/ns/ipc")).ok()?;
    let inode = namespace.to_str()?.strip_prefix("ipc:[")?.strip_suffix(']')?;
    let stat = fs::read_to_string(proc.join("1/stat")).ok()?;
    // The name of the program, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let boot_id = fs::read_to_string(proc.join("sys/kernel/random/boot_id")).ok()?;
    let first_mounts = fs::read_to_string(proc.join("1/mountinfo")).unwrap_or_default();
    Some(Surroundings {
        boot_id: boot_id.trim().to_owned(),
        ipc_namespace: inode.parse().ok()?,
        own_files: message_files(own_mounts),
        first_files: message_files(&first_mounts),
        first_ticks: fields.split_whitespace().nth(19)?.parse().ok()?,
    })
}

fn message_files(mounts: &str) -> Vec<MessageFile> {
    mounts.lines().filter_map(message_file).map(|(file, _)| file).collect()
}

/// The kubelet mounts a file for the termination message out of a folder that it calls after the Pod's uid
/// and the container. proc_pid_mountinfo(5): the fourth field is what is mounted of its file system, the
/// fifth is where.
fn message_file(line: &str) -> Option<(MessageFile, PathBuf)> {
    let mut fields = line.split(' ').skip(3);
    let (mounted, at) = (fields.next()?, fields.next()?);
    let mut parts = mounted.rsplit('/');
    let (file, container, containers, pod_uid, pods) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_named = [file, container, pod_uid].iter().all(|part| !part.is_empty());
    if !is_named || containers != "containers" || pods != "pods" {
        return None;
    }
    let [pod_uid, container, file] = [pod_uid, container, file].map(str::to_owned);
    Some((MessageFile { pod_uid, container, file }, at.into()))
}

/// Adds a line: what the program itself has written, and will write, stays.
fn leave_mark(message_file: &Path) -> io::Result<Mark> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let mark = Mark(u128::from_le_bytes(bytes));
    let mut file = OpenOptions::new().append(true).open(message_file)?;
    file.write_all(format!("\n{mark}\n").as_bytes())?;
    Ok(mark)
}

#[cfg(test)]
mod tests;
