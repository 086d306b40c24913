//! Which container this process runs in, from what the kernel shows.

use std::fs;
use std::path::Path;

use incumbent_core::{Container, ContainerStart};

/// The container, where the mounts of this process name it: the kubelet mounts a file for the termination
/// message out of a folder that is called after the Pod's uid and the container. `None` outside of Pods.
///
/// `root` is `/`, except in tests.
pub(crate) fn find(root: &Path) -> Option<Container> {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let (pod_uid, name) = mounts.lines().find_map(named_by_mount)?;
    let start = start(root);
    Some(Container { pod_uid: pod_uid.to_owned(), name: name.to_owned(), start, report: None })
}

/// proc_pid_mountinfo(5): the fourth field is which folder or file of its file system is mounted.
fn named_by_mount(line: &str) -> Option<(&str, &str)> {
    let mounted = line.split(' ').nth(3)?;
    let mut parts = mounted.rsplit('/');
    let (_file, name, containers, pod_uid, pods) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_named = !name.is_empty() && !pod_uid.is_empty();
    (containers == "containers" && pods == "pods" && is_named).then_some((pod_uid, name))
}

/// With a PID namespace that all containers of the Pod share, or the node's, process 1 is none of this
/// container's and outlives its starts: then no start is later than another, which proves nothing.
fn start(root: &Path) -> Option<ContainerStart> {
    let boot_id = fs::read_to_string(root.join("proc/sys/kernel/random/boot_id")).ok()?;
    let stat = fs::read_to_string(root.join("proc/1/stat")).ok()?;
    // The name of the program, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().nth(19)?.parse().ok()?;
    Some(ContainerStart { boot_id: boot_id.trim().to_owned(), ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
1203 1101 0:52 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l
1210 1203 8:1 /var/lib/kubelet/pods/0b2f/etc-hosts /etc/hosts rw - ext4 /dev/root rw
1211 1203 8:1 /var/lib/kubelet/pods/0b2f/containers/app/6f1c9d02 /dev/termination-log rw - ext4 /dev/root rw
1212 1203 8:1 /var/lib/kubelet/pods/0b2f/volumes/kubernetes.io~configmap/x/containers /c rw - ext4 /dev/root rw
";

    fn tree(mounts: &str, stat: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("proc/self/mountinfo", mounts);
        write("proc/1/stat", stat);
        write("proc/sys/kernel/random/boot_id", "b-1\n");
        root
    }

    #[test]
    fn a_pods_mounts_name_its_container_and_the_kernel_its_start() {
        let stat = "1 (odd) name) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        let container = find(tree(MOUNTS, stat).path()).unwrap();
        let start = ContainerStart { boot_id: "b-1".to_owned(), ticks: 4711 };
        let expected = Container {
            pod_uid: "0b2f".to_owned(),
            name: "app".to_owned(),
            start: Some(start),
            report: None,
        };
        assert_eq!(container, expected);
    }

    #[test]
    fn where_the_kubelet_keeps_its_folders_does_not_matter() {
        let mounts = MOUNTS.replace("/var/lib/kubelet", "");
        assert_eq!(find(tree(&mounts, "").path()).unwrap().name, "app");
    }

    #[test]
    fn outside_of_pods_there_is_none() {
        assert_eq!(find(tree("22 1 8:1 / / rw - ext4 /dev/root rw\n", "").path()), None);
    }

    #[test]
    fn what_cannot_be_read_proves_no_start() {
        assert_eq!(find(tree(MOUNTS, "1 (sh").path()).unwrap().start, None);
    }
}
