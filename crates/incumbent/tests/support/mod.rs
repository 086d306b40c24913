//! What the tests of this crate share: a real API server in the same process, a line to it that can be
//! cut, and candidates under paused time.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod testbed;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use incumbent::{Builder, Candidate, Clock, Lock};
use incumbent_apiserver::{ApiServer, Body as ServerBody, Service as ServerService};
use kube::client::Body;
use serde_json::{Value, json};

/// The line between one client and the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Whole,
    /// Requests go in and nothing comes out, not even an error: a partition.
    Silent,
    /// Writes are applied, and their answers are lost.
    WritesUnanswered,
    /// Something in between answers each write with a conflict.
    WritesConflict,
    /// Watches are opened, and show nothing.
    WatchesSilent,
}

impl Line {
    pub(crate) fn set(&self, state: State) {
        *self.0.lock().unwrap() = state;
    }

    fn state(&self) -> State {
        *self.0.lock().unwrap()
    }
}

/// A client's service behind its line.
#[derive(Clone)]
struct Wire {
    server: ServerService,
    line: Line,
}

impl tower_service::Service<Request<Body>> for Wire {
    type Response = Response<ServerBody>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let state = self.line.state();
        let is_write = request.method() != Method::GET;
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=1"));
        let answer = self.server.call(request);
        Box::pin(async move {
            match state {
                State::Silent => std::future::pending().await,
                State::WritesUnanswered if is_write => {
                    drop(answer.await);
                    std::future::pending().await
                }
                State::WritesConflict if is_write => {
                    let elsewhere = Request::post("/api/v1/namespaces")
                        .header("Content-Type", "application/json")
                        .body(Body::from(DEFAULT_NAMESPACE.as_bytes().to_vec()))
                        .unwrap();
                    tower_service::Service::call(&mut ApiServer::new().service(), elsewhere).await
                }
                State::WatchesSilent if is_watch => {
                    // The head of the response arrives; its body never does.
                    let (head, _) = answer.await?.into_parts();
                    let nothing = silent_watch_body().await;
                    Ok(Response::from_parts(head, nothing))
                }
                _ => answer.await,
            }
        })
    }
}

/// Exists already wherever it is created.
const DEFAULT_NAMESPACE: &str =
    r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default"}}"#;

/// The body of a watch on a server where nothing happens.
async fn silent_watch_body() -> ServerBody {
    let mut elsewhere = ApiServer::new().service();
    let uri = "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=100000";
    let request = Request::get(uri).body(Body::empty()).unwrap();
    tower_service::Service::call(&mut elsewhere, request).await.unwrap().into_body()
}

pub(crate) fn client(server: &ApiServer) -> kube::Client {
    client_on(server, &Line::default())
}

pub(crate) fn client_on(server: &ApiServer, line: &Line) -> kube::Client {
    kube::Client::new(Wire { server: server.service(), line: line.clone() }, "default")
}

/// A client with the rights of a service account that `rules` allow, in namespace `default`.
pub(crate) fn restricted_client(server: &ApiServer, name: &str, rules: Value) -> kube::Client {
    let token = server.service_account_token("default", name, Duration::from_secs(36_000));
    let api_version = "rbac.authorization.k8s.io/v1";
    let metadata = json!({ "name": name, "namespace": "default" });
    let role = json!({
        "apiVersion": api_version, "kind": "Role", "metadata": metadata, "rules": rules,
    });
    let binding = json!({
        "apiVersion": api_version, "kind": "RoleBinding", "metadata": metadata,
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": "default" }],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
    });
    server.create(role).unwrap();
    server.create(binding).unwrap();
    kube::Client::new(server.service_as(&token), "default")
}

pub(crate) fn lease() -> Lock {
    Lock::lease("default", "lock")
}

pub(crate) fn builder(client: kube::Client, identity: &str) -> Builder {
    Candidate::builder(client, lease()).identity(identity).clock(Clock::tokio())
}

pub(crate) fn candidate(server: &ApiServer, identity: &str) -> Candidate {
    builder(client(server), identity).build().unwrap()
}

/// Lets paused time pass, and with it everything that was due.
pub(crate) async fn seconds(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/lock";

/// The lock as it is stored.
pub(crate) async fn stored(server: &ApiServer) -> Value {
    request(server, Method::GET, PATH, None).await
}

/// Changes the lock behind the candidates' back.
pub(crate) async fn patch(server: &ApiServer, patch: Value) -> Value {
    request(server, Method::PATCH, PATH, Some(patch)).await
}

pub(crate) async fn delete(server: &ApiServer) {
    request(server, Method::DELETE, PATH, None).await;
}

async fn request(server: &ApiServer, method: Method, path: &str, body: Option<Value>) -> Value {
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", "application/merge-patch+json")
        .body(body)
        .unwrap();
    client(server).request(request).await.unwrap()
}
