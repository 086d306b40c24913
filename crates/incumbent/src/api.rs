//! The requests of an election, as HTTP, and what their answers mean.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use incumbent_core::{Operation, Record, Reply};
use kube::client::Body;
use serde_json::Value;

use crate::clock::Clock;
use crate::error::Error;
use crate::limiter::{Share, Turn, Wait};
use crate::lock::Lock;
use crate::stored::Stored;
use crate::stream::{self, Seen, lines};

#[cfg(test)]
mod tests;

/// What audit logs show, and up to the slash what `managedFields` names as the manager.
const USER_AGENT: header::HeaderValue =
    header::HeaderValue::from_static(concat!("incumbent/", env!("CARGO_PKG_VERSION")));

/// One lock behind one API server.
#[derive(Clone)]
pub(crate) struct Api {
    client: kube::Client,
    lock: Lock,
    clock: Clock,
    /// Its share of the places for requests, in a process with many elections.
    share: Option<Arc<Share>>,
}

/// What came of a request.
pub(crate) struct Answer {
    /// RBAC's verb for what was asked.
    pub(crate) verb: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) reply: Reply,
    /// The object that the reply speaks of, as JSON, to base the next write on.
    pub(crate) object: Option<Value>,
    /// What to tell if it does not get better.
    pub(crate) trouble: Option<Trouble>,
}

/// How far a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    NotSent,
    NoAnswer,
    Status(u16),
}

/// Why a request did not do what it should.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Box<Error>,
    /// Whether trying again is of no use until somebody changes something.
    pub(crate) lasts: bool,
}

impl Api {
    pub(crate) fn new(client: kube::Client, lock: Lock) -> Self {
        Self { client, lock, clock: Clock::system(), share: None }
    }

    /// The clock that its time-outs go by, and those of all who are given this.
    pub(crate) fn timed(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn limited(self, share: Share) -> Self {
        Self { share: Some(Arc::new(share)), ..self }
    }

    /// Waits for the turn of a request. `None` where it gave up before that, and must not be sent.
    pub(crate) async fn turn(&self, wait: Wait) -> Option<Turn> {
        match &self.share {
            Some(share) => share.turn(wait).await,
            None => Some(Turn::FREE),
        }
    }

    pub(crate) fn lock(&self) -> &Lock {
        &self.lock
    }

    pub(crate) fn map_lock(self, change: impl FnOnce(Lock) -> Lock) -> Self {
        Self { lock: change(self.lock), ..self }
    }

    /// Sends `operation`; a replace edits `current`, which must be the version that it replaces.
    pub(crate) async fn send(&self, operation: Operation, current: Option<Stored>) -> Answer {
        match operation {
            Operation::Read => self.read().await,
            Operation::Create(record) => self.create(&self.lock.create(&record)).await,
            Operation::Replace { base, record } => {
                match self.replacement(&base, &record, current) {
                    Some(object) => self.replace(&object).await,
                    // Not the version that was judged: go and read.
                    None => Answer::plain("update", Reply::Conflict),
                }
            }
        }
    }

    pub(crate) async fn read(&self) -> Answer {
        self.ask("get", Method::GET, self.lock.path(), None).await
    }

    pub(crate) async fn create(&self, object: &Value) -> Answer {
        self.ask("create", Method::POST, self.lock.collection_path(), Some(object)).await
    }

    pub(crate) async fn replace(&self, object: &Value) -> Answer {
        self.ask("update", Method::PUT, self.lock.path(), Some(object)).await
    }

    /// Reads what is at `path`; `None` where nothing is.
    pub(crate) async fn fetch(&self, path: &str) -> Result<Option<Value>, Error> {
        let answer = self.ask_aside(self.request(Method::GET, path.to_owned(), None)).await;
        let (status, body) = answer.map_err(|message| *Trouble::unreachable(message).error)?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        match status.as_u16() {
            200..=299 => Ok(value),
            404 => Ok(None),
            code => {
                let verb = if path == self.lock.path() { "get" } else { "list" };
                let message = message(value.as_ref(), &body);
                Err(*self.trouble(verb, code, value.as_ref(), message).error)
            }
        }
    }

    /// The namespace that the client is in: in a Pod, the Pod's.
    pub(crate) fn own_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// Sends a request about any object, a PATCH as a merge patch, and returns the status and the answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), String> {
        let is_patch = method == Method::PATCH;
        let mut request = self.request(method, path.to_owned(), body);
        if is_patch {
            let merge = header::HeaderValue::from_static("application/merge-patch+json");
            request.headers_mut().insert(header::CONTENT_TYPE, merge);
        }
        let (status, body) = self.ask_aside(request).await?;
        Ok((status.as_u16(), serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// Stores an Event beside the lock.
    pub(crate) async fn write_event(&self, event: &Value) -> Result<(), String> {
        let path = format!("/api/v1/namespaces/{}/events", self.lock.namespace());
        let (status, body) = self.ask_aside(self.request(Method::POST, path, Some(event))).await?;
        match status.is_success() {
            true => Ok(()),
            false => Err(message(serde_json::from_slice(&body).ok().as_ref(), &body)),
        }
    }

    /// Opens a watch of the lock's object, from `after` on or from its present state.
    pub(crate) async fn watch(
        &self,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Seen, String>> + use<>, Trouble> {
        self.watch_in(&self.lock.collection_path(), &only(self.lock.name()), after).await
    }

    /// Opens a watch of a collection, or of what `filter` leaves of it, from `after` on or from the present
    /// state.
    pub(crate) async fn watch_in(
        &self,
        collection: &str,
        filter: &str,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Seen, String>> + use<>, Trouble> {
        let mut path = format!(
            "{collection}?watch=1&allowWatchBookmarks=true&timeoutSeconds={}{filter}",
            WATCH_LIFETIME.as_secs()
        );
        // What a server sends as a version may be anything; only a number fits into an address.
        if let Some(after) = after.filter(|after| after.bytes().all(|byte| byte.is_ascii_digit())) {
            path.push_str("&resourceVersion=");
            path.push_str(after);
        }
        let response = self.client.send(self.request(Method::GET, path, None)).await;
        let response = response.map_err(|error| Trouble::unreachable(root_cause(&error)))?;
        let code = response.status();
        if !code.is_success() {
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
            let body = body.map_err(|error| Trouble::unreachable(root_cause(&*error)))?.to_bytes();
            let status: Option<Value> = serde_json::from_slice(&body).ok();
            let message = message(status.as_ref(), &body);
            return Err(self.trouble("watch", code.as_u16(), status.as_ref(), message));
        }
        Ok(lines(response.into_body()).map(|line| line.and_then(|line| stream::seen(&line))))
    }

    fn replacement(
        &self,
        base: &incumbent_core::Version,
        record: &Record,
        current: Option<Stored>,
    ) -> Option<Value> {
        let current = current.filter(|stored| stored.version() == base)?;
        Some(self.lock.edit(&current.object(), record))
    }

    fn request(&self, method: Method, path: String, body: Option<&Value>) -> Request<Body> {
        let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let mut request = Request::new(Body::from(bytes));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("names were checked when the lock was made");
        let json = header::HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::ACCEPT, json.clone());
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        if body.is_some() {
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        request
    }

    async fn ask(
        &self,
        verb: &'static str,
        method: Method,
        path: String,
        body: Option<&Value>,
    ) -> Answer {
        match self.exchange(self.request(method, path, body)).await {
            Ok((status, retry_after, body)) => Answer {
                outcome: Outcome::Status(status.as_u16()),
                ..self.answer(verb, status, retry_after, &body)
            },
            Err(message) => Answer::unreachable(verb, Trouble::unreachable(message)),
        }
    }

    /// Makes a request beside the election: in its turn, however long that takes, and then in time.
    async fn ask_aside(&self, request: Request<Body>) -> Result<(StatusCode, Vec<u8>), String> {
        let turn = self.turn(Wait::ForPlace).await.ok_or_else(no_answer)?;
        let answer = self.clock.timeout(FETCH_TIMEOUT, turn.take(self.exchange(request))).await;
        let (status, _, body) = answer.ok_or_else(no_answer)??;
        Ok((status, body))
    }

    async fn exchange(&self, request: Request<Body>) -> Exchanged {
        let response = self.client.send(request).await.map_err(|error| root_cause(&error))?;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| root_cause(&*error))?;
        Ok((status, retry_after, body.to_bytes().to_vec()))
    }

    fn answer(
        &self,
        verb: &'static str,
        status: StatusCode,
        retry_after: Option<Duration>,
        body: &[u8],
    ) -> Answer {
        let object: Option<Value> = serde_json::from_slice(body).ok();
        match (verb, status.as_u16()) {
            (_, 200..=299) => self.success(verb, object),
            ("get" | "update", 404) => Answer::plain(verb, Reply::Missing),
            ("create" | "update", 409) => Answer::plain(verb, Reply::Conflict),
            (_, code) => {
                let message = message(object.as_ref(), body);
                // A server error on a write may hide that it was applied, or will be.
                let reply = match code {
                    500.. if verb != "get" => Reply::Unknown,
                    _ => Reply::Refused { retry_after },
                };
                let trouble = self.trouble(verb, code, object.as_ref(), message);
                Answer { trouble: Some(trouble), ..Answer::plain(verb, reply) }
            }
        }
    }

    fn success(&self, verb: &'static str, object: Option<Value>) -> Answer {
        let snapshot = match &object {
            Some(object) => self.lock.decode(object),
            None => Err("the answer is no JSON".to_owned()),
        };
        let reply = match snapshot {
            Ok(snapshot) if verb == "get" => Reply::Found(snapshot),
            Ok(snapshot) => Reply::Written(snapshot),
            Err(message) => {
                let trouble = Some(self.trouble(verb, 200, None, message));
                return Answer { trouble, ..Answer::plain(verb, Reply::Unknown) };
            }
        };
        Answer { object, ..Answer::plain(verb, reply) }
    }

    /// Why the server refused.
    pub(crate) fn refusal(&self, verb: &'static str, code: u16, status: &Value) -> Error {
        *self.trouble(verb, code, Some(status), message(Some(status), &[])).error
    }

    fn trouble(
        &self,
        verb: &'static str,
        code: u16,
        status: Option<&Value>,
        message: String,
    ) -> Trouble {
        let lock = self.lock.clone();
        let error = match code {
            401 => Error::Unauthorized { message },
            403 => Error::Forbidden { lock, verb, message },
            404 if is_namespace(status) => Error::Missing {
                what: format!("namespace {}", self.lock.namespace()),
                hint: format!("kubectl create namespace {}", self.lock.namespace()),
            },
            _ => Error::Rejected { lock, verb, code, message },
        };
        // 429 and the server's own errors pass; what is wrong with the request or the account does not.
        let error = Box::new(error);
        Trouble { error, lasts: (400..500).contains(&code) && code != 429 && code != 408 }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("lock", &self.lock).finish_non_exhaustive()
    }
}

impl Answer {
    fn plain(verb: &'static str, reply: Reply) -> Self {
        Self { verb, outcome: Outcome::NotSent, reply, object: None, trouble: None }
    }

    fn unreachable(verb: &'static str, trouble: Trouble) -> Self {
        let outcome = Outcome::NoAnswer;
        Self { outcome, trouble: Some(trouble), ..Self::plain(verb, Reply::Unknown) }
    }

    /// The request did not get its turn in time: it has certainly not been applied.
    pub(crate) fn not_sent(verb: &'static str) -> Self {
        Self::plain(verb, Reply::Refused { retry_after: None })
    }

    /// No answer came in time: the request may have been applied, or may be applied later.
    pub(crate) fn timed_out(verb: &'static str) -> Self {
        Self::unreachable(verb, Trouble::timed_out())
    }
}

impl Trouble {
    fn unreachable(message: String) -> Self {
        Self { error: Box::new(Error::Unreachable { message }), lasts: false }
    }

    pub(crate) fn timed_out() -> Self {
        Self::unreachable(no_answer())
    }
}

fn no_answer() -> String {
    "no answer in time".to_owned()
}

/// The filter of a collection that leaves the object of this name.
pub(crate) fn only(name: &str) -> String {
    format!("&fieldSelector=metadata.name%3D{name}")
}

/// RBAC's verb for an operation.
pub(crate) fn verb(operation: &Operation) -> &'static str {
    match operation {
        Operation::Read => "get",
        Operation::Create(_) => "create",
        Operation::Replace { .. } => "update",
    }
}

/// The server's words: a Status's message, else the beginning of what it sent.
fn message(status: Option<&Value>, body: &[u8]) -> String {
    match status.and_then(|status| status["message"].as_str()) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned(),
    }
}

/// The root of the trouble, where "error sending request" helps nobody.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn is_namespace(status: Option<&Value>) -> bool {
    status.is_some_and(|status| status["details"]["kind"] == "namespaces")
}

/// Status, what `Retry-After` says, and body.
type Exchanged = Result<(StatusCode, Option<Duration>, Vec<u8>), String>;

/// Many times what an object may be (1 MiB and a half), so that no answer can fill the memory.
pub(crate) const MAX_BODY: usize = 8 << 20;

/// For whoever only looks, and has no deadline of an election.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// A watch is opened anew this often, which costs one request in a quarter of an hour and bounds how
/// long a connection is trusted.
pub(crate) const WATCH_LIFETIME: Duration = Duration::from_secs(900);
