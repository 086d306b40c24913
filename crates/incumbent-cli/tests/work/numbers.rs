//! What a member serves for Prometheus.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::support::sidecar::until;
use super::support::{Candidate, Cluster};
use super::{command, runs, worker};

#[test]
fn a_member_counts_its_tasks_and_its_requests() {
    let cluster = Cluster::start();
    let log = cluster.folder.path().join("log");
    let mut work = command(&cluster, "john", "--tasks a,b,c --metrics-addr 0", &worker());
    work.stderr(File::create(&log).unwrap());
    let john = Candidate::start(work);
    let address = until("it serves numbers", || {
        let log = std::fs::read_to_string(&log).unwrap();
        let place = log.lines().find_map(|line| line.strip_prefix("metrics: http://"))?;
        place.strip_suffix("/metrics").map(str::to_owned)
    });
    runs(&john, &["a", "b", "c"]);
    let mut stream = TcpStream::connect(&address).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    for line in [
        "incumbent_group_owned_tasks{namespace=\"default\",group=\"jobs\"} 3\n",
        "incumbent_terms_total{name=\"jobs.john\",namespace=\"default\",lock=\"lease/jobs.john\"} 1\n",
        "incumbent_build_info{",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    assert!(page.ends_with("# EOF\n") && page.matches("# EOF").count() == 1, "{page}");
}
