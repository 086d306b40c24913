//! Something between a client and the server: it changes what is written, or answers itself.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::ApiServer;
use kube::client::Body;
use tower_service::Service;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A request on its way.
pub(crate) struct Passing {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) body: String,
}

/// What becomes of it.
pub(crate) enum Fate {
    /// It is forwarded with this body.
    Forward(String),
    /// It is forwarded as it is, and its answer comes this much later.
    AnswerLate(Duration),
    /// This is the answer, and the server never hears of it.
    Answer(u16, String),
}

type Rule = Arc<Mutex<dyn FnMut(&Passing) -> Fate + Send>>;

/// A client of `server` behind this rule.
pub(crate) fn client(
    server: &ApiServer,
    rule: impl FnMut(&Passing) -> Fate + Send + 'static,
) -> kube::Client {
    super::begin_chance();
    let between = Between { inner: server.service(), rule: Arc::new(Mutex::new(rule)) };
    kube::Client::new(between, "default")
}

/// Each write with `before` replaced by `after`.
pub(crate) fn replacing(before: &str, after: &str) -> impl FnMut(&Passing) -> Fate + use<> {
    let (before, after) = (before.to_owned(), after.to_owned());
    move |passing| Fate::Forward(passing.body.replace(&before, &after))
}

struct Between<S> {
    inner: S,
    rule: Rule,
}

impl<S: Clone> Clone for Between<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), rule: self.rule.clone() }
    }
}

impl<S, A> Service<Request<Body>> for Between<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<A>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
    A: http_body::Body<Data = Bytes> + Send + 'static,
    A::Error: Into<Error>,
{
    type Response = Response<UnsyncBoxBody<Bytes, Error>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut inner, rule) = (self.inner.clone(), self.rule.clone());
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            let body = body.collect().await.map_err(Into::<Error>::into)?.to_bytes();
            let body = String::from_utf8(body.to_vec())?;
            let (method, uri) = (head.method.clone(), head.uri.to_string());
            let passing = Passing { method, uri, body };
            let fate = rule.lock().unwrap()(&passing);
            let (fate, pause) = match fate {
                Fate::AnswerLate(pause) => (Fate::Forward(passing.body), pause),
                fate => (fate, Duration::ZERO),
            };
            match fate {
                Fate::AnswerLate(_) => unreachable!("it is forwarded"),
                Fate::Forward(body) => {
                    head.headers.remove(http::header::CONTENT_LENGTH);
                    let request = Request::from_parts(head, Full::from(body));
                    let answer = inner.call(request).await.map_err(Into::into)?;
                    tokio::time::sleep(pause).await;
                    Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
                }
                Fate::Answer(code, body) => {
                    let body = Full::from(body).map_err(Into::into).boxed_unsync();
                    Ok(Response::builder().status(code).body(body)?)
                }
            }
        })
    }
}
