//! Numbers and times at the ends of what can be written down, in flags, in records and from the server: no command
//! panics, whatever it makes of them.

mod support;

use serde_json::{Value, json};
use support::{Cluster, Outcome};

/// Times that a program without care adds to, or subtracts from.
const TIMES: [&str; 5] = [
    "0001-01-01T00:00:00.000000Z",
    "1969-12-31T23:59:59.999999Z",
    "2026-11-28T08:00:00.000000Z",
    "9999-12-30T22:00:00.999999Z",
    "9999-12-31T23:59:59.999999Z",
];

const SECONDS: [i64; 6] = [i64::MIN, -1, 0, 1, i32::MAX as i64, i64::MAX];

/// A Lease as a foreign program may have left it.
fn lease(name: &str, time: &str, seconds: i64) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "holderIdentity": "john", "leaseDurationSeconds": seconds, "leaseTransitions": i32::MAX,
            "acquireTime": time, "renewTime": time,
        },
    })
}

/// The same as a ConfigMap, whose annotation no API server checks.
fn config_map(name: &str, time: &str, seconds: i64) -> Value {
    let record = json!({
        "holderIdentity": "john", "leaseDurationSeconds": seconds, "leaderTransitions": 0,
        "acquireTime": time, "renewTime": time,
    });
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "default", "annotations": {
            "control-plane.alpha.kubernetes.io/leader": record.to_string(),
        } },
    })
}

fn survives(outcome: &Outcome, what: &str) {
    let has_panicked = outcome.code == 101 || outcome.stderr.contains("panicked");
    assert!(!has_panicked && outcome.code >= 0, "{what}: {outcome:?}");
}

#[test]
fn records_with_absurd_times_and_durations_panic_no_command() {
    let cluster = Cluster::start();
    let mut locks = Vec::new();
    for (number, time) in TIMES.iter().enumerate() {
        for (other, seconds) in SECONDS.into_iter().enumerate() {
            let name = format!("absurd-{number}-{other}");
            // What the API server refuses, nobody meets.
            if cluster.server.create(lease(&name, time, seconds)).is_ok() {
                locks.push(format!("lease/{name}"));
            }
            if cluster.server.create(config_map(&name, time, seconds)).is_ok() {
                locks.push(format!("configmap/{name}"));
            }
        }
    }
    let claim = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "board", "namespace": "default" },
        "data": { "job": "john" },
    });
    cluster.server.create(claim).unwrap();
    locks.push("configmap/board:job".to_owned());
    for flags in ["get", "get -o json", "get -A", "doctor", "history"] {
        survives(&cluster.run(flags), flags);
    }
    for lock in &locks {
        for flags in ["status", "check", "step-down --dry-run"] {
            let flags = format!("{flags} {lock}");
            survives(&cluster.run(&flags), &flags);
        }
        #[cfg(target_os = "linux")]
        if !lock.starts_with("lease/absurd-2") {
            let flags = format!("run --lock {lock} --timeout 150ms -- true");
            survives(&cluster.run(&flags), &flags);
        }
    }
    #[cfg(target_os = "linux")]
    for lock in ["configmap/board:job", "lease/absurd-3-4", "configmap/absurd-0-0"] {
        let flags = format!("run --lock {lock} --lease-duration 1s --try -- true");
        survives(&cluster.run(&flags), &flags);
    }
}

#[test]
fn absurd_flags_panic_no_command() {
    let cluster = Cluster::start();
    let long = ["9223372036854775807s", "999999999h", "1ns", "-1s", "0s", "153722867280912930m"];
    for duration in long {
        for flags in [
            format!("run --lock lease/a --lease-duration {duration} --timeout 100ms -- true"),
            format!("run --lock lease/b --kill-after {duration} --timeout 5s -- true"),
            format!("run --lock lease/c --renew-deadline {duration} --timeout 100ms -- true"),
            format!("run --lock lease/d --retry-period {duration} --timeout 100ms -- true"),
            format!("run --lock lease/e --renew-interval {duration} --timeout 100ms -- true"),
            format!("run --lock lease/f --timeout {duration} -- true"),
            format!("once configmap/g:once --ttl {duration} -- true"),
            format!("once configmap/g:once --ttl {duration} -- true"),
            format!("timings --lease-duration {duration}"),
            format!("doctor --lease-duration {duration}"),
            format!("get --request-timeout {duration}"),
        ] {
            survives(&cluster.run(&flags), &flags);
        }
    }
}

/// As a server, or a proxy in front of it, may send them.
#[test]
fn absurd_headers_of_the_server_panic_no_command() {
    for (header, value) in [
        ("Retry-After", "99999999999999"),
        ("Retry-After", "18446744073709551615"),
        ("Retry-After", "-1"),
        ("Date", "Thu, 30 Dec 9999 22:00:00 GMT"),
        ("Date", "Mon, 01 Jan 0001 00:00:00 GMT"),
        ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ] {
        let kubeconfig = stub::serve(header, value);
        for flags in ["get", "doctor", "check lease/a", "elect --lock lease/a"] {
            let mut command = support::incumbent(flags);
            command.env("KUBECONFIG", kubeconfig.path()).stdout(std::process::Stdio::piped());
            let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
            if flags.starts_with("elect") {
                // It waits as the server asks, which is for ever, unless it is cut short.
                std::thread::sleep(std::time::Duration::from_millis(300));
                let pid = rustix::process::Pid::from_child(&child);
                assert!(child.try_wait().unwrap().is_none_or(|status| status.code() != Some(101)));
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            survives(&Outcome::of(child.wait_with_output().unwrap()), &format!("{value}: {flags}"));
        }
    }
}

/// A server that answers everything in the same way.
mod stub {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use tempfile::NamedTempFile;

    /// A kubeconfig for it.
    pub(crate) fn serve(header: &'static str, value: &'static str) -> NamedTempFile {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for line in listener.incoming().flatten() {
                std::thread::spawn(move || answer(line, header, value));
            }
        });
        let mut file = NamedTempFile::new().unwrap();
        let clusters =
            format!("[{{\"name\":\"a\",\"cluster\":{{\"server\":\"http://{address}\"}}}}]");
        writeln!(
            file,
            "{{\"apiVersion\":\"v1\",\"kind\":\"Config\",\"current-context\":\"a\",\"clusters\":{clusters},\
             \"contexts\":[{{\"name\":\"a\",\"context\":{{\"cluster\":\"a\",\"user\":\"a\"}}}}],\
             \"users\":[{{\"name\":\"a\",\"user\":{{}}}}]}}"
        )
        .unwrap();
        file
    }

    fn answer(mut line: TcpStream, header: &str, value: &str) {
        let mut request = [0; 16384];
        while line.read(&mut request).is_ok_and(|count| count > 0) {
            // The version is told, so that a command gets beyond it.
            let (code, body) = match request.starts_with(b"GET /version") {
                true => ("200 OK", r#"{"major":"1","minor":"33","gitVersion":"v1.33.0"}"#),
                false => ("429 Too Many Requests", r#"{"kind":"Status","code":429}"#),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {code}\r\nContent-Type: application/json\r\n{header}: {value}\r\n"
            );
            let sent = write!(line, "{head}Content-Length: {length}\r\n\r\n{body}");
            if sent.is_err() {
                return;
            }
        }
    }
}
