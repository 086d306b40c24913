//! The server under load, over HTTP on loopback: open watches, and Leases that are renewed.
//!
//! `cargo bench -p incumbent-apiserver` prints what it reaches; it takes 20 seconds. Server and clients
//! are two processes that share the machine's cores: compare within one machine.
//!
//! `cargo bench -p incumbent-apiserver -- year` renews a Lease as often as a year takes, in-process, and
//! prints what memory grows to; it takes some minutes.
//!
//! `-- --watches 1000 --leases 50 --puts 5000 --seconds 10` are the usual numbers.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use incumbent_apiserver::{ApiServer, Body, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tower_service::Service;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    // Cargo's own test runs of a bench ask only whether it starts.
    if arguments.iter().any(|argument| argument == "--test") {
        return Ok(());
    }
    if arguments.first().is_some_and(|argument| argument == "serve") {
        return serve();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if arguments.iter().any(|argument| argument == "year") {
        return runtime.block_on(year());
    }
    runtime.block_on(load(&Load::parse(&arguments)?))
}

/// The server's own process, so that its memory can be told from the clients'.
fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = ApiServer::new();
        let listening = server.listen("127.0.0.1:0".parse()?, Transport::Http).await?;
        println!("{} {}", listening.address(), server.admin_token());
        // Ends with the process that holds the other end.
        tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await?;
        Ok(())
    })
}

struct Load {
    watches: usize,
    leases: usize,
    puts_per_second: f64,
    seconds: u64,
}

impl Load {
    fn parse(arguments: &[String]) -> Result<Self> {
        let number = |name: &str, usual: u64| -> Result<u64> {
            let at = arguments.iter().position(|argument| argument == name);
            let Some(value) = at.and_then(|at| arguments.get(at + 1)) else { return Ok(usual) };
            Ok(value.parse()?)
        };
        Ok(Self {
            watches: number("--watches", 1000)? as usize,
            leases: number("--leases", 50)?.max(1) as usize,
            puts_per_second: number("--puts", 5000)?.max(1) as f64,
            seconds: number("--seconds", 10)?,
        })
    }
}

/// The server's process, which ends with this value.
struct Server {
    child: Child,
    address: String,
    token: String,
}

impl Server {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let (address, token) = line.trim().split_once(' ').ok_or("no address")?;
        Ok(Self { address: address.to_owned(), token: token.to_owned(), child })
    }

    fn resident_mib(&self) -> Result<f64> {
        resident_mib(self.child.id())
    }

    /// Processor time so far, of which Linux counts 100 ticks a second.
    fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = after_name.split_whitespace().skip(11).take(2);
        Ok(ticks.map(|ticks| ticks.parse::<f64>()).sum::<Result<f64, _>>()? / 100.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resident_mib(process: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib / 1024.0)
}

/// A renewal each five seconds for a year, with one watcher that reads and one that does not.
async fn year() -> Result<()> {
    const DAY: u64 = 86_400 / 5;
    let server = ApiServer::new();
    let object = serde_json::from_str(&lease(0, "0", 0))?;
    let mut version = version_of(&server.create(object)?.to_string())?.to_owned();
    let watch = |timeout: u32| format!("{LEASES}?watch=1&timeoutSeconds={timeout}");
    let mut reading = call(&server, "GET", &watch(100_000), String::new()).await?;
    let _idle = call(&server, "GET", &watch(100_001), String::new()).await?;
    let (start, mut read) = (Instant::now(), 0_u64);
    for day in 0..365 {
        for renewal in 0..DAY {
            let body = lease(0, &version, (day * DAY + renewal) as usize);
            let mut answer = call(&server, "PUT", &format!("{LEASES}/l0"), body).await?;
            let bytes = frame(&mut answer).await.ok_or("no answer")?;
            version = version_of(std::str::from_utf8(&bytes)?)?.to_owned();
            read += u64::from(frame(&mut reading).await.is_some());
        }
        if [0, 1, 7, 30, 90, 180, 364].contains(&day) {
            let mib = resident_mib(std::process::id())?;
            let (writes, seconds) = ((day + 1) * DAY, start.elapsed().as_secs_f64());
            println!(
                "after day {:>3}: {writes:>8} renewals, {read:>8} events, {mib:.1} MiB, {seconds:.0} s",
                day + 1
            );
        }
    }
    Ok(())
}

async fn call(server: &ApiServer, method: &str, path: &str, body: String) -> Result<Body> {
    let request = http::Request::builder().method(method).uri(path);
    let body = http_body_util::Full::new(bytes::Bytes::from(body));
    let response = server.service().call(request.body(body)?).await?;
    if !response.status().is_success() {
        return Err(format!("{method} {path}: {}", response.status()).into());
    }
    Ok(response.into_body())
}

async fn frame(body: &mut Body) -> Option<bytes::Bytes> {
    body.frame().await?.ok()?.into_data().ok()
}

async fn load(load: &Load) -> Result<()> {
    let server = Arc::new(Server::start()?);
    let before = server.resident_mib()?;
    let mut versions = Vec::new();
    let mut connection = Connection::open(&server).await?;
    for number in 0..load.leases {
        let answer = connection.send("POST", LEASES, &lease(number, "0", 0)).await?;
        versions.push(version_of(&answer)?.to_owned());
    }
    let events = Arc::new(AtomicU64::new(0));
    let mut watches = open_watches(load, &server, &versions, &events).await?;
    let with_watches = server.resident_mib()?;
    println!("{} watches open, {} Leases", load.watches, load.leases);

    let (start, cpu) = (Instant::now(), server.cpu_seconds()?);
    let mut writers = JoinSet::new();
    for (number, version) in versions.into_iter().enumerate() {
        let server = server.clone();
        let every = Duration::from_secs_f64(load.leases as f64 / load.puts_per_second);
        let until = start + Duration::from_secs(load.seconds);
        writers.spawn(async move { renew(&server, number, version, every, until).await });
    }
    let mut latencies = Vec::new();
    while let Some(done) = writers.join_next().await {
        latencies.extend(done??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = server.cpu_seconds()? - cpu;
    // What was written last is still on its way.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let events = events.load(Ordering::Relaxed);
    let after = server.resident_mib()?;
    latencies.sort_unstable();
    let at =
        |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("PUT/s        {:.0} for {seconds:.1} s", latencies.len() as f64 / seconds);
    println!("latency, ms  median {:.2}, p99 {:.2}, longest {:.2}", at(0.5), at(0.99), at(1.0));
    let watched = load.watches.div_ceil(5);
    println!("events       {events}, {:.0}/s, on {watched} watches", events as f64 / seconds);
    let each = 1e6 * cpu / latencies.len() as f64;
    println!(
        "processor    {:.0} % of a core, {each:.0} µs a PUT: the server",
        100.0 * cpu / seconds
    );
    println!(
        "resident     {before:.1} MiB, with watches {with_watches:.1}, after the writes {after:.1}"
    );
    let expected = latencies.len() as u64 * watched as u64 / load.leases as u64;
    assert!(events >= expected * 99 / 100, "{events} events of about {expected}");
    assert!(watches.try_join_next().is_none(), "no watch ended");
    Ok(())
}

/// Opens them all, and counts what they are told.
async fn open_watches(
    load: &Load,
    server: &Server,
    versions: &[String],
    events: &Arc<AtomicU64>,
) -> Result<JoinSet<Result<()>>> {
    let mut tasks = JoinSet::new();
    for number in 0..load.watches {
        // Every fifth watches a Lease that is written; the others what nobody writes.
        let path = match number % 5 {
            0 => format!(
                "{LEASES}?watch=1&resourceVersion={}&fieldSelector=metadata.name%3Dl{}",
                versions[number / 5 % load.leases],
                number / 5 % load.leases
            ),
            1 => format!("{LEASES}?watch=1&fieldSelector=metadata.name%3Dnone{number}"),
            _ => format!("/apis/coordination.k8s.io/v1/namespaces/n{number}/leases?watch=1"),
        };
        let mut connection = Connection::open(server).await?;
        connection.ask("GET", &path, "").await?;
        connection.head().await?;
        let events = events.clone();
        tasks.spawn(async move { connection.count_lines(&events).await });
    }
    Ok(tasks)
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

/// Replaces one Lease again and again, and says how long each took.
async fn renew(
    server: &Server,
    number: usize,
    mut version: String,
    every: Duration,
    until: Instant,
) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(server).await?;
    let path = format!("{LEASES}/l{number}");
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut latencies = Vec::new();
    while Instant::now() < until {
        ticks.tick().await;
        let body = lease(number, &version, latencies.len());
        let start = Instant::now();
        let answer = connection.send("PUT", &path, &body).await?;
        latencies.push(start.elapsed());
        version = version_of(&answer)?.to_owned();
    }
    Ok(latencies)
}

fn lease(number: usize, version: &str, transitions: usize) -> String {
    let mut metadata = json!({"name": format!("l{number}"), "annotations": {
        "incumbent.dev/term": "{\"identity\":\"jane-5f6c\",\"session\":\"d3b07384d113\",\"token\":7}",
    }});
    if version != "0" {
        metadata["resourceVersion"] = json!(version);
    }
    let lease: Value = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
        "spec": {
            "holderIdentity": "jane-5f6c", "leaseDurationSeconds": 15,
            "leaseTransitions": transitions, "renewTime": "2026-01-01T00:00:00.000000Z",
        },
    });
    lease.to_string()
}

fn version_of(object: &str) -> Result<&str> {
    let start = "\"resourceVersion\":\"";
    let at = object.find(start).ok_or_else(|| format!("no version in {object}"))? + start.len();
    let rest = &object[at..];
    Ok(&rest[..rest.find('"').ok_or("no end of the version")?])
}

/// As little of an HTTP client as will do, so that it takes little of the processor.
struct Connection {
    stream: TcpStream,
    token: String,
    read: Vec<u8>,
}

impl Connection {
    async fn open(server: &Server) -> Result<Self> {
        let stream = TcpStream::connect(&server.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, token: server.token.clone(), read: Vec::with_capacity(4096) })
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> Result<String> {
        self.ask(method, path, body).await?;
        let (head, mut rest) = self.head().await?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.ok_or("no length")?.trim().parse()?;
        while rest.len() < length {
            self.stream.read_buf(&mut rest).await?;
        }
        Ok(String::from_utf8(rest)?)
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<()> {
        let (token, length) = (&self.token, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }

    /// The head of an answer that went well, and what came after it already.
    async fn head(&mut self) -> Result<(String, Vec<u8>)> {
        self.read.clear();
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err("the connection was closed".into());
            }
            let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8(self.read[..end].to_vec())?;
            if !head.starts_with("HTTP/1.1 20") {
                return Err(head.into());
            }
            return Ok((head, self.read[end + 4..].to_vec()));
        }
    }

    /// Counts the events of a watch, each of which ends with the only line feed of JSON's own.
    async fn count_lines(mut self, lines: &AtomicU64) -> Result<()> {
        let mut buffer = vec![0; 4096];
        loop {
            let read = self.stream.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            let events = buffer[..read].windows(2).filter(|two| two == b"}\n").count();
            lines.fetch_add(events as u64, Ordering::Relaxed);
        }
    }
}
