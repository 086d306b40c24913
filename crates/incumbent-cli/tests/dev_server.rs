//! `docs/dev-server.md`: its examples run as written, and print what it says.

mod support;

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use support::{Outcome, blocks, incumbent};
use tempfile::TempDir;

const PAGE: &str = "docs/dev-server.md";

/// The command of the document, in a folder of its own; ends with this value.
struct DevServer {
    child: Child,
    folder: TempDir,
    address: String,
    token: String,
    /// The server ends when nobody reads it any more.
    _output: Lines<BufReader<ChildStdout>>,
}

impl DevServer {
    fn start(command: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The shell becomes the server, so that killing the one ends the other.
        let mut child = shell(&format!("exec {command}"), &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut value = |name: &str| {
            let line = lines.next().expect("the server runs").unwrap();
            line.strip_prefix(name).unwrap_or_else(|| panic!("{line}")).trim().to_owned()
        };
        let (address, token) = (value("address "), value("token "));
        assert!(value("kubeconfig ").ends_with("dev.kubeconfig"), "it is written by now");
        Self { child, folder, address, token, _output: lines }
    }

    fn run(&self, command: &str) -> Outcome {
        let mut shell = shell(command, &self.folder);
        shell.env("SERVER", &self.address).env("TOKEN", &self.token);
        Outcome::of(shell.output().unwrap())
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shell(command: &str, folder: &TempDir) -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_incumbent")).parent().unwrap();
    let path = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .env("PATH", path)
        .env("HOME", folder.path())
        .env("KUBECONFIG", folder.path().join("dev.kubeconfig"));
    shell
}

fn is_installed(program: &str) -> bool {
    let script = format!("command -v {program}");
    let command = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).status();
    command.is_ok_and(|status| status.success())
}

/// Whether `actual` is what `expected` says, where `…` stands for anything.
fn matches(expected: &str, actual: &str) -> bool {
    let (first, rest) = expected.split_once('…').unwrap_or((expected, ""));
    let Some(mut left) = actual.strip_prefix(first) else { return false };
    if first.len() == expected.len() {
        return left.is_empty();
    }
    let parts: Vec<_> = rest.split('…').collect();
    let (last, between) = parts.split_last().expect("a split has one part at least");
    for part in between {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[test]
fn the_examples_print_what_the_document_says() {
    let server = DevServer::start(&blocks(PAGE, "sh")[0]);
    let (has_kubectl, has_curl) = (is_installed("kubectl"), is_installed("curl"));
    if !has_kubectl || !has_curl {
        eprintln!("kubectl and curl are needed for all of this; found {has_kubectl}, {has_curl}");
        return;
    }
    let mut commands = 0;
    for block in blocks(PAGE, "console") {
        for example in block.split("$ ").map(str::trim_end).filter(|example| !example.is_empty()) {
            let (command, expected) = example.split_once('\n').unwrap_or((example, ""));
            let outcome = server.run(command);
            let actual = outcome.stdout.trim_end();
            // Some answers are written for people, over several lines.
            assert!(matches(expected, actual), "$ {command}\n{expected}\nbut it is:\n{outcome:?}");
            commands += 1;
        }
    }
    assert!(commands >= 11, "only {commands} commands were found");
    assert!(server.folder.path().join("version.json").exists(), "it came back from its restart");
}

#[test]
fn the_help_and_the_document_explain_faults_in_the_same_words_in_80_columns() {
    let help = Outcome::of(incumbent("dev-server --help").output().unwrap()).stdout;
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    let syntax = &blocks(PAGE, "text")[0];
    assert!(help.contains(syntax.trim()), "{help}");
    for flag in ["--latency <TIME>", "--error-rate <PERCENT>", "--fault <FAULT>", "--seed <N>"] {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn the_fields_of_coordinated_leader_election_are_kept_only_with_their_feature_gate() {
    if !is_installed("kubectl") {
        eprintln!("skipped: kubectl is not installed");
        return;
    }
    let lease = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: l}\n\
                 spec: {strategy: OldestEmulationVersion, preferredHolder: jane}\n";
    for (gates, kept) in [("", ""), ("--feature-gates CoordinatedLeaderElection=true", "jane")] {
        let server =
            DevServer::start(&format!("incumbent dev-server --kubeconfig dev.kubeconfig {gates}"));
        std::fs::write(server.folder.path().join("lease.yaml"), lease).unwrap();
        let read = "kubectl get lease l -o jsonpath='{.spec.preferredHolder}'";
        let outcome = server.run(&format!("kubectl create -f lease.yaml >created && {read}"));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, kept), "{gates}: {outcome:?}");
    }
}

#[test]
fn a_fault_that_is_not_understood_is_a_usage_error_with_the_reason() {
    for (arguments, why) in [
        ("--fault verb=fly,error=500", "verb=fly is not understood"),
        ("--fault error=500,drop=answer", "error and drop are two faults"),
        ("--latency soon", "latency=soon is not understood: 50ms, or 50ms..200ms"),
        ("--error-rate 5", "rate=5 is not understood: 10%, or 0.1%"),
        ("--feature-gates Other=true", "there is no feature gate \"Other\""),
        ("--feature-gates CoordinatedLeaderElection=on", "neither true nor false"),
        ("--feature-gates CoordinatedLeaderElection", "a value is missing"),
    ] {
        let outcome = Outcome::of(incumbent(&format!("dev-server {arguments}")).output().unwrap());
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(outcome.stderr.contains(why), "{arguments}: {}", outcome.stderr);
    }
}
