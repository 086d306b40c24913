//! README's program, as a newcomer has it: README's `cargo add` lines and README's code in a cargo project that
//! belongs to no workspace, built by cargo and run against an API server.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use incumbent_apiserver::{ApiServer, Listening, Transport};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// What README shows in its first block of this language that holds `mark`.
fn shown(language: &str, mark: &str) -> String {
    let text = fs::read_to_string(Path::new(CRATE).join("../../README.md")).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks =
        text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.find(|block| block.contains(mark)).unwrap_or_else(|| panic!("no {mark} in README"))
}

/// Builds it, and returns where it is. What it is built of stays in the workspace's target folder, so that only
/// the first run takes long.
fn build() -> PathBuf {
    let root = Path::new(CRATE).join("../..").canonicalize().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("readme-program");
    // A clone, and a project next to it. Always the same folder: cargo knows a crate by its path.
    let project = &target.join("next-to-a-clone/project");
    fs::create_dir_all(project.join("src")).unwrap();
    let clone = project.with_file_name("incumbent");
    let _ = fs::remove_file(&clone);
    std::os::unix::fs::symlink(&root, clone).unwrap();
    let manifest = "[package]\nname = \"readme\"\nedition = \"2024\"\n\n[workspace]\n\n\
                    [profile.dev]\ndebug = false\n";
    fs::write(project.join("Cargo.toml"), manifest).unwrap();
    fs::write(project.join("src/main.rs"), shown("rust,no_run", "fn main")).unwrap();
    add_dependencies(project);
    // The versions that the workspace has: these are here already, and known to go together.
    fs::copy(root.join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let cargo = |more: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.arg("build").args(more).current_dir(project).env("CARGO_TARGET_DIR", &target);
        // Another program's choice, which would hide that this one makes none.
        cargo.env_remove("K8S_OPENAPI_ENABLED_VERSION").output().unwrap()
    };
    let offline = cargo(&["--offline"]);
    if !offline.status.success() {
        let online = cargo(&[]);
        let (first, second) = (offline.stderr, online.stderr);
        let said = String::from_utf8_lossy(&[first, second].concat()).into_owned();
        assert!(online.status.success(), "README's program does not build: {said}");
    }
    target.join("debug/readme")
}

/// Runs README's `cargo add` lines: without the network where the registry's index is here already.
fn add_dependencies(project: &Path) {
    for line in shown("sh", "cargo add").lines() {
        let add = |before: &str| {
            let script = line.replacen("cargo add", before, 1);
            let mut shell = Command::new("sh");
            shell.args(["-c", &script]).env("CARGO", env!("CARGO")).current_dir(project);
            shell.output().unwrap()
        };
        if !add("\"$CARGO\" add --offline").status.success() {
            let online = add("\"$CARGO\" add");
            let said = String::from_utf8_lossy(&online.stderr).into_owned();
            assert!(online.status.success(), "{line}: {said}");
        }
    }
}

/// A server, and README's program, ready to run.
struct Stage {
    program: PathBuf,
    folder: TempDir,
    _listening: Listening,
}

impl Stage {
    async fn new() -> Self {
        let server = ApiServer::new();
        let address = "127.0.0.1:0".parse().unwrap();
        let listening = server.listen(address, Transport::Https).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kubeconfig"), listening.kubeconfig()).unwrap();
        let program = build();
        Self { program, folder, _listening: listening }
    }

    fn start(&self, is_process_1: bool) -> Copy {
        let mut command = match is_process_1 {
            false => Command::new(&self.program),
            true => {
                let mut unshare = Command::new("unshare");
                unshare.args(["--pid", "--fork", "--kill-child"]).arg(&self.program);
                unshare
            }
        };
        Copy::start(command.env("KUBECONFIG", self.folder.path().join("kubeconfig")), is_process_1)
    }
}

/// One copy of the program. It is killed when this is dropped.
struct Copy {
    child: Child,
    is_process_1: bool,
    output: mpsc::Receiver<String>,
    errors: mpsc::Receiver<String>,
}

impl Copy {
    fn start(command: &mut Command, is_process_1: bool) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = lines(child.stdout.take().unwrap());
        let errors = lines(child.stderr.take().unwrap());
        Self { child, is_process_1, output, errors }
    }

    /// Waits until it writes as the leader, and returns its token.
    fn leads(&self) -> u64 {
        let line = self.output.recv_timeout(PATIENCE).expect("it leads");
        line.rsplit_once(' ').and_then(|(_, token)| token.parse().ok()).unwrap()
    }

    /// `kubectl delete pod`, as the kubelet says it to the process.
    fn terminate(&self) {
        let pid = Pid::from_child(&self.child).as_raw_nonzero();
        let pid = match self.is_process_1 {
            false => pid.to_string(),
            true => fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap(),
        };
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits until it has ended, without an error.
    fn ends(&mut self) {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return assert!(status.success(), "{status}");
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

/// The lines to come. Their writer never waits for the test.
fn lines(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

fn is_allowed_to_unshare() -> bool {
    let tried = Command::new("unshare").args(["--pid", "--fork", "true"]).status();
    tried.is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn readmes_program_builds_leads_and_hands_over_on_sigterm_also_as_process_1() {
    let stage = Stage::new().await;
    for is_process_1 in [false, true] {
        if is_process_1 && !is_allowed_to_unshare() {
            eprintln!("passed over: no PID namespace can be made here");
            continue;
        }
        let mut first = stage.start(is_process_1);
        let earlier = first.leads();
        let mut second = stage.start(is_process_1);
        let asked = Instant::now();
        first.terminate();
        let later = second.leads();
        assert!(earlier < later, "{earlier}, then {later}");
        assert!(asked.elapsed() < LEASE, "the lock was left to expire: {:?}", asked.elapsed());
        first.ends();
        second.terminate();
        second.ends();
    }

    let kubeconfig = stage.folder.path().join("kubeconfig");
    let mut nowhere = Command::new(&stage.program);
    let nowhere = nowhere.env("KUBECONFIG", "/nonexistent").output().unwrap();
    let said = String::from_utf8(nowhere.stderr).unwrap();
    assert_eq!(nowhere.status.code(), Some(1), "{said}");
    assert!(said.starts_with("Error: no way to reach a cluster was found: /nonexist"), "{said}");
    assert!(said.contains("\n  hint: set KUBECONFIG, "), "{said}");

    // It has no log at all.
    let text = fs::read_to_string(&kubeconfig).unwrap();
    let server = stage._listening.url();
    fs::write(&kubeconfig, text.replace(&server, "https://127.0.0.1:1")).unwrap();
    let mut lonely = stage.start(false);
    let line = lonely.errors.recv_timeout(PATIENCE).unwrap();
    let (beginning, end) =
        ("incumbent: lease/scanner: cannot reach the API server: ", "; will retry");
    assert!(line.starts_with(beginning) && line.ends_with(end), "{line}");
    let hint = lonely.errors.recv_timeout(PATIENCE).unwrap();
    assert!(hint.starts_with("incumbent:   hint: check the server's address"), "{hint}");
    lonely.terminate();
    lonely.ends();
}

/// Much longer than anything here takes, so that a test fails rather than hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A candidate waits so long for one that ended without a word.
const LEASE: Duration = Duration::from_secs(15);
