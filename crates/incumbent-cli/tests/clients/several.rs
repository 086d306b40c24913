//! What a worker reads in one answer with several tasks, of which only some are its to work on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::Client;
use super::support::proxy::Proxy;
use super::support::sidecar::boot_ms;

/// The tasks of each answer, in this order: name, token, state.
const TASKS: [(&str, u64, &str); 6] = [
    ("a", 11, "revoked"),
    ("b", 12, "running"),
    ("c", 13, "lost"),
    ("d", 14, "running"),
    ("e", 15, "done"),
    ("f", 16, "revoked"),
];

/// Gives a worker the same answer again and again, and judges what it does with each task.
pub(super) fn judge(command: &Command, secret: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let (sender, releases) = channel();
    std::thread::spawn(move || serve(&listener, &sender));
    let mut again = Command::new(command.get_program());
    again.args(command.get_args()).env("INCUMBENT_SECRET_FILE", secret).stderr(Stdio::null());
    let worker = Client::start(again, &proxy_to(place));
    let mut released: Vec<_> = (0..2).map(|_| next(&releases, &worker)).collect();
    released.sort();
    released.dedup();
    // Twice the whole answer.
    for _ in 0..2 {
        worker.until(|line| line.starts_with("work d "));
    }
    let work = worker.printed().into_iter().filter(|line| line.starts_with("work "));
    let mut worked: Vec<_> = work.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect();
    worked.sort();
    worked.dedup();
    assert_eq!(worked, ["work b 12", "work d 14"]);
    let release = |name: &str, token: u64| {
        (format!("/v1/tasks/{name}/released"), format!("{{\"token\":{token}}}"))
    };
    assert_eq!(released, [release("a", 11), release("f", 16)]);
}

fn proxy_to(place: SocketAddr) -> Proxy {
    Proxy::to((place.ip().to_string(), place.port()))
}

fn next(releases: &Receiver<(String, String)>, worker: &Client) -> (String, String) {
    let next = releases.recv_timeout(Duration::from_secs(60));
    next.unwrap_or_else(|_| panic!("a revoked task is not released: {:?}", worker.printed()))
}

/// Answers until the test ends, and passes on what is released.
fn serve(listener: &TcpListener, releases: &Sender<(String, String)>) {
    for stream in listener.incoming() {
        // A client that ends may break its connection.
        let _ = stream.and_then(|stream| answer(stream, releases));
    }
}

fn answer(mut stream: TcpStream, releases: &Sender<(String, String)>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().to_lowercase().split_once(": ") {
            Some(("content-length", number)) => length = number.parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let words: Vec<_> = first.split(' ').collect();
    if words[0] == "POST" {
        let body = String::from_utf8(body).unwrap().replace(' ', "");
        let _ = releases.send((words[1].to_owned(), body));
    }
    let json = tasks();
    let length = json.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{json}"
    )
}

/// As the sidecar writes it: each field, in its order.
fn tasks() -> String {
    let until = boot_ms() + 60_000;
    let one = |(name, token, state): (&str, u64, &str)| {
        let (valid_for, until) = if state == "running" { (60_000, until) } else { (0, 0) };
        format!(
            "{{\"name\":\"{name}\",\"number\":null,\"token\":{token},\"state\":\"{state}\",\
             \"validForMs\":{valid_for},\"validUntilBootMs\":{until},\"stopWithinMs\":64680}}"
        )
    };
    format!(
        "{{\"group\":\"jobs\",\"namespace\":\"default\",\"member\":\"john\",\"tasks\":[{}],\"running\":2,\
         \"validForMs\":60000,\"validUntilBootMs\":{until},\"stopWithinMs\":64680,\"change\":\"1-1\"}}",
        TASKS.map(one).join(",")
    )
}
