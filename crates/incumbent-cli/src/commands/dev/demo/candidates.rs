//! The demo's candidates: real processes of this very program.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;

/// What a candidate printed.
pub(crate) struct Printed {
    pub(crate) event: String,
    pub(crate) identity: String,
}

/// The candidates by name, and how to start one.
pub(crate) struct Candidates {
    kubeconfig: PathBuf,
    register: SocketAddr,
    running: BTreeMap<String, Child>,
    printed: mpsc::UnboundedSender<Printed>,
}

impl Candidates {
    pub(crate) fn new(
        kubeconfig: &Path,
        register: SocketAddr,
    ) -> (Self, mpsc::UnboundedReceiver<Printed>) {
        let (printed, receiver) = mpsc::unbounded_channel();
        let running = BTreeMap::new();
        (Self { kubeconfig: kubeconfig.to_owned(), register, running, printed }, receiver)
    }

    pub(crate) fn start(&mut self, name: &str) -> io::Result<()> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([
                "elect",
                "--lock",
                super::LOCK,
                "--preset",
                "fast",
                "--events",
                "--identity",
                name,
            ])
            .arg("--register")
            .arg(self.register.to_string())
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .env_remove("POD_NAMESPACE")
            // An outage is part of the show; its warnings would only be noise here.
            .env("RUST_LOG", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(forward(stdout, self.printed.clone()));
        }
        self.running.insert(name.to_owned(), child);
        Ok(())
    }

    pub(crate) fn signal(&self, name: &str, signal: Signal) -> io::Result<()> {
        let pid = self.id(name).and_then(|id| Pid::from_raw(id.cast_signed()));
        let pid = pid.ok_or_else(|| io::Error::other(format!("{name} is not running")))?;
        Ok(kill_process(pid, signal)?)
    }

    /// The process id.
    pub(crate) fn id(&self, name: &str) -> Option<u32> {
        self.running.get(name).and_then(Child::id)
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self, name: &str) -> io::Result<()> {
        if let Some(mut child) = self.running.remove(name) {
            child.wait().await?;
        }
        Ok(())
    }

    /// The names of those that run, but for one.
    pub(crate) fn others(&self, name: &str) -> Vec<String> {
        self.running.keys().filter(|other| *other != name).cloned().collect()
    }
}

async fn forward(stdout: ChildStdout, printed: mpsc::UnboundedSender<Printed>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let _ = printed.send(Printed { event: text("event"), identity: text("identity") });
    }
}
