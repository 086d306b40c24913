//! The real kubectl, against `incumbent dev-server` or a cluster of somebody else.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::peers::missing;
use super::{Outcome, incumbent};

/// A kubectl with a namespace, a working folder and a home of its own.
pub(crate) struct Kubectl {
    cluster: Arc<Cluster>,
    folder: TempDir,
    pub(crate) namespace: String,
}

impl Kubectl {
    /// None where there is no kubectl, which is said on stderr.
    pub(crate) fn new(namespace: &str) -> Option<Self> {
        if let Err(why) = found() {
            missing("kubectl", why);
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let namespace = format!("{namespace}-{}", std::process::id());
        let kubectl = Self { cluster: Cluster::shared(), folder, namespace };
        kubectl.ok(&format!("create namespace {}", kubectl.namespace));
        Some(kubectl)
    }

    /// The command with these arguments, split at spaces.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(program());
        command
            .args(["--namespace", &self.namespace])
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path().join("home"))
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .stdin(Stdio::null());
        command
    }

    /// The binary with these arguments, against the same cluster.
    pub(crate) fn incumbent(&self, arguments: &str) -> Command {
        let mut command = incumbent(arguments);
        command.env("KUBECONFIG", self.cluster.kubeconfig());
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Outcome {
        Outcome::of(self.command(arguments).output().unwrap())
    }

    /// What a command prints that must succeed.
    pub(crate) fn ok(&self, arguments: &str) -> String {
        self.ok_with(arguments, &[])
    }

    /// The same, with arguments at the end that have spaces in them.
    pub(crate) fn ok_with(&self, arguments: &str, more: &[&str]) -> String {
        let outcome = Outcome::of(self.command(arguments).args(more).output().unwrap());
        assert_eq!(outcome.code, 0, "kubectl {arguments} {more:?}: {outcome:?}");
        outcome.stdout
    }

    /// What a command says that must fail.
    pub(crate) fn refused(&self, arguments: &str) -> String {
        let outcome = self.run(arguments);
        assert_ne!(outcome.code, 0, "kubectl {arguments}: {outcome:?}");
        outcome.stderr
    }

    pub(crate) fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{arguments} -o json"))).unwrap()
    }

    /// Writes a file into the working folder.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// What `kustomize` makes of this Deployment with the component of `deploy/`.
    pub(crate) fn with_the_component(&self, namespace: &str, deployment: &str) -> String {
        let component = self.folder().join("component");
        std::fs::create_dir(&component).unwrap();
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kustomize");
        for file in super::files(&deploy) {
            std::fs::copy(&file, component.join(file.file_name().unwrap())).unwrap();
        }
        std::fs::create_dir(self.folder().join("web")).unwrap();
        self.file("web/web.yaml", deployment);
        let kustomization =
            format!("namespace: {namespace}\nresources: [web.yaml]\ncomponents: [../component]\n");
        self.file("web/kustomization.yaml", &kustomization);
        self.ok("kustomize web")
    }

    /// Whether this is somebody else's cluster.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(*self.cluster, Cluster::Foreign(_))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        if self.is_foreign() {
            let _ = self.run(&format!("delete namespace {} --wait=false", self.namespace));
        }
    }
}

/// A kubectl that goes on talking, ended with the test.
pub(crate) struct Following {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Following {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The next line, which must come within a few seconds.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("kubectl says something")
    }

    /// Waits for the end.
    pub(crate) fn success(mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Longer than any command takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

enum Cluster {
    /// `INCUMBENT_TEST_KUBECONFIG` names it.
    Foreign(PathBuf),
    Own {
        server: Child,
        folder: TempDir,
    },
}

impl Cluster {
    /// One server for all tests that run at the same time; it ends with the last of them.
    fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::start());
            *running = Arc::downgrade(&cluster);
            cluster
        })
    }

    fn start() -> Self {
        if let Some(kubeconfig) = std::env::var_os("INCUMBENT_TEST_KUBECONFIG") {
            return Self::Foreign(kubeconfig.into());
        }
        let folder = tempfile::tempdir().unwrap();
        let mut server = incumbent("dev-server --listen 127.0.0.1:0 --kubeconfig")
            .arg(folder.path().join("kubeconfig"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The first line says that it listens, and all has been written before it.
        let mut first = [0];
        server.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        Self::Own { server, folder }
    }

    fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Foreign(kubeconfig) => kubeconfig.clone(),
            Self::Own { folder, .. } => folder.path().join("kubeconfig"),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Self::Own { server, .. } = self {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// What `KUBECTL` names, what `interop/build` built, or what is on the path.
fn program() -> std::ffi::OsString {
    let built = super::peers::folder().join("kubectl");
    let built = built.exists().then(|| built.into_os_string());
    std::env::var_os("KUBECTL").or(built).unwrap_or_else(|| "kubectl".into())
}

/// Looks for kubectl once.
fn found() -> Result<(), &'static str> {
    static FOUND: OnceLock<Result<(), &'static str>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let version = Command::new(program()).args(["version", "--client", "-o", "json"]).output();
        let version = version.map_err(|_| "interop/build builds it")?;
        let version: Value =
            serde_json::from_slice(&version.stdout).map_err(|_| "it says no version")?;
        let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
        let minor: String = minor.chars().take_while(char::is_ascii_digit).collect();
        match minor.parse() {
            Ok(32_u32..) => Ok(()),
            _ => Err("it is older than 1.32; interop/build builds one"),
        }
    })
}
