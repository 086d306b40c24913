//! What the tests of this crate share: a real API server in the same process, a line to it that can be
//! cut, and candidates under paused time.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod between;
pub(crate) mod log;
pub(crate) mod testbed;

use std::cell::Cell;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use incumbent::{Builder, Candidate, Clock, Lock};
use incumbent_apiserver::{ActiveFault, ApiServer};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower_service::Service;

thread_local! {
    /// Where the chance of the test on this thread begins.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Lets chance begin at `seed` on this thread. A test that fails prints its seed.
///
/// The seed decides the sessions, wake-ups and pauses of candidates in paused time. It does not decide in which
/// order tokio wakes tasks that wait for one event, nor the order of a `HashMap`.
pub(crate) fn begin_chance_at(seed: u64) {
    static PRINTS: Once = Once::new();
    PRINTS.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            if let Some(seed) = SEED.get() {
                eprintln!("chance began at INCUMBENT_TEST_SEED={seed}");
            }
        }));
    });
    SEED.set(Some(seed));
    fastrand::seed(seed);
}

/// Lets chance begin once for each test, as all that needs a client calls this: at a seed that is drawn, or at
/// the one that `INCUMBENT_TEST_SEED` names.
fn begin_chance() {
    if SEED.get().is_none() {
        let named = std::env::var("INCUMBENT_TEST_SEED").ok();
        begin_chance_at(named.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap()));
    }
}

/// The line between one client and the server.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    server: ApiServer,
    client: String,
    fault: Arc<Mutex<Option<ActiveFault>>>,
}

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
    pub(crate) fn to(server: &ApiServer) -> Self {
        begin_chance();
        static LATEST: AtomicU64 = AtomicU64::new(0);
        let client = format!("line-{}/", LATEST.fetch_add(1, Ordering::Relaxed));
        Self { server: server.clone(), client, fault: Arc::default() }
    }

    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    pub(crate) fn set(&self, state: State) {
        let fault = match state {
            State::Whole => None,
            State::Silent => Some("drop=everything"),
            State::WritesUnanswered => Some("verb=write,drop=answer"),
            State::WritesConflict => Some("verb=write,error=409"),
            State::WatchesSilent => Some("freeze=continue"),
        };
        let faults = self.server.faults();
        let fault = fault
            .map(|fault| faults.add(format!("client={},{fault}", self.client).parse().unwrap()));
        if let Some(before) = std::mem::replace(&mut *self.fault.lock().unwrap(), fault) {
            faults.remove(&before);
        }
    }
}

/// Notes what leaves one client, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    sent: Arc<Mutex<Vec<Sent>>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) method: Method,
    pub(crate) uri: String,
}

impl Recorder {
    pub(crate) fn client(&self, server: &ApiServer) -> kube::Client {
        let recorded = Recorded { inner: server.service(), recorder: self.clone() };
        kube::Client::new(recorded, "default")
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// What has left by this method, in order.
    pub(crate) fn of(&self, method: &Method) -> Vec<Sent> {
        self.sent().into_iter().filter(|sent| sent.method == *method).collect()
    }

    /// The addresses of the watches that were asked for, in order.
    pub(crate) fn watches(&self) -> Vec<String> {
        let sent = self.sent().into_iter().map(|sent| sent.uri);
        sent.filter(|uri| uri.contains("watch=1")).collect()
    }
}

#[derive(Clone)]
struct Recorded<S> {
    inner: S,
    recorder: Recorder,
}

impl<S, Q, A> Service<Request<Q>> for Recorded<S>
where
    S: Service<Request<Q>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<A>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (method, uri) = (request.method().clone(), request.uri().to_string());
        self.recorder.sent.lock().unwrap().push(Sent { at: Instant::now(), method, uri });
        Box::pin(self.inner.call(request))
    }
}

pub(crate) fn client(server: &ApiServer) -> kube::Client {
    begin_chance();
    kube::Client::new(server.service(), "default")
}

pub(crate) fn client_on(server: &ApiServer, line: &Line) -> kube::Client {
    kube::Client::new(server.service().named(&line.client), "default")
}

/// A client with the rights of a service account that `rules` allow, in namespace `default`.
pub(crate) fn restricted_client(server: &ApiServer, name: &str, rules: Value) -> kube::Client {
    begin_chance();
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

/// All leases as they are stored.
pub(crate) async fn leases(server: &ApiServer) -> Vec<Value> {
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let list = request(server, Method::GET, path, None).await;
    list["items"].as_array().unwrap().clone()
}

/// Changes the lock behind the candidates' back.
pub(crate) async fn patch(server: &ApiServer, patch: Value) -> Value {
    request(server, Method::PATCH, PATH, Some(patch)).await
}

pub(crate) async fn delete(server: &ApiServer) {
    request(server, Method::DELETE, PATH, None).await;
}

pub(crate) async fn request(
    server: &ApiServer,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Value {
    let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", "application/merge-patch+json")
        .body(body)
        .unwrap();
    client(server).request(request).await.unwrap()
}
