//! `incumbent sidecar`, as an application meets it: real processes, asked over HTTP.

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::Cluster;
use support::sidecar::{SECRET, Sidecar, boot_ms, until, within_a_second};

#[test]
fn both_say_who_leads_and_for_how_long() {
    let cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "--address 10.0.0.7:80");
    let leads = john.leads();
    assert_eq!(
        (&leads["state"], &leads["identity"], &leads["self"]),
        (&"leader".into(), &"john".into(), &"john".into())
    );
    let (valid_for, stop_within) =
        (leads["validForMs"].as_u64().unwrap(), leads["stopWithinMs"].as_u64().unwrap());
    assert!(
        (1..=2000).contains(&valid_for) && stop_within > valid_for && stop_within < 3000,
        "{leads}"
    );
    let until_then = leads["validUntilBootMs"].as_u64().unwrap() - boot_ms();
    // Both are rounded.
    assert!(until_then <= valid_for + 1, "{leads}");
    assert_eq!(leads["address"], "10.0.0.7:80");

    let jane = Sidecar::start(&cluster, "jane", "");
    let follows = jane.follows("john");
    assert_eq!((&follows["isSelf"], &follows["token"]), (&false.into(), &leads["token"]));
    assert_eq!(follows["address"], "10.0.0.7:80");
    assert_eq!(follows["lock"], "lease/scanner");
    assert_eq!((john.get("/leader").status, jane.get("/leader").status), (200, 503));
    let head = john.ask("HEAD /leader", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.header("incumbent-valid-for-ms").unwrap().parse::<u64>().unwrap() > 0);
    for sidecar in [&john, &jane] {
        for path in ["/readyz", "/startupz", "/livez", "/healthz"] {
            assert_eq!(sidecar.get(path).status, 200, "{path}");
        }
        assert_eq!(sidecar.get("/v1/leader").header("cache-control"), Some("no-store"));
    }
    assert!(john.get("/metrics").body.contains("\nleader_election_master_status{"));
    assert_eq!(john.get("/openapi.json").json()["info"]["title"], "incumbent sidecar");
}

#[test]
fn clients_of_older_sidecars_find_their_leader() {
    let cluster = Cluster::start();
    let uid = "3f0d2c52-8f3e-4d0c-9d55-0f3c5f1b7a10";
    let mut command = cluster.command("");
    command.env("POD_NAME", "scanner-0").env("POD_UID", uid);
    let john = Sidecar::start_with(&cluster, command, &format!("scanner-0_{uid}"), "");
    john.leads();
    let jane = Sidecar::start(&cluster, "jane", "");
    jane.answer_when("she follows", |answer| answer["state"] == "leader");
    for (sidecar, is_leader, node) in [(&john, true, "scanner-0"), (&jane, false, "jane")] {
        let old = sidecar.get("/").json();
        assert_eq!((&old["name"], &old["leader"]), (&"scanner-0".into(), &"scanner-0".into()));
        assert_eq!((&old["is_leader"], &old["node"]), (&is_leader.into(), &node.into()));
        for time in ["last_update", "timestamp"] {
            let time: jiff::Timestamp = old[time].as_str().unwrap().parse().unwrap();
            assert!(
                jiff::Timestamp::now().duration_since(time).abs()
                    < jiff::SignedDuration::from_secs(60)
            );
        }
        assert!(old["validForMs"].as_u64().unwrap() > 0);
    }
}

#[test]
fn a_change_of_the_leader_is_seen_by_long_poll_and_by_events() {
    let cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "");
    let first = john.leads();
    let jane = Sidecar::start(&cluster, "jane", "");
    let mut events = jane.events("/v1/events", &[]);
    let before = events.change(|data| data["identity"] == "john");
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| {
            let mut known = jane.follows("john")["change"].as_str().unwrap().to_owned();
            loop {
                let answer = jane.get(&format!("/v1/leader?wait=30s&known={known}")).json();
                if answer["isSelf"] == true {
                    return answer;
                }
                known = answer["change"].as_str().unwrap().to_owned();
            }
        });
        assert_eq!(john.step_down("").json()["release"], "done");
        let leads = events.change(|data| data["isSelf"] == true);
        assert!(leads.data["token"].as_u64() > first["token"].as_u64());
        assert_ne!(leads.id, before.id);
        let polled = poll.join().unwrap();
        assert_eq!((&polled["token"], &polled["identity"]), (&leads.data["token"], &"jane".into()));
    });
    // After a step-down, john does not take it back. A listener that comes back learns what is true now.
    john.follows("jane");
    let mut again = jane.events("/v1/events", &[&format!("Last-Event-ID: {}", before.id)]);
    assert_eq!(again.next().unwrap().data["identity"], "jane");
    // A listener that knows that already gets a new time.
    let id = jane.answer()["change"].as_str().unwrap().to_owned();
    let mut again = jane.events("/v1/events", &[&format!("Last-Event-ID: {id}")]);
    let event = again.next().unwrap();
    assert_eq!((event.kind.as_str(), &event.data["isSelf"]), ("valid", &true.into()));
}

#[test]
fn one_that_is_cut_off_turns_to_unknown_by_itself() {
    let mut cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "--lease-duration 2s");
    john.leads();
    let jane = Sidecar::start(&cluster, "jane", "--lease-duration 2s");
    jane.follows("john");
    let mut events = john.events("/v1/events", &[]);
    let address = cluster.listening().address();
    cluster.stop();
    let last_until = john.answer()["validUntilBootMs"].as_u64().unwrap();
    let lost = events.change(|data| data["state"] != "leader").data;
    assert!(boot_ms() >= last_until, "not before its time");
    assert_eq!(
        (&lost["state"], &lost["isSelf"], &lost["validForMs"]),
        (&"unknown".into(), &false.into(), &0.into())
    );
    assert_eq!(john.get("/").json()["name"], "");
    assert_eq!(john.get("/leader").status, 503);
    jane.answer_when("she cannot know either", |answer| answer["state"] == "unknown");
    // Whether a Pod is ready must not depend on it.
    assert_eq!((john.get("/readyz").status, jane.get("/readyz").status), (200, 200));
    cluster.listen_again(address);
    until("there is a leader again", || {
        [&john, &jane].into_iter().any(|sidecar| sidecar.answer()["isSelf"] == true).then_some(())
    });
}

#[test]
fn the_death_of_a_lifeline_hands_over_at_once() {
    let cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "--lease-duration 60s --lifeline required");
    let jane = Sidecar::start(&cluster, "jane", "--lease-duration 60s --lifeline required");
    // Without an application, neither campaigns.
    until("it can", || (john.get("/readyz").status == 200).then_some(()));
    assert_ne!(john.answer()["state"], "leader");
    let mut of_john = john.events("/v1/lifeline", &[]);
    of_john.change(|data| data["isSelf"] == true);
    let mut of_jane = jane.events("/v1/lifeline", &[]);
    of_jane.change(|data| data["identity"] == "john");
    let dies_at = Instant::now();
    drop(of_john);
    of_jane.change(|data| data["isSelf"] == true);
    // Far less than the minute for which the last answer was valid: the application is gone.
    assert!(dies_at.elapsed() < Duration::from_secs(10), "{:?}", dies_at.elapsed());
    john.follows("jane");
    drop(of_jane);
    jane.answer_when("nobody leads", |answer| answer["state"] == "nobody");
    let mut again = john.events("/v1/lifeline", &[]);
    again.change(|data| data["isSelf"] == true);
}

#[test]
fn sigterm_releases_within_a_second_unless_an_application_still_lives() {
    let cluster = Cluster::start();
    within_a_second(|| {
        let mut john = Sidecar::start(&cluster, "john", "--lease-duration 60s");
        john.leads();
        let asked_at = Instant::now();
        john.signal(Signal::TERM);
        assert_eq!(john.process.end(), 0);
        let took = asked_at.elapsed();
        let shown = serde_json::from_str::<Value>(&cluster.run("get scanner -o json").stdout);
        assert_eq!(shown.unwrap()[0]["state"], "vacant");
        took
    });

    let mut jane = Sidecar::start(&cluster, "jane", "--lease-duration 60s");
    let mut lifeline = jane.events("/v1/lifeline", &[]);
    lifeline.change(|data| data["isSelf"] == true);
    jane.signal(Signal::TERM);
    lifeline.change(|data| data["isSelf"] == false);
    let held: Value = serde_json::from_str(&cluster.run("get scanner -o json").stdout).unwrap();
    assert_eq!(held[0]["holder"], "jane");
    drop(lifeline);
    assert_eq!(jane.process.end(), 0);
    let shown: Value = serde_json::from_str(&cluster.run("get scanner -o json").stdout).unwrap();
    assert_eq!(shown[0]["state"], "vacant");
}

#[test]
fn with_on_term_wait_nothing_is_released_before_the_answers_have_run_out() {
    let cluster = Cluster::start();
    let mut john = Sidecar::start(&cluster, "john", "--on-term wait");
    john.leads();
    let jane = Sidecar::start(&cluster, "jane", "");
    jane.follows("john");
    let mut of_jane = jane.events("/v1/events", &[]);
    let valid_until = john.leads()["validUntilBootMs"].as_u64().unwrap();
    john.signal(Signal::TERM);
    of_jane.change(|data| data["isSelf"] == true);
    assert!(boot_ms() > valid_until);
    assert_eq!(john.process.end(), 0);
}

#[test]
fn a_frozen_sidecar_s_answers_were_valid_only_for_so_long_as_they_said() {
    let cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "--lease-duration 1s");
    john.leads();
    let jane = Sidecar::start(&cluster, "jane", "--lease-duration 1s");
    jane.follows("john");
    let mut of_jane = jane.events("/v1/events", &[]);
    let mut of_john = john.events("/v1/events", &[]);
    let mut last = of_john.change(|data| data["isSelf"] == true);
    john.signal(Signal::STOP);
    let leads = of_jane.change(|data| data["isSelf"] == true).data;
    let leads_at = boot_ms();
    john.signal(Signal::CONT);
    // All events that john's application got before it was frozen, and what it gets now.
    loop {
        let event = of_john.next().unwrap();
        if event.data["isSelf"] == true {
            last = event;
            continue;
        }
        if event.data["identity"] == "jane" {
            break;
        }
    }
    let valid_until = last.data["validUntilBootMs"].as_u64().unwrap();
    assert!(valid_until < leads_at, "{valid_until} {leads_at}");
    assert!(leads["token"].as_u64() > last.data["token"].as_u64());
    assert_eq!(john.get("/leader").status, 503);
}

#[test]
fn names_that_are_not_ours_and_changes_without_the_secret_are_refused() {
    let cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "--allow-host sidecar.test");
    john.leads();
    for path in ["/", "/v1/leader", "/v1/events", "/metrics", "/healthz"] {
        let refused = john.ask(&format!("GET {path}"), &["Host: evil.example:4040"], "");
        assert_eq!(refused.status, 421, "{path}: {refused:?}");
        assert!(!refused.body.contains("john"));
    }
    let get = "GET /healthz HTTP/1.1\r\nConnection: close\r\n";
    assert_eq!(john.raw(&format!("{get}\r\n")).status, 421);
    assert_eq!(john.raw(&format!("{get}Host: localhost\r\nHost: localhost\r\n\r\n")).status, 421);
    assert_eq!(john.ask("GET /healthz", &["Host: Sidecar.Test:80"], "").status, 200);

    let wrong = "Authorization: Bearer correct horse battery stapler";
    for headers in [&[][..], &[wrong], &["Authorization: Basic eA=="]] {
        assert_eq!(john.ask("POST /v1/step-down", headers, "").status, 401);
        assert_eq!(john.ask("GET /v1/lifeline", headers, "").status, 401);
    }
    assert_eq!(john.get("/v1/step-down").status, 405);
    assert_eq!(john.ask("DELETE /v1/leader", &[], "").status, 405);
    assert_eq!(john.get("/v2/leader").status, 404);
    assert_eq!(john.get("/v1/leader?lease=x").status, 400);
    assert_eq!(john.step_down("{\"for\":\"ever\"}").status, 400);
    assert_eq!(john.step_down(&"x".repeat(100_000)).status, 413);
    let header = format!("X: {}", "x".repeat(20_000));
    assert!([431, 0].contains(&john.ask("GET /", &[&header], "").status));
    assert_eq!(john.answer()["isSelf"], true, "none of it did anything");
    assert!(!john.log().contains(SECRET));

    let jane = Sidecar::start(&cluster, "jane", "");
    jane.follows("john");
    assert_eq!(jane.step_down("").status, 409);
    assert_eq!(john.step_down("{\"to\":\"jane\"}").status, 200);
    jane.leads();
}

#[test]
fn each_route_answers_by_the_methods_that_its_document_names() {
    let cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "");
    john.leads();
    let document = john.get("/openapi.json").json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            // HEAD instead of GET, whose answer may never end.
            let asked = if method == "get" { "HEAD" } else { &method.to_uppercase() };
            let reply = john.ask(&format!("{asked} {path}"), &[], "");
            let is_documented = methods.get(method).is_some();
            let is_refused = reply.status == 405;
            match path == "/v1/lifeline" && asked == "HEAD" {
                true => assert_eq!(reply.status, 401, "{reply:?}"),
                false => assert_eq!(is_refused, !is_documented, "{method} {path}: {reply:?}"),
            }
            if asked == "HEAD" {
                assert_eq!(reply.body, "", "{path}");
            }
        }
    }
    assert_eq!(john.answer()["isSelf"], true);
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let cluster = Cluster::start();
    let mut command = cluster.command("sidecar --lock lease/scanner --listen");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = command.arg(taken.local_addr().unwrap().to_string()).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let refuse = |arguments: &str| {
        let arguments = format!("sidecar --lock lease/scanner {arguments}");
        cluster.run(&arguments)
    };
    let remote = refuse("--listen 0.0.0.0:0");
    assert_eq!(remote.code, 2, "{remote:?}");
    assert!(remote.stderr.contains("--allow-remote"), "{remote:?}");
    let file = cluster.folder.path().join("short");
    std::fs::write(&file, "short\n").unwrap();
    let short = refuse(&format!("--listen 127.0.0.1:0 --token-file {}", file.display()));
    assert_eq!(short.code, 7, "{short:?}");
    assert!(!short.stderr.contains("short\n"), "{short:?}");
}

#[test]
fn a_unix_socket_has_its_mode_and_needs_no_secret() {
    use std::os::unix::fs::PermissionsExt;

    let cluster = Cluster::start();
    let path = cluster.folder.path().join("socket");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let listen = format!("--listen unix:{}", path.display());
    let mut john = Sidecar::start(&cluster, "john", &listen);
    john.leads();
    assert_eq!(mode(), 0o600);
    assert_eq!(john.ask("POST /v1/step-down", &[], "").json()["release"], "done");
    let taken = cluster.run(&format!("sidecar --lock lease/scanner {listen}"));
    assert_eq!(taken.code, 7, "{taken:?}");
    john.process.kill();
    assert!(path.exists(), "one that was killed leaves it");
    let mut again = Sidecar::start(&cluster, "jane", &format!("{listen} --socket-mode 0660"));
    assert_eq!(mode(), 0o660);
    again.answer();
    again.signal(Signal::TERM);
    assert_eq!(again.process.end(), 0);
    assert!(!path.exists());
    std::fs::write(&path, "somebody's").unwrap();
    let file = cluster.run(&format!("sidecar --lock lease/scanner {listen}"));
    assert_eq!(file.code, 7, "{file:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's");
}

#[test]
fn the_status_file_says_the_same_and_how_long_and_goes_with_the_sidecar() {
    use std::os::unix::fs::PermissionsExt;

    let cluster = Cluster::start();
    let file = cluster.folder.path().join("status");
    let mut john = Sidecar::start(&cluster, "john", &format!("--status-file {}", file.display()));
    let read = || -> Value { serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap() };
    let status = until("it says so", || Some(read()).filter(|status| status["isSelf"] == true));
    assert_eq!(status["token"], john.answer()["token"]);
    let valid_until: jiff::Timestamp = status["validUntil"].as_str().unwrap().parse().unwrap();
    let left = valid_until.duration_since(jiff::Timestamp::now()).as_millis();
    assert!((-1000..=2000).contains(&left), "{status}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let first = status["validUntilBootMs"].as_u64();
    until("it is renewed", || (read()["validUntilBootMs"].as_u64() > first).then_some(()));
    john.signal(Signal::TERM);
    assert_eq!(john.process.end(), 0);
    assert!(!file.exists());
}

/// Writes a program that adds a line to the file `hooks` of the cluster's folder.
fn hook(cluster: &Cluster, name: &str, more: &str) -> String {
    use std::os::unix::fs::PermissionsExt;

    let (program, told) = (cluster.folder.path().join(name), cluster.folder.path().join("hooks"));
    let script = format!("#!/bin/sh\necho {name} $INCUMBENT_TOKEN >> {}\n{more}\n", told.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    format!("--on-{name} {}", program.display())
}

#[test]
fn hooks_run_when_a_term_begins_and_before_it_is_given_back() {
    let cluster = Cluster::start();
    let told = || std::fs::read_to_string(cluster.folder.path().join("hooks")).unwrap_or_default();
    // The first is killed when the term ends; the second asks who holds the lock while it runs.
    let held = cluster.folder.path().join("held");
    let binary = env!("CARGO_BIN_EXE_incumbent");
    let look = format!(
        "{binary} get scanner -o json --kubeconfig {} > {}",
        cluster.kubeconfig().display(),
        held.display()
    );
    let hooks = [hook(&cluster, "elected", "exec sleep 3600"), hook(&cluster, "lost", &look)];
    let mut john = Sidecar::start(&cluster, "john", &hooks.join(" "));
    let token = john.leads()["token"].as_u64().unwrap();
    until("the hook has run", || told().contains(&format!("elected {token}\n")).then_some(()));
    john.signal(Signal::TERM);
    assert_eq!(john.process.end(), 0);
    assert_eq!(told(), format!("elected {token}\nlost {token}\n"));
    let held: Value = serde_json::from_slice(&std::fs::read(held).unwrap()).unwrap();
    assert_eq!(held[0]["holder"], "john");
}

#[test]
fn a_hook_that_hangs_is_killed_and_does_not_say_that_the_work_has_stopped() {
    let cluster = Cluster::start();
    let lost = hook(&cluster, "lost", "sleep 3600");
    let mut john =
        Sidecar::start(&cluster, "john", &format!("{lost} --hook-timeout 50ms --on-term wait"));
    let valid_until = john.leads()["validUntilBootMs"].as_u64().unwrap();
    john.signal(Signal::TERM);
    assert_eq!(john.process.end(), 0);
    assert!(boot_ms() > valid_until);
    assert!(john.log().contains("took too long"), "{}", john.log());
}

#[test]
fn one_of_a_higher_priority_waits_until_the_application_has_stopped() {
    let cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "--lease-duration 2s");
    let mut of_john = john.events("/v1/lifeline", &[]);
    of_john.change(|data| data["isSelf"] == true);
    let jane = Sidecar::start(&cluster, "jane", "--lease-duration 2s --priority 1");
    // His application learns it, and he holds the lock until his answers have expired.
    let told = of_john.change(|data| data["isSelf"] == false).data;
    assert_eq!((&told["state"], &jane.answer()["isSelf"]), (&"nobody".into(), &false.into()));
    drop(of_john);
    jane.leads();
    // The same for one that says so itself, and for one that only asks and says nothing.
    let jane_again = jane.answer();
    assert!(jane_again["token"].as_u64() > told["token"].as_u64());
    let jim = Sidecar::start(&cluster, "jim", "--lease-duration 2s --priority 2");
    let mut of_jim = jim.events("/v1/events", &[]);
    let mut last = 0;
    until("she is asked", || {
        let answer = jane.answer();
        match answer["isSelf"] == true {
            true => last = answer["validUntilBootMs"].as_u64().unwrap(),
            false => return Some(()),
        }
        None
    });
    of_jim.change(|data| data["isSelf"] == true);
    assert!(boot_ms() > last, "her last answer was still valid");
}

#[test]
fn probes_have_a_port_of_their_own_which_names_nobody() {
    let cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "--probe-addr 0");
    john.leads();
    let mut probe = Sidecar::start(&cluster, "jane", "--probe-addr 0");
    probe.follows("john");
    probe.place = john.probes.clone().unwrap();
    for path in ["/livez", "/healthz", "/readyz", "/startupz", "/leader"] {
        // A kubelet comes by the Pod's address, a load balancer by any name.
        let reply = probe.ask(&format!("GET {path}"), &["Host: scanner.example"], "");
        assert_eq!(reply.status, 200, "{path}");
        assert!(!reply.body.contains("john"));
    }
    assert!(probe.get("/metrics").body.contains("leader_election_master_status"));
    for path in ["/", "/v1/leader", "/v1/events", "/openapi.json"] {
        assert_eq!(probe.get(path).status, 404, "{path}");
    }
    assert_eq!(probe.step_down("").status, 404);
    assert_eq!(john.answer()["isSelf"], true);
}

#[test]
fn two_hundred_listeners_are_all_told_at_once() {
    let cluster = Cluster::start();
    let john = Sidecar::start(&cluster, "john", "--lease-duration 60s");
    john.leads();
    let jane = Sidecar::start(&cluster, "jane", "--lease-duration 60s");
    jane.follows("john");
    let mut listeners: Vec<_> = (0..200).map(|_| jane.events("/v1/events", &[])).collect();
    for listener in &mut listeners {
        listener.change(|data| data["identity"] == "john");
    }
    // They take no place from requests.
    assert_eq!(jane.get("/leader").status, 503);
    assert_eq!(john.step_down("").status, 200);
    let mut first = u64::MAX;
    let mut last = 0;
    for listener in &mut listeners {
        let told = listener.change(|data| data["isSelf"] == true).data;
        let valid_until = told["validUntilBootMs"].as_u64().unwrap();
        // Both numbers were taken at the moment in which the event was made.
        let made_at = valid_until - told["validForMs"].as_u64().unwrap();
        (first, last) = (first.min(made_at), last.max(made_at));
    }
    println!("from the first event to the last: {} ms", last - first);
    assert!(last - first < 2000, "{first} {last}");
}

#[test]
fn an_identity_that_could_move_a_terminal_is_shown_as_escapes() {
    let cluster = Cluster::start();
    let name = "a\u{202e}\"<b>";
    let mut command = cluster.command("elect --lock lease/scanner --identity");
    command.arg(name);
    let mut other = support::Candidate::start(command);
    other.event("leading");
    let john = Sidecar::start(&cluster, "john", "");
    john.follows(name);
    for path in ["/", "/v1/leader", "/leader"] {
        let reply = john.get(path);
        assert!(reply.body.contains(r#""identity":"a\u202e\"<b>""#), "{}", reply.body);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn the_leader_s_pod_is_labelled_where_asked_for() {
    let cluster = Cluster::start();
    let metadata = serde_json::json!({ "name": "scanner-0", "namespace": "default" });
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": { "containers": [{ "name": "a", "image": "a" }] },
    });
    cluster.server.create(pod).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connect = incumbent::Connect::default().kubeconfig(cluster.kubeconfig());
    let client = runtime.block_on(connect.client()).unwrap();
    let mut command = cluster.command("");
    command.env("POD_NAME", "scanner-0").env("POD_NAMESPACE", "default");
    let mut john = Sidecar::start_with(&cluster, command, "john", "--label");
    let label = || {
        let path = "/api/v1/namespaces/default/pods/scanner-0";
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let pod: Value = runtime.block_on(client.request(request)).unwrap();
        pod["metadata"]["labels"]["incumbent.dev/leader-of.scanner"].clone()
    };
    until("it is labelled", || (label() == "true").then_some(()));
    john.signal(Signal::TERM);
    assert_eq!(john.process.end(), 0);
    assert_eq!(label(), Value::Null);
}

/// The state of each child of this process, as the kernel writes it; `Z` is dead and not buried.
#[cfg(target_os = "linux")]
fn children(pid: &str) -> Vec<(String, String)> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let state = |child: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest[..1].to_owned());
        (child.to_owned(), state.unwrap_or_default())
    };
    list.unwrap_or_default().split_whitespace().map(state).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn as_process_1_of_a_container_it_buries_the_orphans_of_its_hooks_and_ends_as_asked() {
    let cluster = Cluster::start();
    let own = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let allowed = std::process::Command::new("unshare").args(own).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return support::peers::missing("a PID namespace", "making one needs root");
    }
    let (hook, orphaned) =
        (cluster.folder.path().join("hook"), cluster.folder.path().join("orphaned"));
    let script = format!("#!/bin/sh\n(sleep 0.2; echo >> {}) &\n", orphaned.display());
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let inside = cluster.command(&format!(
        "sidecar --lock lease/z --identity me --listen unix:{} --on-elected {}",
        cluster.folder.path().join("socket").display(),
        hook.display()
    ));
    let mut command = std::process::Command::new("unshare");
    command.args(own).arg(inside.get_program()).args(inside.get_args());
    command.env("KUBECONFIG", cluster.kubeconfig()).stderr(std::process::Stdio::null());
    let mut outer = command.spawn().unwrap();
    let outer_pid = outer.id().to_string();
    let first =
        until("process 1 is there", || children(&outer_pid).first().map(|(pid, _)| pid.clone()));
    until("the orphan has ended", || orphaned.exists().then_some(()));
    until("the orphan is buried", || {
        let all = children(&first);
        (!all.is_empty() && all.iter().all(|(_, state)| state != "Z")).then_some(())
    });
    let pid = rustix::process::Pid::from_raw(first.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert!(outer.wait().unwrap().success());
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/z";
    assert_eq!(cluster.stored(lease).unwrap()["spec"]["holderIdentity"], "", "it was given back");
}
