//! What is shipped beside the crates: the image, the archives of a release, and the kubectl plugin.

#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::kubectl::Kubectl;
use support::{Outcome, incumbent};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The instructions of a Dockerfile, each with its arguments.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        (word.to_owned(), rest.to_owned())
    };
    lines.map(split).collect()
}

/// What is wrong with an image that is to be one file, run by nobody.
fn lint(text: &str) -> Vec<String> {
    let all = instructions(text);
    let mut wrong = Vec::new();
    let stages: Vec<_> = all.split(|(word, _)| word == "FROM").skip(1).collect();
    let bases = all.iter().filter(|(word, _)| word == "FROM").map(|(_, rest)| rest);
    let bases: Vec<_> = bases.map(|base| base.split(' ').next().unwrap()).collect();
    for base in &bases {
        let is_fixed = base.rsplit('/').next().is_some_and(|name| name.contains(':'));
        if *base != "scratch" && (!is_fixed || base.ends_with(":latest")) {
            wrong.push(format!("{base} has no version"));
        }
    }
    if bases.len() < 2 || bases.last() != Some(&"scratch") {
        wrong.push("the last stage is not empty".to_owned());
    }
    let last = stages.last().copied().unwrap_or_default();
    for (word, rest) in last {
        let is_right = match word.as_str() {
            "COPY" => rest.starts_with("--from=build "),
            "USER" => rest.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)),
            "ENTRYPOINT" => serde_json::from_str::<Vec<String>>(rest).is_ok(),
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{word} {rest} in the last stage"));
        }
    }
    for word in ["COPY", "USER", "ENTRYPOINT"] {
        if !last.iter().any(|(other, _)| other == word) {
            wrong.push(format!("the last stage has no {word}"));
        }
    }
    wrong
}

#[test]
fn the_image_is_one_file_that_nobody_in_particular_runs() {
    let text = read("Dockerfile");
    assert_eq!(lint(&text), Vec::<String>::new());
    for (right, wrong) in [
        ("rust:1.95-slim-bookworm", "rust:latest"),
        ("rust:1.95-slim-bookworm", "rust"),
        ("FROM scratch", "FROM docker.io/library/alpine:3.22"),
        ("USER 65532:65532", "USER 0:65532"),
        ("USER 65532:65532", "USER nobody"),
        ("USER 65532:65532\n", ""),
        ("ENTRYPOINT [\"/incumbent\"]", "ENTRYPOINT /incumbent"),
        ("COPY --from=build /image/ /", "COPY target/release/incumbent /"),
        ("COPY --from=build /image/ /", "ADD https://example.com/incumbent /"),
    ] {
        assert!(text.contains(right), "{right}");
        assert!(!lint(&text.replace(right, wrong)).is_empty(), "{wrong}");
    }
}

#[test]
fn the_image_is_built_by_a_toolchain_that_is_new_enough_from_all_that_it_needs() {
    let text = read("Dockerfile");
    let minor = |text: &str, before: &str| -> u32 {
        let rest = text.split_once(before).unwrap().1;
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let needed = minor(&read("Cargo.toml"), "rust-version = \"1.");
    assert!(minor(&text, "rust:1.") >= needed, "the image's Rust is older than 1.{needed}");

    let ignore = read(".dockerignore");
    let mut lines = ignore.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "what is not named stays out: history, builds, secrets");
    let named: Vec<_> = lines.map(|line| line.strip_prefix('!').unwrap()).collect();
    let is_in = |file: &str| named.iter().any(|name| Path::new(file).starts_with(name));
    for name in &named {
        assert!(root().join(name).exists(), "{name}");
    }
    for file in [
        "Cargo.toml",
        "Cargo.lock",
        "deploy/static",
        "examples/Cargo.toml",
        "bench/contender/Cargo.toml",
        "bench/ours/Cargo.toml",
    ] {
        assert!(is_in(file), "{file} is missing");
    }
    // Sources take in pages of the documentation.
    for folder in ["crates/incumbent/src", "crates/incumbent-cli/src", "crates/incumbent-core/src"]
    {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(source) = fs::read_to_string(&path) else { continue };
            for rest in source.split("include_str!(\"../../../").skip(1) {
                let page = rest.split('"').next().unwrap();
                assert!(is_in(page), "{} needs {page}", path.display());
            }
        }
    }
}

fn release(folder: &Path, pairs: &[String]) -> Outcome {
    let mut command = Command::new(root().join("deploy/release"));
    Outcome::of(command.arg(folder).args(pairs).output().unwrap())
}

/// Something that runs as the program does, and differs from platform to platform.
fn binary(folder: &Path, platform: &str) -> String {
    let binary = folder.join(platform);
    let script =
        format!("#!/bin/sh\n# {platform}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_incumbent"));
    fs::write(&binary, script).unwrap();
    fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
    format!("{platform}={}", binary.display())
}

#[test]
fn a_release_has_the_same_bytes_each_time_and_krew_knows_their_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = ["linux-amd64", "linux-arm64"].map(|platform| binary(folder.path(), platform));
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    for out in [&first, &second] {
        let outcome = release(out, &pairs);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    let manifest = fs::read_to_string(first.join("incumbent.yaml")).unwrap();
    let manifest: Value = serde_saphyr::from_str(&manifest).unwrap();
    assert_eq!(manifest["spec"]["version"], version);
    let platforms = manifest["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for (platform, name) in platforms.iter().zip(["linux-amd64", "linux-arm64"]) {
        let labels = &platform["selector"]["matchLabels"];
        let labels =
            format!("{}-{}", labels["os"].as_str().unwrap(), labels["arch"].as_str().unwrap());
        assert_eq!(labels, name);
        let uri = platform["uri"].as_str().unwrap();
        let archive = format!("incumbent-{version}-{name}.tar.gz");
        assert!(uri.ends_with(&format!("/{version}/{archive}")), "{uri}");
        let bytes = fs::read(first.join(&archive)).unwrap();
        assert_eq!(bytes, fs::read(second.join(&archive)).unwrap());
        let sum = Command::new("sha256sum").arg(first.join(&archive)).output().unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        assert_eq!(platform["sha256"], sum.split(' ').next().unwrap());

        // As krew unpacks it.
        let unpacked = tempfile::tempdir().unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(first.join(&archive)).arg("-C").arg(unpacked.path());
        assert!(tar.status().unwrap().success());
        let binary = unpacked.path().join(platform["bin"].as_str().unwrap());
        assert!(fs::read_to_string(&binary).unwrap().contains(&format!("\n# {name}\n")));
        let page = fs::read_to_string(unpacked.path().join("share/man/man1/incumbent-get.1"));
        assert!(page.unwrap().contains("\n.SH NAME\n"));
        for shell in [
            "bash-completion/completions/incumbent",
            "fish/vendor_completions.d/incumbent.fish",
            "zsh/site-functions/_incumbent",
        ] {
            let script = fs::read_to_string(unpacked.path().join("share").join(shell)).unwrap();
            assert!(script.contains("INCUMBENT_COMPLETE"), "{script}");
            // Of where it was made, nothing is left.
            assert!(!script.contains(env!("CARGO_BIN_EXE_incumbent")), "{script}");
        }
        assert!(unpacked.path().join("LICENSE").exists(), "krew asks for it");
        let listed = Command::new("tar").arg("-tvzf").arg(first.join(&archive)).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.starts_with("-rwxr-xr-x 0/0 "), "{listed}");
    }
}

#[test]
fn a_release_without_one_of_its_platforms_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let pair = |platform: &str| binary(folder.path(), platform);
    for pairs in [vec![pair("linux-amd64")], vec![pair("plan9-mips")], vec![]] {
        let outcome = release(folder.path(), &pairs);
        assert_ne!(outcome.code, 0, "{pairs:?}: {outcome:?}");
        if pairs.len() == 1 && pairs[0].starts_with("linux") {
            assert!(outcome.stderr.contains("SHA256_LINUX_ARM64"), "{outcome:?}");
            assert!(!folder.path().join("incumbent.yaml").exists());
        }
    }
}

#[test]
fn a_release_whose_manual_cannot_be_printed_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("foreign");
    fs::write(&binary, "for another machine").unwrap();
    let pairs = ["linux-amd64", "linux-arm64"];
    let pairs = pairs.map(|platform| format!("{platform}={}", binary.display()));
    let outcome = release(folder.path(), &pairs);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("none of these binaries runs here"), "{outcome:?}");
}

/// krew's index takes a plugin whose manifest follows these rules (krew.sigs.k8s.io, plugin-manifest).
#[test]
fn the_manifest_for_krew_is_as_its_index_wants_it() {
    let manifest: Value = serde_saphyr::from_str(&read("deploy/krew/incumbent.yaml")).unwrap();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(
        (&manifest["kind"], &manifest["metadata"]["name"]),
        (&json!("Plugin"), &json!("incumbent"))
    );
    let spec = manifest["spec"].as_object().unwrap();
    let fields: Vec<_> = spec.keys().map(String::as_str).collect();
    let known = ["description", "homepage", "platforms", "shortDescription", "version"];
    assert_eq!(fields, known);
    let short = spec["shortDescription"].as_str().unwrap();
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
    for platform in spec["platforms"].as_array().unwrap() {
        let fields: Vec<_> = platform.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["bin", "selector", "sha256", "uri"]);
        assert!(
            platform["sha256"].as_str().unwrap().starts_with("SHA256_"),
            "a release fills it in"
        );
    }
}

#[test]
fn under_the_name_that_krew_gives_it_it_is_a_plugin_of_kubectl() {
    let Some(kubectl) = Kubectl::new("krew") else { return };
    let plugin = kubectl.folder().join("kubectl-incumbent");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_incumbent"), plugin).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", kubectl.folder().display());
    let mut command = kubectl.command("incumbent claim configmap/board --identity jane");
    // A plugin comes before all flags, so the helper's --namespace is left out.
    let words: Vec<_> = command.get_args().skip(2).map(ToOwned::to_owned).collect();
    let mut plain = Command::new(command.get_program());
    plain.args(words).args(["--namespace", &kubectl.namespace]);
    for (name, value) in command.env("PATH", &path).get_envs() {
        plain.env(name, value.unwrap_or_default());
    }
    let outcome = Outcome::of(plain.output().unwrap());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let holder = kubectl.ok("get configmap board -o jsonpath={.data.leader}");
    assert_eq!(holder, "jane");
}

#[test]
fn what_the_manifests_tell_the_sidecar_it_understands() {
    let arguments = "manifests --for sidecar --image app:1 --events";
    let locks = ["lease/scanner", "configmap/board:second"];
    let of_lock = locks.map(|lock| format!("--label --lock {lock}"));
    let kinds = ["--tasks=eu,us", "--slots=64", "--permits=3", "--from-config"];
    let of_group = kinds.map(|kind| format!("--group indexers {kind}"));
    for part in of_lock.iter().chain(&of_group) {
        let printed = incumbent(arguments).args(part.split(' ')).output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let deployment = printed.rsplit("---\n").next().unwrap();
        let deployment: Value = serde_saphyr::from_str(deployment).unwrap();
        let sidecar = &deployment["spec"]["template"]["spec"]["initContainers"][0];
        let words = sidecar["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        let mut command = incumbent("");
        command.args(words).args(["--kubeconfig", "/nonexistent"]);
        let outcome = Outcome::of(command.output().unwrap());
        // That there is no cluster is said only after all has been understood.
        assert_eq!(outcome.code, 3, "{sidecar:#}: {outcome:?}");
    }
}

#[test]
fn what_the_manifests_tell_run_and_work_they_understand() {
    understands("run", "--for run --lock lease/a");
    understands("work", "--for work --group a --permits 3");
    understands("work", "--for work --group a --tasks eu,us");
}

fn understands(command: &str, part: &str) {
    let arguments = format!("manifests {part} --image app:1 --events --kubelet-reports");
    let printed = incumbent(&arguments).args(["--", "sh", "-c", "true"]).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let deployment: Value =
        serde_saphyr::from_str(printed.rsplit("---\n").next().unwrap()).unwrap();
    let application = &deployment["spec"]["template"]["spec"]["containers"][0];
    let words = application["command"].as_array().unwrap();
    let words: Vec<_> = words.iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words[..2], ["incumbent", command]);
    let mut command = incumbent(&format!("{command} --kubeconfig /nonexistent"));
    let outcome = Outcome::of(command.args(&words[2..]).output().unwrap());
    // That there is no cluster is said only after all has been understood.
    assert!(outcome.stderr.contains("no way to reach a cluster"), "{outcome:?}");
}
