//! The clients of docs/clients.md, as they are printed there, against real sidecars.

#[path = "../support/mod.rs"]
mod support;

mod several;
mod workers;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use support::proxy::{Proxy, State};
use support::sidecar::Sidecar;
use support::{Cluster, blocks, peers};

/// A client that runs, and what it prints.
struct Client {
    child: Child,
    lines: Receiver<String>,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Client {
    fn start(mut command: Command, proxy: &Proxy) -> Self {
        command.env("INCUMBENT_URL", format!("http://{}", proxy.address()));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let printed = Arc::<Mutex<Vec<String>>>::default();
        let all = printed.clone();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                all.lock().unwrap().push(line.clone());
                let _ = sender.send(line);
            }
        });
        Self { child, lines, printed }
    }

    /// All lines so far.
    fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap().clone()
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .unwrap();
    }

    /// The first line from now on that is so, and the lines before it.
    fn until(&self, is_so: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(60));
            lines.push(line.unwrap_or_else(|_| panic!("the client says no more: {lines:?}")));
            if is_so(lines.last().unwrap()) {
                return lines;
            }
        }
    }
}

impl Client {
    /// Waits until it says nothing more: it waits for an answer.
    fn quiet(&self) {
        while self.lines.recv_timeout(Duration::from_millis(1500)).is_ok() {}
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether it waits while another leads, acts with the token when its turn comes, and does not act on an
/// answer that it gets too late.
fn judge(command: Command) {
    ends_if_it_cannot_ask(&command, None);
    let cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "--lease-duration 2s");
    john.leads();
    let jane = Sidecar::start(&cluster, "jane", "--lease-duration 2s");
    jane.follows("john");
    let (host, port) = jane.place.split_once(':').unwrap();
    let proxy = Proxy::to((host.to_owned(), port.parse().unwrap()));
    let client = Client::start(command, &proxy);
    let first = client.until(|line| line == "wait");
    assert!(first.iter().all(|line| line == "wait"), "{first:?}");
    assert_eq!(john.step_down("").status, 200);
    let token = jane.leads()["token"].as_u64().unwrap();
    let acts = client.until(|line| line.starts_with("act"));
    assert_eq!(*acts.last().unwrap(), format!("act {token}"));
    // An answer that was true is held back on its way, until it is true no longer.
    proxy.set(State::AnswersHeld);
    client.quiet();
    jane.signal(Signal::STOP);
    john.leads();
    proxy.mend();
    let after = client.until(|line| !line.is_empty());
    assert_eq!(after[0].as_str(), "wait", "it acts on what was true once");
    jane.signal(Signal::CONT);
}

/// A client that knows no sidecar says so, and its exit code tells; so does one whose sidecar is not there, unless
/// it asks again and again.
fn ends_if_it_cannot_ask(command: &Command, secret: Option<&Path>) {
    let again = |url: Option<&str>| {
        let mut again = Command::new(command.get_program());
        again.args(command.get_args()).env_remove("INCUMBENT_URL").stdin(Stdio::null());
        if let Some(url) = url {
            again.env("INCUMBENT_URL", url);
        }
        if let Some(secret) = secret {
            again.env("INCUMBENT_SECRET_FILE", secret);
        }
        let output = again.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (is_well, said) = again(None);
    assert!(!is_well && said.contains("INCUMBENT_URL"), "{said}");
    if command.get_program() != "sh" {
        let (is_well, said) = again(Some("http://127.0.0.1:1"));
        assert!(!is_well && !said.is_empty(), "{said}");
    }
}

/// The program, if this machine has it.
fn found(program: &str, package: &str) -> Option<Command> {
    let works = |flag: &str| {
        let mut command = Command::new(program);
        command.arg(flag).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    if ["--version", "version"].into_iter().any(|flag| works(flag).is_ok_and(|s| s.success())) {
        return Some(Command::new(program));
    }
    peers::missing(program, package);
    None
}

/// Writes an example of this language into a file of this name: the first is a client of an election, the second a
/// worker of a group.
fn example(folder: &Path, language: &str, index: usize, file: &str) -> std::path::PathBuf {
    let mut blocks = blocks("docs/clients.md", language);
    assert_eq!(blocks.len(), 2, "{language}");
    let path = folder.join(file);
    std::fs::write(&path, blocks.remove(index)).unwrap();
    path
}

#[test]
fn in_a_shell() {
    if found("curl", "Debian's curl").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.arg(example(folder.path(), "sh", 0, "client.sh"));
    judge(command);
}

#[test]
fn in_python() {
    let Some(mut command) = found("python3", "Debian's python3") else { return };
    let folder = tempfile::tempdir().unwrap();
    command.arg(example(folder.path(), "python", 0, "client.py"));
    judge(command);
}

#[test]
fn in_node() {
    let Some(mut command) = found("node", "Debian's nodejs") else { return };
    let folder = tempfile::tempdir().unwrap();
    command.arg(example(folder.path(), "js", 0, "client.js"));
    judge(command);
}

#[test]
fn in_go() {
    let Some(mut go) = found("go", "Debian's golang") else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("client");
    go.arg("build").arg("-o").arg(&program).arg(example(folder.path(), "go", 0, "main.go"));
    assert!(go.current_dir(folder.path()).status().unwrap().success());
    judge(Command::new(program));
}

#[test]
fn in_java() {
    let Some(mut command) = found("java", "Debian's default-jdk-headless") else { return };
    let folder = tempfile::tempdir().unwrap();
    command.arg(example(folder.path(), "java", 0, "Client.java"));
    judge(command);
}
