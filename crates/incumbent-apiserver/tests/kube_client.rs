//! A real `kube::Client` as the judge, without a socket and over HTTPS.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use incumbent_apiserver::{ApiServer, Transport, Verb};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{
    DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn the_second_of_two_replaces_is_a_conflict() {
    let api = config_maps(&ApiServer::new());
    let created = api.create(&PostParams::default(), &config_map("blackboard", "")).await.unwrap();
    let mut jane = created.clone();
    jane.data = config_map("blackboard", "jane").data;
    let mut john = created;
    john.data = config_map("blackboard", "john").data;
    api.replace("blackboard", &PostParams::default(), &jane).await.unwrap();
    let error = api.replace("blackboard", &PostParams::default(), &john).await.unwrap_err();
    let kube::Error::Api(status) = error else { panic!("not an API error: {error}") };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    let leader = api.get("blackboard").await.unwrap().data.unwrap();
    assert_eq!(leader["leader"], "jane");
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_happens_after_the_list() {
    let api = config_maps(&ApiServer::new());
    api.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    let list = api.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    let mut events = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    let patch = Patch::Merge(json!({"data": {"leader": "2"}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let first = events.try_next().await.unwrap().unwrap();
    let WatchEvent::Modified(object) = first else { panic!("not modified: {first:?}") };
    assert_eq!(object.data.unwrap()["leader"], "2");
    assert!(matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Deleted(_)));
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_is_told_by_get_list_and_watch() {
    let api = config_maps(&ApiServer::new());
    for name in ["a", "b"] {
        api.create(&PostParams::default(), &config_map(name, "1")).await.unwrap();
    }
    let one = api.get_metadata("a").await.unwrap();
    assert_eq!(one.types.as_ref().unwrap().kind, "PartialObjectMetadata");
    assert_eq!(one.metadata.name.as_deref(), Some("a"));
    let page = api.list_metadata(&ListParams::default().limit(1)).await.unwrap();
    assert_eq!(page.types.kind, "PartialObjectMetadataList");
    assert_eq!(page.items[0].types, one.types);
    assert_eq!(page.items[0].metadata, one.metadata);
    assert_eq!(page.metadata.remaining_item_count, Some(1));
    let continued = page.metadata.continue_.unwrap();
    let next = ListParams::default().limit(1).continue_token(&continued);
    let page = api.list_metadata(&next).await.unwrap();
    assert_eq!(page.items[0].metadata.name.as_deref(), Some("b"));

    let since = page.metadata.resource_version.unwrap();
    let params = WatchParams::default().timeout(200);
    let mut events = api.watch_metadata(&params, &since).await.unwrap().boxed();
    let patch = Patch::Merge(json!({"data": {"leader": "2"}}));
    let patched = api.patch_metadata("a", &PatchParams::default(), &patch).await.unwrap();
    let event = events.try_next().await.unwrap().unwrap();
    let WatchEvent::Modified(changed) = event else { panic!("not modified: {event:?}") };
    assert_eq!((&changed.types, &changed.metadata), (&one.types, &patched.metadata));
    // The line of a change is kept for all who watch, and must not be kept in this shape.
    let mut whole = api.watch(&params, &since).await.unwrap().boxed();
    let event = whole.try_next().await.unwrap().unwrap();
    let WatchEvent::Modified(whole) = event else { panic!("not modified: {event:?}") };
    assert_eq!(whole.data.unwrap()["leader"], "2");
    let event = events.try_next().await.unwrap().unwrap();
    let WatchEvent::Bookmark(bookmark) = event else { panic!("no bookmark: {event:?}") };
    assert_eq!(bookmark.types.kind, "PartialObjectMetadata");
}

#[tokio::test(start_paused = true)]
async fn a_watch_sends_its_headers_before_any_event_and_a_bookmark_each_minute() {
    let api = config_maps(&ApiServer::new());
    // The timeout is long past the minute; the clock is paused, so nobody waits.
    let wanted = WatchParams::default().timeout(200);
    let mut events = api.watch(&wanted, "0").await.unwrap().boxed();
    for _ in 0..3 {
        let event = events.try_next().await.unwrap().unwrap();
        assert!(matches!(event, WatchEvent::Bookmark(_)), "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_namespaces_can_be_listed_page_by_page() {
    let server = ApiServer::new();
    let api: Api<Namespace> = Api::all(Client::new(server.service(), "default"));
    let mut wanted = ListParams::default().limit(3);
    let mut names = Vec::new();
    loop {
        let page = api.list(&wanted).await.unwrap();
        names.extend(page.items.into_iter().filter_map(|namespace| namespace.metadata.name));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            None => break,
            Some(token) => wanted = ListParams::default().limit(3).continue_token(&token),
        }
    }
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_account_may_do_what_its_role_allows_and_requests_are_counted() {
    let server = ApiServer::new();
    let token = server.service_account_token("default", "candidate", Duration::from_secs(600));
    let client = Client::new(server.service_as(&token), "default");
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let error = leases.get("lock").await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 403));

    let group = "rbac.authorization.k8s.io";
    server
        .create(json!({
            "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": "candidate"},
            "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                "resourceNames": ["lock"], "verbs": ["get", "update"]}],
        }))
        .unwrap();
    server
        .create(json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
            "metadata": {"name": "candidate"},
            "subjects": [{"kind": "ServiceAccount", "name": "candidate", "namespace": "default"}],
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "candidate"},
        }))
        .unwrap();
    let error = leases.get("lock").await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 404));

    let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
    let question: SelfSubjectAccessReview = serde_json::from_value(json!({
        "metadata": {},
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "watch",
            "group": "coordination.k8s.io", "resource": "leases"}},
    }))
    .unwrap();
    let answer = reviews.create(&PostParams::default(), &question).await.unwrap();
    assert!(!answer.status.unwrap().allowed);

    let own = server.requests().by("system:serviceaccount:default:candidate");
    assert_eq!((own.of(Verb::Get), own.of(Verb::Create), own.total()), (2, 1, 3));
}

#[tokio::test]
async fn the_printed_kubeconfig_leads_a_client_over_https() {
    let server = ApiServer::new();
    let listening = server.listen("127.0.0.1:0".parse().unwrap(), Transport::Https).await.unwrap();
    let kubeconfig = Kubeconfig::from_yaml(&listening.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let client = Client::try_from(config).unwrap();
    assert_eq!(client.apiserver_version().await.unwrap().major, "1");
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    api.create(&PostParams::default(), &config_map("a", "jane")).await.unwrap();
    assert!(matches!(events.try_next().await.unwrap().unwrap(), WatchEvent::Added(_)));
    listening.stop().await;
}

fn config_maps(server: &ApiServer) -> Api<ConfigMap> {
    Api::default_namespaced(Client::new(server.service(), "default"))
}

fn config_map(name: &str, leader: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some([("leader".to_owned(), leader.to_owned())].into()),
        ..ConfigMap::default()
    }
}
