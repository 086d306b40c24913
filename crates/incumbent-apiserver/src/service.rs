//! The server as a `tower` service, so that a client needs no socket.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, RETRY_AFTER, WARNING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::answer::{Answer, Payload};
use crate::auth::{Impersonation, User};
use crate::form::Form;
use crate::object::to_json;
use crate::request::{Target, bearer_token};
use crate::routes::{self, Call};
use crate::server::{Shared, State};
use crate::status::Status;
use crate::watch::{News, WatchBody, WatchId};

/// Answers requests in-process; cheap to clone.
///
/// Give it to `kube::Client::new`, and the client talks to the server without a socket. It needs a
/// tokio runtime with time, which may be paused.
#[derive(Clone, Debug)]
pub struct Service {
    shared: Arc<Shared>,
    identity: Identity,
}

/// Whose requests these are.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Those of the token that each brings along; without one, of nobody.
    Caller,
    /// Those of the token that each brings along; without one, of the administrator.
    CallerOrAdmin,
    /// Those of this token, whatever they bring along.
    Token(String),
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>, identity: Identity) -> Self {
        Self { shared, identity }
    }

    async fn answer<B>(self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let (head, body) = request.into_parts();
        let takes_body =
            matches!(head.method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
        let body = if takes_body { read(&head.headers, body).await } else { Ok(Bytes::new()) };
        let now = self.shared.now();
        let target = Target::new(&head);
        let form = Form::wanted(&head.headers, &target);
        let answer = body.and_then(|body| self.respond(&head, target, &body, form, now));
        render(answer, form.unwrap_or(Form::Json), &self.shared, now)
    }

    fn respond(
        &self,
        head: &Parts,
        target: Target,
        body: &Bytes,
        form: Option<Form>,
        now: Timestamp,
    ) -> Result<Ready, Status> {
        let body = match (body.is_empty(), &head.method) {
            (true, &Method::DELETE | &Method::GET) => routes::Body::nothing(),
            _ => routes::Body::parse(body, media_type(&head.headers)),
        };
        let mut state = self.shared.lock();
        let user = self.user(&state, &head.headers, now)?;
        state.requests.record(&user.name, target.verb);
        // Before anything is done that could not be told.
        let form = form.ok_or_else(Status::not_acceptable)?;
        let content_type = media_type(&head.headers).to_owned();
        let agent = head.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let agent = agent.unwrap_or_default().to_owned();
        let impersonation = Impersonation::wanted(&head.headers);
        let call = Call { target, form, user, impersonation, body, content_type, agent, now };
        let answer = state.respond(call)?;
        // Under the same lock, so that no change slips in between.
        let registration = match &answer.payload {
            Payload::Watch(start) if start.error.is_none() => Some(state.hub.add(start)),
            _ => None,
        };
        Ok(Ready { answer, registration })
    }

    fn user(&self, state: &State, headers: &HeaderMap, now: Timestamp) -> Result<User, Status> {
        let token = match &self.identity {
            Identity::Token(token) => Some(token.as_str()).filter(|token| !token.is_empty()),
            Identity::Caller | Identity::CallerOrAdmin => bearer_token(headers),
        };
        match (token, &self.identity) {
            (None, Identity::CallerOrAdmin) => Ok(User::admin()),
            (None, _) => Ok(User::anonymous()),
            (Some(token), _) => {
                let user = state.world.tokens.user(token, &state.world.store, now);
                user.ok_or_else(Status::unauthorized)
            }
        }
    }
}

impl<B> tower_service::Service<Request<B>> for Service
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

/// The body of a response: whole, or the endless one of a watch.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    Whole(Bytes),
    Watch(Box<WatchBody>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Inner::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Watch(watch) => watch.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Inner::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Watch(_) => SizeHint::default(),
        }
    }
}

/// An answer, and the watch that was registered for it.
struct Ready {
    answer: Answer,
    registration: Option<(WatchId, mpsc::Receiver<News>)>,
}

/// Upstream's limit of a request, 3 MiB.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

async fn read<B>(headers: &HeaderMap, body: B) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes>,
{
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(Status::too_large(BODY_LIMIT));
    }
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.map_err(|_| Status::bad_request("the body of the request broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > BODY_LIMIT {
            return Err(Status::too_large(BODY_LIMIT));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

fn render(
    answer: Result<Ready, Status>,
    form: Form,
    shared: &Arc<Shared>,
    now: Timestamp,
) -> Response<Body> {
    let mut response = match answer {
        Ok(ready) => render_answer(ready, form, shared, now),
        Err(status) => render_status(&status, form),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    headers.extend(HeaderValue::try_from(date).ok().map(|date| (DATE, date)));
    response
}

fn render_answer(ready: Ready, form: Form, shared: &Arc<Shared>, now: Timestamp) -> Response<Body> {
    let Ready { answer: Answer { code, payload, warnings }, registration } = ready;
    let mut content_type = form.content_type();
    let body = match payload {
        Payload::Object(resource, object) => Inner::Whole(form.object(resource, &object, now)),
        Payload::List(list) => Inner::Whole(form.list(&list, now)),
        Payload::Json(json) => Inner::Whole(form.json(to_json(&json))),
        Payload::Text(text) => {
            content_type = "text/plain; charset=utf-8";
            Inner::Whole(text.into())
        }
        Payload::Watch(start) => {
            // A stream of YAML has no lines.
            let form = if form == Form::Yaml { Form::Json } else { form };
            content_type = form.content_type();
            Inner::Watch(Box::new(WatchBody::new(*start, form, shared, registration)))
        }
    };
    let mut response = respond_with(code, content_type, body);
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        let value = HeaderValue::try_from(format!("299 - \"{quoted}\""));
        response.headers_mut().extend(value.ok().map(|value| (WARNING, value)));
    }
    response
}

fn render_status(status: &Status, form: Form) -> Response<Body> {
    let body = Inner::Whole(form.json(to_json(status)));
    let mut response = respond_with(status.code(), form.content_type(), body);
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn respond_with(code: u16, content_type: &'static str, body: Inner) -> Response<Body> {
    let mut response = Response::new(Body(body));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The content type without its parameters.
fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}
