use std::collections::{BTreeMap, BTreeSet};

use incumbent::FencingToken;
use incumbent::group_survey::{ConfigView, GroupSurvey};
use incumbent_apiserver::ApiServer;
use jiff::ToSpan;
use serde_json::json;

use super::*;
use crate::model::group_changes::changes;
use crate::model::group_diagnosis::concerns;

/// Seconds.
const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The seats of john and jane, whose terms have the token 7, as a survey shows them.
fn seats() -> Vec<SeatView> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = ApiServer::new();
        for name in ["jane", "john"] {
            let now = format!("{:.6}", Timestamp::now());
            let info = json!({
                "capacity": 1, "version": "", "draining": false, "leaving": false, "released": {},
                "running": [],
            });
            let term = json!({
                "identity": name, "session": "00000000000000000000000000000001", "token": 7,
                "renewTime": now, "seat": info,
            });
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {
                    "name": format!("jobs.{name}"), "namespace": "default",
                    "labels": { "incumbent.dev/group": "jobs" },
                    "annotations": { "incumbent.dev/term": term.to_string() },
                },
                "spec": { "holderIdentity": name, "leaseDurationSeconds": 15, "renewTime": now },
            });
            server.create(lease).unwrap();
        }
        let client = kube::Client::new(server.service(), "default");
        let mut seats = GroupSurvey::start(client, "default", "jobs").await.unwrap().view().seats;
        for seat in &mut seats {
            (seat.lock.state, seat.lock.is_certain) = (State::Held, true);
            let mut view = (*seat.lock.view).clone();
            view.token = Some(FencingToken(7));
            view.registration = Registration::Term;
            seat.lock.view = view.into();
            (seat.uid, seat.last_token) = (seat.member.clone(), FencingToken(7));
        }
        seats
    })
}

fn page(written_ago: i64) -> PageView {
    let mut page = PageView::default();
    page.state = PageState::Open;
    page.written = Some(Timestamp::now() - written_ago.seconds());
    page
}

/// A task of this member's present term.
fn task(name: &str, owner: &str) -> TaskView {
    let mut task = TaskView::default();
    (task.name, task.owner, task.seat) = (name.to_owned(), owner.to_owned(), owner.to_owned());
    (task.term, task.fencing_token) = (FencingToken(7), FencingToken(9));
    task
}

fn unowned(name: &str, seen_for: u64) -> UnownedView {
    let mut unowned = UnownedView::default();
    (unowned.name, unowned.seen_for) = (name.to_owned(), s(seen_for));
    unowned
}

/// Members john and jane, and a page that was written a minute ago.
fn group() -> GroupView {
    let mut view = GroupView::default();
    view.name = "jobs".to_owned();
    view.kind = Some(TaskKind::Named);
    view.seats = seats();
    view.pages = vec![page(60)];
    view
}

fn config(tasks: &[&str], written_ago: i64) -> ConfigView {
    let mut config = ConfigView::default();
    config.tasks = Some(tasks.iter().map(|task| (*task).to_owned()).collect());
    config.has_label = true;
    config.written = Some(Timestamp::now() - written_ago.seconds());
    config
}

fn of(view: &GroupView) -> GroupStatus {
    GroupStatus::of(view, Timestamp::now(), None)
}

fn only(view: &GroupView) -> TaskStatus {
    let status = of(view);
    assert_eq!(status.tasks.len(), 1);
    status.tasks[0].clone()
}

#[test]
fn a_task_is_assigned_only_while_its_owner_holds_the_very_term() {
    let mut view = group();
    view.tasks = vec![task("eu", "john")];
    assert_eq!((only(&view).state, only(&view).waits), (TaskState::Assigned, None));
    assert!(of(&view).is_surely_assigned(None) && of(&view).is_surely_assigned(Some("eu")));
    assert!(!of(&view).is_surely_assigned(Some("us")), "no such task");

    view.tasks[0].term = FencingToken(6);
    assert_eq!(only(&view).state, TaskState::Lost, "another term");
    view.tasks[0] = task("eu", "john");
    view.tasks[0].seat = "an earlier object".to_owned();
    assert_eq!(only(&view).state, TaskState::Lost, "another seat");
    view.tasks[0] = task("eu", "jim");
    assert_eq!(only(&view).because, Some("its owner's seat does not exist"));
    view.blind = vec![(s(1), "forbidden".to_owned())];
    assert_eq!(only(&view).state, TaskState::Unknown, "nobody can say");
    assert!(!of(&view).is_surely_assigned(None));
}

#[test]
fn a_seat_that_is_not_renewed_loses_its_tasks_when_its_term_is_over_and_not_before() {
    let mut view = group();
    view.tasks = vec![task("eu", "john")];
    let set = |view: &mut GroupView, state, over: Option<u64>, is_certain| {
        let seat = view.seats.iter_mut().find(|seat| seat.member == "john").unwrap();
        (seat.lock.state, seat.lock.is_certain) = (state, is_certain);
        seat.lock.over_for = over.map(s);
    };
    set(&mut view, State::Late, None, true);
    assert_eq!(only(&view).state, TaskState::Late);
    set(&mut view, State::Unknown, None, false);
    assert_eq!(only(&view).state, TaskState::Unknown);
    assert!(of(&view).is_open(), "looking longer tells");
    set(&mut view, State::Expired, Some(20), true);
    let lost = only(&view);
    assert_eq!(lost.waits, Some(Waits { at_least: s(20), evidence: Evidence::Watched }));
    assert_eq!((of(&view).stuck().count(), of(&view).word()), (1, "Stuck"));
    set(&mut view, State::Expired, Some(19), true);
    assert_eq!((of(&view).stuck().count(), of(&view).word()), (0, "Moving"), "19 s is the bound");
}

/// What a single look can say rests on the API server's clock: the later of both objects counts, and a second is lost.
#[test]
fn a_task_without_an_owner_has_waited_since_the_later_of_its_page_and_the_list() {
    for (page_ago, list_ago, at_least) in [(60, 30, 29), (10, 30, 9)] {
        let mut view = group();
        view.pages = vec![page(page_ago)];
        view.config = Some(config(&["eu"], list_ago));
        view.unowned = vec![unowned("eu", 5)];
        let waits = only(&view).waits.unwrap();
        assert_eq!((waits.at_least.as_secs(), waits.evidence), (at_least, Evidence::Clocks));
        view.unowned = vec![unowned("eu", 40)];
        assert_eq!(only(&view).waits.unwrap().evidence, Evidence::Watched, "it was seen longer");
    }
    let mut view = group();
    view.kind = Some(TaskKind::Slots(1));
    view.unowned = vec![unowned("0", 5)];
    assert_eq!(only(&view).waits.unwrap().at_least.as_secs(), 59, "slots are not listed");
    view.kind = Some(TaskKind::Permits(1));
    assert_eq!((only(&view).state, only(&view).waits), (TaskState::Free, None));
    view.kind = Some(TaskKind::Named);
    view.config = Some(config(&["0"], 30));
    view.pages[0].state = PageState::Unreadable("why".to_owned());
    assert_eq!(only(&view).because, Some("its page of the table cannot be read"));
}

#[test]
fn a_revoked_task_says_whether_its_owner_has_stopped() {
    let mut view = group();
    let mut revoked = task("eu", "john");
    (revoked.revoked, revoked.seen_for) = (Some(40), s(70));
    view.tasks = vec![revoked];
    let stopping = only(&view);
    assert_eq!(stopping.because, Some("its owner has not confirmed that it stopped"));
    assert_eq!(stopping.waits, Some(Waits { at_least: s(70), evidence: Evidence::Watched }));
    let john = view.seats.iter_mut().position(|seat| seat.member == "john").unwrap();
    view.seats[john].released = [(0, 40)].into();
    assert_eq!(only(&view).because, Some("its owner has not confirmed that it stopped"));
    view.seats[john].released = [(0, 41)].into();
    assert_eq!(only(&view).because, Some("it has stopped; the allocator is to assign it"));
    view.seats[john].still_running = vec!["eu".to_owned()];
    assert_eq!(only(&view).because, Some("its work still runs"));
}

/// The members' program may name the tasks. Then lines of `GROUP.config` are only wishes.
#[test]
fn a_list_counts_unless_the_allocator_goes_by_another() {
    let mut view = group();
    view.tasks = vec![task("eu", "john"), task("us", "jane")];
    view.unowned = vec![unowned("ap", 5)];
    assert_eq!((of(&view).list, of(&view).tasks.len()), (List::Program, 2));
    view.config = Some(config(&["ap", "eu", "us"], 100));
    assert_eq!((of(&view).list, of(&view).tasks.len()), (List::Config { unlisted: 0 }, 3));
    view.config = Some(config(&["ap", "eu"], 10));
    assert_eq!(of(&view).list, List::Config { unlisted: 1 }, "the allocator has not acted yet");
    view.config = Some(config(&["ap", "eu"], 100));
    assert_eq!((of(&view).list, of(&view).tasks.len()), (List::Program, 2), "it has, and kept us");
    view.kind = Some(TaskKind::Slots(4));
    assert_eq!(of(&view).list, List::Numbered);
}

fn kinds(view: &GroupView) -> BTreeSet<&'static str> {
    let kinds = concerns(view, &of(view)).into_iter().map(|concern| concern.kind);
    kinds.filter(|kind| *kind != "no-allocator").collect()
}

#[test]
fn each_reason_to_look_at_a_group_is_found_and_nothing_else() {
    let view = || {
        let mut view = group();
        view.tasks = vec![task("eu", "john")];
        view
    };
    assert_eq!(kinds(&view()), [].into());
    assert_eq!(concerns(&view(), &of(&view()))[0].kind, "no-allocator", "its Lease is missing");
    let with = |edit: &dyn Fn(&mut GroupView)| {
        let mut view = view();
        edit(&mut view);
        kinds(&view)
    };
    let asked = |edit: &dyn Fn(&mut ConfigView)| {
        with(&|view| {
            let mut config = config(&["eu"], 100);
            edit(&mut config);
            view.config = Some(config);
        })
    };
    assert_eq!(with(&|view| drop(view.seats.remove(0))), ["no-standby"].into());
    assert_eq!(with(&|view| view.seats.clear()), ["no-members"].into());
    assert_eq!(asked(&|config| config.has_label = false), ["config"].into());
    assert_eq!(asked(&|config| config.mistake = Some("why".to_owned())), ["config"].into());
    assert_eq!(asked(&|config| config.is_frozen = true), ["frozen"].into());
    assert_eq!(
        asked(&|config| config.drained = ["jim".to_owned()].into()),
        ["drained-absent"].into()
    );
    let both = ["jane".to_owned(), "john".to_owned()];
    assert_eq!(asked(&|config| config.drained = both.clone().into()), ["all-drained"].into());
    let pins: BTreeMap<_, _> = [("eu".to_owned(), "jim".to_owned())].into();
    assert_eq!(asked(&|config| config.pins = pins.clone()), ["pinned-to-absent"].into());
    let versions = |view: &mut GroupView| {
        view.seats[0].version = Some("1".to_owned());
        view.seats[1].version = Some("2".to_owned());
    };
    assert_eq!(with(&versions), ["versions"].into());
    for (state, kind) in [
        (PageState::Missing, "missing-page"),
        (PageState::NotOpen, "page-not-open"),
        (PageState::OtherTable, "page-of-another-table"),
        (PageState::Unreadable("why".to_owned()), "unreadable-page"),
    ] {
        assert_eq!(with(&|view| view.pages[0].state = state.clone()), [kind].into());
    }
    assert_eq!(with(&|view| view.tasks[0].revoked = Some(5)), ["stuck-revoke"].into());
    assert_eq!(with(&|view| view.seats[1].lock.state = State::Late), ["late-member"].into());
}

#[test]
fn changes_are_told_once_and_tasks_that_move_alike_together() {
    let mut view = group();
    view.tasks = vec![task("ap", "john"), task("eu", "john"), task("us", "jane")];
    let before = of(&view);
    assert_eq!(changes(&before, &before), []);
    for moved in &mut view.tasks[..2] {
        (moved.owner, moved.seat, moved.fencing_token) =
            ("jane".to_owned(), "jane".to_owned(), FencingToken(12));
    }
    view.config = Some(config(&["ap", "eu", "us"], 100));
    let after = of(&view);
    let texts: Vec<_> = changes(&before, &after).into_iter().map(|event| event.text).collect();
    assert_eq!(texts, ["2 tasks (ap, eu): john -> jane under token 12"]);
    view.seats.retain(|seat| seat.member != "john");
    view.tasks.pop();
    let texts: Vec<_> = changes(&after, &of(&view)).into_iter().map(|event| event.text).collect();
    assert_eq!(texts, ["john is gone: its seat was deleted", "us: no longer in the table"]);
}
