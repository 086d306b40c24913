//! What is logged of routes. A process of its own: one test has all callsites to itself.

mod support;

use incumbent::{Builder, Route};
use incumbent_apiserver::ApiServer;
use serde_json::{Value, json};
use support::log::Log;
use support::{builder, client, seconds};
use tracing_subscriber::filter::LevelFilter;

const KEY: &str = "incumbent.dev/leader-of.lock";
const HIGHER: u64 = 1 << 60;

fn pod(name: &str, label: bool, annotations: Value) -> Value {
    let labels = if label { json!({ KEY: "true" }) } else { json!({}) };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default", "labels": labels, "annotations": annotations,
        },
        "spec": { "containers": [{ "name": "main", "image": "web" }] },
    })
}

fn slice(token: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "web-leader", "namespace": "default",
            "labels": { "endpointslice.kubernetes.io/managed-by": "incumbent.dev" },
            "annotations": { KEY: token },
        },
        "endpoints": [{ "addresses": ["10.0.0.9"] }], "ports": [],
    })
}

/// Leads for some minutes with this route, and returns what was warned of.
async fn warnings(log: &Log, objects: &[Value], route: Route) -> Vec<String> {
    let server = ApiServer::new();
    for object in objects {
        server.create(object.clone()).unwrap();
    }
    let builder: Builder = builder(client(&server), "john").address("10.0.0.1").route(route);
    let mut john = builder.build().unwrap();
    let leadership = john.campaign().await.unwrap();
    seconds(300.0).await;
    assert!(leadership.is_valid(), "a route costs no leadership");
    let token = leadership.fencing_token().to_string();
    leadership.release().await;
    let lines = log.take();
    lines.into_iter().map(|line| line.replace(&format!("token={token} "), "token=OURS ")).collect()
}

fn overtaken(object: &str) -> String {
    format!(
        "WARN a route shows a higher token than this leader's: it is left alone lock=lease/lock \
         object=\"{object}\" token=OURS seen={HIGHER} hint="
    )
}

#[tokio::test(start_paused = true)]
async fn a_route_that_shows_a_higher_token_is_warned_of_once_and_left_alone() {
    let (log, _guard) = Log::start(LevelFilter::WARN);
    let label = || Route::label().pod("default", "a");
    let newer = json!({ KEY: HIGHER.to_string() });
    let without = pod("a", false, json!({}));
    let cases = [
        (vec![pod("a", true, newer.clone())], label(), overtaken("pod/a")),
        (vec![pod("a", false, newer.clone())], label(), overtaken("pod/a")),
        (vec![without.clone(), pod("b", true, newer)], label(), overtaken("pod/b")),
        (
            vec![slice(&HIGHER.to_string())],
            Route::endpoint_slice("web", 8080),
            overtaken("endpointslice/web-leader"),
        ),
        (
            vec![slice("a lot")],
            Route::endpoint_slice("web", 8080),
            "WARN cannot route to the leader lock=lease/lock error=\"endpointslice/web-leader is left alone: \
             its annotation"
                .to_owned(),
        ),
        (
            vec![pod("a", false, json!({ KEY: "a lot" }))],
            label(),
            "WARN cannot route to the leader lock=lease/lock error=\"pod/a is left alone: its annotation"
                .to_owned(),
        ),
    ];
    for (objects, route, expected) in cases {
        let lines = warnings(&log, &objects, route).await;
        assert_eq!(lines.len(), 1, "{expected}: {lines:#?}");
        assert!(lines[0].starts_with(&expected), "{expected}: {lines:#?}");
    }
    // Nothing is wrong where the token is an older one.
    let older = pod("a", true, json!({ KEY: "1" }));
    assert_eq!(warnings(&log, &[older], label()).await, Vec::<String>::new());
}
