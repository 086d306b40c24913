//! The script of `docs/groups.md`: it shares a hundred files among three members, of which one is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::support::{Candidate, Cluster};
use super::{eventually, lines};

/// What the document has, with a witness: a lock of the kernel, which is free as soon as its holder has died.
fn script() -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/groups.md");
    let document = fs::read_to_string(document).unwrap();
    let blocks = document.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let script =
        blocks.into_iter().find(|block| block.starts_with("#!/bin/sh")).unwrap().to_owned();
    let (head, work) = script.split_once("sort").unwrap();
    let witness = r#"
exec 9>"busy/$INCUMBENT_TASK"
flock --nonblock 9 || echo "$INCUMBENT_TASK" >>twice
echo "{\"event\":\"begun\",\"task\":\"$INCUMBENT_TASK\"}"
sleep 0.2
"#;
    format!("{head}{witness}sort{work}")
}

#[test]
fn a_hundred_files_are_each_processed_and_never_by_two_at_once() {
    let cluster = Cluster::start();
    let folder = cluster.folder.path().join("files");
    for name in ["in", "out", "busy"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let names: Vec<_> = (0..100).map(|number| format!("f{number:02}")).collect();
    for name in &names {
        fs::write(folder.join("in").join(name), "b\na\n").unwrap();
    }
    let program = folder.join("process");
    fs::write(&program, script()).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let start = |member: &str| {
        let flags = format!("--member {member} --lease-duration 5s --tasks {}", names.join(","));
        let mut command: Command = cluster.command(&format!("work files {flags} -- ./process"));
        command.current_dir(&folder);
        Candidate::start(command)
    };
    let mut members = ["john", "jane", "jill"].map(start);
    eventually("john has begun", || !lines(&members[0], "begun").is_empty());
    members[0].kill();
    eventually("all are processed", || {
        let is_done = |name: &String| folder.join("out").join(name).exists();
        names.iter().all(is_done)
    });
    for name in &names {
        assert_eq!(fs::read_to_string(folder.join("out").join(name)).unwrap(), "a\nb\n", "{name}");
    }
    assert_eq!(fs::read_to_string(folder.join("twice")).ok(), None, "processed by two at once");
}
