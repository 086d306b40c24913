//! Groups of real members over a real API server, in no time: the server is in this process and the time is paused.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use incumbent::{BoxError, Clock, FencingToken, Group, GroupBuilder, Task, Tasks};
use incumbent_apiserver::ApiServer;
use support::{client, seconds};
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
async fn a_member_that_dies_is_replaced_within_its_lease() {
    let server = ApiServer::new();
    let register = Register::default();
    let john = Running::start(&server, "john", &register, &["eu", "us"]);
    let jane = Running::start(&server, "jane", &register, &["eu", "us"]);
    seconds(5.0).await;
    assert_eq!(register.loads(), [("jane", 1), ("john", 1)].into());
    // Dropping a runtime would be the real thing; here, its renewals stop.
    john.freeze().await;
    seconds(16.0).await;
    assert_eq!(register.loads(), [("jane", 2)].into());
    jane.leave().await;
}

/// Who runs what: the witness.
#[derive(Clone, Default)]
struct Register(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
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

    fn begin(&self, member: &str, task: &Task) -> Running1 {
        let mut state = self.0.lock().unwrap();
        let before = state.owners.insert(task.name().to_owned(), member.to_owned());
        assert_eq!(before, None, "two owners of {}", task.name());
        let token = state.tokens.insert(task.name().to_owned(), task.fencing_token());
        assert!(token.is_none_or(|token| token < task.fencing_token()), "tokens rise");
        state.starts += 1;
        Running1 { register: self.clone(), task: task.name().to_owned() }
    }
}

struct Running1 {
    register: Register,
    task: String,
}

impl Drop for Running1 {
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
        let group = builder(server, name, tasks).build().unwrap();
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

    async fn leave(self) {
        let _ = self.stop.send(());
        self.done.await.unwrap().unwrap();
    }

    /// The member is gone without a word.
    async fn freeze(self) {
        self.done.abort();
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

#[allow(dead_code, reason = "for tests to come")]
fn unused(_: BTreeSet<()>, _: Duration) {}
