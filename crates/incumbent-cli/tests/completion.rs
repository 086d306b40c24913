//! One program under three names, and what it offers to who presses Tab: to kubectl, and to a shell.

#![cfg(unix)]

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use support::kubectl::Kubectl;
use support::{Cluster, Outcome, incumbent};

const NAMES: [&str; 3] = ["incumbent", "kubectl-incumbent", "kubectl_complete-incumbent"];

/// The binary by its three names in this folder, which then comes first on the path.
fn linked(folder: &Path) -> String {
    for name in NAMES {
        symlink(env!("CARGO_BIN_EXE_incumbent"), folder.join(name)).unwrap();
    }
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

/// What is offered for the last of these words, with the last line.
fn offered(cluster: &Cluster, words: &[&str]) -> Vec<String> {
    offered_by(&cluster.kubeconfig().display().to_string(), words)
}

/// The same with this as `KUBECONFIG`.
fn offered_by(kubeconfig: &str, words: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    linked(folder.path());
    let mut command = Command::new(folder.path().join(NAMES[2]));
    command.args(words).env("KUBECONFIG", kubeconfig);
    let outcome = Outcome::of(command.output().unwrap());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{words:?}");
    outcome.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn as_a_plugin_it_calls_itself_as_people_do() {
    let folder = tempfile::tempdir().unwrap();
    linked(folder.path());
    for (name, typed) in [(NAMES[0], "incumbent get"), (NAMES[1], "kubectl incumbent get")] {
        let run = |arguments: &[&str]| {
            Outcome::of(Command::new(folder.path().join(name)).args(arguments).output().unwrap())
        };
        let help = run(&["get", "--help"]);
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains(&format!("\nUsage: {typed} [OPTIONS]")), "{}", help.stdout);
        let mistake = run(&["get", "--nonsense"]);
        assert_eq!(mistake.code, 2);
        assert!(mistake.stderr.contains(&format!("\nUsage: {typed} [OPTIONS]")), "{mistake:?}");
    }
}

#[test]
fn commands_flags_and_their_values_are_offered() {
    let cluster = Cluster::start();
    let commands = offered(&cluster, &[""]);
    let get = commands.iter().find(|line| line.starts_with("get\t")).unwrap();
    assert!(get.len() > "get\t".len(), "with what it does");
    assert_eq!(commands.last().unwrap(), ":4", "no files");
    assert!(!commands.iter().any(|line| line.starts_with('-')), "flags only behind a dash");
    let flags = offered(&cluster, &["elect", "--lo"]);
    assert_eq!(flags.len(), 2, "{flags:?}");
    assert!(flags[0].starts_with("--lock\t"), "{flags:?}");
    let presets = offered(&cluster, &["elect", "--preset", ""]);
    assert!(presets.len() >= 4 && presets.contains(&"patient".to_owned()), "{presets:?}");
    assert_eq!(offered(&cluster, &["nonsense", ""]).last().unwrap(), ":4");
}

#[test]
fn the_names_of_locks_come_from_the_cluster_that_the_line_names() {
    let cluster = Cluster::start();
    assert_eq!(cluster.run("claim configmap/board --identity jane").code, 0);
    let locks = offered(&cluster, &["get", ""]);
    assert_eq!(locks, ["configmap/board\tclaimed by jane", ":4"]);
    assert_eq!(offered(&cluster, &["get", "configmap/x"]), [":4"]);
    assert_eq!(offered(&cluster, &["get", "-n", "other", ""]), [":4"], "another namespace");
    assert_eq!(offered(&cluster, &["get", "-n", "def"]), ["default", ":4"]);
    assert_eq!(offered(&cluster, &["get", "--kubeconfig", "/nonexistent", ""]), [":4"]);

    let other = Cluster::start();
    let kubeconfig = other.kubeconfig();
    let other = ["get", "--kubeconfig", kubeconfig.to_str().unwrap(), ""];
    assert_eq!(offered(&cluster, &other), [":4"], "another cluster");
    assert_eq!(offered(&cluster, &["get", "--context", ""]), ["incumbent", ":4"]);
    let list = format!("/nonexistent:{}", cluster.kubeconfig().display());
    assert_eq!(offered_by(&list, &["get", "--context", ""]), ["incumbent", ":4"]);
}

#[test]
fn groups_are_offered_where_a_command_knows_them() {
    let cluster = Cluster::start();
    let labels = serde_json::json!({ "incumbent.dev/group": "jobs" });
    let metadata =
        serde_json::json!({ "name": "jobs.config", "namespace": "default", "labels": labels });
    let config =
        serde_json::json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
    cluster.server.create(config).unwrap();
    for command in ["status", "get", "move", "freeze", "pause"] {
        assert_eq!(offered(&cluster, &[command, ""]), ["group/jobs\ta group", ":4"], "{command}");
    }
    assert_eq!(offered(&cluster, &["step-down", ""]), [":4"], "it asks the leader of a lock");
}

#[test]
fn a_server_that_is_gone_offers_nothing_and_says_nothing() {
    let mut cluster = Cluster::start();
    cluster.stop();
    assert_eq!(offered(&cluster, &["get", ""]), [":4"]);
}

#[test]
fn kubectl_completes_its_plugin() {
    let Some(kubectl) = Kubectl::new("complete") else { return };
    kubectl.ok("create configmap board --from-literal leader=jane");
    let folder = tempfile::tempdir().unwrap();
    let path = linked(folder.path());
    let complete = |words: &[&str]| {
        let mut command = Command::new(kubectl.command("").get_program());
        let plain = kubectl.command("");
        command.env_clear().args(["__complete", "incumbent"]).args(words).env("PATH", &path);
        let inherited = plain.get_envs().filter(|(name, _)| *name != "PATH");
        command.envs(inherited.filter_map(|(name, value)| Some((name, value?))));
        Outcome::of(command.output().unwrap()).stdout
    };
    let commands = complete(&[""]);
    assert!(commands.contains("\nget\t") && commands.ends_with("\n:4\n"), "{commands}");
    let locks = complete(&["get", "-n", &kubectl.namespace, ""]);
    let board = "configmap/board\tclaimed by jane\n";
    assert!(locks.contains(board) && locks.ends_with(":4\n"), "{locks}");
}

#[test]
fn a_shell_completes_by_a_script_that_asks_the_program() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = Outcome::of(incumbent(&format!("completion {shell}")).output().unwrap());
        assert_eq!(script.code, 0, "{script:?}");
        assert!(script.stdout.contains("INCUMBENT_COMPLETE"), "{shell}: {}", script.stdout);
    }
    if !Path::new("/bin/bash").exists() {
        return support::peers::missing("bash", "a package of most systems");
    }
    let cluster = Cluster::start();
    assert_eq!(cluster.run("claim configmap/board --identity jane").code, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = linked(folder.path());
    let complete = |words: &str, word: &str| {
        // What bash does when Tab is pressed behind the last of these words.
        let script = "source <(incumbent completion bash); COMP_WORDS=(incumbent $1 \"$2\")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_TYPE=9
            $(complete -p incumbent | sed 's/.*-F \\([^ ]*\\).*/\\1/') incumbent \"$2\" get
            printf '%s\\n' \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", script, "bash", words, word]);
        bash.env("PATH", &path).env("KUBECONFIG", cluster.kubeconfig());
        Outcome::of(bash.output().unwrap())
    };
    let locks = complete("get", "configmap/");
    assert_eq!(locks.stdout.trim_end(), "configmap/board", "{locks:?}");
    let commands = complete("", "ge");
    assert_eq!(commands.stdout.trim_end(), "get", "{commands:?}");
}
