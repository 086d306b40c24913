//! A control group for a command: the kernel kills all of its members at once, also those that no signal of this user
//! may reach. It takes cgroup v2, Linux 5.14, and a group of our own that this user may divide (delegation).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::process;

/// The group of one command.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folder: PathBuf,
    /// Open from the start: when it is needed, there may be no more files.
    kill: File,
}

impl Cgroup {
    /// Makes one inside of the group of this process, where that is allowed.
    pub(crate) fn create(name: &str) -> io::Result<Self> {
        let own = own_group()?;
        // Whoever moves a process must be allowed to write there.
        rustix::fs::access(own.join("cgroup.procs"), rustix::fs::Access::WRITE_OK)?;
        let folder = own.join(name);
        fs::create_dir(&folder)?;
        Self::open(folder.clone()).inspect_err(|_| {
            let _ = fs::remove_dir(folder);
        })
    }

    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        let kill = File::options().write(true).open(folder.join("cgroup.kill"))?;
        Ok(Self { folder, kill })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn kill(&self) {
        let _ = self.kill.write_all_at(b"1", 0);
    }

    /// It may be gone already, and it stays where the command has made groups inside.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Moves this process into the group.
pub(crate) fn join(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("cgroup.procs"), "0")
}

/// The folder of the group of this process.
fn own_group() -> io::Result<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let folder = folder(&groups, &mounts).ok_or(io::ErrorKind::NotFound)?;
    // What is mounted may be another part of the tree than the one that the path begins at.
    let members = fs::read_to_string(folder.join("cgroup.procs"))?;
    let own = process::getpid().as_raw_nonzero().to_string();
    match members.lines().any(|member| member == own) {
        true => Ok(folder),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

fn folder(groups: &str, mounts: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then_some(place)
    })?;
    Some(Path::new(mount).join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_found_where_the_second_version_is_mounted() {
        let mounts =
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0";
        let groups = "4:memory:/a\n0::/b/c";
        assert_eq!(folder(groups, mounts), Some("/sys/fs/cgroup/unified/b/c".into()));
        assert_eq!((folder("4:memory:/a", mounts), folder(groups, "")), (None, None));
    }
}
