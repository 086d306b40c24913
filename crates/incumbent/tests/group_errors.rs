//! What a member of a group says if it cannot take part: one error with a hint, and nothing of others is lost.

mod support;

use std::path::Path;
use std::time::Duration;

use http::Method;
use incumbent::{Candidate, Clock, Error, Group, GroupBuilder, Lock, Resource, Tasks};
use incumbent_apiserver::ApiServer;
use serde_json::{Value, json};
use support::{client, request, restricted_client, seconds};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(start_paused = true)]
async fn a_lease_of_another_program_is_no_seat_and_stays_as_it_is() {
    let now = "2026-11-29T00:00:00.000000Z";
    let held = json!({
        "holderIdentity": "other", "leaseDurationSeconds": 15, "acquireTime": now, "renewTime": now,
    });
    let released = json!({ "holderIdentity": "" });
    for spec in [held, released, json!({})] {
        let server = ApiServer::new();
        let metadata = json!({ "name": "indexers.john", "namespace": "default" });
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
        });
        let before = server.create(lease).unwrap();
        let error = fails(builder(client(&server), "john")).await;
        assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
        let said = format!("{error:?}");
        assert!(said.contains("lease/indexers.john") && said.contains("kubectl label"), "{said}");
        assert_eq!(
            request(&server, Method::GET, &format!("{LEASES}/indexers.john"), None).await,
            before
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_seat_without_its_label_is_taken_if_it_carries_a_term_of_the_group() {
    let server = ApiServer::new();
    let john = Running::start(builder(client(&server), "john").container(None));
    seconds(3.0).await;
    let unlabelled = json!({ "metadata": { "labels": { "incumbent.dev/group": null } } });
    request(&server, Method::PATCH, &format!("{LEASES}/indexers.john"), Some(unlabelled)).await;
    // It dies before it can put the label back.
    john.run.abort();
    seconds(60.0).await;
    let again = Running::start(builder(client(&server), "john"));
    seconds(20.0).await;
    assert_eq!(again.tasks(), 2);
    again.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_config_map_of_another_program_is_no_page_and_stays_as_it_is() {
    let server = ApiServer::new();
    let metadata = json!({ "name": "indexers.tasks", "namespace": "default" });
    let foreign = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "tasks": "mine" },
    });
    let before = server.create(foreign).unwrap();
    let error = fails(builder(client(&server), "john")).await;
    assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
    let said = format!("{error:?}");
    assert!(said.contains("configmap/indexers.tasks"), "{said}");
    assert_eq!(
        request(&server, Method::GET, &format!("{MAPS}/indexers.tasks"), None).await,
        before
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_of_tasks_without_the_label_is_told_and_read_when_it_gets_it() {
    let server = ApiServer::new();
    let metadata = json!({ "name": "indexers.config", "namespace": "default" });
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "tasks": "eu\nus\n" },
    });
    server.create(config).unwrap();
    let john = builder(client(&server), "john").tasks(Tasks::config_map());
    let john = Running::start(john);
    seconds(5.0).await;
    assert_eq!(john.tasks(), 0);
    assert!(john.handle.status().trouble.unwrap().contains("kubectl label"));
    let label = json!({ "metadata": { "labels": { "incumbent.dev/group": "indexers" } } });
    request(&server, Method::PATCH, &format!("{MAPS}/indexers.config"), Some(label)).await;
    seconds(5.0).await;
    assert_eq!((john.tasks(), john.handle.status().trouble), (2, None));
    john.leave().await;
}

/// Every right of the Role, one at a time. One of them is only for clearing away.
#[tokio::test(start_paused = true)]
async fn each_right_that_is_missing_is_one_error_with_the_role() {
    let rights = rights();
    assert_eq!(rights.len(), 12);
    for (resource, verb) in &rights {
        let right = (resource.as_str(), verb.as_str());
        if right == ("leases", "delete") {
            continue;
        }
        let server = server_that_needs(right).await;
        let rules = rules(Some(right));
        let error = fails(builder(restricted_client(&server, "worker", rules), "john")).await;
        let Error::Forbidden { resource: Resource::Group { kind, group, .. }, verb: of, .. } =
            &error
        else {
            panic!("{right:?}: {error:?}");
        };
        let named = (format!("{kind:?}s").to_lowercase(), *of);
        assert_eq!((named.0.as_str(), named.1), right, "{error:?}");
        assert_eq!(group, "indexers");
        let hint = error.hint();
        let role: Value = serde_saphyr::from_str(hint.split_once(":\n").unwrap().1).unwrap();
        assert_eq!(role, self::rules(None), "{hint}");
    }
}

/// Some rights are needed only where there is something to repair.
async fn server_that_needs(right: (&str, &str)) -> ApiServer {
    let server = ApiServer::new();
    if right == ("configmaps", "delete") {
        let labels = json!({ "incumbent.dev/group": "indexers" });
        let metadata =
            json!({ "name": "indexers.tasks", "namespace": "default", "labels": labels });
        let nonsense = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
        server.create(nonsense).unwrap();
    }
    if right == ("configmaps", "get") {
        // A page that no list shows, because its label is missing.
        let jane = Running::start(builder(client(&server), "jane"));
        seconds(3.0).await;
        jane.leave().await;
        let unlabelled = json!({ "metadata": { "labels": { "incumbent.dev/group": null } } });
        request(&server, Method::PATCH, &format!("{MAPS}/indexers.tasks"), Some(unlabelled)).await;
    }
    server
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_clear_away_there_is_a_warning_and_all_works() {
    let server = ApiServer::new();
    let jane = Running::start(builder(client(&server), "jane"));
    seconds(3.0).await;
    jane.leave().await;
    let path = format!("{LEASES}/indexers.jane");
    let long_ago = json!({ "spec": { "renewTime": "2020-01-01T00:00:00.000000Z" } });
    request(&server, Method::PATCH, &path, Some(long_ago)).await;
    let rules = rules(Some(("leases", "delete")));
    let john = Running::start(builder(restricted_client(&server, "worker", rules), "john"));
    seconds(120.0).await;
    assert_eq!(john.tasks(), 2);
    let trouble = john.handle.status().trouble.unwrap();
    assert!(trouble.contains("not allowed to delete leases of group indexers"), "{trouble}");
    john.leave().await;
}

#[tokio::test(start_paused = true)]
async fn with_the_role_everything_works() {
    let server = ApiServer::new();
    for object in printed() {
        server.create(object).unwrap();
    }
    let token = server.service_account_token("default", "indexers", Duration::from_secs(36_000));
    let restricted = || kube::Client::new(server.service_as(&token), "default");
    let [john, jane] = ["john", "jane"].map(|member| Running::start(builder(restricted(), member)));
    seconds(5.0).await;
    assert_eq!((john.tasks(), jane.tasks()), (1, 1));
    john.leave().await;
    seconds(5.0).await;
    assert_eq!((jane.tasks(), jane.handle.status().trouble), (2, None));
    jane.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_taken_away_while_tasks_run_is_told_and_stops_none() {
    let server = ApiServer::new();
    let john = Running::start(builder(restricted_client(&server, "worker", rules(None)), "john"));
    seconds(5.0).await;
    let role = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles/worker";
    let less = json!({ "rules": rules(Some(("configmaps", "update"))) });
    request(&server, Method::PATCH, role, Some(less)).await;
    // The allocator has something to write.
    let jane = Running::start(builder(client(&server), "jane"));
    john.handle.drain(true);
    seconds(60.0).await;
    assert_eq!((john.tasks(), jane.tasks()), (2, 0));
    let trouble = john.handle.status().trouble.unwrap();
    assert!(trouble.contains("not allowed to update configmaps of group indexers"), "{trouble}");
    assert!(trouble.contains("verbs: ["), "{trouble}");
    request(&server, Method::PATCH, role, Some(json!({ "rules": rules(None) }))).await;
    seconds(60.0).await;
    assert_eq!((john.tasks(), jane.tasks()), (0, 2));
    assert_eq!(john.handle.status().trouble, None);
    john.leave().await;
    jane.leave().await;
}

/// The allocators' Lease is held by another process under the name of this member. That says nothing about its tasks.
#[tokio::test(start_paused = true)]
async fn a_member_whose_election_of_the_allocator_fails_keeps_its_tasks_and_competes_again() {
    let server = ApiServer::new();
    let jane = Running::start(builder(client(&server), "jane"));
    seconds(5.0).await;
    let john = Running::start(builder(client(&server), "john"));
    seconds(5.0).await;
    assert_eq!((john.tasks(), jane.tasks()), (1, 1));
    let lock = Lock::lease("default", "indexers");
    let namesake = Candidate::builder(client(&server), lock).identity("john").priority(1);
    let mut namesake = namesake.clock(Clock::tokio()).build().unwrap();
    let leadership = namesake.campaign().await.unwrap();
    seconds(60.0).await;
    assert!(!john.run.is_finished(), "{:?}", john.run.await);
    assert_eq!((john.tasks(), jane.tasks()), (1, 1));
    let trouble = john.handle.status().trouble.unwrap();
    assert!(trouble.contains("takes part in lease/indexers as \"john\""), "{trouble}");
    drop(leadership);
    namesake.leave().await;
    seconds(60.0).await;
    assert_eq!(john.handle.status().trouble, None, "the namesake is gone");
    jane.leave().await;
    seconds(60.0).await;
    assert_eq!(john.tasks(), 2, "he is the next allocator");
    john.leave().await;
}

/// 10,000 tasks with long names, for 26 members: each change of all pages would send more than 64 MiB.
#[tokio::test(start_paused = true)]
async fn an_allocator_refuses_a_table_that_would_send_too_much() {
    let server = ApiServer::new();
    let members: Vec<_> = (0..26).map(|member| large(&server, &format!("m{member}"))).collect();
    let mut patience = 100;
    while !members.iter().any(|member| member.run.is_finished()) {
        patience -= 1;
        assert!(patience > 0, "nobody refuses");
        seconds(0.1).await;
    }
    // The next allocator refuses in turn, until those that are left fit.
    let (refused, left): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|member| member.run.is_finished());
    assert!(left.len() > 20, "{} are left", left.len());
    let mut said = Vec::new();
    for member in refused {
        let error = member.run.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
        said.push(format!("{error:?}"));
    }
    assert!(said.iter().all(|said| said.contains("hint: use fewer tasks")), "{said:#?}");
    let first = |said: &String| said.contains("no room for 10000 tasks and 26 members");
    assert_eq!(said.iter().filter(|said| first(said)).count(), 1, "{said:#?}");
    left.iter().for_each(|member| member.run.abort());
}

fn large(server: &ApiServer, name: &str) -> Running {
    let tasks = (0..10_000).map(|task| format!("{task:0>253}"));
    Running::start(builder(client(server), name).tasks(Tasks::named(tasks)))
}

#[tokio::test(start_paused = true)]
async fn a_second_process_of_a_members_name_is_refused_and_the_first_goes_on() {
    let server = ApiServer::new();
    let first = Running::start(builder(client(&server), "john"));
    seconds(5.0).await;
    let error = fails(builder(client(&server), "john")).await;
    assert!(matches!(error, Error::DuplicateIdentity { .. }), "{error:?}");
    assert_eq!(first.tasks(), 2);
    first.leave().await;
}

#[tokio::test(start_paused = true)]
async fn lists_that_cannot_work_are_refused_with_a_hint() {
    let server = ApiServer::new();
    let long = "x".repeat(254);
    let many: Vec<String> = (0..10_001).map(|task| format!("t{task}")).collect();
    let lists: [&[String]; 4] =
        [&["eu".into(), "us".into(), "eu".into()], &["two words".into()], &[long], &many];
    for list in lists {
        let group = builder(client(&server), "john").tasks(Tasks::named(list.iter().cloned()));
        let error = format!("{:?}", group.build().unwrap_err());
        assert!(error.contains("hint:"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_people_edit_into_nonsense_changes_nothing_and_is_told() {
    let server = ApiServer::new();
    let labels = json!({ "incumbent.dev/group": "indexers" });
    let metadata = json!({ "name": "indexers.config", "namespace": "default", "labels": labels });
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "tasks": "eu\nus\n" },
    });
    server.create(config).unwrap();
    let john = Running::start(builder(client(&server), "john").tasks(Tasks::config_map()));
    seconds(5.0).await;
    let many: String = (0..10_001).map(|task| format!("t{task}\n")).collect();
    let long = "x".repeat(254);
    for wrong in ["eu\nus\neu\n", "eu\n\u{e4}\n", "eu weight=0\n", "eu colour=red\n", &long, &many]
    {
        let edited = json!({ "data": { "tasks": wrong } });
        request(&server, Method::PATCH, &format!("{MAPS}/indexers.config"), Some(edited)).await;
        seconds(5.0).await;
        assert_eq!(john.tasks(), 2, "{wrong:.20}");
        let trouble = john.handle.status().trouble.unwrap();
        assert!(trouble.contains("indexers.config"), "{trouble}");
    }
    let edited = json!({ "data": { "tasks": "eu\n" } });
    request(&server, Method::PATCH, &format!("{MAPS}/indexers.config"), Some(edited)).await;
    seconds(5.0).await;
    assert_eq!((john.tasks(), john.handle.status().trouble), (1, None));
    john.leave().await;
}

/// The objects that `incumbent manifests --group` prints.
fn printed() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/plain/group.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    text.split("---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

/// The rules of the Role among them, but for one verb of one kind.
fn rules(without: Option<(&str, &str)>) -> Value {
    let printed = printed();
    let role = printed.iter().find(|object| object["kind"] == "Role").unwrap();
    let mut rules = role["rules"].clone();
    for rule in rules.as_array_mut().unwrap() {
        let resource = rule["resources"][0].as_str().unwrap().to_owned();
        let verbs = rule["verbs"].as_array_mut().unwrap();
        verbs.retain(|verb| Some((resource.as_str(), verb.as_str().unwrap())) != without);
    }
    rules
}

/// Kind and verb, each that the Role grants.
fn rights() -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rules = rules(None);
    let of_rule = |rule: &Value| {
        let resource = text(&rule["resources"][0]);
        let verbs = rule["verbs"].as_array().unwrap().iter();
        verbs.map(|verb| (resource.clone(), text(verb))).collect::<Vec<_>>()
    };
    rules.as_array().unwrap().iter().flat_map(of_rule).collect()
}

fn builder(client: kube::Client, name: &str) -> GroupBuilder {
    Group::builder(client, "default", "indexers")
        .member(name)
        .tasks(Tasks::named(["eu", "us"]))
        .clock(Clock::tokio())
}

/// The error with which this member ends, within two minutes.
async fn fails(builder: GroupBuilder) -> Error {
    let group = builder.build().unwrap();
    let run = group.run_until(std::future::pending::<()>(), |_| std::future::pending());
    let ended = tokio::time::timeout(Duration::from_secs(120), run).await;
    ended.expect("it says why it cannot take part").expect_err("it cannot take part")
}

/// One member, whose work never ends by itself.
struct Running {
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), Error>>,
    handle: incumbent::GroupHandle,
}

impl Running {
    fn start(builder: GroupBuilder) -> Self {
        let group = builder.build().unwrap();
        let handle = group.handle();
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(group.run_until(stopped, |_| std::future::pending()));
        Self { stop, run, handle }
    }

    fn tasks(&self) -> usize {
        self.handle.status().own
    }

    async fn leave(self) {
        let _ = self.stop.send(());
        self.run.await.unwrap().unwrap();
    }
}
