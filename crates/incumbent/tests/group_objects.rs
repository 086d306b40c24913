//! Groups whose tasks are Kubernetes objects.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::Method;
use incumbent::{Clock, Error, Group, GroupHandle, Resource, Task, Tasks};
use incumbent_apiserver::ApiServer;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use support::{Recorder, client, request, restricted_client, seconds};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

fn account(name: &str) -> Value {
    let metadata = json!({ "name": name, "namespace": "default", "labels": { "shared": "yes" } });
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata })
}

async fn delete(server: &ApiServer, name: &str) {
    request(server, Method::DELETE, &format!("{ACCOUNTS}/{name}"), None).await;
}

fn accounts(client: kube::Client) -> Tasks {
    Tasks::objects::<ServiceAccount>(Api::default_namespaced(client), "shared=yes")
}

/// A member that notes the token of each task that it runs.
struct Running {
    handle: GroupHandle,
    tokens: Arc<Mutex<BTreeMap<String, u64>>>,
    leave: oneshot::Sender<()>,
    run: JoinHandle<Result<(), Error>>,
}

impl Running {
    fn start(server: &ApiServer, name: &str) -> Self {
        Self::start_with(client(server), name)
    }

    fn start_with(client: kube::Client, name: &str) -> Self {
        let tasks = accounts(client.clone());
        Self::start_for(client, name, tasks)
    }

    fn start_for(client: kube::Client, name: &str, tasks: Tasks) -> Self {
        let group = Group::builder(client, "default", "indexers").member(name).tasks(tasks);
        let group = group.clock(Clock::tokio()).build().unwrap();
        let (handle, tokens) = (group.handle(), Arc::<Mutex<BTreeMap<_, _>>>::default());
        let (leave, left) = oneshot::channel::<()>();
        let own = Arc::clone(&tokens);
        let work = move |task: Arc<Task>| {
            let own = Arc::clone(&own);
            async move {
                own.lock().unwrap().insert(task.name().to_owned(), task.fencing_token().0);
                std::future::pending().await
            }
        };
        let run = tokio::spawn(group.run_until(left, work));
        Self { handle, tokens, leave, run }
    }

    fn own(&self) -> usize {
        self.handle.status().own
    }

    fn token(&self, task: &str) -> Option<u64> {
        self.tokens.lock().unwrap().get(task).copied()
    }

    async fn leave(self) {
        self.leave.send(()).unwrap();
        self.run.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn each_object_that_matches_is_a_task_for_as_long_as_it_exists() {
    let server = ApiServer::new();
    for name in ["a", "b.c", "d"] {
        server.create(account(name)).unwrap();
    }
    let mut other = account("other");
    other["metadata"]["labels"] = json!({});
    server.create(other).unwrap();
    let john = Running::start(&server, "john");
    seconds(5.0).await;
    let jane = Running::start(&server, "jane");
    seconds(5.0).await;
    assert_eq!((john.own() + jane.own(), john.handle.status().tasks), (3, Some(3)));
    assert!((1..=2).contains(&jane.own()), "{}", jane.own());
    for task in ["default/a", "default/b.c", "default/d"] {
        assert!(jane.handle.owner_of(task).is_some(), "{task}");
    }
    assert_eq!(jane.handle.owner_of("default/other"), None);

    server.create(account("e")).unwrap();
    delete(&server, "d").await;
    seconds(1.0).await;
    assert!(jane.handle.owner_of("default/e").is_some());
    assert_eq!(jane.handle.owner_of("default/d"), None);
    assert_eq!(john.own() + jane.own(), 3);
    // A label is enough to come and to go.
    let label = |value: Value| json!({ "metadata": { "labels": { "shared": value } } });
    let path = |name: &str| format!("{ACCOUNTS}/{name}");
    request(&server, Method::PATCH, &path("other"), Some(label(json!("yes")))).await;
    request(&server, Method::PATCH, &path("e"), Some(label(Value::Null))).await;
    seconds(1.0).await;
    assert!(jane.handle.owner_of("default/other").is_some());
    assert_eq!(jane.handle.owner_of("default/e"), None);
    john.leave().await;
    seconds(5.0).await;
    assert_eq!((jane.own(), jane.handle.status().trouble), (3, None));
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_created_again_under_its_name_is_a_task_with_a_higher_token() {
    let server = ApiServer::new();
    server.create(account("a")).unwrap();
    let john = Running::start(&server, "john");
    seconds(5.0).await;
    let before = john.token("default/a").unwrap();
    delete(&server, "a").await;
    seconds(1.0).await;
    assert_eq!(john.own(), 0);
    server.create(account("a")).unwrap();
    seconds(1.0).await;
    assert_eq!(john.own(), 1);
    assert!(john.token("default/a").unwrap() > before);

    // In between, nobody looked: the task goes on.
    let before = john.token("default/a").unwrap();
    delete(&server, "a").await;
    server.create(account("a")).unwrap();
    seconds(1.0).await;
    assert_eq!((john.own(), john.token("default/a")), (1, Some(before)));
    john.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_removes_no_task() {
    let server = ApiServer::new();
    for name in ["a", "b", "c"] {
        server.create(account(name)).unwrap();
    }
    let john = Running::start(&server, "john");
    let jane = Running::start(&server, "jane");
    seconds(5.0).await;
    let (of_john, of_jane) = (john.own(), jane.own());
    assert_eq!(of_john + of_jane, 3);
    let moves = john.handle.status().moves + jane.handle.status().moves;
    // Both have to list again, and cannot; a third one takes part that has never seen a list.
    let freeze = "resource=serviceaccounts,freeze=expire".parse().unwrap();
    let freeze = server.faults().add(freeze);
    let fail = server.faults().add("resource=serviceaccounts,verb=list,error=500".parse().unwrap());
    seconds(1.0).await;
    server.faults().remove(&freeze);
    seconds(60.0).await;
    assert_eq!((john.own(), jane.own()), (of_john, of_jane));
    assert_eq!(john.handle.status().moves + jane.handle.status().moves, moves);

    // A member that has never listed them allocates: what has an owner keeps it, and what loses its owner gets another.
    let jack = Running::start(&server, "jack");
    seconds(5.0).await;
    john.run.abort();
    jane.run.abort();
    seconds(60.0).await;
    assert_eq!((jack.own(), jack.handle.status().tasks), (3, None));
    assert!(jack.handle.status().trouble.unwrap().contains("HTTP 500"), "and it is told");
    delete(&server, "a").await;
    server.faults().remove(&fail);
    seconds(60.0).await;
    assert_eq!((jack.own(), jack.handle.status().tasks), (2, Some(2)));
    assert_eq!(jack.handle.status().trouble, None);
    jack.leave().await;
}

#[tokio::test(start_paused = true)]
async fn members_that_will_not_allocate_soon_do_not_list_the_objects() {
    let server = ApiServer::new();
    server.create(account("a")).unwrap();
    let mut members = Vec::new();
    for name in ["m0", "m1", "m2", "m3", "m4"] {
        members.push(Running::start(&server, name));
        seconds(3.0).await;
    }
    let know = |members: &[Running]| {
        members.iter().filter(|member| member.handle.status().tasks.is_some()).count()
    };
    assert_eq!(know(&members), 3, "the allocator, and the next two");
    for member in members {
        member.leave().await;
    }
}

fn rules(of_objects: &Value) -> Value {
    let mut rules = serde_json::to_value(Group::policy_rules()).unwrap();
    rules.as_array_mut().unwrap().extend(of_objects.as_array().unwrap().clone());
    rules
}

#[tokio::test(start_paused = true)]
async fn the_rules_of_the_tasks_are_enough_and_each_of_them_is_needed() {
    let server = ApiServer::new();
    server.create(account("a")).unwrap();
    let needed = serde_json::to_value(accounts(client(&server)).policy_rules()).unwrap();
    let expected = json!([{ "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["list", "watch"] }]);
    assert_eq!(needed, expected);
    assert_eq!(Tasks::slots(4).policy_rules(), []);

    let none = restricted_client(&server, "none", rules(&json!([])));
    let refused = Running::start_with(none, "john").run.await.unwrap().unwrap_err();
    let Error::Forbidden { resource, verb: "list", .. } = &refused else { panic!("{refused:?}") };
    assert!(matches!(resource, Resource::Objects { kind, .. } if kind == "serviceaccounts"));
    let hint = refused.hint();
    let rule: Value = serde_saphyr::from_str(hint.split_once(":\n").unwrap().1).unwrap();
    assert_eq!(rule, needed, "{hint}");
    seconds(60.0).await;

    // Without a watch, the objects are listed again and again, which is told.
    let mut lists = needed.clone();
    lists[0]["verbs"] = json!(["list"]);
    let lists = Running::start_with(restricted_client(&server, "lists", rules(&lists)), "jane");
    seconds(5.0).await;
    assert_eq!(lists.own(), 1);
    let trouble = lists.handle.status().trouble.unwrap();
    assert!(trouble.contains("serviceaccounts") && trouble.contains("watch"), "{trouble}");
    lists.leave().await;

    let all = Running::start_with(restricted_client(&server, "all", rules(&needed)), "jack");
    seconds(5.0).await;
    assert_eq!((all.own(), all.handle.status().trouble), (1, None));
    all.leave().await;
}

#[tokio::test(start_paused = true)]
async fn objects_of_one_name_in_two_namespaces_are_two_tasks() {
    let server = ApiServer::new();
    let metadata = json!({ "name": "other" });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
    server.create(namespace).unwrap();
    let mut twin = account("a");
    twin["metadata"]["namespace"] = json!("other");
    server.create(twin).unwrap();
    server.create(account("a")).unwrap();
    let all = Tasks::objects::<ServiceAccount>(Api::all(client(&server)), "shared=yes");
    let john = Running::start_for(client(&server), "john", all);
    seconds(5.0).await;
    assert!(john.token("default/a").is_some() && john.token("other/a").is_some());
    let path = "/api/v1/namespaces/other/serviceaccounts/a";
    request(&server, Method::DELETE, path, None).await;
    seconds(1.0).await;
    assert_eq!(john.own(), 1);
    assert!(john.handle.owner_of("default/a").is_some());
    john.leave().await;
}

#[tokio::test(start_paused = true)]
async fn the_list_comes_from_the_store_and_in_parts() {
    let server = ApiServer::new();
    for number in 0..1_200 {
        server.create(account(&format!("{number:04}"))).unwrap();
    }
    let recorder = Recorder::default();
    let john = Running::start_with(recorder.client(&server), "john");
    seconds(10.0).await;
    assert_eq!(john.own(), 1_200);
    let sent = recorder.of(&Method::GET).into_iter().map(|sent| sent.uri);
    let lists: Vec<_> =
        sent.filter(|uri| uri.contains("serviceaccounts") && !uri.contains("watch=1")).collect();
    assert_eq!(lists.len(), 3, "{lists:#?}");
    // A list of version 0 is as old as a server's cache, and lacks objects whose tasks may run.
    assert!(lists.iter().all(|uri| !uri.contains("resourceVersion")), "{lists:#?}");
    john.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_does_not_exist_yet_is_told_and_waited_for() {
    let server = ApiServer::new();
    let kind = GroupVersionKind::gvk("example.com", "v1", "Tenant");
    let api: Api<DynamicObject> = Api::all_with(client(&server), &ApiResource::from_gvk(&kind));
    let group = Group::builder(client(&server), "default", "indexers").member("john");
    let group = group.tasks(Tasks::objects(api, "")).clock(Clock::tokio()).build().unwrap();
    let handle = group.handle();
    let run = tokio::spawn(group.run_until(std::future::pending::<()>(), |_| async { Ok(()) }));
    seconds(30.0).await;
    assert!(!run.is_finished());
    let trouble = handle.status().trouble.unwrap();
    assert!(
        trouble.starts_with("the kind tenants.example.com does not exist; create"),
        "{trouble}"
    );
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn more_objects_than_a_group_has_room_for_are_told() {
    let server = ApiServer::new();
    for number in 0..10_003 {
        server.create(account(&format!("{number:05}"))).unwrap();
    }
    let john = Running::start(&server, "john");
    seconds(60.0).await;
    assert_eq!(john.own(), 10_000);
    let trouble = john.handle.status().trouble.unwrap();
    assert!(trouble.starts_with("3 objects have no owner"), "{trouble}");
    for number in 0..3 {
        delete(&server, &format!("{number:05}")).await;
    }
    seconds(10.0).await;
    assert_eq!((john.own(), john.handle.status().trouble), (10_000, None));
    john.leave().await;
}
