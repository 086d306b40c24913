//! `/metrics`, scraped over HTTP from real processes.

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Candidate, Cluster, Outcome};

/// A candidate whose numbers can be read.
struct Measured {
    candidate: Candidate,
    address: String,
}

impl Measured {
    /// Starts it, and waits for `event`.
    fn start(cluster: &Cluster, identity: &str, event: &str) -> Self {
        let mut command = cluster.command(&format!(
            "elect --lock lease/scanner --lease-duration 3s --metrics-addr 0 --identity {identity}"
        ));
        let talk = cluster.folder.path().join(identity);
        command.stderr(File::create(&talk).unwrap());
        let mut candidate = Candidate::start(command);
        candidate.event(event); // By then it has said where its numbers are.
        let talk = std::fs::read_to_string(talk).unwrap();
        let line = talk.lines().find_map(|line| line.strip_prefix("metrics: http://")).unwrap();
        let address = line.strip_suffix("/metrics").unwrap().to_owned();
        assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"), "{address}");
        Self { candidate, address }
    }

    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn scrape(&self) -> Scrape {
        let (head, body) = self.ask("GET /metrics");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"));
        assert!(body.ends_with("# EOF\n"), "{body}");
        Scrape(body)
    }

    /// Scrapes until it is so: what is counted arrives a moment after it has happened.
    fn scrape_until(&self, what: &str, is_so: impl Fn(&Scrape) -> bool) -> Scrape {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let scrape = self.scrape();
            if is_so(&scrape) {
                return scrape;
            }
            assert!(Instant::now() < deadline, "{what}: {}", scrape.0);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Scrape(String);

impl Scrape {
    /// The sum of this metric's series that have all these labels.
    fn value(&self, name: &str, labels: &str) -> f64 {
        let series =
            self.0.lines().filter_map(|line| line.rsplit_once(' ')).filter(|(series, _)| {
                let (its_name, its_labels) = series.split_once('{').unwrap_or((series, ""));
                its_name == name && labels.split(' ').all(|label| its_labels.contains(label))
            });
        let values: Vec<f64> = series.map(|(_, value)| value.parse().unwrap()).collect();
        assert!(!values.is_empty(), "no {name}{{{labels}}} in {}", self.0);
        values.iter().sum()
    }

    fn of(&self, name: &str) -> f64 {
        self.value(name, r#"name="scanner" namespace="default" lock="lease/scanner""#)
    }

    /// Name and type of all metrics.
    fn types(&self) -> BTreeMap<String, String> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let types = lines.map(|line| line.split_once(' ').unwrap());
        let suffixed = types.map(|(name, kind)| match kind {
            "counter" => (format!("{name}_total"), kind.to_owned()),
            "info" => (format!("{name}_info"), kind.to_owned()),
            _ => (name.to_owned(), kind.to_owned()),
        });
        suffixed.collect()
    }
}

#[test]
fn a_change_of_the_leader_and_a_loss_show_in_the_numbers() {
    let mut cluster = Cluster::start();
    let mut john = Measured::start(&cluster, "john", "leading");
    let mut jane = Measured::start(&cluster, "jane", "following");

    let first = john.scrape_until("jane waits", |s| s.of("incumbent_waiting_candidates") == 1.0);
    assert_eq!(first.of("leader_election_master_status"), 1.0);
    let valid_for = first.of("incumbent_lease_valid_seconds");
    assert!(valid_for > 0.0 && valid_for <= 2.0, "{valid_for}");
    assert!(first.of("incumbent_fencing_token") > 0.0);
    assert_eq!(first.of("incumbent_terms_total"), 1.0);
    assert_eq!(first.of("incumbent_leader_changes_total"), 1.0);
    assert!(first.value("incumbent_requests_total", r#"verb="update" code="200""#) >= 1.0);
    assert!(first.value("incumbent_request_duration_seconds_count", r#"verb="update""#) >= 1.0);
    let duration = first.value("incumbent_request_duration_seconds_sum", r#"verb="update""#);
    assert!(duration > 0.0, "it takes time");

    let follows = jane.scrape();
    for name in [
        "leader_election_master_status",
        "incumbent_lease_valid_seconds",
        "incumbent_fencing_token",
        "incumbent_terms_total",
        "leader_election_slowpath_total",
        "incumbent_term_ends_total",
    ] {
        assert_eq!(follows.of(name), 0.0, "{name}");
    }
    assert_eq!(follows.of("incumbent_leader_known"), 1.0);

    john.candidate.signal(Signal::TERM);
    assert_eq!(john.candidate.end(), 0);
    jane.candidate.event("leading");
    let leads = jane.scrape_until("she leads", |s| s.of("incumbent_terms_total") == 1.0);
    assert_eq!(leads.of("leader_election_master_status"), 1.0);
    assert!(leads.of("incumbent_fencing_token") > first.of("incumbent_fencing_token"));
    assert_eq!(leads.of("incumbent_leader_changes_total"), 2.0);

    cluster.stop();
    jane.candidate.event("lost");
    let lost = jane.scrape_until("it is counted", |s| s.of("incumbent_term_ends_total") == 1.0);
    assert_eq!(lost.value("incumbent_term_ends_total", r#"reason="deadline-passed""#), 1.0);
    assert_eq!(lost.of("leader_election_master_status"), 0.0);
    assert_eq!(lost.of("incumbent_lease_valid_seconds"), 0.0);
    assert!(lost.value("incumbent_requests_total", r#"code="none""#) >= 1.0);
    jane.scrape_until("nobody leads any more", |s| s.of("incumbent_leader_known") == 0.0);
}

#[test]
fn what_is_not_metrics_is_refused_and_hurts_nobody() {
    let cluster = Cluster::start();
    let john = Measured::start(&cluster, "john", "leading");
    assert!(john.ask("GET /").0.starts_with("HTTP/1.1 404"));
    assert!(john.ask("POST /metrics").0.starts_with("HTTP/1.1 405"));
    assert!(john.ask("nonsense").0.starts_with("HTTP/1.1 400"));
    // More connections than are served, all silent: those that gave up make room.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(&john.address).unwrap()).collect();
    drop(silent);
    assert_eq!(john.scrape().of("leader_election_master_status"), 1.0);
}

#[test]
fn a_port_that_is_taken_and_candidates_that_share_a_lock_are_refused() {
    let cluster = Cluster::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let run = |arguments: &str| {
        let arguments = format!("elect --lock lease/a --metrics-addr {port} {arguments}");
        Outcome::of(cluster.command(&arguments).output().unwrap())
    };
    let refused = run("");
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    assert!(refused.stderr.contains("choose another port, or 0"), "{}", refused.stderr);
    assert_eq!(run("--candidates 2").code, 2);
}

/// Names of metrics in a text, without what a histogram adds.
fn named_in(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("incumbent_") || word.starts_with("leader_election_"))
        .map(|word| {
            ["_bucket", "_count", "_sum"].iter().find_map(|s| word.strip_suffix(s)).unwrap_or(word)
        })
        .collect()
}

#[test]
fn the_documentation_lists_what_is_served_and_nothing_else() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = std::fs::read_to_string(file).unwrap();
    // Those of groups are the library's; `group_surface.rs` compares them.
    let is_of_group = |name: &str| name.starts_with("incumbent_group_");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter(|row| !is_of_group(row));
    let documented: BTreeMap<_, _> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().unwrap().trim_end_matches('`').to_owned();
            (name, cells.next().unwrap().to_owned())
        })
        .collect();
    let cluster = Cluster::start();
    let served = Measured::start(&cluster, "john", "leading").scrape().types();
    assert_eq!(documented, served);
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus");
    let rules = std::fs::read_to_string(rules.join("incumbent.rules.yaml")).unwrap();
    // Names of alerts begin with a capital, those of files have no underscore.
    let named = named_in(&text).into_iter().chain(named_in(&rules));
    for name in named.filter(|name| !is_of_group(name)) {
        assert!(served.contains_key(name), "{name} is not served");
    }
}
