//! Groups of real members over a real API server, in no time: the server is in this process and the time is paused.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use incumbent::{BoxError, Clock, FencingToken, Group, GroupBuilder, Task, Tasks};
use incumbent_apiserver::ApiServer;
use serde_json::json;
use support::{Line, State, client, client_on, request, seconds};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[tokio::test(start_paused = true)]
async fn one_member_gets_all_tasks() {
    let server = ApiServer::new();
    let register = Register::default();
    let john = Running::start(&server, "john", &register, &["eu", "us", "ap"]);
    seconds(2.0).await;
    assert_eq!(register.owners(), owners([("ap", "john"), ("eu", "john"), ("us", "john")]));
    john.leave().await;
    assert_eq!(register.owners(), BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn members_share_and_a_leaving_member_gives_its_tasks_to_the_others() {
    let server = ApiServer::new();
    let register = Register::default();
    let names: Vec<String> = (0..12).map(|task| format!("t{task}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let john = Running::start(&server, "john", &register, &names);
    let jane = Running::start(&server, "jane", &register, &names);
    let jack = Running::start(&server, "jack", &register, &names);
    seconds(5.0).await;
    assert_eq!(register.loads(), [("jack", 4), ("jane", 4), ("john", 4)].into());
    jane.leave().await;
    seconds(1.0).await;
    assert_eq!(register.loads(), [("jack", 6), ("john", 6)].into());
    assert_eq!(register.starts(), 12 + 4, "what did not have to move did not move");
    john.leave().await;
    jack.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_joins_gets_its_share() {
    let server = ApiServer::new();
    let register = Register::default();
    let names = ["t1", "t2", "t3", "t4", "t5", "t6"];
    let john = Running::start(&server, "john", &register, &names);
    seconds(5.0).await;
    assert_eq!(register.loads(), [("john", 6)].into());
    let jane = Running::start(&server, "jane", &register, &names);
    let jack = Running::start(&server, "jack", &register, &names);
    seconds(5.0).await;
    register.is_balanced(3, 2);
    john.leave().await;
    seconds(1.0).await;
    assert_eq!(register.loads(), [("jack", 3), ("jane", 3)].into());
    let john = Running::start(&server, "john", &register, &names);
    seconds(5.0).await;
    register.is_balanced(3, 2);
    for member in [jane, jack, john] {
        member.leave().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_tasks_of_a_member_that_is_cut_off_go_to_another_within_its_lease() {
    let server = ApiServer::new();
    let register = Register::default();
    let line = Line::to(&server);
    let john = Group::builder(client_on(&server, &line), "default", "indexers")
        .member("john")
        .tasks(Tasks::named(["eu", "us", "ap", "me"]))
        .clock(Clock::tokio());
    let john = Running::of(john.build().unwrap(), "john", &register);
    let jane = Running::start(&server, "jane", &register, &["eu", "us", "ap", "me"]);
    seconds(5.0).await;
    assert_eq!(register.loads(), [("jane", 2), ("john", 2)].into());
    line.set(State::Silent);
    seconds(11.0).await;
    assert_eq!(register.loads(), [("jane", 2)].into(), "its work stops by its own clock");
    seconds(5.0).await;
    assert_eq!(register.loads(), [("jane", 4)].into());
    line.set(State::Whole);
    seconds(10.0).await;
    // It comes back.
    register.is_balanced(2, 2);
    john.leave().await;
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn the_tasks_of_an_allocator_and_the_next_one_that_die_together_go_to_a_third_within_a_lease()
{
    let server = ApiServer::new();
    let register = Register::default();
    let (line, names) = (Line::to(&server), ["t1", "t2", "t3", "t4", "t5", "t6"]);
    let mut dead = Vec::new();
    for name in ["john", "jane"] {
        let group = Group::builder(client_on(&server, &line), "default", "indexers")
            .member(name)
            .tasks(Tasks::named(names))
            .clock(Clock::tokio());
        dead.push(Running::of(group.build().unwrap(), name, &register));
        // The first one allocates, and the second one is the next.
        seconds(1.0).await;
    }
    let jack = Running::start(&server, "jack", &register, &names);
    seconds(5.0).await;
    register.is_balanced(3, 2);
    line.set(State::Silent);
    seconds(16.0).await;
    assert_eq!(register.loads(), [("jack", 6)].into());
    line.set(State::Whole);
    seconds(10.0).await;
    for member in dead {
        member.leave().await;
    }
    jack.leave().await;
}

/// A page that is edited, loses its label or is deleted costs a pause, and never a second owner.
#[tokio::test(start_paused = true)]
async fn a_page_that_somebody_changes_is_healed() {
    let server = ApiServer::new();
    let register = Register::default();
    let john = Running::start(&server, "john", &register, &["eu", "us", "ap", "me"]);
    let jane = Running::start(&server, "jane", &register, &["eu", "us", "ap", "me"]);
    seconds(5.0).await;
    let all = [("jane", 2), ("john", 2)].into();
    assert_eq!(register.loads(), all);

    let read = request(&server, Method::GET, PAGE, None).await;
    assert!(read["data"]["tasks"].as_str().unwrap().contains("run eu, token"), "{read}");
    let edited = json!({ "data": { "tasks": "john runs all\n" } });
    request(&server, Method::PATCH, PAGE, Some(edited)).await;
    seconds(70.0).await;
    assert_eq!(register.owners().len(), 4, "after an edit");

    let unlabelled = json!({ "metadata": { "labels": { "incumbent.dev/group": null } } });
    request(&server, Method::PATCH, PAGE, Some(unlabelled)).await;
    seconds(5.0).await;
    let healed = request(&server, Method::GET, PAGE, None).await;
    assert_eq!(healed["metadata"]["labels"]["incumbent.dev/group"], "indexers");
    assert_eq!(register.owners().len(), 4, "after a label was removed");

    request(&server, Method::DELETE, PAGE, None).await;
    seconds(70.0).await;
    assert_eq!(register.owners().len(), 4, "after a deletion");
    john.leave().await;
    jane.leave().await;
}

/// The member whose seat is deleted stops, takes another one, and nobody had its tasks meanwhile.
#[tokio::test(start_paused = true)]
async fn a_seat_that_is_deleted_is_waited_out() {
    let server = ApiServer::new();
    let register = Register::default();
    let john = Running::start(&server, "john", &register, &["eu", "us"]);
    let jane = Running::start(&server, "jane", &register, &["eu", "us"]);
    seconds(5.0).await;
    request(&server, Method::DELETE, &seat("jane"), None).await;
    seconds(20.0).await;
    assert_eq!(register.owners().len(), 2);
    john.leave().await;
    jane.leave().await;
}

/// The list lives in a ConfigMap, and is edited while tasks run.
#[tokio::test(start_paused = true)]
async fn the_list_of_tasks_is_edited_while_they_run() {
    let server = ApiServer::new();
    let register = Register::default();
    let config = |tasks: &str, name: &str| {
        let labels = json!({ "incumbent.dev/group": "indexers" });
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": "default", "labels": labels },
            "data": { "tasks": tasks },
        })
    };
    let group = builder(&server, "john", &[]).tasks(Tasks::config_map()).build().unwrap();
    let john = Running::of(group, "john", &register);
    seconds(3.0).await;
    assert_eq!(register.owners(), BTreeMap::new());
    let created = config("eu\nus weight=2\n", "indexers.config");
    server.create(created).unwrap();
    seconds(3.0).await;
    assert_eq!(register.owners(), owners([("eu", "john"), ("us", "john")]));

    let edited = json!({ "data": { "tasks": "us\nap\n" } });
    request(&server, Method::PATCH, &format!("{MAPS}/indexers.config"), Some(edited)).await;
    seconds(1.0).await;
    assert_eq!(register.owners(), owners([("ap", "john"), ("us", "john")]));

    // What cannot be read, and a list that is gone, change nothing.
    let absurd = json!({ "data": { "tasks": "us weight=many\n" } });
    request(&server, Method::PATCH, &format!("{MAPS}/indexers.config"), Some(absurd)).await;
    request(&server, Method::DELETE, &format!("{MAPS}/indexers.config"), None).await;
    seconds(5.0).await;
    assert_eq!(register.owners(), owners([("ap", "john"), ("us", "john")]));
    let jane = builder(&server, "jane", &[]).tasks(Tasks::config_map()).build().unwrap();
    let jane = Running::of(jane, "jane", &register);
    john.leave().await;
    seconds(3.0).await;
    assert_eq!(register.owners(), owners([("ap", "jane"), ("us", "jane")]));
    jane.leave().await;
}

/// Anybody can ask who owns what, and where.
#[tokio::test(start_paused = true)]
async fn members_know_who_owns_what() {
    let server = ApiServer::new();
    let register = Register::default();
    let group = builder(&server, "john", &["eu", "us"]).build().unwrap();
    let handle = group.handle();
    let john = Running::of(group, "john", &register);
    seconds(2.0).await;
    let owner = handle.owner_of("eu").unwrap();
    assert_eq!((owner.member.as_str(), owner.address.as_deref()), ("john", Some("john:8080")));
    assert_eq!(handle.owner_of("none"), None);
    let members = handle.members().await.unwrap();
    assert_eq!(
        (members.len(), &members[0].tasks[..]),
        (1, &["eu".to_owned(), "us".to_owned()][..])
    );
    john.leave().await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_a_hint() {
    let server = ApiServer::new();
    let long = "x".repeat(300);
    for wrong in [
        builder(&server, "john", &["two words"]),
        builder(&server, &long, &["eu"]),
        builder(&server, "john", &["eu"]).lease_duration(Duration::from_secs(61)),
        Group::builder(client(&server), "default", "a.b").member("john"),
    ] {
        let error = format!("{:?}", wrong.build().unwrap_err());
        assert!(error.contains("hint:"), "{error}");
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PAGE: &str = "/api/v1/namespaces/default/configmaps/indexers.tasks";

fn seat(member: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/default/leases/indexers.{member}")
}

/// Who runs what: the witness.
#[derive(Clone, Default)]
struct Register(Arc<Mutex<Owners>>);

#[derive(Default)]
struct Owners {
    owners: BTreeMap<String, String>,
    tokens: BTreeMap<String, FencingToken>,
    starts: usize,
}

impl Register {
    fn starts(&self) -> usize {
        self.0.lock().unwrap().starts
    }

    fn owners(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap().owners.clone()
    }

    fn loads(&self) -> BTreeMap<&'static str, usize> {
        let mut loads = BTreeMap::new();
        for owner in self.0.lock().unwrap().owners.values() {
            let name = ["john", "jane", "jack"].into_iter().find(|name| name == owner).unwrap();
            *loads.entry(name).or_insert(0) += 1;
        }
        loads
    }

    /// Whether each of so many members has its fair share, or one task more or less.
    fn is_balanced(&self, members: usize, share: usize) {
        let loads = self.loads();
        assert_eq!(loads.len(), members, "{loads:?}");
        assert!(loads.values().all(|load| load.abs_diff(share) <= 1), "{loads:?}");
    }

    fn begin(&self, member: &str, task: &Task) -> Working {
        let mut state = self.0.lock().unwrap();
        let before = state.owners.insert(task.name().to_owned(), member.to_owned());
        assert_eq!(before, None, "two owners of {}", task.name());
        let token = state.tokens.insert(task.name().to_owned(), task.fencing_token());
        assert!(token.is_none_or(|token| token < task.fencing_token()), "tokens rise");
        state.starts += 1;
        Working { register: self.clone(), task: task.name().to_owned() }
    }
}

struct Working {
    register: Register,
    task: String,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.register.0.lock().unwrap().owners.remove(&self.task);
    }
}

/// One member and its work.
struct Running {
    stop: oneshot::Sender<()>,
    done: JoinHandle<Result<(), incumbent::Error>>,
}

impl Running {
    fn start(server: &ApiServer, name: &'static str, register: &Register, tasks: &[&str]) -> Self {
        Self::of(builder(server, name, tasks).build().unwrap(), name, register)
    }

    fn of(group: Group, name: &'static str, register: &Register) -> Self {
        let (stop, stopped) = oneshot::channel();
        let register = register.clone();
        let done = tokio::spawn(async move {
            group
                .run_until(stopped, |task: Arc<Task>| {
                    let running = register.begin(name, &task);
                    async move {
                        let _running = running;
                        std::future::pending::<Result<(), BoxError>>().await
                    }
                })
                .await
        });
        Self { stop, done }
    }

    /// Stops as on SIGTERM, which needs no timer.
    async fn leave(self) {
        let before = tokio::time::Instant::now();
        let _ = self.stop.send(());
        self.done.await.unwrap().unwrap();
        assert!(before.elapsed() < Duration::from_secs(1), "took {:?}", before.elapsed());
    }
}

fn builder(server: &ApiServer, name: &str, tasks: &[&str]) -> GroupBuilder {
    Group::builder(client(server), "default", "indexers")
        .member(name)
        .tasks(Tasks::named(tasks.iter().copied()))
        .address(format!("{name}:8080"))
        .clock(Clock::tokio())
}

fn owners<const N: usize>(owners: [(&str, &str); N]) -> BTreeMap<String, String> {
    owners.map(|(task, member)| (task.to_owned(), member.to_owned())).into()
}
