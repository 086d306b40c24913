//! The line between a process and the API server, as the process sees it: requests that leave, and answers
//! that come whenever the world says.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use incumbent_apiserver::Body as Served;
use kube::client::Body;
use tokio::sync::{mpsc, oneshot};
use tower_service::Service;

use super::lock::Says;
use super::machine::HostClock;
use super::network::Verb;

thread_local! {
    static OUTBOX: RefCell<Vec<Sent>> = const { RefCell::new(Vec::new()) };
}

/// A request that has left a process.
pub(super) struct Sent {
    pub(super) at: Duration,
    pub(super) process: usize,
    pub(super) request: Request<Bytes>,
    pub(super) answer: oneshot::Sender<Result<Response<Answer>, Broken>>,
}

/// What has left since the last call.
pub(super) fn take_sent() -> Vec<Sent> {
    OUTBOX.take()
}

/// The connection broke.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection broke")]
pub(super) struct Broken;

/// The body of an answer.
pub(super) type Answer = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Broken>>>;

pub(super) fn whole(bytes: Bytes) -> Answer {
    StreamBody::new(stream::once(async move { Ok(Frame::data(bytes)) }).boxed())
}

/// A body that comes in pieces.
pub(super) fn pieces(pieces: mpsc::UnboundedReceiver<Result<Bytes, Broken>>) -> Answer {
    let next = |mut pieces: mpsc::UnboundedReceiver<Result<Bytes, Broken>>| async move {
        let piece = pieces.recv().await?;
        Some((piece.map(Frame::data), pieces))
    };
    StreamBody::new(stream::unfold(pieces, next).boxed())
}

/// What a process gives its `kube::Client`.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) clock: HostClock,
}

impl Service<Request<Body>> for Line {
    type Response = Response<Answer>;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Broken>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let clock = self.clock;
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
            let (answer, answered) = oneshot::channel();
            let request = Request::from_parts(head, body);
            let (at, process) = (clock.true_now(), clock.number());
            OUTBOX.with_borrow_mut(|sent| sent.push(Sent { at, process, request, answer }));
            // Where the world has let go of it, nothing comes any more.
            match answered.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending::<Result<_, Broken>>().await,
            }
        })
    }
}

pub(super) fn verb(sent: &Sent) -> Verb {
    let is_watch = sent.request.uri().query().is_some_and(|query| query.contains("watch=1"));
    match *sent.request.method() {
        Method::GET if is_watch => Verb::Watch,
        Method::GET => Verb::Read,
        _ => Verb::Write,
    }
}

/// An answer of the server, as it comes over the line, and what it says.
pub(super) fn arrived(answer: Response<Served>) -> (Response<Answer>, Says) {
    let (head, body) = answer.into_parts();
    let body = body.collect().now_or_never();
    let body = body.and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
    let says = Says::read(&body);
    (Response::from_parts(head, whole(body)), says)
}

/// A fault of the server.
pub(super) fn error(code: u16, retry_after: u32) -> (Response<Answer>, Says) {
    let status = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"a fault","code":{code}}}"#
    );
    let mut answer = Response::new(whole(Bytes::from(status)));
    *answer.status_mut() = http::StatusCode::from_u16(code).expect("it is a status");
    if retry_after > 0 {
        answer.headers_mut().insert(http::header::RETRY_AFTER, retry_after.into());
    }
    (answer, Says::default())
}
