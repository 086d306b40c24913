//! Each watch is told of what it is about, once and in order, and of nothing else.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ApiServer, Body};
use serde_json::{Value, json};
use tower_service::Service;

#[tokio::test]
async fn a_watch_is_told_of_its_namespace_and_its_name_only() {
    let server = ApiServer::new();
    let mut watches = Vec::new();
    for (path, expected) in [
        ("/api/v1/configmaps?watch=1", vec!["default/a", "default/b", "kube-system/a"]),
        ("/api/v1/namespaces/default/configmaps?watch=1", vec!["default/a", "default/b"]),
        (
            "/api/v1/configmaps?watch=1&fieldSelector=metadata.name%3Da",
            vec!["default/a", "kube-system/a"],
        ),
        (
            "/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Da",
            vec!["default/a"],
        ),
        ("/api/v1/configmaps?watch=1&fieldSelector=metadata.name!%3Da", vec!["default/b"]),
        (
            "/api/v1/configmaps?watch=1&fieldSelector=metadata.namespace%3Dkube-system",
            vec!["kube-system/a"],
        ),
        ("/api/v1/configmaps?watch=1&labelSelector=colour%3Dred", vec!["default/b"]),
        ("/api/v1/namespaces/default/pods?watch=1", vec![]),
    ] {
        watches.push((path, expected, watch(&server, path).await));
    }
    assert_eq!(server.open_watches(), watches.len());
    for (namespace, name, colour) in
        [("default", "a", "blue"), ("default", "b", "red"), ("kube-system", "a", "blue")]
    {
        let metadata = json!({"namespace": namespace, "name": name, "labels": {"colour": colour}});
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        server.create(object).unwrap();
    }
    for (path, expected, body) in watches {
        assert_eq!(told(body, expected.len()).await, expected, "{path}");
    }
    assert_eq!(server.open_watches(), 0);
}

async fn watch(server: &ApiServer, path: &str) -> Body {
    let path = format!("{path}&resourceVersionMatch=NotOlderThan&sendInitialEvents=false");
    let request = Request::get(path).body(Full::<Bytes>::default()).unwrap();
    let response = server.service().call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

/// So many events, and whether another one is there already.
async fn told(mut body: Body, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() <= count {
        let next = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = tokio::task::yield_now() => None,
        };
        let Some(frame) = next else { break };
        let event: Value = serde_json::from_slice(&frame.unwrap().into_data().unwrap()).unwrap();
        let metadata = &event["object"]["metadata"];
        let text = |name: &str| metadata[name].as_str().unwrap().to_owned();
        names.push(format!("{}/{}", text("namespace"), text("name")));
    }
    names
}
