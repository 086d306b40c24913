//! A container that crashes while its program leads, and is started again: with the kernel's own
//! namespaces, and mounts as the kubelet makes them.

mod support;

use std::process::{Command, Stdio};

use support::{Candidate, Cluster, peers};

/// The command as process 1 of a container called `app`; none where that may not be made.
fn in_container(folder: &std::path::Path, command: Command) -> Option<Command> {
    let mounted = folder.join("pods/0b2f-uid/containers/app/6f1c9d02");
    let point = folder.join("termination-log");
    std::fs::create_dir_all(mounted.parent().unwrap()).unwrap();
    std::fs::write(&mounted, "").unwrap();
    std::fs::write(&point, "").unwrap();
    let own_namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let is_allowed = Command::new("unshare").args(own_namespaces).arg("true").output();
    if !is_allowed.is_ok_and(|output| output.status.success()) {
        peers::missing("a PID namespace", "making one needs root and util-linux");
        return None;
    }
    let mut inside = Command::new("unshare");
    inside.args(own_namespaces).args([
        "sh",
        "-c",
        "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"",
        "sh",
    ]);
    inside.arg(mounted).arg(point).arg(command.get_program()).args(command.get_args());
    inside.stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    Some(inside)
}

#[test]
fn a_container_that_is_started_again_takes_over_from_itself_long_before_the_lease_ends() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let arguments = "elect --lock lease/scanner --lease-duration 600s --identity app-0";
        Some(Candidate::start(in_container(folder.path(), cluster.command(arguments))?))
    };
    let Some(mut first) = start() else { return };
    let before = first.event("leading");
    first.kill();
    // With a lease of ten minutes, nobody would wait here for its end.
    let after = start().unwrap().event("leading");
    assert!(after["token"].as_u64() > before["token"].as_u64());
}
