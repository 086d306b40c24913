//! Elections of real processes over HTTPS.

mod support;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Candidate, Cluster, Outcome};

#[test]
fn the_first_leads_the_second_follows_and_sigterm_hands_over() {
    let cluster = Cluster::start();
    let start = |identity: &str| {
        let arguments = format!("elect --lock lease/scanner --identity {identity}");
        Candidate::start(cluster.command(&arguments))
    };
    let mut john = start("john");
    let leading = john.event("leading");
    assert_eq!((&leading["lock"], &leading["leader"]), (&json!("lease/scanner"), &json!("john")));
    assert!(leading["validForMs"].as_u64().unwrap() > 5_000);
    let time = leading["time"].as_str().unwrap();
    assert_eq!(time.len(), "2026-01-01T00:00:00.000000Z".len(), "{time}");

    let mut jane = start("jane");
    let following = jane.event("following");
    assert_eq!((&following["leader"], &following["token"]), (&json!("john"), &leading["token"]));

    john.signal(Signal::TERM);
    assert_eq!(john.event("released")["release"], "done");
    assert_eq!(john.end(), 0);
    let next = jane.event("leading");
    assert!(next["token"].as_u64() > leading["token"].as_u64());
    jane.signal(Signal::INT);
    assert_eq!(jane.event("released")["release"], "done");
    assert_eq!(jane.end(), 0);
}

#[test]
fn a_frozen_leader_wakes_up_as_a_follower() {
    let cluster = Cluster::start();
    let start = |identity: &str| {
        let arguments = format!(
            "elect --lock lease/scanner --lease-duration 3s --act-every 5ms --identity {identity}"
        );
        Candidate::start(cluster.command(&arguments))
    };
    let mut john = start("john");
    let first = john.event("acting");
    let mut jane = start("jane");
    jane.event("following");
    john.signal(Signal::STOP);
    let taken_over = jane.event("leading");
    // Long past the moment at which john's work had to have stopped: nobody was awake to end it.
    for _ in 0..80 {
        jane.event("acting");
    }
    john.signal(Signal::CONT);
    // Every act that john prints from now on was one of before; then he says that he has lost.
    let lost = john.event("lost");
    assert_eq!(lost["token"], first["token"]);
    let following = john.event("following");
    assert_eq!((&following["leader"], &following["token"]), (&json!("jane"), &taken_over["token"]));
}

#[test]
fn work_that_hangs_on_its_output_is_ended_although_stderr_takes_nothing_either() {
    let cluster = Cluster::start();
    let (_unread, mut full) = std::io::pipe().unwrap();
    // 64 KiB is what a pipe holds.
    full.write_all(&[b'x'; 65536]).unwrap();
    let mut command = cluster.command("elect --lock lease/scanner --lease-duration 1s");
    let mut john = command.stdout(full.try_clone().unwrap()).stderr(full).spawn().unwrap();
    // It prints that it leads, and with that blocks the one thread that would renew.
    assert_eq!(john.wait().unwrap().signal(), Some(6));
}

#[test]
fn a_leader_whose_output_has_no_room_on_disk_gives_back_and_says_why() {
    let cluster = Cluster::start();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = cluster.command("elect --lock lease/scanner");
    let john = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ended = Outcome::of(john.wait_with_output().unwrap());
    assert!(ended.code > 0 && ended.stderr.contains("No space left"), "{ended:?}");
    let shown = cluster.run("get lease/scanner -o json").stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["holder"], Value::Null, "{shown}");
}

#[test]
fn two_with_only_get_and_update_on_one_config_map_elect_and_hand_over() {
    let cluster = Cluster::start();
    let api_version = "rbac.authorization.k8s.io/v1";
    let metadata = json!({ "name": "blackboard", "namespace": "default" });
    cluster
        .server
        .create(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }))
        .unwrap();
    let rule = json!({
        "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["blackboard"],
        "verbs": ["get", "update"],
    });
    let token = cluster.server.service_account_token(
        "default",
        "blackboard",
        std::time::Duration::from_secs(3600),
    );
    for object in [
        json!({ "apiVersion": api_version, "kind": "Role", "metadata": metadata, "rules": [rule] }),
        json!({
            "apiVersion": api_version, "kind": "RoleBinding", "metadata": metadata,
            "subjects": [{ "kind": "ServiceAccount", "name": "blackboard", "namespace": "default" }],
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "blackboard",
            },
        }),
    ] {
        cluster.server.create(object).unwrap();
    }
    // As in a Pod: the files of a service account, and two variables.
    let folder = cluster.folder.path().join("serviceaccount");
    std::fs::create_dir(&folder).unwrap();
    cluster.listening().write_service_account(&folder, "default", &token).unwrap();
    let start = |identity: &str| {
        let mut command = support::incumbent(
            "elect --lock configmap/blackboard --lease-duration 3s --service-account-dir",
        );
        command.arg(&folder).args(["--identity", identity]);
        let address = cluster.listening().address();
        command.env("KUBERNETES_SERVICE_HOST", address.ip().to_string());
        command.env("KUBERNETES_SERVICE_PORT", address.port().to_string());
        Candidate::start(command)
    };
    let mut john = start("john");
    let first = john.event("leading");
    let mut jane = start("jane");
    assert_eq!(jane.event("following")["leader"], "john");
    john.signal(Signal::TERM);
    assert_eq!(john.event("released")["release"], "done");
    let second = jane.event("leading");
    assert!(second["token"].as_u64() > first["token"].as_u64());
    let shown = cluster.run("get configmap/blackboard -o json");
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown[0]["holder"], "jane");
}

#[test]
fn a_candidate_whose_output_fails_gives_the_lock_back() {
    let cluster = Cluster::start();
    let mut command = cluster.command("elect --lock lease/a --identity john");
    command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let shown: Value = serde_json::from_str(&cluster.run("get a -o json").stdout).unwrap();
    assert_eq!(shown[0]["state"], "vacant");
}

#[test]
fn many_elections_and_candidates_share_one_process() {
    let cluster = Cluster::start();
    let mut candidates = Candidate::start(cluster.command(
        "elect --lock lease/a --lock lease/b --lock configmap/c:key --candidates 3 --identity x",
    ));
    let mut locks: Vec<_> =
        (0..3).map(|_| candidates.event("leading")["lock"].as_str().unwrap().to_owned()).collect();
    locks.sort();
    assert_eq!(locks, ["configmap/c:key", "lease/a", "lease/b"]);
    candidates.signal(Signal::TERM);
    assert_eq!(candidates.end(), 0);
    let held = cluster.run("get -o json");
    let held: Vec<Value> = serde_json::from_str(&held.stdout).unwrap();
    assert_eq!(held.len(), 3);
    assert!(held.iter().all(|lock| lock["state"] == "vacant"), "{held:?}");
}

#[test]
fn an_outage_shorter_than_the_renew_deadline_costs_nothing() {
    let mut cluster = Cluster::start();
    let mut john = Candidate::start(
        cluster
            .command("elect --lock lease/a --lease-duration 3s --identity john --act-every 20ms"),
    );
    let leading = john.event("leading");
    let address = cluster.listening().address();
    cluster.stop();
    let kept = john.event("acting");
    cluster.listen_again(address);
    // He acts longer than his term would have lasted without another renewal, under the same token.
    for _ in 0..200 {
        assert_eq!(john.event("acting")["token"], leading["token"]);
    }
    assert_eq!(kept["token"], leading["token"]);
}
