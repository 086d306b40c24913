//! Looking at a group from outside, and moving its tasks: real members over a real API server, in paused time.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use incumbent::group_survey::{
    GroupChange, GroupSurvey, GroupView, HiddenSeat, PageState, TaskKind,
};
use incumbent::{BoxError, Clock, Error, Group, GroupControl, Identity, Tasks};
use incumbent_apiserver::ApiServer;
use incumbent_core::Uid;
use incumbent_core::group::{Page, PageIndex, PageText, Place};
use serde_json::{Value, json};
use support::{Line, State, client, client_on, request, seconds};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

/// A member whose work stops when it is asked to, until the test ends it.
struct Running {
    line: Line,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

fn start(server: &ApiServer, name: &str, tasks: Tasks) -> Running {
    let line = Line::to(server);
    let client = client_on(server, &line);
    let group = Group::builder(client, "default", "indexers").member(name).tasks(tasks);
    let group = group.address(format!("{name}:80")).version("7").clock(Clock::tokio()).build();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(async move {
        let work = |_| async {
            std::future::pending::<()>().await;
            Ok::<(), BoxError>(())
        };
        group.unwrap().run_until(stopped, work).await.unwrap();
    });
    Running { line, stop, ended }
}

impl Running {
    async fn leave(self) {
        let _ = self.stop.send(());
        self.ended.await.unwrap();
    }

    /// As a process that is killed.
    async fn die(self) {
        self.line.set(State::Silent);
        self.ended.abort();
        let _ = self.ended.await;
    }
}

fn named() -> Tasks {
    Tasks::named(["ap", "eu", "jp", "us"])
}

async fn survey(server: &ApiServer) -> GroupSurvey {
    GroupSurvey::start_with(client(server), "default", "indexers", Clock::tokio()).await.unwrap()
}

/// What a survey that begins now shows.
async fn view(server: &ApiServer) -> GroupView {
    survey(server).await.view()
}

fn control(server: &ApiServer) -> GroupControl {
    GroupControl::new(client(server), "default", "indexers").unwrap()
}

fn identity(name: &str) -> Identity {
    Identity::new(name).unwrap()
}

/// How many tasks each member has.
fn loads(view: &GroupView) -> BTreeMap<&str, usize> {
    let mut loads = BTreeMap::new();
    for task in &view.tasks {
        *loads.entry(task.owner.as_str()).or_default() += 1;
    }
    loads
}

fn owner<'a>(view: &'a GroupView, task: &str) -> &'a str {
    &view.tasks.iter().find(|known| known.name == task).unwrap().owner
}

async fn config(server: &ApiServer, data: Value) {
    let path = format!("{MAPS}/indexers.config");
    let labels = json!({ "incumbent.dev/group": "indexers" });
    let metadata = json!({ "name": "indexers.config", "namespace": "default", "labels": labels });
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data.clone(),
    });
    if server.create(object).is_err() {
        request(server, Method::PATCH, &path, Some(json!({ "data": data }))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_survey_shows_members_tasks_and_pages_and_what_changes() {
    let server = ApiServer::new();
    let mut survey = survey(&server).await;
    assert!(!survey.view().exists() && survey.view().pages.is_empty());
    let (john, jane) = (start(&server, "john", named()), start(&server, "jane", named()));
    let settled = async {
        while loads(&survey.view()) != [("jane", 2), ("john", 2)].into() {
            survey.next().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), settled).await.unwrap();
    let known = survey.view();
    assert_eq!((known.kind, known.unowned.len()), (Some(TaskKind::Named), 0));
    assert_eq!(known.pages[0].state, PageState::Open);
    assert!(known.pages[0].written.is_some());
    let jane_seat = known.seat("jane").unwrap();
    assert_eq!(jane_seat.lock.view.address.as_deref(), Some("jane:80"));
    assert_eq!((jane_seat.capacity, jane_seat.version.as_deref()), (Some(1), Some("7")));
    let task = known.tasks.iter().find(|task| task.owner == "jane").unwrap();
    assert_eq!((Some(task.term), &task.seat), (jane_seat.lock.view.token, &jane_seat.uid));
    assert_eq!(GroupSurvey::list(client(&server), None).await.unwrap(), [pair()]);
    assert_eq!(GroupSurvey::list(client(&server), Some("other")).await.unwrap(), []);

    let watched = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            survey.next().await;
        }
    });
    assert!(watched.await.is_err());
    let seen_for = survey.view().tasks[0].seen_for;
    assert!(seen_for >= Duration::from_secs(19), "{seen_for:?}");
    john.leave().await;
    jane.leave().await;
}

fn pair() -> (String, String) {
    ("default".to_owned(), "indexers".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_survey_says_why_a_page_is_not_obeyed_and_which_listed_tasks_have_no_owner() {
    let server = ApiServer::new();
    config(&server, json!({ "tasks": "eu\nus weight=2\n" })).await;
    let before = view(&server).await;
    let unowned: Vec<_> = before.unowned.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(unowned, ["eu", "us"]);
    assert!(before.exists() && before.config.unwrap().has_label);
    let john = start(&server, "john", Tasks::config_map());
    seconds(5.0).await;
    assert_eq!(loads(&view(&server).await), [("john", 2)].into());
    john.die().await;

    let table = format!("{MAPS}/indexers.tasks");
    let page = request(&server, Method::GET, &table, None).await;
    let edited = page["data"]["tasks"].as_str().unwrap().replace("run eu", "run ap");
    request(&server, Method::PATCH, &table, Some(json!({ "data": { "tasks": edited } }))).await;
    let known = view(&server).await;
    let PageState::Unreadable(why) = &known.pages[0].state else { panic!("{:?}", known.pages) };
    assert!(why.contains("check") || why.contains("does not match"), "{why}");
    assert_eq!((known.tasks.len(), known.unowned.len()), (0, 2));
    request(&server, Method::DELETE, &table, None).await;
    assert_eq!(view(&server).await.unowned.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_drained_member_gives_its_tasks_to_others_until_it_is_taken_back() {
    let server = ApiServer::new();
    let (john, jane) = (start(&server, "john", named()), start(&server, "jane", named()));
    seconds(5.0).await;
    assert_eq!(loads(&view(&server).await), [("jane", 2), ("john", 2)].into());

    let said = control(&server).drain(&[identity("john")]).await.unwrap();
    assert_eq!(said.drained, ["john".to_owned()].into());
    assert_eq!(said.tasks, None, "a new GROUP.config has no list");
    seconds(2.0).await;
    assert_eq!(loads(&view(&server).await), [("jane", 4)].into());
    control(&server).drain(&[identity("jane")]).await.unwrap();
    seconds(2.0).await;
    assert_eq!(loads(&view(&server).await), [("jane", 4)].into(), "no member takes tasks");
    let said = control(&server).resume(&[identity("john"), identity("jane")]).await.unwrap();
    assert!(said.drained.is_empty());
    seconds(2.0).await;
    assert_eq!(loads(&view(&server).await), [("jane", 2), ("john", 2)].into());
    john.leave().await;
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_pin_moves_a_task_of_any_kind_and_a_freeze_keeps_it() {
    for tasks in [named, || Tasks::slots(4)] {
        let server = ApiServer::new();
        let (john, jane) = (start(&server, "john", tasks()), start(&server, "jane", tasks()));
        seconds(5.0).await;
        let before = view(&server).await;
        let task = before.tasks.iter().find(|task| task.owner == "john").unwrap().name.clone();
        control(&server).freeze(true).await.unwrap();
        let said = control(&server).pin(&task, &identity("jane")).await.unwrap();
        assert_eq!(said.pins, [(task.clone(), "jane".to_owned())].into());
        seconds(3.0).await;
        assert_eq!(owner(&view(&server).await, &task), "john", "the group is frozen");
        control(&server).dry_run(true).freeze(false).await.unwrap();
        assert!(view(&server).await.config.unwrap().is_frozen, "it was only tried");
        control(&server).freeze(false).await.unwrap();
        seconds(3.0).await;
        let pinned = view(&server).await;
        assert_eq!(owner(&pinned, &task), "jane");
        assert!(pinned.config.unwrap().pins.contains_key(&task));
        assert!(control(&server).unpin(&task).await.unwrap().pins.is_empty());
        john.leave().await;
        jane.leave().await;
    }
}

/// Without its list, running members keep the one that they have. What people steer by must not be taken for an empty list.
#[tokio::test(start_paused = true)]
async fn to_steer_a_group_whose_list_was_deleted_stops_no_task() {
    let server = ApiServer::new();
    config(&server, json!({ "tasks": "ap\neu\njp\nus" })).await;
    let john = start(&server, "john", Tasks::config_map());
    let jane = start(&server, "jane", Tasks::config_map());
    seconds(5.0).await;
    request(&server, Method::DELETE, &format!("{MAPS}/indexers.config"), None).await;
    seconds(1.0).await;
    control(&server).drain(&[identity("john")]).await.unwrap();
    seconds(5.0).await;
    assert_eq!(loads(&view(&server).await), [("jane", 4)].into());
    config(&server, json!({ "tasks": "" })).await;
    seconds(5.0).await;
    assert_eq!(view(&server).await.tasks.len(), 0, "an empty list is one");
    john.leave().await;
    jane.leave().await;
}

/// Members obey what they have read last, also when its object is gone. So to take a request back is a write.
#[tokio::test(start_paused = true)]
async fn a_request_whose_object_was_deleted_can_be_taken_back() {
    let server = ApiServer::new();
    let (john, jane) = (start(&server, "john", named()), start(&server, "jane", named()));
    seconds(5.0).await;
    let path = format!("{MAPS}/indexers.config");
    let shared = [("jane", 2), ("john", 2)].into();
    for is_by_pin in [false, true] {
        match is_by_pin {
            false => drop(control(&server).drain(&[identity("john")]).await.unwrap()),
            true => {
                for task in ["ap", "eu", "jp", "us"] {
                    control(&server).pin(task, &identity("jane")).await.unwrap();
                }
            }
        }
        seconds(2.0).await;
        assert_eq!(loads(&view(&server).await), [("jane", 4)].into());
        request(&server, Method::DELETE, &path, None).await;
        seconds(2.0).await;
        assert_eq!(loads(&view(&server).await), [("jane", 4)].into(), "they read it before");
        let tried = control(&server).dry_run(true).resume(&[identity("john")]).await.unwrap();
        assert!(tried.drained.is_empty() && view(&server).await.config.is_none());
        let said = match is_by_pin {
            false => control(&server).resume(&[identity("john")]).await.unwrap(),
            true => control(&server).unpin("eu").await.unwrap(),
        };
        assert!(said.has_label && said.drained.is_empty() && said.pins.is_empty());
        assert_eq!(said.tasks, None, "it has no list");
        seconds(3.0).await;
        assert_eq!(loads(&view(&server).await), shared);
        request(&server, Method::DELETE, &path, None).await;
    }
    control(&server).freeze(true).await.unwrap();
    request(&server, Method::DELETE, &path, None).await;
    control(&server).freeze(false).await.unwrap();
    assert!(view(&server).await.config.is_some_and(|config| !config.is_frozen));
    john.leave().await;
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn what_no_member_would_read_is_refused() {
    let server = ApiServer::new();
    config(&server, json!({ "tasks": "eu\neu" })).await;
    let error = control(&server).drain(&[identity("john")]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert!(error.to_string().contains("eu is listed twice"), "{error}");
    assert_eq!(
        view(&server).await.config.unwrap().mistake.as_deref(),
        Some("tasks: eu is listed twice")
    );

    let path = format!("{MAPS}/indexers.config");
    let unlabelled = json!({ "metadata": { "labels": null }, "data": { "tasks": "eu" } });
    request(&server, Method::PATCH, &path, Some(unlabelled)).await;
    let error = control(&server).pin("eu", &identity("john")).await.unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
    assert!(error.hint().contains("kubectl label"), "{}", error.hint());
    assert!(!view(&server).await.config.unwrap().has_label);
    for (task, member) in [("e u", "john"), ("eu", "jo hn"), ("eu", "John")] {
        assert!(control(&server).pin(task, &identity(member)).await.is_err(), "{task} {member}");
    }
    assert!(GroupControl::new(client(&server), "default", "a.b").is_err());
}

/// Requests at the same moment, and an edit of the list with them: none is lost.
#[tokio::test(start_paused = true)]
async fn requests_of_several_people_at_once_are_all_kept() {
    let server = ApiServer::new();
    for has_config in [false, true] {
        if has_config {
            config(&server, json!({ "tasks": "eu", "drain": null })).await;
        }
        let control = control(&server);
        let drain = async |name| control.drain(&[identity(name)]).await.unwrap();
        let pin = async |task| control.pin(task, &identity("a")).await.unwrap();
        let (_, _, _, _, _, frozen) = tokio::join!(
            drain("a"),
            drain("b"),
            drain("c"),
            pin("eu"),
            pin("us"),
            control.freeze(true)
        );
        frozen.unwrap();
        let said = view(&server).await.config.unwrap();
        assert_eq!(said.drained, ["a", "b", "c"].map(str::to_owned).into());
        assert_eq!((said.pins.len(), said.is_frozen), (2, true));
    }
    server.faults().add("verb=patch,resource=configmaps,error=409".parse().unwrap());
    assert!(control(&server).freeze(false).await.is_err(), "not for ever");
}

/// A member that dies keeps its tasks in the table until its term is over, and its seat shows that.
#[tokio::test(start_paused = true)]
async fn a_seat_is_timed_from_outside() {
    let server = ApiServer::new();
    let john = start(&server, "john", named());
    seconds(5.0).await;
    let mut survey = survey(&server).await;
    john.die().await;
    let _ = tokio::time::timeout(Duration::from_secs(40), async {
        loop {
            survey.next().await;
        }
    })
    .await;
    let known = survey.view();
    assert_eq!(loads(&known), [("john", 4)].into(), "no allocator is left");
    let seat = known.seat("john").unwrap();
    assert!(seat.lock.is_certain && seat.lock.over_for.is_some(), "{seat:?}");
    request(&server, Method::DELETE, &format!("{LEASES}/indexers.john"), None).await;
    assert!(view(&server).await.seat("john").is_none());
}

fn without_label() -> Option<Value> {
    Some(json!({ "metadata": { "labels": { "incumbent.dev/group": null } } }))
}

fn with_label() -> Option<Value> {
    Some(json!({ "metadata": { "labels": { "incumbent.dev/group": "indexers" } } }))
}

/// Lets the survey learn for so many seconds.
async fn learn(survey: &mut GroupSurvey, seconds: u64) {
    let endless = async {
        loop {
            survey.next().await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(seconds), endless).await;
}

/// A page that has lost its label still counts for members, and no list shows it. So nothing is said about its tasks.
#[tokio::test(start_paused = true)]
async fn a_page_or_a_seat_that_lacks_its_label_is_not_taken_for_missing() {
    let server = ApiServer::new();
    config(&server, json!({ "tasks": "eu\nus" })).await;
    let john = start(&server, "john", Tasks::config_map());
    seconds(5.0).await;
    john.die().await;
    let mut early = survey(&server).await;
    let (table, seat) = (format!("{MAPS}/indexers.tasks"), format!("{LEASES}/indexers.john"));

    request(&server, Method::PATCH, &seat, without_label()).await;
    learn(&mut early, 1).await;
    for known in [early.view(), view(&server).await] {
        assert_eq!(known.hidden_seats, [("john".to_owned(), HiddenSeat::Unlabelled)].into());
        assert!(known.tasks.iter().all(|task| task.ended_for.is_none()));
    }
    request(&server, Method::PATCH, &table, without_label()).await;
    learn(&mut early, 1).await;
    for known in [early.view(), view(&server).await] {
        let PageState::Unknown(why) = &known.pages[0].state else { panic!("{:?}", known.pages) };
        assert!(known.exists() && why.contains("label"), "{why}");
        assert_eq!((known.tasks.len(), known.unowned.len()), (0, 2));
        assert!(known.unowned.iter().all(|task| !task.is_seen && task.seen_for.is_zero()));
    }
    learn(&mut early, 60).await;
    request(&server, Method::PATCH, &table, with_label()).await;
    learn(&mut early, 1).await;
    assert_eq!(
        (early.view().pages[0].state.clone(), early.view().tasks.len()),
        (PageState::Open, 2)
    );

    request(&server, Method::DELETE, &seat, None).await;
    learn(&mut early, 20).await;
    for known in [early.view(), view(&server).await] {
        assert_eq!(known.hidden_seats, [("john".to_owned(), HiddenSeat::Missing)].into());
    }
    request(&server, Method::DELETE, &table, None).await;
    learn(&mut early, 10).await;
    for (known, seen_for) in [(early.view(), 9), (view(&server).await, 0)] {
        assert!(known.pages.is_empty() && known.unowned.iter().all(|task| task.is_seen));
        let waits = known.unowned[0].seen_for;
        assert!((seen_for..11).contains(&waits.as_secs()), "{waits:?}, not while it was hidden");
    }
}

/// A term that is over does not begin again, however often the seat is renewed in another one.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_term_is_timed_from_when_its_seat_showed_it() {
    let server = ApiServer::new();
    let john = start(&server, "john", named());
    seconds(5.0).await;
    john.die().await;
    let mut survey = survey(&server).await;
    assert!(survey.view().tasks.iter().all(|task| task.ended_for.is_none()));
    let seat = format!("{LEASES}/indexers.john");
    let object = request(&server, Method::GET, &seat, None).await;
    request(&server, Method::DELETE, &seat, None).await;
    learn(&mut survey, 30).await;
    let labels = json!({ "incumbent.dev/group": "indexers" });
    let metadata = json!({ "name": "indexers.john", "namespace": "default", "labels": labels });
    let spec = object["spec"].clone();
    let other = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
    });
    server.create(other).unwrap();
    learn(&mut survey, 10).await;
    let known = survey.view();
    assert!(known.hidden_seats.is_empty() && known.seat("john").is_some());
    let ended_for = known.tasks[0].ended_for.unwrap().as_secs();
    assert!((38..=40).contains(&ended_for), "{ended_for}");
    assert_eq!(view(&server).await.tasks[0].ended_for, Some(Duration::ZERO), "a single look");
}

#[tokio::test(start_paused = true)]
async fn what_a_later_list_lacks_is_forgotten() {
    let server = ApiServer::new();
    config(&server, json!({ "tasks": "eu", "freeze": "true" })).await;
    let mut survey = survey(&server).await;
    server.faults().add("verb=watch,resource=configmaps,freeze=expire,for=5s".parse().unwrap());
    request(&server, Method::DELETE, &format!("{MAPS}/indexers.config"), None).await;
    learn(&mut survey, 2).await;
    assert!(survey.view().config.is_some(), "the watch is silent");
    learn(&mut survey, 40).await;
    assert!(survey.view().config.is_none() && survey.view().unowned.is_empty());

    // Without the label it is in no list, and is read by its name.
    config(&server, json!({ "tasks": "eu" })).await;
    learn(&mut survey, 1).await;
    let path = format!("{MAPS}/indexers.config");
    request(&server, Method::PATCH, &path, without_label()).await;
    learn(&mut survey, 1).await;
    let known = survey.view();
    assert!(!known.config.unwrap().is_obeyed() && known.unowned.is_empty(), "no member reads it");
    request(&server, Method::DELETE, &path, None).await;
    learn(&mut survey, 20).await;
    assert!(survey.view().config.is_none());
}

#[tokio::test(start_paused = true)]
async fn news_is_as_old_as_it_is_however_late_it_is_taken_in() {
    let server = ApiServer::new();
    let mut survey = survey(&server).await;
    learn(&mut survey, 1).await;
    config(&server, json!({ "tasks": "eu" })).await;
    seconds(10.0).await;
    assert_eq!(survey.next().await, GroupChange::Config);
    let known = survey.view();
    assert!((9..=10).contains(&known.heard_age.as_secs()), "{:?}", known.heard_age);
    assert!((9..=10).contains(&known.unowned[0].seen_for.as_secs()), "{:?}", known.unowned);
}

#[tokio::test(start_paused = true)]
async fn a_page_beyond_the_count_of_page_0_belongs_to_another_table() {
    let server = ApiServer::new();
    let john = start(&server, "john", named());
    seconds(5.0).await;
    john.die().await;
    let uid = request(&server, Method::GET, &format!("{MAPS}/indexers.tasks"), None).await;
    let table = Uid(uid["metadata"]["uid"].as_str().unwrap().to_owned());
    let page = Page::empty(Place::Further { table, seen: 1, kind: TaskKind::Named });
    let PageText { table, tasks } = page.to_text(PageIndex(5), "indexers", None);
    let labels = json!({ "incumbent.dev/group": "indexers" });
    let metadata = json!({ "name": "indexers.tasks-5", "namespace": "default", "labels": labels });
    let data = json!({ "table": table, "tasks": tasks });
    server
        .create(
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data }),
        )
        .unwrap();
    let states: Vec<_> = view(&server).await.pages.into_iter().map(|page| page.state).collect();
    assert_eq!(states, [PageState::Open, PageState::OtherTable]);
}

/// Nothing in the cluster lists the tasks that a program names. A caller that knows them sees which have no owner.
#[tokio::test(start_paused = true)]
async fn expected_tasks_that_no_page_names_have_no_owner() {
    let server = ApiServer::new();
    let john = start(&server, "john", named());
    seconds(5.0).await;
    let mut survey = survey(&server).await;
    assert!(survey.view().unowned.is_empty() && survey.view().expected.is_none());
    survey.expect(["eu", "xx"]).unwrap();
    learn(&mut survey, 7).await;
    let known = survey.view();
    assert_eq!(known.expected, Some(["eu", "xx"].map(str::to_owned).into()));
    let unowned: Vec<_> =
        known.unowned.iter().map(|it| (&*it.name, it.seen_for.as_secs())).collect();
    assert_eq!(unowned, [("xx", 7)]);
    assert!(survey.expect(["e u"]).is_err());
    john.leave().await;
}
