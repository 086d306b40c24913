//! What one can ask.

use rustix::process::Signal;

use super::support::Cluster;
use super::support::sidecar::{Sidecar, boot_ms, until};
use super::{in_state, made_at, number, runs, task};

#[test]
fn the_tasks_are_shown_with_their_tokens_and_for_how_long() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", "--tasks eu,us,ap --address 10.0.0.7:80");
    let answer = runs(&john, 3);
    assert_eq!(in_state(&answer, "running"), ["ap", "eu", "us"]);
    assert_eq!(
        (&answer["group"], &answer["namespace"], &answer["member"]),
        (&"jobs".into(), &"default".into(), &"john".into())
    );
    let eu = task(&answer, "eu");
    let (valid_for, stop_within) = (number(eu, "validForMs"), number(eu, "stopWithinMs"));
    assert!((1..=2000).contains(&valid_for) && stop_within > valid_for && stop_within < 3000);
    assert!(number(eu, "validUntilBootMs") - boot_ms() <= valid_for + 1, "{answer}");
    assert!(eu["token"].is_u64() && eu["number"].is_null());
    let reply = john.get("/v1/tasks");
    let header = reply.header("incumbent-valid-until-boot-ms").unwrap().parse::<u64>().unwrap();
    assert_eq!(header, number(&reply.json(), "validUntilBootMs"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    for path in ["/readyz", "/startupz", "/livez", "/healthz"] {
        until(path, || (john.get(path).status == 200).then_some(()));
    }
    let metrics = john.get("/metrics").body;
    for line in [
        "incumbent_group_owned_tasks{namespace=\"default\",group=\"jobs\"} 3\n",
        "lock=\"lease/jobs.john\"",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert_eq!(metrics.matches("# EOF").count(), 1);
    assert!(metrics.ends_with("# EOF\n"));
}

#[test]
fn a_change_of_the_tasks_ends_a_long_poll() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", "--tasks a,b --lease-duration 60s");
    let answer = runs(&john, 2);
    // What has changed already is answered at once.
    assert_eq!(in_state(&john.get("/v1/tasks?wait=30s&known=x-1").json(), "running").len(), 2);
    let change = answer["change"].as_str().unwrap().to_owned();
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| john.get(&format!("/v1/tasks?wait=60s&known={change}")).json());
        let _jane = Sidecar::member(&cluster, "jane", "--tasks a,b --lease-duration 60s");
        let changed = poll.join().unwrap();
        assert_eq!(in_state(&changed, "revoked").len(), 1, "{changed}");
        assert_ne!(changed["change"], change);
    });
}

#[test]
fn the_owner_of_a_task_is_named_with_its_address_and_for_how_long() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", "--tasks a,b --address 10.0.0.7:80");
    let owned = runs(&john, 2);
    let jane = Sidecar::member(&cluster, "jane", "--tasks a,b --capacity 0");
    let of_a = |sidecar: &Sidecar| sidecar.get("/v1/owner?task=a").json();
    let named = until("she knows", || Some(of_a(&jane)).filter(|owner| owner["state"] == "owner"));
    assert_eq!((&named["member"], &named["address"]), (&"john".into(), &"10.0.0.7:80".into()));
    assert_eq!((&named["task"], &named["token"]), (&"a".into(), &task(&owned, "a")["token"]));
    assert_eq!((&named["isSelf"], &named["isRevoked"]), (&false.into(), &false.into()));
    assert!(made_at(&named) <= boot_ms() + 1 && number(&named, "validForMs") <= 2000, "{named}");
    assert_eq!(of_a(&john)["isSelf"], true);
    let unknown = jane.get("/v1/owner?task=nowhere").json();
    assert_eq!((&unknown["state"], number(&unknown, "validForMs")), (&"unknown".into(), 0));
    assert_eq!(jane.get("/v1/owner?key=x").status, 409, "names have no keys");

    let members = jane.get("/v1/members").json();
    let shown = |name: &str| {
        let members = members["members"].as_array().unwrap();
        members.iter().find(|member| member["name"] == name).unwrap().clone()
    };
    let (of_john, of_jane) = (shown("john"), shown("jane"));
    assert_eq!((&of_john["address"], number(&of_john, "capacity")), (&"10.0.0.7:80".into(), 1));
    assert_eq!(of_john["tasks"], serde_json::json!(["a", "b"]));
    assert_eq!((&of_jane["tasks"], number(&of_jane, "capacity")), (&serde_json::json!([]), 0));
    // A member that is cut off knows no owner any more.
    john.signal(Signal::STOP);
    jane.signal(Signal::STOP);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    jane.signal(Signal::CONT);
    let late = of_a(&jane);
    assert!(late["state"] == "unknown" || number(&late, "validUntilBootMs") > boot_ms(), "{late}");
    john.signal(Signal::CONT);
}

#[test]
fn each_key_belongs_to_a_slot_and_that_to_a_member() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", "--slots 16 --address john:80");
    let answer = runs(&john, 16);
    let slot = incumbent::slot_of(b"{customer-4711}.invoices", 16);
    let of_slot = task(&answer, &slot.to_string());
    assert_eq!(of_slot["number"], slot);
    let owner = john.get("/v1/owner?key=%7Bcustomer-4711%7D.invoices").json();
    assert_eq!((&owner["token"], &owner["member"]), (&of_slot["token"], &"john".into()));
    assert_eq!(
        (&owner["key"], &owner["address"]),
        (&"{customer-4711}.invoices".into(), &"john:80".into())
    );
    for wrong in ["", "?task=1&key=x", "?member=john", "?key=%FF"] {
        assert_eq!(john.get(&format!("/v1/owner{wrong}")).status, 400, "{wrong}");
    }
}

/// Each listener gets all tasks, then what happens to each, and for how long all that run are valid.
#[test]
fn events_tell_what_happens_to_each_task() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", "--tasks a,b");
    runs(&john, 2);
    let mut events = john.events("/v1/events", &[]);
    let all = events.next().unwrap();
    assert_eq!((all.kind.as_str(), in_state(&all.data, "running").len()), ("tasks", 2));
    let until_then = number(&all.data, "validUntilBootMs");
    let still = events.event("valid", |still| number(still, "validUntilBootMs") > until_then).data;
    assert_eq!(number(&still, "running"), 2);
    let mut jane = Sidecar::member(&cluster, "jane", "--tasks a,b");
    let revoked = events.event("revoked", |_| true).data;
    assert_eq!((number(&revoked, "validForMs"), &revoked["state"]), (0, &"revoked".into()));
    assert!(number(&revoked, "stopWithinMs") > 0, "{revoked}");
    let name = revoked["name"].as_str().unwrap().to_owned();
    assert_eq!(john.released(&name, number(&revoked, "token")).json()["state"], "released");
    runs(&jane, 1);
    jane.process.kill();
    let back = events.event("assigned", |task| task["name"] == *name).data;
    assert!(number(&back, "token") > number(&revoked, "token"), "{back}");
}

#[test]
fn probes_have_a_port_of_their_own_which_names_no_task() {
    let cluster = Cluster::start();
    let mut john = Sidecar::member(&cluster, "john", "--tasks a --probe-addr 0");
    runs(&john, 1);
    john.place = john.probes.clone().unwrap();
    for path in ["/livez", "/healthz", "/readyz", "/startupz"] {
        until(path, || {
            let reply = john.ask(&format!("GET {path}"), &["Host: scanner.example"], "");
            (reply.status == 200).then_some(())
        });
    }
    assert!(john.get("/metrics").body.contains("incumbent_group_owned_tasks"));
    for path in ["/v1/tasks", "/v1/events", "/v1/owner?task=a", "/v1/members", "/openapi.json"] {
        assert_eq!(john.get(path).status, 404, "{path}");
    }
    assert_eq!(john.released("a", 1).status, 404);
}
