//! Dashboards as processes, and what asks them over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::sidecar::{Reply, until};

/// A dashboard, ended with the test.
pub(crate) struct Dashboard {
    child: Child,
    /// `http://ADDRESS:PORT`
    pub(crate) url: String,
}

impl Dashboard {
    /// One by this command, which says all but where to listen.
    pub(crate) fn start(command: Command) -> Self {
        Self::start_on(command, "127.0.0.1:0")
    }

    pub(crate) fn start_on(mut command: Command, listen: &str) -> Self {
        command.args(["--listen", listen]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "{url:?}: {:?}", child.wait());
        let dashboard = Self { child, url: url.trim_end().to_owned() };
        until("it has looked", || (dashboard.get("/readyz").status == 200).then_some(()));
        dashboard
    }

    /// One that another command brings along.
    pub(crate) fn of(child: Child, url: String) -> Self {
        Self { child, url }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), &[], "")
    }

    /// Sends the request with these headers, and reads the answer to its end.
    pub(crate) fn ask(&self, request: &str, headers: &[&str], body: &str) -> Reply {
        let mut lines = vec![format!("{request} HTTP/1.1"), "Connection: close".to_owned()];
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            lines.push(format!("Host: {}", self.address()));
        }
        if request.starts_with("POST") && !headers.iter().any(|h| h.starts_with("Content-Type:")) {
            lines.push("Content-Type: application/x-www-form-urlencoded".to_owned());
        }
        lines.extend(headers.iter().map(|header| (*header).to_owned()));
        lines.push(format!("Content-Length: {}", body.len()));
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(format!("{}\r\n\r\n{body}", lines.join("\r\n")).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// What it says of this lock, by `kind/name`.
    pub(crate) fn election(&self, lock: &str) -> Option<Value> {
        let state = self.get("/api/state").json();
        let elections = state["elections"].as_array().unwrap();
        elections.iter().find(|election| election["lock"] == lock).cloned()
    }

    /// Asks until this is so of a lock.
    pub(crate) fn when(&self, lock: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.election(lock).filter(|election| is_so(election)))
    }

    /// The news of a page, one after the other.
    pub(crate) fn news(&self, query: &str) -> News {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!("GET /events{query} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address());
        stream.write_all(head.as_bytes()).unwrap();
        News(BufReader::new(stream))
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // A demo ends its candidates when it is asked to.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

pub(crate) struct News(BufReader<TcpStream>);

impl News {
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
        line
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> Value {
        loop {
            if let Some(data) = self.line().strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}
