//! Writes that go out only while one leads.

mod support;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use incumbent::NotLeading;
use incumbent_apiserver::{ApiServer, Verb};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::ClientBuilder;
use serde_json::json;
use support::{Line, State, builder, candidate, client_on, seconds};

fn is_refused<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> bool {
    match result {
        Err(kube::Error::Service(error)) => error.is::<NotLeading>(),
        _ => false,
    }
}

#[tokio::test(start_paused = true)]
async fn writes_pass_while_one_leads_and_reads_always() {
    let server = ApiServer::new();
    let mut john = candidate(&server, "john");
    let gated = ClientBuilder::new(server.service(), "default").with_layer(&john.write_gate());
    let api: Api<ConfigMap> = Api::default_namespaced(gated.build());
    let object = ConfigMap {
        metadata: kube::core::ObjectMeta { name: Some("c".into()), ..Default::default() },
        ..Default::default()
    };
    let patch = Patch::Merge(json!({ "data": { "k": "v" } }));

    api.list(&ListParams::default()).await.unwrap();
    assert!(is_refused(api.create(&PostParams::default(), &object).await));
    let leadership = john.campaign().await.unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    api.patch("c", &PatchParams::default(), &patch).await.unwrap();
    leadership.release().await;
    let before = server.requests();
    assert!(is_refused(api.create(&PostParams::default(), &object).await));
    assert!(is_refused(api.replace("c", &PostParams::default(), &object).await));
    assert!(is_refused(api.patch("c", &PatchParams::default(), &patch).await));
    assert!(is_refused(api.delete("c", &DeleteParams::default()).await));
    assert_eq!(server.requests().of(Verb::Delete), before.of(Verb::Delete), "nothing was sent");
    api.get("c").await.unwrap();

    let again = john.campaign().await.unwrap();
    api.delete("c", &DeleteParams::default()).await.unwrap();
    drop(again);
}

#[tokio::test(start_paused = true)]
async fn the_gate_closes_at_the_renew_deadline_whatever_happens_to_the_network() {
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").build().unwrap();
    let gate = john.write_gate();
    assert!(!gate.is_open());
    let leadership = john.campaign().await.unwrap();
    line.set(State::Silent);
    seconds(9.9).await;
    assert!(gate.is_open() && leadership.is_valid());
    seconds(0.2).await;
    assert!(!gate.is_open());
}

/// A service that counts what it sends, and sends when its future is polled.
struct Sends(Arc<AtomicUsize>);

impl tower_service::Service<Request<()>> for Sends {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let sent = self.0.clone();
        Box::pin(async move {
            sent.fetch_add(1, Ordering::Relaxed);
            Ok(Response::new(()))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_get_that_asks_for_another_protocol_counts_as_a_write() {
    use tower_layer::Layer;
    use tower_service::Service;

    let server = ApiServer::new();
    let john = candidate(&server, "john");
    let sent = Arc::new(AtomicUsize::new(0));
    let mut gated = john.write_gate().layer(Sends(sent.clone()));
    let exec = Request::get("/").header("Upgrade", "websocket").body(()).unwrap();
    assert!(gated.call(exec).await.unwrap_err().is::<NotLeading>());
    assert_eq!(sent.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_prepared_in_time_and_is_polled_too_late_is_not_sent() {
    use tower_layer::Layer;
    use tower_service::Service;

    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = builder(client_on(&server, &line), "john").build().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let mut gated = john.write_gate().layer(Sends(sent.clone()));
    let leadership = john.campaign().await.unwrap();
    let write = gated.call(Request::put("/").body(()).unwrap());
    let read = gated.call(Request::get("/").body(()).unwrap());
    line.set(State::Silent);
    leadership.lost().await;
    assert!(write.await.unwrap_err().is::<NotLeading>());
    assert_eq!(sent.load(Ordering::Relaxed), 0);
    read.await.unwrap();
    assert_eq!(sent.load(Ordering::Relaxed), 1);
}
