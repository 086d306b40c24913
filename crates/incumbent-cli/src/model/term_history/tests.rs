use incumbent::survey::{Scope, Survey};
use incumbent_apiserver::ApiServer;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn event(second: i64, message: &str) -> Value {
    json!({ "message": message, "firstTimestamp": at(second).to_string(), "lastTimestamp": null })
}

fn told(events: &[Value]) -> Vec<(String, Option<(i64, How)>)> {
    let end = |term: &Term| {
        term.end.map(|end| (end.when.mostly().as_second() - at(0).as_second(), end.how))
    };
    terms_of(events).iter().map(|term| (term.holder.clone(), end(term))).collect()
}

#[test]
fn events_tell_who_led_and_how_it_ended() {
    let events = [
        event(20, "jane became leader"),
        event(0, "john became leader"),
        event(10, "john stopped leading"),
        event(30, "jack became leader"),
        event(31, "nobody in particular"),
    ];
    assert_eq!(
        told(&events),
        [
            ("john".to_owned(), Some((10, How::Stopped))),
            ("jane".to_owned(), Some((31, How::Unsaid))), // By the end of that second.
            ("jack".to_owned(), None),
        ]
    );
}

#[test]
fn within_a_second_the_order_of_the_writes_counts() {
    let in_order = |revision: u64, message: &str| {
        let mut event = event(0, message);
        event["metadata"]["resourceVersion"] = revision.to_string().into();
        event
    };
    let events = [
        in_order(14, "jane stopped leading"),
        in_order(13, "jane became leader"),
        in_order(12, "john stopped leading"),
        in_order(9, "john became leader"),
    ];
    let stopped = |name: &str| (name.to_owned(), Some((0, How::Stopped)));
    assert_eq!(told(&events), [stopped("john"), stopped("jane")]);
}

#[test]
fn a_former_leader_may_say_that_it_stopped_after_the_next_one_began() {
    let events = [
        event(0, "john became leader"),
        event(10, "jane became leader"),
        event(11, "john stopped leading"),
        event(20, "jane stopped leading"),
        event(21, "john stopped leading"),
    ];
    let stopped = |name: &str, second| (name.to_owned(), Some((second, How::Stopped)));
    assert_eq!(told(&events), [stopped("john", 10), stopped("jane", 20)]);
}

#[test]
fn an_event_that_stands_for_many_tells_of_the_first_and_the_last() {
    let many = json!({
        "message": "john became leader", "count": 7,
        "firstTimestamp": at(0).to_string(), "lastTimestamp": at(60).to_string(),
    });
    assert_eq!(told(&[many, event(5, "john stopped leading")]).len(), 2);
}

#[test]
fn what_could_not_be_seen_is_known_as_such() {
    let (mut term_history, lock) = (TermHistory::default(), Lock::lease("prod", "scanner"));
    term_history.sight(at(0), &lock, true);
    assert_eq!(term_history.unseen(&lock).count(), 0);
    for (second, is_seen) in [(1, false), (2, false), (5, true), (6, true), (9, false)] {
        term_history.sight(at(second), &lock, is_seen);
    }
    let spans: Vec<_> = term_history.unseen(&lock).copied().collect();
    let closed = Span { from: at(1), to: Some(at(5)) };
    assert_eq!(spans, [closed, Span { from: at(9), to: None }]);
}

#[test]
fn the_first_term_that_is_known_is_no_change() {
    let (mut term_history, lock) = (TermHistory::default(), Lock::lease("prod", "scanner"));
    assert_eq!(term_history.changes(&lock, at(0)), 0);
    let events = ["john", "jane", "jack"];
    let event = |(n, who)| event(10 * n, &format!("{who} became leader"));
    let events: Vec<_> = (0_i64..).zip(events).map(event).collect();
    term_history.recall(&lock, &events);
    assert_eq!(term_history.changes(&lock, at(-5)), 2);
    assert_eq!(term_history.changes(&lock, at(5)), 2);
    assert_eq!(term_history.changes(&lock, at(15)), 1);
    assert_eq!(term_history.changes(&lock, at(25)), 0);
    term_history.retain(|_| false);
    assert_eq!(term_history.terms(&lock).count(), 0);
}

#[test]
fn an_end_that_belongs_to_nobody_is_left_out() {
    assert_eq!(told(&[event(1, "john stopped leading"), json!({}), json!({"message": 7})]), []);
    let swapped = [event(0, "john became leader"), event(5, "jane stopped leading")];
    assert_eq!(told(&swapped), [("john".to_owned(), None)]);
}

/// A moment in milliseconds, as an Event has it in microseconds.
fn exact(millis: i64, message: &str, revision: u64) -> Value {
    let at = after(at(0), Duration::from_millis(millis.unsigned_abs()));
    json!({
        "message": message, "eventTime": format!("{at:.6}"), "firstTimestamp": format!("{at:.0}"),
        "lastTimestamp": format!("{at:.0}"), "count": 1,
        "metadata": { "resourceVersion": revision.to_string() },
    })
}

#[test]
fn events_in_microseconds_are_in_their_own_order_whoever_wrote_first() {
    let events = [
        exact(5103, "jane became leader", 20),
        exact(5100, "john stopped leading", 21),
        exact(900, "john became leader", 10),
    ];
    let terms = terms_of(&events);
    let ends: Vec<_> = terms.iter().map(|term| term.end.map(|end| end.how)).collect();
    assert_eq!(ends, [Some(How::Stopped), None]);
    let gap = terms[0].end.unwrap().when.until(terms[1].began);
    assert_eq!(
        (gap.text(), terms[0].lasted(at(9), false).text()),
        ("3.0 ms".into(), "4.2 s".into())
    );
}

#[test]
fn a_leader_whose_clock_is_behind_leaves_no_end_untold_and_no_outage() {
    let events = [
        exact(0, "john became leader", 10),
        exact(5090, "jane became leader", 20),
        exact(5100, "john stopped leading", 21),
    ];
    let terms = terms_of(&events);
    let end = terms[0].end.unwrap();
    assert_eq!((end.how, end.when.until(terms[1].began).text()), (How::Stopped, "0.0 ms".into()));
}

/// What a first look finds of a lock.
fn looked_at(kind: &str, object: Value) -> ObservedLock {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = ApiServer::new();
        server.create(object).unwrap();
        let lock = Lock::parse("default", kind).unwrap();
        let client = kube::Client::new(server.service(), "default");
        let survey = Survey::start(client, &Scope::lock(lock.clone())).await.unwrap();
        survey.get(&lock).unwrap()
    })
}

#[test]
fn a_first_look_invents_neither_the_beginning_of_a_claim_nor_the_end_of_a_term() {
    let (now, mut term_history) = (Timestamp::now(), TermHistory::default());
    let claim = looked_at(
        "configmap/board",
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "board", "namespace": "default" }, "data": { "leader": "jane" },
        }),
    );
    term_history.begin(now, &claim);
    let term = term_history.terms(&claim.view.lock).next().unwrap();
    assert_eq!((term.began, term.end), (TimeBounds::by(now), None));
    assert_eq!(term.lasted(now, true).text(), "unknown");

    let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap();
    let silent = looked_at(
        "lease/scanner",
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "scanner", "namespace": "default" },
            "spec": { "holderIdentity": "john", "leaseDurationSeconds": 15,
                "acquireTime": format!("{:.6}", ago(100)), "renewTime": format!("{:.6}", ago(40)) },
        }),
    );
    term_history.begin(now, &silent);
    let end = term_history.terms(&silent.view.lock).next().unwrap().end.unwrap();
    assert_eq!(end.how, How::Silent);
    let spans =
        (end.when.until(TimeBounds::at(now)).least, end.when.until(TimeBounds::at(now)).most);
    let close =
        |span: Duration, seconds: u64| span.abs_diff(Duration::from_secs(seconds)).as_millis() < 2;
    assert!(close(spans.0, 25) && close(spans.1.unwrap(), 40), "{spans:?}");
}
