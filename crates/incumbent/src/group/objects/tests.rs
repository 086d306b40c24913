//! What objects are called as tasks, and which of them are tasks.

use incumbent_core::Instant;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use serde_json::json;

use super::*;

fn object(namespace: Option<&str>, name: &str, created: u64) -> Value {
    let created = format!("2026-11-29T00:00:{created:02}Z");
    json!({ "metadata": {
        "name": name, "namespace": namespace, "uid": format!("uid-of-{}", &name[..1]),
        "creationTimestamp": created,
    } })
}

fn tasks(sight: Option<Sight>) -> (Vec<String>, usize) {
    let Some(Sight::Listed(tasks, left_out)) = sight else { panic!("{sight:?}") };
    (tasks.iter().map(ToString::to_string).collect(), left_out)
}

#[test]
fn a_task_is_called_after_its_object_and_by_its_uid_if_that_is_too_long() {
    let name = |namespace: Option<&str>, name: &str| {
        named(namespace, name, Some("7")).map(|task| task.to_string())
    };
    assert_eq!(name(Some("prod"), "a.b-c"), Some("prod/a.b-c".to_owned()));
    assert_eq!(name(None, "a"), Some("a".to_owned()));
    let longest = "a".repeat(253);
    assert_eq!(name(None, &longest), Some(longest.clone()));
    assert_eq!(name(Some("p"), &longest[..251]), Some(format!("p/{}", &longest[..251])));
    assert_eq!(name(Some("p"), &longest[..252]), Some("7".to_owned()));
    assert_eq!(name(None, "with a space"), Some("7".to_owned()), "RBAC's names may be anything");
}

#[test]
fn of_a_list_only_that_is_held_which_says_what_task_an_object_is() {
    let mut whole = object(Some("prod"), "a", 1);
    whole["metadata"]["managedFields"] =
        json!([{ "manager": "kubectl", "fieldsV1": { "f:data": {} } }]);
    whole["data"] = json!({ "a": "b" });
    assert_eq!(identifying(whole), object(Some("prod"), "a", 1));
    let cluster_wide = object(None, "a", 1);
    assert_eq!(known(&identifying(cluster_wide.clone())), known(&cluster_wide));
}

#[test]
fn the_path_says_which_rule_the_account_needs() {
    let client = || {
        let service = incumbent_apiserver::ApiServer::new().service();
        kube::Client::new(service, "default")
    };
    let rule = |objects: Objects| {
        let rule = objects.policy_rule();
        (rule.api_groups.unwrap().remove(0), rule.resources.unwrap().remove(0))
    };
    let core = |plural: &str| (String::new(), plural.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let one: Api<ConfigMap> = Api::namespaced(client(), "prod");
    let one = Objects::new(one, Some("a in (b, c)"), None);
    assert_eq!(one.filter, "&labelSelector=a%20in%20%28b%2C%20c%29");
    assert_eq!(one.resource().namespace(), Some("prod"));
    assert_eq!(rule(one), core("configmaps"));
    let all = Objects::new(Api::<ConfigMap>::all(client()), Some(""), None);
    assert_eq!((all.resource().namespace(), all.filter.as_str()), (None, ""));
    assert_eq!(rule(all), core("configmaps"));
    let nodes = Objects::new(Api::<Node>::all(client()), None, Some("metadata.name=a"));
    assert_eq!(nodes.filter, "&fieldSelector=metadata%2Ename%3Da");
    assert_eq!(rule(nodes), core("nodes"));
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::namespaced(client(), "prod");
    let leases = rule(Objects::new(leases, None, None));
    assert_eq!(leases, ("coordination.k8s.io".to_owned(), "leases".to_owned()));
}

#[test]
fn of_too_many_objects_the_oldest_are_tasks_and_keep_their_owners() {
    let mut known = Known::default();
    let many = (0..MOST_TASKS + 2).map(|number| {
        // The newest come first in order of their names.
        object(Some("n"), &format!("z{:05}", MOST_TASKS + 2 - number), u64::from(number > 9999))
    });
    let (listed, left_out) = tasks(known.learn(Instant::START, Shown::Listed(1, many.collect())));
    assert_eq!((listed.len(), left_out), (MOST_TASKS, 2));
    assert_eq!((listed[0].as_str(), listed.len()), ("n/z00003", MOST_TASKS));
    // A new one takes no place from another; when an old one is gone, the oldest of the rest gets its place.
    let news =
        [Shown::Present(object(Some("n"), "a", 2)), Shown::Gone(object(Some("n"), "z00500", 0), 3)];
    for shown in news {
        assert!(known.learn(Instant::START, shown).is_none());
    }
    assert!(known.tell_at.is_some());
    let (listed, left_out) = tasks(Some(known.sight()));
    assert_eq!((listed[0].as_str(), listed.len(), left_out), ("n/z00001", MOST_TASKS, 2));
}

#[test]
fn only_a_change_of_the_tasks_is_news() {
    let mut known = Known::default();
    let a = || object(Some("n"), "a", 1);
    let first = known.learn(Instant::START, Shown::Listed(1, vec![a()]));
    assert_eq!(tasks(first), (vec!["n/a".to_owned()], 0));
    assert!(known.learn(Instant::START, Shown::Present(a())).is_none());
    assert!(known.tell_at.is_none(), "the object has changed, and its task has not");
    let _ = known.learn(Instant::START, Shown::Gone(object(Some("n"), "b", 1), 2));
    assert!(known.tell_at.is_none(), "it was none of them");
    let _ = known.learn(Instant::START, Shown::Gone(a(), 3));
    assert!(known.tell_at.is_some());
    assert_eq!(tasks(Some(known.sight())), (vec![], 0));
}
