//! One process behind a line of its own, and how it is started again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::namespace::Network;
use super::support::proxy::Proxy;
use super::support::{Candidate, Cluster, peers};

pub(crate) struct Process {
    pub(crate) name: &'static str,
    candidate: Candidate,
    start: Start,
}

/// How it is started, for when it has ended.
pub(crate) struct Start {
    command: Box<dyn Fn() -> Command>,
    kubeconfig: PathBuf,
    proxy: Proxy,
    network: Option<Network>,
    /// What libfaketime reads the offset of its wall clock from.
    clock: Option<PathBuf>,
}

impl Start {
    /// Of `command`, which reaches the server by a proxy, or by its own network.
    pub(crate) fn new(
        cluster: &Cluster,
        name: &str,
        has_clock: bool,
        network: Option<Network>,
        command: impl Fn() -> Command + 'static,
    ) -> Self {
        let server = cluster.listening().address();
        let proxy = Proxy::to((server.ip().to_string(), server.port()));
        let address = if network.is_some() { server } else { proxy.address() };
        let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
        let text = text.replace(&cluster.listening().url(), &format!("https://{address}"));
        let kubeconfig = cluster.folder.path().join(format!("kubeconfig-{name}"));
        std::fs::write(&kubeconfig, text).unwrap();
        let clock = has_clock.then(|| cluster.folder.path().join(format!("clock-{name}")));
        if let Some(clock) = &clock {
            std::fs::write(clock, "+0").unwrap();
        }
        Self { command: Box::new(command), kubeconfig, proxy, network, clock }
    }

    fn start(&self) -> Candidate {
        let mut command = (self.command)();
        command.env("KUBECONFIG", &self.kubeconfig);
        if let Some(network) = &self.network {
            command = network.inside(command);
        }
        if let Some(clock) = &self.clock {
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", clock);
            command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command.env("RUST_LOG", "off").stderr(Stdio::null());
        Candidate::start(command)
    }
}

impl Process {
    pub(crate) fn start(name: &'static str, start: Start) -> Self {
        Self { name, candidate: start.start(), start }
    }

    pub(crate) fn kill(&mut self) {
        self.candidate.kill();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.candidate.signal(signal);
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.candidate.end(), 0, "{} leaves without an error", self.name);
    }

    pub(crate) fn restart(&mut self) {
        self.candidate = self.start.start();
    }

    /// Starts it again where it has ended.
    pub(crate) fn revive(&mut self) {
        if self.candidate.has_ended() {
            self.restart();
        }
    }

    pub(crate) fn cable(&self) -> &Proxy {
        &self.start.proxy
    }

    pub(crate) fn network(&self, is_up: bool) {
        self.start.network.as_ref().unwrap().set(is_up);
    }

    pub(crate) fn turn_clock(&self, seconds: i64) {
        std::fs::write(self.start.clock.as_ref().unwrap(), format!("{seconds:+}")).unwrap();
    }
}

/// Whether wall clocks can be turned; where they cannot, that is said.
pub(crate) fn can_turn_clocks() -> bool {
    let can = Path::new(FAKETIME).exists();
    if !can {
        peers::missing("libfaketime", "Debian's package of that name has it");
    }
    can
}

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
