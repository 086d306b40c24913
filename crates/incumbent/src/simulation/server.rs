//! The API server of a trial: the real one, in a separate runtime, asked at true time.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ApiServer, Backup, Body, Service};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower_service::Service as _;

use super::line::Broken;

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// True time, for the server's own stamps.
pub(super) fn set_now(now: Duration) {
    NOW.set(now);
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    Admin,
    /// May get and write, and not watch.
    Poller,
}

pub(super) struct Server {
    api: ApiServer,
    runtime: Runtime,
    poller: Service,
    fresh: Backup,
    /// A second server, which answers from the past.
    cache: ApiServer,
    clock: Duration,
    down_until: Duration,
    /// What it held after each write, where this trial will ask for that.
    history: Option<Vec<(Duration, Backup)>>,
}

impl Server {
    pub(super) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime can be made");
        let inside = runtime.enter();
        let epoch = jiff::Timestamp::constant(1_767_225_600, 0);
        let server = || ApiServer::builder().seed(0).clock(move || epoch + NOW.get()).build();
        let (api, cache) = (server(), server());
        let poller = api.service_as(&poller(&api));
        drop(inside);
        Self {
            poller,
            fresh: api.backup(),
            cache,
            api,
            runtime,
            clock: Duration::ZERO,
            down_until: Duration::ZERO,
            history: None,
        }
    }

    /// As on the first day, for another trial.
    pub(super) fn begin(&mut self, keeps_history: bool) {
        self.restore(&self.fresh.clone());
        (self.clock, self.down_until) = (Duration::ZERO, Duration::ZERO);
        self.history = keeps_history.then(Vec::new);
        set_now(Duration::ZERO);
    }

    pub(super) fn ask(
        &mut self,
        now: Duration,
        account: Account,
        request: Request<Bytes>,
    ) -> Result<Response<Body>, Broken> {
        if now < self.down_until {
            return Err(Broken);
        }
        let is_write = *request.method() != Method::GET;
        let mut service = match account {
            Account::Admin => self.api.service(),
            Account::Poller => self.poller.clone(),
        };
        let passed = now.saturating_sub(self.clock);
        self.clock = self.clock.max(now);
        let answer = self.runtime.block_on(async {
            if !passed.is_zero() {
                tokio::time::advance(passed).await;
            }
            service.call(request.map(Full::new)).await
        });
        if let (true, Some(history)) = (is_write, &mut self.history) {
            history.push((now, self.api.backup()));
        }
        answer.map_err(|_| Broken)
    }

    /// Answers as it would have so long ago; `None` where nothing is known of that time.
    pub(super) fn ask_past(
        &mut self,
        then: Duration,
        request: Request<Bytes>,
    ) -> Option<Result<Response<Body>, Broken>> {
        let history = self.history.as_ref()?;
        let (_, backup) = history.iter().rev().find(|(at, _)| *at <= then)?;
        let _inside = self.runtime.enter();
        self.cache.restore(backup);
        let mut service = self.cache.service();
        Some(self.runtime.block_on(service.call(request.map(Full::new))).map_err(|_| Broken))
    }

    /// What a watch has to show by now, and whether it is open still.
    pub(super) fn shows(&self, body: &mut Body) -> (Vec<Result<Bytes, Broken>>, bool) {
        let _inside = self.runtime.enter();
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().now_or_never() {
            match frame {
                Some(Ok(frame)) => pieces.extend(frame.into_data().ok().map(Ok)),
                Some(Err(_)) => pieces.push(Err(Broken)),
                None => return (pieces, false),
            }
        }
        (pieces, true)
    }

    /// What somebody does by hand, to whom nothing goes wrong.
    pub(super) fn by_hand(
        &mut self,
        now: Duration,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Option<Value> {
        let request = request(method, path, body).map(Bytes::from);
        let down_until = std::mem::take(&mut self.down_until);
        let answer = self.ask(now, Account::Admin, request);
        self.down_until = down_until;
        let answer = answer.ok().filter(|answer| answer.status().is_success())?;
        let bytes = answer.into_body().collect().now_or_never()?.ok()?.to_bytes();
        serde_json::from_slice(&bytes).ok()
    }

    /// An object as it was then.
    pub(super) fn past(&mut self, then: Duration, path: &str) -> Option<Value> {
        let request = Request::get(path).body(Bytes::new()).expect("it is well formed");
        let answer = self.ask_past(then, request)?.ok()?;
        let answer = Some(answer).filter(|answer| answer.status().is_success())?;
        let bytes = answer.into_body().collect().now_or_never()?.ok()?.to_bytes();
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn restart(&mut self, now: Duration, down: Duration) {
        let _inside = self.runtime.enter();
        self.api.restart(Duration::ZERO);
        self.down_until = self.down_until.max(now + down);
    }

    pub(super) fn compact(&self) {
        self.api.compact();
    }

    pub(super) fn backup(&self) -> Backup {
        self.api.backup()
    }

    pub(super) fn restore(&mut self, backup: &Backup) {
        let _inside = self.runtime.enter();
        self.api.restore(backup);
        // It has no caches of what is undone.
        self.history.iter_mut().for_each(Vec::clear);
    }

    pub(super) fn open_watches(&self) -> usize {
        self.api.open_watches()
    }
}

/// The token of an account that may not watch.
fn poller(server: &ApiServer) -> String {
    let rules = json!([{
        "apiGroups": ["", "coordination.k8s.io"], "resources": ["leases", "configmaps"],
        "verbs": ["get", "create", "update"],
    }]);
    let version = "rbac.authorization.k8s.io/v1";
    let metadata = json!({ "name": "poller", "namespace": "default" });
    let role = json!({
        "apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules,
    });
    let binding = json!({
        "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
        "subjects": [{ "kind": "ServiceAccount", "name": "poller", "namespace": "default" }],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "poller" },
    });
    let token = server.service_account_token("default", "poller", Duration::from_secs(36_000));
    for object in [role, binding] {
        server.create(object).expect("it can be created");
    }
    token
}

/// A request in JSON. A patch merges.
pub(super) fn request(method: Method, path: &str, body: &Value) -> Request<Vec<u8>> {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let patch = if method == Method::PATCH { "merge-patch+" } else { "" };
    let request = Request::builder().method(method).uri(path);
    let request = request.header("Content-Type", format!("application/{patch}json"));
    request.body(bytes).expect("it is well formed")
}
