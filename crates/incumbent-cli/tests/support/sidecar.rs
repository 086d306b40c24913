//! Sidecars as processes, and what asks them over HTTP.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use super::{Candidate, Cluster};

/// What the tests give as the secret.
pub(crate) const SECRET: &str = "correct horse battery staple";

/// A sidecar process, ended with the test.
pub(crate) struct Sidecar {
    pub(crate) process: Candidate,
    /// `ADDRESS:PORT`, or the path of the socket.
    pub(crate) place: String,
    pub(crate) probes: Option<String>,
    pub(crate) log: PathBuf,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Sidecar {
    /// One for `lease/scanner` with a lease of 3 s, that knows the secret.
    pub(crate) fn start(cluster: &Cluster, identity: &str, more: &str) -> Self {
        Self::start_with(cluster, cluster.command(""), identity, more)
    }

    /// A member of the group `jobs` with a lease of 3 s, that knows the secret.
    pub(crate) fn member(cluster: &Cluster, name: &str, more: &str) -> Self {
        Self::member_with(cluster, cluster.command(""), name, more)
    }

    /// The same, by this command.
    pub(crate) fn member_with(cluster: &Cluster, command: Command, name: &str, more: &str) -> Self {
        Self::start_as(cluster, command, &["--group", "jobs", "--member"], name, more)
    }

    /// One for `lease/scanner`, by this command.
    pub(crate) fn start_with(
        cluster: &Cluster,
        command: Command,
        identity: &str,
        more: &str,
    ) -> Self {
        Self::start_as(cluster, command, &["--lock", "lease/scanner", "--identity"], identity, more)
    }

    fn start_as(
        cluster: &Cluster,
        mut command: Command,
        of_what: &[&str],
        identity: &str,
        more: &str,
    ) -> Self {
        let secret = cluster.folder.path().join("secret");
        // Once: another sidecar may be reading it.
        if !secret.exists() {
            std::fs::write(&secret, SECRET).unwrap();
        }
        let log = cluster.folder.path().join(format!("log-{identity}"));
        command.arg("sidecar").args(of_what).arg(identity);
        for (flag, default) in [("--listen", "127.0.0.1:0"), ("--lease-duration", "3s")] {
            if !more.contains(flag) {
                command.args([flag, default]);
            }
        }
        if !more.contains("unix:") {
            command.arg("--token-file").arg(&secret);
        }
        command.args(more.split_whitespace()).stderr(File::create(&log).unwrap());
        let mut process = Candidate::start(command);
        let said = |prefix: &str| {
            let log = std::fs::read_to_string(&log).unwrap();
            // A line is written in pieces: one without its end is not there yet.
            let mut lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            lines.find_map(|line| line.strip_prefix(prefix)).map(str::to_owned)
        };
        let what_it_said = || {
            if process.has_ended() {
                panic!("{}", std::fs::read_to_string(&log).unwrap());
            }
            said("sidecar: ")
                .filter(|_| !more.contains("--probe-addr") || said("probes: ").is_some())
        };
        let place = until("it listens", what_it_said);
        let place = place.trim_start_matches("http://").trim_start_matches("unix:").to_owned();
        let probes = said("probes: ").map(|url| url.trim_start_matches("http://").to_owned());
        Self { process, place, probes, log }
    }

    /// Sends the request with these headers, and reads the answer to its end.
    pub(crate) fn ask(&self, request: &str, headers: &[&str], body: &str) -> Reply {
        let host = format!("Host: {}", if self.place.starts_with('/') { "x" } else { &self.place });
        let mut lines = vec![format!("{request} HTTP/1.1"), "Connection: close".to_owned()];
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            lines.push(host);
        }
        lines.extend(headers.iter().map(|header| (*header).to_owned()));
        lines.push(format!("Content-Length: {}", body.len()));
        self.raw(&format!("{}\r\n\r\n{body}", lines.join("\r\n")))
    }

    pub(crate) fn raw(&self, request: &str) -> Reply {
        let mut stream = self.connect();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn connect(&self) -> Box<dyn Stream> {
        let patience = Some(Duration::from_secs(60));
        if self.place.starts_with('/') {
            let stream = UnixStream::connect(&self.place).unwrap();
            stream.set_read_timeout(patience).unwrap();
            return Box::new(stream);
        }
        let stream = TcpStream::connect(&self.place);
        let stream = stream.unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        stream.set_read_timeout(patience).unwrap();
        Box::new(stream)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), &[], "")
    }

    pub(crate) fn answer(&self) -> Value {
        self.get("/v1/leader").json()
    }

    pub(crate) fn step_down(&self, body: &str) -> Reply {
        let secret = format!("Authorization: Bearer {SECRET}");
        self.ask("POST /v1/step-down", &[&secret], body)
    }

    /// What it says of its tasks.
    pub(crate) fn tasks(&self) -> Value {
        self.get("/v1/tasks").json()
    }

    /// Asks for its tasks until it is so, and returns that answer. It counts as an answer to an application.
    pub(crate) fn tasks_when(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        until(what, || Some(self.tasks()).filter(|answer| is_so(answer)))
    }

    /// Says that the work on this task has stopped.
    pub(crate) fn released(&self, task: &str, token: u64) -> Reply {
        let secret = format!("Authorization: Bearer {SECRET}");
        let body = format!("{{\"token\":{token}}}");
        self.ask(&format!("POST /v1/tasks/{task}/released"), &[&secret], &body)
    }

    /// The same to a sidecar at this address, whatever comes of it.
    pub(crate) fn post_released(place: &str, task: &str, token: u64) {
        let body = format!("{{\"token\":{token}}}");
        let head = format!(
            "POST /v1/tasks/{task}/released HTTP/1.1\r\nHost: {place}\r\nConnection: close"
        );
        let secret = format!("Authorization: Bearer {SECRET}");
        let length = format!("Content-Length: {}", body.len());
        let Ok(mut stream) = TcpStream::connect(place) else { return };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let _ =
            stream.write_all(format!("{head}\r\n{secret}\r\n{length}\r\n\r\n{body}").as_bytes());
        let _ = stream.read_to_string(&mut String::new());
    }

    /// Asks until it is so, and returns that answer.
    pub(crate) fn answer_when(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        until(what, || Some(self.answer()).filter(|answer| is_so(answer)))
    }

    /// Waits until this one leads.
    pub(crate) fn leads(&self) -> Value {
        self.answer_when("it leads", |answer| answer["isSelf"] == true)
    }

    /// Waits until it says that this one leads.
    pub(crate) fn follows(&self, leader: &str) -> Value {
        self.answer_when("it follows", |answer| answer["identity"] == leader)
    }

    pub(crate) fn events(&self, path: &str, headers: &[&str]) -> Events {
        let mut stream = self.connect();
        let secret = format!("Authorization: Bearer {SECRET}");
        let mut lines = vec![format!("GET {path} HTTP/1.1"), format!("Host: {}", self.place)];
        if self.place.starts_with('/') {
            lines[1] = "Host: x".to_owned();
        }
        lines.push(secret);
        lines.extend(headers.iter().map(|header| (*header).to_owned()));
        stream.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).unwrap();
        Events { lines: BufReader::new(stream) }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

pub(crate) trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A stream of server-sent events; dropped, its connection closes.
pub(crate) struct Events {
    lines: BufReader<Box<dyn Stream>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

impl Events {
    /// The next event, `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.next_until(None)
    }

    /// The same, and `None` after this moment. Comments come until then, so that it is looked at.
    fn next_until(&mut self, deadline: Option<Instant>) -> Option<Event> {
        let mut event = Event { id: String::new(), kind: String::new(), data: Value::Null };
        loop {
            let mut line = String::new();
            let is_late = deadline.is_some_and(|deadline| deadline < Instant::now());
            if is_late || self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(id) = line.strip_prefix("id: ") {
                event.id = id.to_owned();
            } else if let Some(kind) = line.strip_prefix("event: ") {
                event.kind = kind.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                event.data = serde_json::from_str(data).unwrap();
            } else if line.is_empty() && !event.kind.is_empty() {
                return Some(event);
            }
        }
    }

    /// The next event of this kind of which this is true; others are passed over.
    pub(crate) fn event(&mut self, kind: &str, is_so: impl Fn(&Value) -> bool) -> Event {
        let deadline = Some(Instant::now() + Duration::from_secs(60));
        loop {
            let event = self.next_until(deadline).unwrap_or_else(|| panic!("no event {kind}"));
            if event.kind == kind && is_so(&event.data) {
                return event;
            }
        }
    }

    /// The next change of which this is true; others are passed over.
    pub(crate) fn change(&mut self, is_so: impl Fn(&Value) -> bool) -> Event {
        loop {
            let event = self.next().expect("the stream has ended");
            if event.kind == "leader" && is_so(&event.data) {
                return event;
            }
        }
    }
}

/// Asks until there is something.
pub(crate) fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether it takes less than a second, which the kubelet leaves a native sidecar twice. The machine may be busy with
/// other tests, so one of five attempts is enough.
pub(crate) fn within_a_second(attempt: impl Fn() -> Duration) {
    let mut took = Vec::new();
    while took.len() < 5 {
        took.push(attempt());
        if took.last().is_some_and(|took| *took < Duration::from_secs(1)) {
            return;
        }
    }
    panic!("each attempt took a second or more: {took:?}");
}

/// Milliseconds on the clock that the answers name.
pub(crate) fn boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}
