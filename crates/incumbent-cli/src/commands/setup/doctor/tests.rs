use std::time::Duration;

use incumbent::survey::LockView;
use incumbent::{HandOver, Lock, Session, Timing, Waiter};
use incumbent_apiserver::ApiServer;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::facts::{Checked, ClockReading, Facts, Latency, LockFacts, PodFacts, Rehearsal};
use super::{Finding, Level, rights, rules, to_text};

/// A namespace in which all is well.
fn healthy() -> Facts {
    let right = rights::of(&Lock::lease("default", "scanner")).into_iter();
    let rights = right.chain(rights::of_namespace());
    Facts {
        namespace: "default".to_owned(),
        timing: Timing::standard(),
        now: "2026-11-28T08:00:00Z".parse().unwrap(),
        version: Some("v1.36.0".to_owned()),
        user: Some("jane".to_owned()),
        rights: rights.map(|right| Checked { right, is_allowed: Some(true) }).collect(),
        latency: Latency {
            what: "lease/scanner".to_owned(),
            answered: vec![Duration::from_millis(20); 20],
            unanswered: 0,
        },
        clock: Some(ClockReading { ahead_ms: 300, error: Duration::from_millis(510) }),
        locks: Ok(vec![lock("john", "2026-11-28T07:59:57Z")]),
        groups: Vec::new(),
        beside: Vec::new(),
        missing: Vec::new(),
        pods: Some([("web-1".to_owned(), PodFacts::default())].into()),
        out_of_reach: Some(Vec::new()),
    }
}

/// The library says which rights a member needs; this says what each is for.
#[test]
fn the_rights_of_a_member_are_those_that_the_library_names() {
    let mut known: Vec<_> = rights::of_a_group()
        .into_iter()
        .filter(|right| right.need != rights::Need::Optional)
        .map(|right| (right.group.to_owned(), right.resource.to_owned(), right.verb.to_owned()))
        .collect();
    let mut named = Vec::new();
    for rule in incumbent::Group::policy_rules() {
        for group in rule.api_groups.unwrap() {
            for resource in rule.resources.as_ref().unwrap() {
                let verbs = rule.verbs.iter();
                named.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb.clone())));
            }
        }
    }
    known.sort();
    named.sort();
    assert_eq!(known, named);
}

/// What is said of an object that the API server has stored.
fn view(lock: Lock, object: Value) -> LockView {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = ApiServer::new();
    server.create(object).unwrap();
    runtime.block_on(async {
        let client = kube::Client::new(server.service(), "default");
        LockView::read(client, lock).await.unwrap()
    })
}

fn lock(holder: &str, renewed: &str) -> LockFacts {
    let object = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "scanner", "namespace": "default" },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "renewTime": renewed.replace('Z', ".000000Z"), "acquireTime": renewed.replace('Z', ".000000Z") },
    });
    let view = view(Lock::lease("default", "scanner"), object);
    LockFacts {
        view,
        is_named: true,
        asked_at: None,
        led_earlier: Vec::new(),
        rehearsal: Rehearsal::Stored,
    }
}

fn board(annotations: Value) -> LockFacts {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "scanner", "namespace": "default", "annotations": annotations },
        "data": { "leader": "jane" },
    });
    let view = view(Lock::config_map("default", "scanner"), object);
    LockFacts {
        view,
        is_named: false,
        asked_at: None,
        led_earlier: Vec::new(),
        rehearsal: Rehearsal::Stored,
    }
}

fn waiter(identity: &str, session: u128) -> Waiter {
    let identity = incumbent::Identity::new(identity).unwrap();
    Waiter { identity, session: Some(Session(session)), priority: 0 }
}

/// The findings of one check.
fn of(facts: &Facts, check: &str) -> Vec<Finding> {
    rules::findings(facts).into_iter().filter(|finding| finding.check == check).collect()
}

/// What there is to say of one lock, beside that it is well.
fn of_lock(facts: Facts, lock: LockFacts) -> Vec<(Level, &'static str, String)> {
    let facts = Facts { locks: Ok(vec![lock]), ..facts };
    let all = rules::findings(&facts).into_iter().filter(|finding| finding.lock.is_some());
    all.map(|finding| (finding.level, finding.check, finding.message)).collect()
}

#[test]
fn where_all_is_well_it_says_so_and_nothing_else() {
    let findings = rules::findings(&healthy());
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    let checks: Vec<_> = findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["server", "rights", "latency", "clock", "run", "locks"]);
}

/// The facts without the rights to these.
fn without(refused: &[&str]) -> Facts {
    let mut facts = healthy();
    for checked in &mut facts.rights {
        if refused.contains(&checked.right.words().as_str()) {
            checked.is_allowed = Some(false);
        }
    }
    facts
}

#[test]
fn a_right_that_is_missing_is_worth_what_it_is_needed_for() {
    let findings = of(&without(&["update leases/scanner", "get leases/scanner"]), "rights");
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(finding.level, Level::Fail);
    let rule = "- apiGroups: [\"coordination.k8s.io\"]\n  resources: [\"leases\"]\n  \
                resourceNames: [\"scanner\"]\n  verbs: [\"get\", \"update\"]";
    assert!(finding.hint.ends_with(rule), "{}", finding.hint);

    let level = |refused: &[&str]| of(&without(refused), "rights").last().unwrap().level;
    assert_eq!(level(&["watch leases/scanner"]), Level::Warn);
    assert_eq!(level(&["create events"]), Level::Skip);
    assert_eq!(level(&["create leases"]), Level::Skip, "the lock is there");
    let facts = Facts {
        missing: vec![Lock::lease("default", "scanner")],
        locks: Ok(Vec::new()),
        ..without(&["create leases"])
    };
    assert_eq!(of(&facts, "rights").last().unwrap().level, Level::Fail, "somebody has to make it");
    let mut facts = healthy();
    facts.rights[0].is_allowed = None;
    assert_eq!(of(&facts, "rights")[0].level, Level::Skip);
}

#[test]
fn latency_is_judged_by_the_time_that_a_renewal_has() {
    let level = |answered: &[u64], unanswered: usize| {
        let answered = answered.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let latency = Latency { what: "it".to_owned(), answered, unanswered };
        of(&Facts { latency, ..healthy() }, "latency")[0].level
    };
    // A request is given up after 2.5 s.
    assert_eq!(level(&[20, 20, 1_250], 0), Level::Ok);
    assert_eq!(level(&[20, 20, 1_300], 0), Level::Warn);
    assert_eq!(level(&[20, 20, 2_600], 0), Level::Warn);
    assert_eq!(level(&[20, 2_600, 2_600], 0), Level::Fail);
    assert_eq!(level(&[20; 19], 1), Level::Warn);
    assert_eq!(level(&[20; 10], 10), Level::Fail);
    assert_eq!(level(&[], 20), Level::Fail);
}

#[test]
fn a_clock_that_is_off_is_no_danger_and_is_said_to_be_none() {
    let of = |clock: Option<ClockReading>| of(&Facts { clock, ..healthy() }, "clock").remove(0);
    let reading = |ahead_ms| Some(ClockReading { ahead_ms, error: Duration::from_millis(510) });
    assert_eq!(of(reading(2_400)).level, Level::Ok);
    let finding = of(reading(90_000));
    assert_eq!(finding.level, Level::Warn);
    assert!(finding.message.starts_with("this machine's clock is 90 s behind the API server's"));
    assert!(finding.message.contains("nothing is unsafe"));
    assert!(of(reading(-90_000)).message.contains("90 s ahead of"));
    assert_eq!(of(None).level, Level::Skip);
}

#[test]
fn one_name_under_two_sessions_is_seen() {
    let mut john = lock("john", "2026-11-28T07:59:57Z");
    john.view.session = Some(Session(1));
    john.view.waitlist = vec![waiter("jane", 2), waiter("jack", 3)];
    assert_eq!(of_lock(healthy(), john.clone()), []);
    john.view.waitlist.push(waiter("john", 4));
    let findings = of_lock(healthy(), john.clone());
    assert!(findings[0].2.starts_with("john takes part under two sessions"), "{findings:?}");
    john.view.waitlist = vec![waiter("jane", 2), waiter("jane", 3)];
    let findings = of_lock(healthy(), john);
    assert!(findings[0].2.starts_with("jane takes part under two sessions"), "{findings:?}");
}

#[test]
fn elections_that_collide_are_seen() {
    let lease = lock("john", "2026-11-28T07:59:57Z");
    let record = || {
        json!({ "control-plane.alpha.kubernetes.io/leader":
        r#"{"holderIdentity":"jane","leaseDurationSeconds":15,"renewTime":"2026-11-28T07:59:57Z"}"# })
    };
    let both = Facts { locks: Ok(vec![lease.clone(), board(record())]), ..healthy() };
    let findings = of(&both, "collision");
    assert!(findings[0].message.starts_with("lease/scanner and configmap/scanner are"));
    let claim = Facts { locks: Ok(vec![lease, board(json!({}))]), ..healthy() };
    assert_eq!(of(&claim, "collision"), [], "a claim is no election");
    let named = Facts { beside: vec![board(record()).view], ..healthy() };
    assert_eq!(of(&named, "collision").len(), 1);

    let mut web = lock("web-7d9f8c6b5-x2x4z_1f", "2026-11-28T07:59:57Z");
    web.view.waitlist =
        vec![waiter("web-7d9f8c6b5-q8w7r_2e", 2), waiter("web-6c5f4b7d9-bbbbb_3d", 3)];
    assert_eq!(of_lock(healthy(), web.clone()), [], "a rolling update is no stranger");
    web.led_earlier = vec!["db-0_4c".to_owned()];
    let findings = of_lock(healthy(), web);
    assert_eq!((findings[0].0, findings[0].1), (Level::Warn, "collision"));
    assert!(findings[0].2.contains("db, web"), "{findings:?}");
    let mut people = lock("john", "2026-11-28T07:59:57Z");
    people.led_earlier = vec!["jane".to_owned(), "mary-ann".to_owned()];
    assert_eq!(of_lock(healthy(), people), [], "no names of Pods");
}

#[test]
fn a_request_that_nobody_meets_is_seen_after_a_lease() {
    let mut john = lock("john", "2026-11-28T07:59:57Z");
    john.view.hand_over = Some(HandOver::ToNext);
    let asked = |seconds| Some(healthy().now - SignedDuration::from_secs(seconds));
    john.asked_at = asked(15);
    assert_eq!(of_lock(healthy(), john.clone()), []);
    john.asked_at = asked(180);
    let findings = of_lock(healthy(), john.clone());
    let expected = "a request to hand over to the next in the waitlist was not met for 3 min: its holder is \
                    another program's candidate, which does not know of requests";
    assert_eq!(findings, [(Level::Warn, "request", expected.to_owned())]);
    john.asked_at = None;
    assert_eq!(of_lock(healthy(), john).len(), 1, "since when is not known");
}

#[test]
fn a_pause_is_seen_where_it_keeps_all_or_nobody_from_leading() {
    let paused = |names: &[&str], facts: Facts| {
        let mut john = lock("john", "2026-11-28T07:59:57Z");
        let names = names.iter().map(|name| incumbent::Identity::new(*name).unwrap());
        john.view.paused = names.collect();
        of_lock(facts, john)
    };
    assert_eq!(paused(&["john"], healthy()), [], "he holds it");
    assert_eq!(paused(&["web-1_2f"], healthy()), [], "the Pod runs");
    assert!(paused(&["web-2_3e"], healthy())[0].2.contains("no Pod of that name runs"));
    let blind = Facts { pods: None, ..healthy() };
    assert!(paused(&["web-1_2f"], blind)[0].2.contains("is never seen"));
    assert!(paused(&["*"], healthy())[0].2.contains("paused"));
}

#[test]
fn a_pod_that_shares_a_namespace_is_said_to_be_waited_for() {
    let with = |shares| {
        let pod = ("web-1".to_owned(), PodFacts { shares });
        let facts = Facts { pods: Some([pod].into()), ..healthy() };
        of_lock(facts, lock("web-1_2f", "2026-11-28T07:59:57Z"))
    };
    assert_eq!(with(None), []);
    let findings = with(Some("hostPID"));
    assert_eq!((findings[0].0, findings[0].1), (Level::Skip, "early"));
    assert!(findings[0].2.contains("hostPID"), "{findings:?}");
}

#[test]
fn what_was_left_behind_is_seen() {
    // 15 s, ten times.
    assert_eq!(of_lock(healthy(), lock("john", "2026-11-28T07:57:30Z")), []);
    let findings = of_lock(healthy(), lock("john", "2026-11-28T07:57:29Z"));
    assert_eq!((findings[0].0, findings[0].1), (Level::Warn, "orphan"));

    assert_eq!(of_lock(healthy(), board(json!({}))), [], "a blackboard as it should be");
    let named = LockFacts { is_named: true, ..board(json!({})) };
    assert_eq!(of_lock(healthy(), named)[0].1, "claim");

    let mut john = lock("john", "2026-11-28T07:59:57Z");
    let mut of_lease = |seconds| {
        john.view.lease_duration = Some(Duration::from_secs(seconds));
        of_lock(healthy(), john.clone()).first().map(|(level, check, _)| (*level, *check))
    };
    assert_eq!(of_lease(300), None);
    assert_eq!(of_lease(301), Some((Level::Warn, "lease")));
    assert_eq!(of_lease(86_400), Some((Level::Fail, "lease")));
}

#[test]
fn a_write_that_is_stored_otherwise_is_a_finding_that_names_the_field() {
    let with = |rehearsal| {
        let john = lock("john", "2026-11-28T07:59:57Z");
        of_lock(healthy(), LockFacts { rehearsal, ..john })
    };
    assert_eq!(with(Rehearsal::Stored), []);
    assert_eq!(with(Rehearsal::Untried), []);
    let text = |text: &str| text.to_owned();
    let (field, wrote, stored) = (text("spec.leaseDurationSeconds"), text("15"), text("60"));
    let findings = with(Rehearsal::Altered { field, wrote, stored });
    assert_eq!((findings[0].0, findings[0].1), (Level::Fail, "writes"));
    assert!(findings[0].2.contains("spec.leaseDurationSeconds"), "{findings:?}");
    let (why, hint) = (text("a rule refuses it"), text("exempt it"));
    let findings = with(Rehearsal::Refused { why, hint });
    assert_eq!((findings[0].0, findings[0].1), (Level::Warn, "writes"));
}

#[test]
fn a_lock_that_is_being_deleted_is_a_finding_that_names_what_it_waits_for() {
    let mut john = lock("john", "2026-11-28T07:59:57Z");
    john.view.object["metadata"]["deletionTimestamp"] = "2026-11-28T07:00:00Z".into();
    john.view.object["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    let findings = of_lock(healthy(), john);
    assert_eq!((findings[0].0, findings[0].1), (Level::Warn, "deletion"));
    assert!(findings[0].2.contains("example.com/a, example.com/b"), "{findings:?}");
}

#[test]
fn what_others_wrote_does_not_move_the_terminal_and_eighty_columns_are_enough() {
    let mut red = lock("\u{1b}[31mred", "2020-01-01T00:00:00Z");
    red.view.paused = vec![incumbent::Identity::new("\u{202e}backwards").unwrap()];
    let facts = Facts { locks: Ok(vec![red]), clock: None, ..without(&["watch leases/scanner"]) };
    let text = to_text(&rules::findings(&facts));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text}");
    let is_command = |line: &&str| line.trim_start().starts_with("kubectl");
    for line in text.lines().filter(|line| !is_command(line)) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_middle_of_what_is_possible_is_taken_for_the_servers_time() {
    let sent: Timestamp = "2026-11-28T08:00:00.400Z".parse().unwrap();
    let said: Timestamp = "2026-11-28T08:00:00Z".parse().unwrap();
    let reading = super::probe::reading(said, sent, Duration::from_millis(200));
    assert_eq!((reading.ahead_ms, reading.error), (0, Duration::from_millis(600)));
}

#[test]
fn what_run_cannot_kill_here_is_a_warning_that_says_what_to_do() {
    let gaps = Some(vec![("a process that changes its user cannot be killed", "add KILL")]);
    let findings = rules::findings(&Facts { out_of_reach: gaps, ..healthy() });
    let text = to_text(&findings);
    assert!(text.contains("WARN  run         a process that changes its user"), "{text}");
    assert!(text.contains("hint: add KILL"), "{text}");
    assert!(to_text(&rules::findings(&healthy())).contains("OK    run  "));
}

#[test]
fn a_server_at_the_end_of_time_has_a_reading() {
    for date in [Timestamp::MAX, Timestamp::MIN] {
        let reading = super::probe::reading(date, Timestamp::UNIX_EPOCH, Duration::from_secs(1));
        assert_eq!(reading.ahead_ms > 0, date == Timestamp::MAX);
    }
}
