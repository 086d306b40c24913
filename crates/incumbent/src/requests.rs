//! The one place where requests are sent. Each has a deadline, and each answer is judged by [`Failure`].
//!
//! A write is sent once. The caller decides whether to try again, because it knows what was sent and can read what
//! came of it. A read is tried again here, where the server says when.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use serde_json::Value;

pub use crate::answer::{Failure, Why};
use crate::answer::{Response, meaning};
use crate::clock::Clock;
use crate::error::root_cause;
use crate::limiter::{Share, Turn, Wait};
use crate::stream::{self, Seen, WatchError, lines};

/// What audit logs show, and up to the slash what `managedFields` names as the manager.
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("incumbent/", env!("CARGO_PKG_VERSION")));

/// Where a server cannot leave out the rest, whole objects come.
const LIST_OF_METADATA: HeaderValue = HeaderValue::from_static(
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
);
const METADATA: HeaderValue = HeaderValue::from_static(
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
);

/// A way to one API server.
#[derive(Clone)]
pub struct Requests {
    client: kube::Client,
    clock: Clock,
    /// Its share of the places for requests, in a process with many elections.
    share: Option<Arc<Share>>,
    /// Whether lists and watches are of the metadata of objects alone.
    is_of_metadata: bool,
}

/// What came of a request, with what the server says of its time.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The object, or why there is none.
    pub outcome: Result<Value, Failure>,
    /// The HTTP status; none where no answer came.
    pub code: Option<u16>,
    /// The `Date` header.
    pub date: Option<String>,
}

impl Answered {
    fn failed(failure: Failure) -> Self {
        Self { code: failure.code, outcome: Err(failure), date: None }
    }
}

impl Requests {
    /// Requests by this client.
    pub fn new(client: kube::Client) -> Self {
        Self { client, clock: Clock::system(), share: None, is_of_metadata: false }
    }

    /// The clock that its deadlines go by.
    pub(crate) fn timed(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// The same for lists and watches of objects of which only the metadata is asked for.
    pub(crate) fn of_metadata(self) -> Self {
        Self { is_of_metadata: true, ..self }
    }

    pub(crate) fn limited(self, share: Share) -> Self {
        Self { share: Some(Arc::new(share)), ..self }
    }

    /// The namespace that the client is in: in a Pod, the Pod's.
    pub(crate) fn own_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// Waits for the turn of a request. `None` where it gave up before that, and must not be sent.
    pub(crate) async fn turn(&self, wait: Wait) -> Option<Turn> {
        match &self.share {
            Some(share) => share.turn(wait).await,
            None => Some(Turn::FREE),
        }
    }

    /// Reads `path`. Where the server asks to be asked again later, it is, as long as all of it takes no more than
    /// ten seconds.
    ///
    /// # Errors
    /// Where that object is not to be had.
    pub async fn read(&self, path: &str) -> Result<Value, Failure> {
        let give_up_at = self.clock.instant() + REQUEST_TIMEOUT;
        loop {
            let failure = match self.send(Method::GET, path, None).await {
                Ok(object) => return Ok(object),
                Err(failure) => failure,
            };
            let pause = failure.retry_after.filter(|_| failure.passes());
            let Some(pause) = pause.map(|pause| pause.max(SHORTEST_PAUSE)) else {
                return Err(failure);
            };
            if self.clock.instant() + pause >= give_up_at {
                return Err(failure);
            }
            self.clock.sleep(pause).await;
        }
    }

    /// Sends one request, a PATCH as a merge patch, and waits ten seconds at most for the answer.
    ///
    /// # Errors
    /// Where it did not do what it should; [`Failure::may_be_applied`] says whether a write may have.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.ask(method, path, body, REQUEST_TIMEOUT).await.outcome
    }

    /// The same with another deadline, and with what else the server says.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Answered {
        let late = || Answered::failed(Failure::late());
        let Some(turn) = self.turn(Wait::ForPlace).await else { return late() };
        let exchange = turn.take(self.exchange(method, path, body));
        self.clock.timeout(patience, exchange).await.unwrap_or_else(late)
    }

    /// Sends one request, and waits for the answer without a deadline. The caller sets one.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answered {
        match self.try_exchange(method, path, body).await {
            Ok(answered) => answered,
            Err(failure) => Answered::failed(failure),
        }
    }

    async fn try_exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answered, Failure> {
        let mut request = request(method.clone(), path, body)?;
        if self.is_of_metadata {
            request.headers_mut().insert(header::ACCEPT, LIST_OF_METADATA);
        }
        let response = self.client.send(request).await;
        let (head, body) = response.map_err(|error| no_answer(&error))?.into_parts();
        let (code, body) = (head.status.as_u16(), whole(body).await?);
        let said = Response { code, retry_after: retry_after(&head.headers), body: &body };
        let date = text(&head.headers, header::DATE).map(str::to_owned);
        Ok(Answered { outcome: meaning(&method, path, said), code: Some(code), date })
    }

    /// Reads one page of a list.
    pub(crate) async fn list(&self, path: &str) -> Result<Value, Failure> {
        let list = self.read(path).await?;
        match list["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) {
            true => Ok(list),
            false => Err(Failure::nonsense(200, "it is no list")),
        }
    }

    /// Opens a watch of a collection, or of what `filter` leaves of it, from `after` on or from the present
    /// state. What it shows comes for as long as the server lets it.
    pub(crate) async fn watch(
        &self,
        collection: &str,
        filter: &str,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Seen, WatchError>> + use<>, Failure> {
        let mut path = format!(
            "{collection}?watch=1&allowWatchBookmarks=true&timeoutSeconds={}{filter}",
            WATCH_LIFETIME.as_secs()
        );
        // What a server sends as a version may be anything; only a number fits into an address.
        if let Some(after) = after.filter(|after| after.bytes().all(|byte| byte.is_ascii_digit())) {
            path.push_str("&resourceVersion=");
            path.push_str(after);
        }
        self.open_watch(&path).await
    }

    async fn open_watch(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Seen, WatchError>> + use<>, Failure> {
        let mut request = request(Method::GET, path, None)?;
        if self.is_of_metadata {
            request.headers_mut().insert(header::ACCEPT, METADATA);
        }
        let opening = async {
            let response = self.client.send(request).await;
            let response = response.map_err(|error| no_answer(&error))?;
            if response.status().is_success() {
                return Ok(response.into_body());
            }
            let (head, body) = response.into_parts();
            let (code, body) = (head.status.as_u16(), whole(body).await?);
            let said = Response { code, retry_after: retry_after(&head.headers), body: &body };
            let nonsense = || Failure::nonsense(code, "neither a success nor a failure");
            Err(meaning(&Method::GET, path, said).err().unwrap_or_else(nonsense))
        };
        // A server that does not answer must not prevent the next try.
        let opened = self.clock.timeout(REQUEST_TIMEOUT, opening).await;
        let body = opened.unwrap_or_else(|| Err(Failure::late()))?;
        Ok(lines(body).map(|line| line.and_then(|line| stream::seen(&line))))
    }
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

fn request(method: Method, path: &str, body: Option<&Value>) -> Result<Request<Body>, Failure> {
    let content = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let bytes = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
    let mut request = Request::new(Body::from(bytes));
    *request.method_mut() = method;
    *request.uri_mut() = path
        .parse()
        .map_err(|error| Failure::no_answer(format!("{path:?} is no path: {error}")))?;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, USER_AGENT);
    if body.is_some() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    }
    Ok(request)
}

async fn whole(body: Body) -> Result<Vec<u8>, Failure> {
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|error| no_answer(&*error))?;
    Ok(body.to_bytes().to_vec())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    text(headers, header::RETRY_AFTER)?.parse().ok().map(Duration::from_secs)
}

fn no_answer(error: &dyn std::error::Error) -> Failure {
    Failure::no_answer(root_cause(error))
}

/// The filter of a collection that leaves the object of this name.
pub(crate) fn only(name: &str) -> String {
    format!("&fieldSelector=metadata.name%3D{name}")
}

/// Several times what a page of a list has, so that no answer can fill the memory.
const MAX_BODY: usize = 32 << 20;

/// For what has no deadline of an election.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a server asks to be asked again at once.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// A watch is opened again this often, which costs one request in a quarter of an hour and bounds how
/// long a connection is trusted.
pub(crate) const WATCH_LIFETIME: Duration = Duration::from_secs(900);
