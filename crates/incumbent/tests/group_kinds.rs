//! Groups whose tasks are slots or permits.

mod support;

use std::sync::Arc;

use incumbent::{Clock, Group, GroupHandle, InvalidSetting, Task, Tasks, slot_of};
use incumbent_apiserver::ApiServer;
use support::{client, seconds};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

#[tokio::test(start_paused = true)]
async fn each_key_belongs_to_the_owner_of_its_slot() {
    let server = ApiServer::new();
    let mut john = Running::start(&server, "john", Tasks::slots(64));
    let jane = Running::start(&server, "jane", Tasks::slots(64));
    seconds(5.0).await;
    assert_eq!((john.own(), jane.own()), (32, 32));
    let slot = slot_of(b"customer-4711", 64);
    let owner = john.handle.owner_of_key("customer-4711").unwrap();
    assert_eq!(jane.handle.owner_of_key("customer-4711").unwrap().member, owner.member);
    assert_eq!(john.handle.owner_of(&slot.to_string()).unwrap().member, owner.member);
    let mut of_john = Vec::new();
    while let Ok(started) = john.started.try_recv() {
        of_john.push(started);
    }
    assert!(of_john.iter().all(|slot| slot.is_some_and(|slot| slot < 64)));
    assert_eq!(of_john.contains(&Some(slot)), owner.member == "john");
    john.leave().await;
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn the_table_says_how_many_slots_there_are_and_a_program_that_differs_says_so() {
    let server = ApiServer::new();
    let john = Running::start(&server, "john", Tasks::slots(8));
    seconds(5.0).await;
    let jane = Running::start(&server, "jane", Tasks::slots(16));
    seconds(5.0).await;
    assert_eq!((john.own(), jane.own()), (4, 4));
    assert_eq!(john.handle.status().trouble, None);
    let status = jane.handle.status();
    assert_eq!(status.tasks, Some(8));
    let trouble = status.trouble.unwrap();
    assert!(trouble.starts_with("the table has 8 slots, and this program asks for 16 slots"));
    // Its program changes nothing of the table either when it writes it.
    john.leave().await;
    seconds(5.0).await;
    assert_eq!((jane.own(), jane.handle.status().unowned), (8, 0));
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_names_its_tasks_leaves_a_table_of_slots_alone() {
    let server = ApiServer::new();
    let john = Running::start(&server, "john", Tasks::slots(8));
    seconds(5.0).await;
    let jane = Running::start(&server, "jane", Tasks::named(["eu", "us"]));
    seconds(5.0).await;
    john.leave().await;
    seconds(5.0).await;
    assert_eq!(jane.own(), 8, "the slots have an owner all the same");
    assert!(jane.handle.status().trouble.unwrap().contains("tasks with names"));
    assert_eq!(jane.handle.owner_of("eu"), None);
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_permit_goes_to_the_member_that_has_waited_longest() {
    let server = ApiServer::new();
    let mut members = Vec::new();
    for name in ["john", "jane", "joe", "jack"] {
        members.push(Running::start(&server, name, Tasks::permits(2)));
        seconds(5.0).await;
    }
    let own = |members: &[Running]| members.iter().map(Running::own).collect::<Vec<_>>();
    assert_eq!(own(&members), [1, 1, 0, 0]);
    assert_eq!(members[2].handle.status().stuck, []);
    members.remove(0).leave().await;
    seconds(5.0).await;
    assert_eq!(own(&members), [1, 1, 0]);
    members.remove(1).leave().await;
    seconds(5.0).await;
    assert_eq!(own(&members), [1, 1]);
    members.remove(0).leave().await;
    seconds(5.0).await;
    let status = members[0].handle.status();
    assert_eq!((status.own, status.tasks, status.unowned), (1, Some(2), 0), "one permit is free");
    seconds(100.0).await;
    assert_eq!(members[0].handle.status().stuck, []);
    members.remove(0).leave().await;
}

#[tokio::test]
async fn a_group_has_at_least_one_slot_and_not_too_many() {
    let server = ApiServer::new();
    for tasks in [Tasks::slots(0), Tasks::slots(16_385), Tasks::permits(0)] {
        let built = Group::builder(client(&server), "default", "indexers").tasks(tasks).build();
        let error = built.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("slots or permits"), "{error}");
    }
    assert!(InvalidSetting::TaskCount(0).to_string().contains('0'));
}

struct Running {
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), incumbent::Error>>,
    handle: GroupHandle,
    started: mpsc::UnboundedReceiver<Option<u16>>,
}

impl Running {
    fn start(server: &ApiServer, name: &str, tasks: Tasks) -> Self {
        let builder = Group::builder(client(server), "default", "indexers").member(name);
        let group = builder.tasks(tasks).clock(Clock::tokio()).build().unwrap();
        let handle = group.handle();
        let (stop, stopped) = oneshot::channel();
        let (starts, started) = mpsc::unbounded_channel();
        let work = move |task: Arc<Task>| {
            let _ = starts.send(task.number());
            std::future::pending()
        };
        let run = tokio::spawn(group.run_until(stopped, work));
        Self { stop, run, handle, started }
    }

    fn own(&self) -> usize {
        self.handle.status().own
    }

    async fn leave(self) {
        let _ = self.stop.send(());
        self.run.await.unwrap().unwrap();
    }
}
