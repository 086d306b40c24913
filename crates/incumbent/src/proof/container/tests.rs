use incumbent_core::ContainerStart;

use super::*;

const MOUNTS: &str = "\
1203 1101 0:52 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l
1210 1203 8:1 /var/lib/kubelet/pods/0b2f/etc-hosts /etc/hosts rw - ext4 /dev/root rw
1211 1203 8:1 /var/lib/kubelet/pods/0b2f/containers/app/6f1c9d02 /dev/termination-log rw - ext4 /dev/root rw
1212 1203 8:1 /var/lib/kubelet/pods/0b2f/volumes/kubernetes.io~configmap/x/containers /c rw - ext4 /dev/root rw
";

/// The mounts of a pause process, of a node's init, or of any process outside of containers.
const ELSEWHERE: &str = "22 1 8:1 / / rw - ext4 /dev/root rw\n";

const STAT: &str = "1 (odd) name) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";

/// A `/proc`: the mounts of this process, and, where they can be read, those of process 1.
fn tree(own: &str, first: Option<&str>) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = root.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("proc/self/mountinfo", own);
    write("proc/1/stat", STAT);
    write("proc/sys/kernel/random/boot_id", "b-1\n");
    fs::create_dir_all(root.path().join("proc/self/ns")).unwrap();
    let namespace = root.path().join("proc/self/ns/ipc");
    std::os::unix::fs::symlink("ipc:[4026532178]", namespace).unwrap();
    if let Some(first) = first {
        write("proc/1/mountinfo", first);
    }
    root
}

fn container_in(root: &tempfile::TempDir) -> Option<Container> {
    find(root.path()).map(|own| own.container)
}

#[test]
fn a_pods_mounts_name_its_container_and_the_kernel_its_start() {
    let container = container_in(&tree(MOUNTS, Some(MOUNTS))).unwrap();
    let start = ContainerStart {
        boot_id: "b-1".to_owned(),
        sandbox: 4_026_532_178,
        file: "6f1c9d02".to_owned(),
        ticks: 4711,
    };
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
    assert!(container_in(&tree(&mounts, Some(&mounts))).unwrap().start.is_some());
}

#[test]
fn outside_of_pods_there_is_none() {
    assert_eq!(find(tree(ELSEWHERE, Some(ELSEWHERE)).path()), None);
}

#[test]
fn where_process_1_is_not_the_containers_own_no_start_is_known() {
    let of_target = MOUNTS.replace("containers/app", "containers/target");
    let of_another_start = MOUNTS.replace("6f1c9d02", "77aa0011");
    let shapes = [
        ("shareProcessNamespace: the pause process", Some(ELSEWHERE)),
        ("hostPID: the node's init", Some(ELSEWHERE)),
        ("an ephemeral container with a target", Some(of_target.as_str())),
        ("a process that has moved from another start", Some(of_another_start.as_str())),
        ("process 1 of another user, which cannot be looked at", None),
    ];
    for (shape, first) in shapes {
        let container = container_in(&tree(MOUNTS, first)).unwrap();
        assert_eq!((container.name.as_str(), container.start), ("app", None), "{shape}");
    }
}

#[test]
fn with_the_message_files_of_two_containers_none_is_believed() {
    let other = MOUNTS.replace("0b2f", "77aa").replace("/dev/termination-log", "/mnt/other");
    let both = format!("{MOUNTS}{other}");
    assert_eq!(find(tree(&both, Some(&both)).path()), None);
    // The same one, mounted twice, is no doubt.
    let twice = format!("{MOUNTS}{MOUNTS}");
    assert!(container_in(&tree(&twice, Some(&twice))).unwrap().start.is_some());
}

#[test]
fn what_cannot_be_read_proves_no_start() {
    for missing in ["proc/self/ns/ipc", "proc/1/stat", "proc/sys/kernel/random/boot_id"] {
        let root = tree(MOUNTS, Some(MOUNTS));
        fs::remove_file(root.path().join(missing)).unwrap();
        assert_eq!(container_in(&root).unwrap().start, None, "{missing}");
    }
    let root = tree(MOUNTS, Some(MOUNTS));
    fs::write(root.path().join("proc/1/stat"), "1 (sh").unwrap();
    assert_eq!(container_in(&root).unwrap().start, None);
}

#[test]
fn a_mark_is_added_to_what_the_program_has_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("termination-log");
    fs::write(&file, "bye").unwrap();
    let mark = leave_mark(&file).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("bye\n{mark}\n"));
    assert_ne!(leave_mark(&file).unwrap(), mark);
}

#[test]
fn without_its_file_there_is_no_mark() {
    assert!(leave_mark(Path::new("/nowhere/termination-log")).is_err());
}
