//! Controllers whose objects are shared among the members of a group.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use http::Method;
use incumbent::controller::{Action, Controller, watcher};
use incumbent::{Clock, Error, Group, GroupHandle, Task};
use incumbent_apiserver::ApiServer;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use support::{Line, client, client_on, request, seconds};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn object(name: &str) -> Value {
    let labels = json!({ "example.com/greet": "yes" });
    let metadata = json!({ "name": name, "namespace": "default", "labels": labels });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "v": "1" } })
}

async fn set(server: &ApiServer, name: &str, value: &str) {
    let patch = json!({ "data": { "v": value } });
    request(server, Method::PATCH, &format!("{MAPS}/{name}"), Some(patch)).await;
}

/// What all members do.
#[derive(Default)]
struct Witness {
    /// Which member reconciles which object now.
    running: BTreeMap<String, String>,
    /// What was reconciled: the member, the object, and what it said.
    done: Vec<(String, String, String)>,
    tokens: BTreeMap<String, u64>,
}

/// One reconcile, until it is dropped.
struct Span(Arc<Mutex<Witness>>, String);

impl Drop for Span {
    fn drop(&mut self) {
        self.0.lock().unwrap().running.remove(&self.1);
    }
}

impl Witness {
    fn take(witness: &Mutex<Self>) -> BTreeMap<String, BTreeSet<String>> {
        let mut by_member: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for (member, object, value) in std::mem::take(&mut witness.lock().unwrap().done) {
            let is_new = by_member.entry(member).or_default().insert(format!("{object}={value}"));
            assert!(is_new, "{object}={value} was reconciled twice");
        }
        by_member
    }
}

struct Member {
    handle: GroupHandle,
    leave: oneshot::Sender<()>,
    run: JoinHandle<Result<(), Error>>,
}

impl Member {
    /// `hangs` says whether a reconcile never ends.
    async fn start(
        server: &ApiServer,
        name: &'static str,
        witness: &Arc<Mutex<Witness>>,
        hangs: bool,
    ) -> Self {
        Self::start_with(client(server), client(server), name, witness, hangs).await
    }

    async fn start_with(
        client: kube::Client,
        of_cache: kube::Client,
        name: &'static str,
        witness: &Arc<Mutex<Witness>>,
        hangs: bool,
    ) -> Self {
        let labelled = watcher::Config::default().labels("example.com/greet");
        let objects = Controller::new(Api::<ConfigMap>::default_namespaced(of_cache), labelled);
        let group =
            Group::builder(client, "default", "greeters").member(name).clock(Clock::tokio());
        let group = group.tasks(objects.tasks());
        let (shown, mut handles) = watch::channel(None);
        let (leave, left) = oneshot::channel::<()>();
        let witness = Arc::clone(witness);
        let reconcile = move |object: Arc<ConfigMap>, task: Arc<Task>| {
            let (witness, token) = (Arc::clone(&witness), task.fencing_token().0);
            async move {
                let (object, value) =
                    (object.name_any(), object.data.as_ref().unwrap()["v"].clone());
                let span = Span(Arc::clone(&witness), object.clone());
                {
                    let mut known = witness.lock().unwrap();
                    let other = known.running.insert(object.clone(), name.to_owned());
                    assert_eq!(other, None, "{object} is reconciled by two at once");
                    let before = known.tokens.insert(object.clone(), token);
                    assert!(before <= Some(token), "{object}: token {token} after {before:?}");
                    known.done.push((name.to_owned(), object, value));
                }
                seconds(0.05).await;
                if hangs {
                    std::future::pending::<()>().await;
                }
                drop(span);
                Ok(Action::await_change())
            }
        };
        let group = move || {
            let group = group.build()?;
            let _ = shown.send_replace(Some(group.handle()));
            Ok(group)
        };
        let run = tokio::spawn(objects.share_until(group, left, reconcile));
        let handle = handles.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        Self { handle, leave, run }
    }

    fn own(&self) -> usize {
        self.handle.status().own
    }

    async fn leave(self) {
        self.leave.send(()).unwrap();
        self.run.await.unwrap().unwrap();
    }
}

fn owned(server: &Member, names: &[&str]) -> BTreeMap<String, String> {
    let owner = |name: &&str| server.handle.owner_of(&format!("default/{name}")).unwrap().member;
    names.iter().map(|name| ((*name).to_owned(), owner(name))).collect()
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What each member has to do if all objects that it owns have this value.
fn due(owners: &BTreeMap<String, String>, value: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut due: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for (object, member) in owners {
        due.entry(member.clone()).or_default().insert(format!("{object}={value}"));
    }
    due
}

#[tokio::test(start_paused = true)]
async fn each_object_is_reconciled_by_its_owner_and_by_no_other_member() {
    let server = ApiServer::new();
    for name in NAMES {
        server.create(object(name)).unwrap();
    }
    let witness = Arc::<Mutex<Witness>>::default();
    let john = Member::start(&server, "john", &witness, false).await;
    seconds(5.0).await;
    assert_eq!(Witness::take(&witness), due(&owned(&john, &NAMES), "1"));
    let jane = Member::start(&server, "jane", &witness, false).await;
    seconds(5.0).await;
    let owners = owned(&john, &NAMES);
    assert_eq!((john.own(), jane.own()), (3, 3));
    let of_jane = due(&owners, "1").split_off("jane").into_iter().chain([]);
    let of_jane: BTreeMap<_, _> = of_jane.filter(|(member, _)| member == "jane").collect();
    assert_eq!(Witness::take(&witness), of_jane, "what moved, once, by its new owner");

    for name in NAMES {
        set(&server, name, "2").await;
    }
    seconds(1.0).await;
    assert_eq!(Witness::take(&witness), due(&owners, "2"));
    // Changed while its owner is about to leave: the member that owns it then makes up for it.
    john.leave().await;
    seconds(5.0).await;
    let of_john: BTreeSet<_> = due(&owners, "2").remove("john").unwrap();
    assert_eq!(Witness::take(&witness), BTreeMap::from([("jane".to_owned(), of_john)]));
    server.create(object("g")).unwrap();
    seconds(1.0).await;
    let of_jane = BTreeSet::from(["g=1".to_owned()]);
    assert_eq!(Witness::take(&witness), BTreeMap::from([("jane".to_owned(), of_jane)]));
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_that_runs_is_dropped_when_its_object_moves() {
    let server = ApiServer::new();
    for name in NAMES {
        server.create(object(name)).unwrap();
    }
    let witness = Arc::<Mutex<Witness>>::default();
    let john = Member::start(&server, "john", &witness, true).await;
    seconds(5.0).await;
    assert_eq!(witness.lock().unwrap().running.len(), 6, "all of them hang");
    // The witness panics if a reconcile begins before the other one has ended.
    let jane = Member::start(&server, "jane", &witness, true).await;
    seconds(5.0).await;
    assert_eq!((john.own(), jane.own()), (3, 3));
    assert_eq!(witness.lock().unwrap().running, owned(&john, &NAMES));
    john.leave().await;
    seconds(5.0).await;
    assert_eq!((jane.own(), witness.lock().unwrap().running.len()), (6, 6));
    jane.run.abort();
    let _ = jane.run.await;
    seconds(60.0).await;
    assert_eq!(witness.lock().unwrap().running.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_deleted_and_created_again_is_reconciled_again() {
    let server = ApiServer::new();
    server.create(object("a")).unwrap();
    let witness = Arc::<Mutex<Witness>>::default();
    let john = Member::start(&server, "john", &witness, false).await;
    seconds(5.0).await;
    let all =
        |value: &str| BTreeMap::from([("john".to_owned(), BTreeSet::from([format!("a={value}")]))]);
    assert_eq!(Witness::take(&witness), all("1"));
    for (pause, value) in [(0.0, "2"), (5.0, "3")] {
        request(&server, Method::DELETE, &format!("{MAPS}/a"), None).await;
        seconds(pause).await;
        let mut again = object("a");
        again["data"]["v"] = json!(value);
        server.create(again).unwrap();
        seconds(5.0).await;
        assert!(john.own() == 1 && witness.lock().unwrap().running.is_empty());
        let done = std::mem::take(&mut witness.lock().unwrap().done);
        assert_eq!(done.last().map(|(_, _, value)| value.as_str()), Some(value), "{done:?}");
    }
    john.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_joins_only_once_its_cache_is_complete() {
    let server = ApiServer::new();
    server.create(object("a")).unwrap();
    let line = Line::to(&server);
    let fault = format!("client={},verb=list,resource=configmaps,error=500", line.client());
    let fault = server.faults().add(fault.parse().unwrap());
    let witness = Arc::<Mutex<Witness>>::default();
    let starting =
        Member::start_with(client(&server), client_on(&server, &line), "john", &witness, false);
    let mut starting = std::pin::pin!(starting);
    let early = tokio::time::timeout(std::time::Duration::from_secs(30), starting.as_mut()).await;
    assert!(early.is_err(), "it is no member yet");
    server.faults().remove(&fault);
    let john = starting.await;
    seconds(5.0).await;
    assert_eq!((john.own(), Witness::take(&witness).len()), (1, 1));
    john.leave().await;
}
