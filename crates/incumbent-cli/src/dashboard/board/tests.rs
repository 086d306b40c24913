use std::sync::Arc;

use incumbent::survey::{LockView, Registration, Scope, Survey};
use incumbent::{HandOver, Identity, Waiter};
use incumbent_apiserver::ApiServer;
use serde_json::json;

use super::*;

/// A lock that a candidate of ours holds, as a survey shows it; `edit` makes another case of it.
fn sighted(edit: impl FnOnce(&mut ObservedLock, &mut LockView)) -> ObservedLock {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut sighted = runtime.block_on(async {
        let server = ApiServer::new();
        let now = Timestamp::now();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "scanner", "namespace": "default" },
            "spec": { "holderIdentity": "john", "leaseDurationSeconds": 15,
                "acquireTime": format!("{now:.6}"), "renewTime": format!("{now:.6}") },
        });
        server.create(lease).unwrap();
        let client = kube::Client::new(server.service(), "default");
        let survey = Survey::start(client, &Scope::namespace("default")).await.unwrap();
        survey.locks().next().unwrap()
    });
    let mut view = (*sighted.view).clone();
    view.registration = Registration::Term;
    (sighted.state, sighted.is_certain) = (State::Held, true);
    edit(&mut sighted, &mut view);
    sighted.view = Arc::new(view);
    sighted
}

fn waiter(name: &str) -> Waiter {
    Waiter { identity: Identity::new(name).unwrap(), session: None, priority: 0 }
}

fn board(sighted: Vec<ObservedLock>, before: &Board) -> Board {
    board_with(sighted, before, Duration::ZERO)
}

/// What is shown when the request to hand over, if there is one, stands for so long.
fn board_with(sighted: Vec<ObservedLock>, before: &Board, asked_for: Duration) -> Board {
    let at = sighted[0].at.since_start();
    let asked = at.saturating_sub(asked_for);
    let asked = sighted.iter().map(|one| (one.view.lock.clone(), asked)).collect();
    let (term_history, now) = (TermHistory::default(), Timestamp::now());
    let known = Known {
        at,
        now,
        sighted,
        left_over: 0,
        blind: Vec::new(),
        groups: Vec::new(),
        groups_left_out: 0,
        term_history: &term_history,
        asked: &asked,
    };
    Board::of(known, before)
}

fn kinds(edit: impl FnOnce(&mut ObservedLock, &mut LockView)) -> Vec<&'static str> {
    let board = board_with(vec![sighted(edit)], &Board::default(), Duration::from_secs(20));
    board.rows[0].view().concerns.iter().map(|concern| concern.kind).collect()
}

#[test]
fn each_reason_to_look_is_found_and_nothing_else() {
    let line = || vec![waiter("jane")];
    let everybody = || vec![Identity::new("*").unwrap()];
    assert_eq!(kinds(|_, view| view.waitlist = line()), [""; 0], "all is well");
    assert_eq!(kinds(|_, _| {}), ["no-standby"]);
    assert_eq!(kinds(|sighted, _| sighted.state = State::Expired), ["expired"]);
    assert_eq!(kinds(|sighted, _| sighted.state = State::Vacant), [""; 0]);
    assert_eq!(kinds(|sighted, _| sighted.state = State::Unknown), [""; 0]);
    let late = |sighted: &mut ObservedLock, view: &mut LockView| {
        sighted.state = State::Late;
        view.waitlist = line();
    };
    assert_eq!(kinds(late), ["late"]);
    let paused = |sighted: &mut ObservedLock, view: &mut LockView| {
        (sighted.state, view.holder) = (State::Vacant, None);
        view.paused = everybody();
    };
    assert_eq!(kinds(paused), ["paused"]);
    let unwilling = |_: &mut ObservedLock, view: &mut LockView| {
        (view.waitlist, view.paused) = (line(), everybody());
    };
    assert_eq!(kinds(unwilling), ["paused-leader"]);
    let asked = |_: &mut ObservedLock, view: &mut LockView| {
        (view.waitlist, view.hand_over) = (line(), Some(HandOver::ToNext));
    };
    assert_eq!(kinds(asked), ["unheeded"]);
    let foreign = |_: &mut ObservedLock, view: &mut LockView| {
        (view.waitlist, view.registration) = (line(), Registration::Foreign);
    };
    assert_eq!(kinds(foreign), ["foreign"]);
    let claimed = |sighted: &mut ObservedLock, view: &mut LockView| {
        (sighted.state, view.registration) = (State::Claimed, Registration::Claim);
    };
    assert_eq!(kinds(claimed), ["claimed"]);
    for seconds in [0, 86_400] {
        let absurd = |_: &mut ObservedLock, view: &mut LockView| {
            (view.waitlist, view.lease_duration) = (line(), Some(Duration::from_secs(seconds)));
        };
        assert_eq!(kinds(absurd), ["lease-duration"], "{seconds}");
    }
}

#[test]
fn a_request_is_given_the_time_of_a_lease() {
    let asked = sighted(|_, view| {
        (view.waitlist, view.hand_over) = (vec![waiter("jane")], Some(HandOver::ToNext));
    });
    let soon = board_with(vec![asked], &Board::default(), Duration::from_secs(14));
    assert_eq!(soon.needy(), 0);
}

#[test]
fn what_needs_attention_most_comes_first() {
    let named = |name: &str, state| {
        sighted(|sighted, view| {
            (sighted.state, view.waitlist) = (state, vec![waiter("jane")]);
            view.lock = Lock::lease("default", name);
        })
    };
    let all = vec![
        named("a", State::Held),
        named("b", State::Late),
        named("c", State::Held),
        named("d", State::Expired),
        named("e", State::Unknown),
    ];
    let board = board(all, &Board::default());
    let order: Vec<_> = board.rows.iter().map(|row| row.view().lock.name()).collect();
    assert_eq!(order, ["d", "b", "e", "a", "c"]);
    assert_eq!(board.needy(), 3);
}

#[test]
fn a_row_is_another_only_when_something_happens() {
    let first = sighted(|_, _| {});
    let later = |span| {
        let mut later = first.clone();
        later.at = first.at + span;
        later.expires_in = first.expires_in.map(|left| left - span);
        later.beat_age = first.beat_age.map(|age| age + span);
        later
    };
    let before = board(vec![first.clone()], &Board::default());
    let same = board(vec![later(Duration::from_secs(3))], &before);
    assert!(Arc::ptr_eq(&before.rows[0].shown, &same.rows[0].shown));
    let mut renewed = later(Duration::from_secs(3));
    renewed.expires_in = first.expires_in;
    let other = board(vec![renewed], &before);
    assert!(!Arc::ptr_eq(&before.rows[0].shown, &other.rows[0].shown));
}

#[test]
fn nobody_is_said_to_lead_past_the_end_of_the_term() {
    let board = board(vec![sighted(|_, _| {})], &Board::default());
    let row = &board.rows[0];
    let expiry = row.view().expires_at.unwrap();
    assert_eq!(board.next_expiry(), Some(expiry));
    let before = row.aged(expiry.saturating_sub(Duration::from_millis(1)));
    assert_eq!((before.state, before.is_certain), (State::Held, true));
    let after = row.aged(expiry);
    assert_eq!((after.state, after.is_certain), (State::Unknown, false));
}
