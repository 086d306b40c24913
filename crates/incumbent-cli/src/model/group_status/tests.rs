use std::collections::{BTreeMap, BTreeSet};

use incumbent::FencingToken;
use incumbent::group_survey::{ConfigView, GroupSurvey, HiddenSeat, UnownedView};
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
    unowned.is_seen = true;
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
    let is_assigned =
        |view: &GroupView, task: &str| of(view).is_surely_assigned(&[task.to_owned()]);
    assert!(is_assigned(&view, "eu") && !is_assigned(&view, "us"), "no such task");

    view.tasks[0].term = FencingToken(6);
    assert_eq!(only(&view).state, TaskState::Lost, "another term");
    view.tasks[0] = task("eu", "john");
    view.tasks[0].seat = "an earlier object".to_owned();
    assert_eq!(only(&view).state, TaskState::Lost, "another seat");
    view.tasks[0] = task("eu", "jim");
    assert_eq!(only(&view).state, TaskState::Unknown, "nothing shows the seat");
    view.hidden_seats = [("jim".to_owned(), HiddenSeat::Unlabelled)].into();
    assert_eq!(only(&view).state, TaskState::Unknown, "it exists");
    view.hidden_seats = [("jim".to_owned(), HiddenSeat::Missing)].into();
    assert_eq!(only(&view).because, Some("its owner's seat does not exist"));
    assert!(!is_assigned(&view, "eu"));
}

/// The table may give a task to a term that is over for as long as there is no allocator. Its seat may be renewed in a later
/// term meanwhile.
#[test]
fn a_task_of_a_term_that_is_over_is_stuck_in_time_whatever_ended_it() {
    let (ago, john) = (|seconds: i64| Some(Timestamp::now() - seconds.seconds()), "john");
    let lost = |edit: &dyn Fn(&mut TaskView, &mut incumbent::survey::LockView)| {
        let mut view = group();
        let mut task = task("eu", john);
        let seat = view.seats.iter_mut().find(|seat| seat.member == john).unwrap();
        let mut lock = (*seat.lock.view).clone();
        edit(&mut task, &mut lock);
        seat.lock.view = lock.into();
        view.tasks = vec![task];
        let status = of(&view);
        assert_eq!(status.tasks[0].state, TaskState::Lost);
        let waits = status.tasks[0].waits.unwrap();
        let is_stuck = status.stuck().next().is_some();
        assert_eq!(is_stuck, waits.at_least.as_secs() > 19, "{waits:?}");
        (waits.at_least.as_secs(), waits.evidence)
    };
    let (clocks, watched) = (Evidence::Clocks, Evidence::Watched);
    let later = |task: &mut TaskView| task.term = FencingToken(6);
    let waits = lost(&|task, lock| (later(task), lock.acquired = ago(60)).0);
    assert_eq!(waits, (60, clocks), "the same seat is held in a later term");
    let waits = lost(&|task, _| (later(task), task.ended_for = Some(s(30))).0);
    assert_eq!(waits, (30, watched));
    let other = |task: &mut TaskView| task.seat = "an earlier object".to_owned();
    let waits = lost(&|task, lock| (other(task), lock.created = ago(60)).0);
    assert_eq!(waits, (60, clocks), "it is another object");
    let waits = lost(&|_, lock| {
        (lock.token, lock.holder, lock.renewed) = (None, None, ago(60));
    });
    assert_eq!(waits, (60, clocks), "it is vacant");
    let waits = lost(&|_, lock| (lock.token, lock.holder, lock.renewed) = (None, None, ago(2)));
    assert_eq!(waits, (2, clocks));

    let mut view = group();
    view.tasks = vec![task("eu", "jim")];
    view.hidden_seats = [("jim".to_owned(), HiddenSeat::Missing)].into();
    assert!(of(&view).is_open() && of(&view).stuck().next().is_none(), "looking longer tells");
    view.tasks[0].ended_for = Some(s(20));
    assert_eq!(of(&view).stuck().count(), 1);
}

/// What cannot be seen may have an owner, and may be stuck.
#[test]
fn what_cannot_be_seen_is_unknown_and_no_reason_to_say_that_all_is_well() {
    let base = || {
        let mut view = group();
        view.tasks = vec![task("eu", "john")];
        view.config = Some(config(&["eu"], 100));
        view
    };
    let doubt = |edit: &dyn Fn(&mut GroupView)| {
        let mut view = base();
        edit(&mut view);
        let status = of(&view);
        assert_eq!(status.doubt().is_none(), status.is_surely_assigned(&[]));
        status.doubt().map(|doubt| (doubt, status.word()))
    };
    assert_eq!(doubt(&|_| {}), None);
    let is_said = |edit: &dyn Fn(&mut GroupView), said: &str, word: &str| {
        let (doubt, state) = doubt(edit).unwrap();
        assert!(doubt.contains(said) && state == word, "{doubt} {state}");
    };
    is_said(&|view| view.blind = vec![(s(1), "forbidden".to_owned())], "cannot be seen", "Unknown");
    is_said(&|view| view.config = None, "only the members' program", "Settled");
    for state in [PageState::Missing, PageState::Unreadable("why".to_owned())] {
        let hide = |view: &mut GroupView| {
            (view.config, view.pages[0].state) = (None, state.clone());
        };
        is_said(&hide, "only the members' program", "Unknown");
    }
    let mistake = |view: &mut GroupView| {
        view.config.as_mut().unwrap().mistake = Some("why".to_owned());
    };
    is_said(&mistake, "GROUP.config", "Settled");
    let hide = |view: &mut GroupView| {
        view.unowned = vec![unowned("us", 60)];
        (view.unowned[0].is_seen, view.pages[0].state) = (false, PageState::Missing);
    };
    is_said(&hide, "of 1 tasks it is unknown, for example of us", "Unknown");

    let mut view = base();
    (view.config, view.expected) = (None, Some(["eu".to_owned()].into()));
    assert!(of(&view).doubt().is_none() && of(&view).is_surely_assigned(&[]));
    view.unowned = vec![unowned("us", 20)];
    assert!(!of(&view).is_surely_assigned(&[]));
    assert_eq!(of(&view).stuck().count(), 1, "of tasks that the caller names, all are known");
}

/// A page of an earlier table was written long ago. Until the present table was created, it gave its tasks owners.
#[test]
fn a_task_of_a_page_of_another_table_waits_since_there_is_the_present_one() {
    let mut view = group();
    let created = (Timestamp::now() - 10.seconds()).to_string();
    view.pages[0].object = json!({ "metadata": { "creationTimestamp": created } }).into();
    let mut earlier = page(3 * 86_400);
    (earlier.index, earlier.state) = (1, PageState::OtherTable);
    view.pages.push(earlier);
    view.config = Some(config(&["eu"], 9 * 86_400));
    view.unowned = vec![unowned("eu", 5)];
    view.unowned[0].page = 1;
    assert_eq!(only(&view).waits.unwrap().at_least.as_secs(), 9);
    view.pages[0].object = json!({}).into();
    assert_eq!(only(&view).waits.unwrap().at_least, s(5), "nothing says when it was created");
    view.pages.clear();
    assert_eq!(only(&view).waits.unwrap().evidence, Evidence::Clocks, "there never was a table");
    view.allocator = Some(view.seats[0].lock.clone());
    assert_eq!(only(&view).waits.unwrap().at_least, s(5), "there may have been one until now");
}

/// A long name is cut for people, and only for them.
#[test]
fn long_names_that_begin_alike_are_different_names() {
    let long = |end: &str| format!("{}{end}", "x".repeat(200));
    let mut view = group();
    for (seat, end) in view.seats.iter_mut().zip(["a", "b"]) {
        seat.member = long(end);
    }
    view.tasks = vec![task(&long("1"), &long("a")), task(&long("2"), &long("b"))];
    for (task, uid) in view.tasks.iter_mut().zip(["jane", "john"]) {
        task.seat = uid.to_owned();
    }
    let mut drain = config(&[], 100);
    drain.drained = [long("b")].into();
    (drain.pins, drain.tasks) = ([(long("2"), long("a"))].into(), None);
    view.config = Some(drain);
    let status = of(&view);
    let one_each: Vec<_> = status.members.iter().map(|member| member.tasks).collect();
    assert_eq!(one_each, [1, 1]);
    assert!(status.is_surely_assigned(&[long("1")]) && !status.is_surely_assigned(&[long("3")]));
    assert_eq!((&status.tasks[0].pin, &status.tasks[1].pin), (&None, &Some(long("a"))));
    assert_eq!(kinds(&view), [].into(), "both members are there");
    let texts = changes(&GroupStatus { tasks: Vec::new(), ..status.clone() }, &status);
    assert!(texts.iter().all(|event| event.text.chars().count() < 400), "{texts:?}");
}

/// While it is not known who is there, nothing is said about who is missing.
#[test]
fn nothing_is_diagnosed_of_seats_that_cannot_be_judged() {
    let mut view = group();
    view.tasks = vec![task("eu", "john")];
    let mut asked = config(&["eu"], 100);
    asked.drained = ["jim".to_owned(), "jane".to_owned(), "john".to_owned()].into();
    asked.pins = [("eu".to_owned(), "jane".to_owned())].into();
    view.config = Some(asked);
    for seat in &mut view.seats {
        (seat.lock.state, seat.lock.is_certain) = (State::Unknown, false);
    }
    view.allocator = Some(view.seats[0].lock.clone());
    let kinds: BTreeSet<_> = concerns(&view, &of(&view)).into_iter().map(|it| it.kind).collect();
    assert_eq!(kinds, ["hidden-owner", "drained-absent"].into(), "jim has no seat");
    view.blind = vec![(s(1), "forbidden".to_owned())];
    let kinds: BTreeSet<_> = concerns(&view, &of(&view)).into_iter().map(|it| it.kind).collect();
    assert_eq!(kinds, ["hidden-owner"].into());

    for seat in &mut view.seats {
        seat.lock.state = State::Expired;
    }
    (view.blind, view.allocator) = (Vec::new(), None);
    let found = concerns(&view, &of(&view));
    let none = found.iter().find(|concern| concern.kind == "no-members").unwrap();
    assert!(none.what.contains("by the wall clocks"), "{}", none.what);
}

/// Members keep what they read before, so what it says now is not what they do.
#[test]
fn a_config_that_members_do_not_read_is_not_shown_as_obeyed() {
    let asked = |edit: &dyn Fn(&mut ConfigView)| {
        let mut view = group();
        view.tasks = vec![task("eu", "john")];
        let mut config = config(&["eu"], 100);
        config.is_frozen = true;
        config.drained = ["john".to_owned()].into();
        config.pins = [("eu".to_owned(), "jane".to_owned())].into();
        edit(&mut config);
        view.config = Some(config);
        of(&view)
    };
    let john = |status: &GroupStatus| status.member("john").unwrap().clone();
    let obeyed = asked(&|_| {});
    assert_eq!((obeyed.is_frozen, obeyed.tasks[0].pin.as_deref()), (Some(true), Some("jane")));
    assert!(!john(&obeyed).takes_tasks);
    for status in [
        asked(&|config| config.has_label = false),
        asked(&|config| config.mistake = Some("why".to_owned())),
    ] {
        assert_eq!((status.is_frozen, &status.tasks[0].pin), (None, &None));
        assert!(john(&status).wishes.is_empty() && status.list == List::Unread);
        let texts = changes(&obeyed, &status);
        assert!(texts.iter().any(|event| event.event == "config-unread"), "{texts:?}");
    }
    assert_eq!(of(&group()).is_frozen, Some(false), "nothing is asked");
}

#[test]
fn a_member_that_declines_a_task_takes_others() {
    let mut view = group();
    view.seats[0].declined = vec!["eu".to_owned()];
    assert!(of(&view).members[0].takes_tasks);
    view.seats[0].is_leaving = true;
    assert!(!of(&view).members[0].takes_tasks);
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
    assert_eq!(with(&|view| view.seats.clear()), ["hidden-owner"].into());
    let without_seats = |view: &mut GroupView| {
        view.seats.clear();
        view.hidden_seats = [("john".to_owned(), HiddenSeat::Missing)].into();
    };
    assert_eq!(with(&without_seats), ["no-members"].into());
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
    assert_eq!(
        with(&|view| view.pages[0].state = PageState::Unknown("why".to_owned())),
        ["hidden-page"].into()
    );
    let data = json!({ "data": { "tasks": "eu", "frozen": "true" } });
    assert_eq!(asked(&|config| config.object = data.clone().into()), ["unknown-key"].into());
    let pins: BTreeMap<_, _> = [("typo".to_owned(), "john".to_owned())].into();
    assert_eq!(asked(&|config| config.pins = pins.clone()), ["pinned-unknown"].into());
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
    assert_eq!(
        texts,
        ["john is gone: its seat was deleted, or lacks its label", "us: no longer in the table"]
    );
}
