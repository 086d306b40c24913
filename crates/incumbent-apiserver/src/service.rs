//! The server as a `tower` service, which clients use without a socket.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, RETRY_AFTER, USER_AGENT, WARNING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use jiff::Timestamp;
use tokio::time::sleep;

use crate::answer::{Answer, Payload};
use crate::auth::{Impersonation, User};
use crate::control;
use crate::fault::{Disconnected, Outcome, Plan, Scope, Silence};
use crate::form::Form;
use crate::hub::Registration;
use crate::object::to_json;
use crate::request::{Place, Target, Verb, bearer_token};
use crate::routes::{self, Call};
use crate::state::{Shared, State};
use crate::status::Status;
use crate::watch::WatchBody;

/// Answers requests in-process; cheap to clone.
///
/// Pass it to `kube::Client::new`, and the client reaches the server without a socket. It needs a
/// tokio runtime with time enabled; time may be paused.
#[derive(Clone, Debug)]
pub struct Service {
    shared: Arc<Shared>,
    identity: Identity,
    client: Option<Arc<str>>,
}

/// The user that a service's requests come from.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// The user of each request's token; anonymous without one.
    Caller,
    /// The user of each request's token; the administrator without one.
    CallerOrAdmin,
    /// The user of this token, whatever token the request has.
    Token(String),
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>, identity: Identity) -> Self {
        Self { shared, identity, client: None }
    }

    /// A name by which faults know this client, instead of its `User-Agent`.
    #[must_use]
    pub fn named(self, client: &str) -> Self {
        Self { client: Some(client.into()), ..self }
    }

    async fn answer<B>(self, request: Request<B>) -> Result<Response<Body>, Disconnected>
    where
        B: http_body::Body<Data = Bytes>,
    {
        if self.shared.faults.is_down() {
            return Err(Disconnected);
        }
        let life = self.shared.faults.life();
        let (head, body) = request.into_parts();
        let takes_body =
            matches!(head.method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
        let body = if takes_body {
            self.shared.intake.read(&head.headers, body).await
        } else {
            Ok(Bytes::new())
        };
        let target = Target::new(&head);
        let form = Form::wanted(&head.headers, &target);
        let is_control = control::handles(&target.path);
        let incoming = Incoming { head, target, body, form, life };
        if is_control {
            return Ok(self.control(&incoming));
        }
        if self.shared.faults.is_empty() {
            return Ok(self.handle(incoming));
        }
        let plan = self.shared.faults.plan(&self.scope(&incoming, None));
        self.follow_plan(plan, incoming).await
    }

    /// Handles a request as the faults plan it.
    async fn follow_plan(
        self,
        plan: Plan,
        incoming: Incoming,
    ) -> Result<Response<Body>, Disconnected> {
        if !plan.delay.is_zero() {
            sleep(plan.delay).await;
            if self.shared.faults.life() != incoming.life {
                return Err(Disconnected);
            }
        }
        match plan.outcome {
            Outcome::Answer => Ok(self.handle(incoming)),
            Outcome::Error { code, retry_after, applied } => {
                let now = self.shared.now();
                let error = error(&incoming, code, retry_after);
                match applied {
                    None => self.count(&incoming, code, now),
                    Some(later) => self.handle_unanswered(incoming, later),
                }
                Ok(with_date(error, now))
            }
            Outcome::LoseRequest(silence) => fall_silent(silence).await,
            Outcome::LoseAnswer(silence, later) => {
                self.handle_unanswered(incoming, later);
                fall_silent(silence).await
            }
            Outcome::Late(later) => {
                let task = tokio::spawn(async move {
                    sleep(later).await;
                    self.handle(incoming)
                });
                task.await.map_err(|_| Disconnected)
            }
        }
    }

    /// Handles a request now or later, and drops the answer.
    fn handle_unanswered(self, incoming: Incoming, later: Duration) {
        // A watch that is dropped ends at once.
        if later.is_zero() {
            drop(self.handle(incoming));
            return;
        }
        tokio::spawn(async move {
            sleep(later).await;
            drop(self.handle(incoming));
        });
    }

    fn handle(&self, incoming: Incoming) -> Response<Body> {
        let now = self.shared.now();
        let form = incoming.form.unwrap_or(Form::Json);
        let answer = self.respond(incoming, now);
        render(answer, form, &self.shared, now)
    }

    fn respond(&self, mut incoming: Incoming, now: Timestamp) -> Result<Ready, Status> {
        let body = std::mem::replace(&mut incoming.body, Ok(Bytes::new()))?;
        let body = match (body.is_empty(), &incoming.head.method) {
            (true, &Method::DELETE | &Method::GET) => routes::Body::nothing(),
            _ => routes::Body::parse(&body, media_type(&incoming.head.headers)),
        };
        let mut state = self.shared.lock();
        let user = self.user(&state, &incoming.head.headers, now)?;
        let (name, verb) = (user.name.clone(), incoming.target.verb);
        let ready = self.respond_to(&mut state, user, incoming, body, now);
        let code = ready.as_ref().map_or_else(Status::code, |ready| ready.answer.code);
        state.requests.record(&name, verb, code);
        ready
    }

    fn respond_to(
        &self,
        state: &mut State,
        user: User,
        incoming: Incoming,
        body: routes::Body,
        now: Timestamp,
    ) -> Result<Ready, Status> {
        // Checked before the request is applied, because its answer could not be sent.
        let form = incoming.form.ok_or_else(Status::not_acceptable)?;
        let content_type = media_type(&incoming.head.headers).to_owned();
        let is_watch = incoming.target.verb == Verb::Watch;
        let scope = is_watch.then(|| Arc::new(self.scope(&incoming, Some(&user))));
        let agent = incoming.head.headers.get(USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default().to_owned();
        let impersonation = Impersonation::wanted(&incoming.head.headers);
        let target = incoming.target;
        let call = Call { target, form, user, impersonation, body, content_type, agent, now };
        let answer = state.respond(call)?;
        // Under the same lock, so that the watch misses no change.
        let registration = match (&answer.payload, scope) {
            (Payload::Watch(start), Some(scope)) if start.error.is_none() => {
                Some(state.hub.add(start, scope, incoming.life))
            }
            _ => None,
        };
        Ok(Ready { answer, registration })
    }

    fn control(&self, incoming: &Incoming) -> Response<Body> {
        let now = self.shared.now();
        let body = incoming.body.clone();
        let answer = body.and_then(|body| {
            let user = self.user(&self.shared.lock(), &incoming.head.headers, now)?;
            control::respond(&self.shared, &incoming.target, &user, &body)
        });
        let answer = answer.map(|answer| Ready { answer, registration: None });
        render(answer, incoming.form.unwrap_or(Form::Json), &self.shared, now)
    }

    /// Counts a request that a fault refuses.
    fn count(&self, incoming: &Incoming, code: u16, now: Timestamp) {
        let mut state = self.shared.lock();
        if let Ok(user) = self.user(&state, &incoming.head.headers, now) {
            state.requests.record(&user.name, incoming.target.verb, code);
        }
    }

    /// The properties by which faults select a request; the user is empty if the token is unknown.
    fn scope(&self, incoming: &Incoming, user: Option<&User>) -> Scope {
        let Incoming { head, target, .. } = incoming;
        let user = match user {
            Some(user) => user.name.clone(),
            None => {
                let known = self.user(&self.shared.lock(), &head.headers, self.shared.now());
                known.map(|user| user.name).unwrap_or_default()
            }
        };
        let agent = || head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let client = self.client.as_deref().or_else(agent).unwrap_or_default().to_owned();
        let (resource, namespace, name) = match &target.place {
            Place::Resource(path) => {
                let name = if path.name.is_empty() { selected(target) } else { &path.name };
                (path.plural.clone(), path.namespace.clone(), name.to_owned())
            }
            Place::Other => Default::default(),
        };
        Scope { verb: target.verb, user, client, resource, namespace, name }
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
    type Error = Disconnected;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Disconnected>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Disconnected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(service.answer(request))
    }
}

/// The body of a response: a whole one, or the stream of a watch.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    Whole(Bytes),
    Watch(Box<WatchBody>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Disconnected;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Disconnected>>> {
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

/// A request whose body was read.
struct Incoming {
    head: Parts,
    target: Target,
    body: Result<Bytes, Status>,
    /// `None` if the server supports no representation that the client accepts.
    form: Option<Form>,
    /// The life of the server in which the request arrived.
    life: u64,
}

/// An answer, and the registration of its watch.
struct Ready {
    answer: Answer,
    registration: Option<Registration>,
}

async fn fall_silent(silence: Silence) -> Result<Response<Body>, Disconnected> {
    match silence {
        Silence::Hang => pending().await,
        Silence::Close => Err(Disconnected),
    }
}

/// The name in a field selector; empty if there is none.
fn selected(target: &Target) -> &str {
    let selector = target.query.text("fieldSelector").unwrap_or_default();
    let name = selector.split(',').find_map(|term| term.trim().strip_prefix("metadata.name="));
    name.map(|name| name.trim_start_matches('=')).unwrap_or_default()
}

fn render(
    answer: Result<Ready, Status>,
    form: Form,
    shared: &Arc<Shared>,
    now: Timestamp,
) -> Response<Body> {
    let response = match answer {
        Ok(ready) => render_answer(ready, form, shared, now),
        Err(status) => render_status(&status, form),
    };
    with_date(response, now)
}

/// The error of a fault, as upstream words it.
fn error(incoming: &Incoming, code: u16, retry_after: u32) -> Response<Body> {
    let retry_after = Some(retry_after).filter(|seconds| *seconds > 0);
    // Upstream writes both whatever the client accepts.
    let text = match code {
        429 => Some(Bytes::from_static(b"Too many requests, please try again later.\n")),
        504 => Some(Status::filter_timeout()),
        _ => None,
    };
    let mut response = match text {
        Some(text) => respond_with(code, "text/plain; charset=utf-8", Inner::Whole(text)),
        None => {
            let status = Status::of_fault(code, &incoming.target.place, retry_after);
            render_status(&status, incoming.form.unwrap_or(Form::Json))
        }
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn with_date(mut response: Response<Body>, now: Timestamp) -> Response<Body> {
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
            // Watches have no YAML form.
            let form = if form == Form::Yaml { Form::Json } else { form };
            content_type = form.content_type();
            Inner::Watch(Box::new(WatchBody::new(*start, form, shared, registration)))
        }
    };
    let mut response = respond_with(code, content_type, body);
    warn(&mut response, &warnings);
    response
}

fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        let value = HeaderValue::try_from(format!("299 - \"{quoted}\""));
        response.headers_mut().extend(value.ok().map(|value| (WARNING, value)));
    }
}

fn render_status(status: &Status, form: Form) -> Response<Body> {
    let body = Inner::Whole(form.json(to_json(status)));
    let mut response = respond_with(status.code(), form.content_type(), body);
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    warn(&mut response, status.warnings());
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
