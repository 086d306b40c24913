//! Credentials that a program makes which hangs.

use std::path::PathBuf;

use rustix::process::{Pid, Signal};
use serde_json::json;

use super::support::{Candidate, Cluster, Outcome};
use super::{UP, WORK, eventually, is_alive, pid};

/// A kubeconfig whose plugin is this script. `$TOKEN` is a token that the server believes, `$HERE` a folder.
fn kubeconfig(cluster: &Cluster, script: &str) -> PathBuf {
    let folder = cluster.folder.path();
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
        "interactiveMode": "Never",
        "env": [
            { "name": "TOKEN", "value": cluster.server.admin_token() },
            { "name": "HERE", "value": folder.display().to_string() },
        ],
    });
    let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    let user = json!({ "token": cluster.server.admin_token() }).to_string();
    assert!(text.contains(&user), "{text}");
    let file = folder.join("with-plugin");
    std::fs::write(&file, text.replace(&user, &json!({ "exec": exec }).to_string())).unwrap();
    file
}

const HANGS: &str = "sleep 1000 & echo $! > $HERE/hangs.new; mv $HERE/hangs.new $HERE/hangs; wait";

fn hanging(cluster: &Cluster) -> Option<Pid> {
    let number = std::fs::read_to_string(cluster.folder.path().join("hangs")).ok()?;
    Pid::from_raw(number.trim().parse().unwrap())
}

#[test]
fn a_plugin_that_hangs_at_the_start_is_killed_at_the_request_timeout_and_named() {
    let cluster = Cluster::start();
    let file = kubeconfig(&cluster, HANGS);
    for command in ["get", "check lease/job", "doctor"] {
        let mut command = cluster.command(&format!("{command} --request-timeout 1s --kubeconfig"));
        let outcome = Outcome::of(command.arg(&file).output().unwrap());
        assert_eq!(outcome.code, 3, "{outcome:?}");
        for part in ["credential plugin", "`sh`", "did not answer within 1s", "by hand"] {
            assert!(outcome.stderr.contains(part), "{outcome:?}");
        }
        let plugin = hanging(&cluster).unwrap();
        eventually("the plugin's own child is gone", || !is_alive(plugin));
    }
}

#[test]
fn a_plugin_that_hangs_while_one_leads_costs_the_leadership_and_no_more() {
    let cluster = Cluster::start();
    // The first token is over as soon as it is no longer new; of the second there is never word.
    let script = format!(
        r#"if mkdir $HERE/first 2>/dev/null; then
            echo '{{"status":{{"token":"'$TOKEN'","expirationTimestamp":"2026-01-01T00:00:00Z"}}}}'
        else {HANGS}; fi"#
    );
    let file = kubeconfig(&cluster, &script);
    let mut command = cluster.command("run --lock lease/job --lease-duration 1s --kubeconfig");
    command.arg(file).args(["--", "sh", "-c", &format!("{UP} {WORK}")]);
    let mut john = Candidate::start(command);
    let up = john.event("up");
    eventually("the command has stopped", || !is_alive(pid(&up, "pid")));
    let plugin = hanging(&cluster).unwrap();
    john.signal(Signal::TERM);
    assert_eq!(john.end(), 143);
    eventually("the plugin's own child is gone", || !is_alive(plugin));
}
