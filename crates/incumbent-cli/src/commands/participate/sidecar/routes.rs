//! From a request to an answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use incumbent::{Identity, Release};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::answers::{Answer, Answers, Asker};
use super::events::stream;
use super::leader_loop::StepDown;
use super::lifeline::Lifelines;
use crate::http::access::{Access, Refusal};
use crate::http::metrics::{Exporter, OPEN_METRICS};
use crate::http::response::{Body, JSON, event_stream, guard, of_type, plain};

/// What the routes know.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) answers: Answers,
    pub(crate) lifelines: Lifelines,
    pub(crate) exporter: Exporter,
    pub(crate) step_downs: mpsc::Sender<StepDown>,
    /// How often a listener is told for how long it is still so.
    pub(crate) tick: Duration,
}

/// What can be asked for, and by which method.
const ROUTES: [(&str, &[Method]); 12] = [
    ("/", READ),
    ("/v1/leader", READ),
    ("/v1/events", READ),
    ("/v1/lifeline", READ),
    ("/v1/step-down", &[Method::POST]),
    ("/leader", READ),
    ("/livez", READ),
    ("/healthz", READ),
    ("/readyz", READ),
    ("/startupz", READ),
    ("/metrics", READ),
    ("/openapi.json", READ),
];

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

const READ: &[Method] = &[Method::GET, Method::HEAD];

/// What a kubelet, a load balancer and a Prometheus ask for.
const PROBES: [&str; 6] = ["/leader", "/livez", "/healthz", "/readyz", "/startupz", "/metrics"];

impl Routes {
    /// What answers at a listener with these rules.
    pub(crate) fn with(
        self,
        access: Access,
    ) -> impl Fn(Request<Incoming>) -> Answering + Clone + Send + 'static {
        move |request| Box::pin(self.clone().respond(access.clone(), request))
    }

    async fn respond(
        self,
        access: Access,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let mut response = match self.try_respond(&access, request).await {
            Ok(response) => response,
            Err((status, text)) => plain(status, text),
        };
        guard(response.headers_mut());
        Ok(response)
    }

    async fn try_respond(
        &self,
        access: &Access,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        access.check_host(request.uri(), request.headers())?;
        let path = request.uri().path();
        let Some((path, methods)) = ROUTES.into_iter().find(|(known, _)| *known == path) else {
            return Err((StatusCode::NOT_FOUND, "see /openapi.json\n"));
        };
        let is_probe = matches!(access, Access::Probes);
        if is_probe && !PROBES.contains(&path) {
            return Err((StatusCode::NOT_FOUND, "here are probes and metrics alone\n"));
        }
        if !methods.contains(request.method()) {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "not by this method\n"));
        }
        let asker = if is_probe { Asker::Probe } else { Asker::Application };
        match path {
            "/" => Ok(answered(StatusCode::OK, &self.answers.ask(asker), Answer::old_json)),
            "/leader" => Ok(self.leads(asker)),
            "/v1/leader" => self.leader(&request).await,
            "/v1/events" => Ok(self.events(&request, None)),
            "/v1/lifeline" => self.lifeline(access, &request),
            "/v1/step-down" => self.step_down(access, request).await,
            "/readyz" | "/startupz" => match self.answers.is_ready() {
                true => Ok(plain(StatusCode::OK, "ok\n")),
                false => {
                    Err((StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n"))
                }
            },
            "/metrics" => Ok(of_type(StatusCode::OK, OPEN_METRICS, self.exporter.text())),
            "/openapi.json" => Ok(of_type(StatusCode::OK, JSON, OPENAPI.to_owned())),
            // One thread does all: that it answers says that it lives.
            _ => Ok(plain(StatusCode::OK, "ok\n")),
        }
    }

    fn leads(&self, asker: Asker) -> Response<Body> {
        let answer = self.answers.ask(asker);
        let status = match answer.is_self {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        match asker {
            Asker::Application => answered(status, &answer, Answer::json),
            // From outside anybody may ask: no names.
            Asker::Probe => {
                plain(status, if answer.is_self { "leads\n" } else { "does not lead\n" })
            }
        }
    }

    async fn leader(&self, request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let Query { wait, known } = Query::of(request)?;
        if let (Some(wait), Some(known)) = (wait, known) {
            self.wait(wait, &known).await;
        }
        Ok(answered(StatusCode::OK, &self.answers.ask(Asker::Application), Answer::json))
    }

    /// Waits for a change, but never so long that what the asker knows runs out.
    async fn wait(&self, wait: Duration, known: &str) {
        let mut changes = self.answers.changes();
        changes.borrow_and_update();
        let now = self.answers.ask(Asker::Probe);
        if now.change != known {
            return;
        }
        let half = Duration::from_millis(now.valid_for_ms / 2);
        let wait = if half.is_zero() { wait } else { wait.min(half) };
        let _ = tokio::time::timeout(wait.min(LONGEST_WAIT), changes.changed()).await;
    }

    fn events(
        &self,
        request: &Request<Incoming>,
        lifeline: Option<super::lifeline::Lifeline>,
    ) -> Response<Body> {
        let known = request.headers().get("last-event-id").and_then(|id| id.to_str().ok());
        let body = match *request.method() {
            Method::HEAD => Body::Full(Bytes::new().into()),
            _ => stream(self.answers.clone(), known.map(str::to_owned), self.tick, lifeline),
        };
        event_stream(body)
    }

    fn lifeline(
        &self,
        access: &Access,
        request: &Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        access.check_change(request.headers())?;
        if request.method() == Method::HEAD {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "a lifeline is held open: GET\n"));
        }
        match self.lifelines.hold() {
            Some(lifeline) => Ok(self.events(request, Some(lifeline))),
            None => Err((StatusCode::TOO_MANY_REQUESTS, "too many lifelines are open\n")),
        }
    }

    async fn step_down(
        &self,
        access: &Access,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        access.check_change(request.headers())?;
        let body = Limited::new(request.into_body(), LONGEST_BODY).collect();
        let body = tokio::time::timeout(PATIENCE, body).await;
        let Ok(Ok(body)) = body else {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "a short body, and soon\n"));
        };
        let to = wish(&body.to_bytes())?;
        let not_leading: Refusal = (StatusCode::CONFLICT, "this candidate does not lead\n");
        if !self.answers.is_held() {
            return Err(not_leading);
        }
        let (done, outcome) = oneshot::channel();
        let sent = self.step_downs.try_send(StepDown { to, done });
        sent.map_err(|_| (StatusCode::TOO_MANY_REQUESTS, "another step-down is under way\n"))?;
        let Ok(Some(release)) = outcome.await else { return Err(not_leading) };
        let release = match release {
            Release::Done => "done",
            Release::NotHeld => "not-held",
            _ => "left-to-expire",
        };
        Ok(of_type(StatusCode::OK, JSON, format!("{{\"release\":\"{release}\"}}")))
    }
}

/// Who shall lead next, if the body says so.
fn wish(body: &[u8]) -> Result<Option<Identity>, Refusal> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wish {
        to: Option<String>,
    }
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let wish: Wish = serde_json::from_slice(body)
        .map_err(|_| (StatusCode::BAD_REQUEST, "say {\"to\": \"IDENTITY\"}, or nothing\n"))?;
    match wish.to.as_deref() {
        None => Ok(None),
        Some(to) if to.len() <= 253 && !to.chars().any(char::is_control) => Ok(Identity::new(to)),
        Some(_) => Err((StatusCode::BAD_REQUEST, "nobody can be called that\n")),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    wait: Option<Duration>,
    known: Option<String>,
}

impl Query {
    fn of(request: &Request<Incoming>) -> Result<Self, Refusal> {
        Self::parse(request.uri().query().unwrap_or(""))
    }

    fn parse(text: &str) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("wait", wait)) => match crate::flags::duration::duration(wait) {
                    Ok(wait) => query.wait = Some(wait),
                    Err(_) => return Err((StatusCode::BAD_REQUEST, "wait is like 30s\n")),
                },
                Some(("known", known)) => query.known = Some(known.to_owned()),
                _ => {
                    return Err((
                        StatusCode::BAD_REQUEST,
                        "wait=30s and known=CHANGE can be said\n",
                    ));
                }
            }
        }
        Ok(query)
    }
}

fn answered(status: StatusCode, answer: &Answer, json: fn(&Answer) -> String) -> Response<Body> {
    let mut response = of_type(status, JSON, json(answer));
    let headers = response.headers_mut();
    let number = |number: u64| HeaderValue::from(number);
    headers.insert(VALID_FOR, number(answer.valid_for_ms));
    headers.insert(VALID_UNTIL, number(answer.valid_until_boot_ms));
    let tag = HeaderValue::try_from(format!("W/\"{}\"", answer.change));
    headers.insert(header::ETAG, tag.expect("a change is a number and a dash"));
    response
}

const OPENAPI: &str = include_str!("openapi.json");
const VALID_FOR: HeaderName = HeaderName::from_static("incumbent-valid-for-ms");
const VALID_UNTIL: HeaderName = HeaderName::from_static("incumbent-valid-until-boot-ms");

/// Who waits longer asks again; whatever is in between has closed the connection by then.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// An identity has 253 bytes, of which JSON may make six each.
const LONGEST_BODY: usize = 2048;

/// A body of two lines takes no time at all.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_openapi_document_has_the_routes_and_no_others() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut documented: Vec<_> =
            document["paths"].as_object().unwrap().keys().cloned().collect();
        let mut routes: Vec<_> = ROUTES.iter().map(|(path, _)| (*path).to_owned()).collect();
        documented.sort();
        routes.sort();
        assert_eq!(documented, routes);
        for (path, methods) in ROUTES {
            for method in methods.iter().filter(|method| **method != Method::HEAD) {
                let method = method.as_str().to_lowercase();
                assert!(document["paths"][path][&method].is_object(), "{method} {path}");
            }
        }
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn a_query_is_understood_or_refused() {
        let parsed = Query::parse("wait=30s&known=a-1").unwrap();
        assert_eq!(
            parsed,
            Query { wait: Some(Duration::from_secs(30)), known: Some("a-1".to_owned()) }
        );
        assert_eq!(Query::parse("").unwrap(), Query::default());
        for wrong in ["wait=x", "wait=-1s", "index=7", "wait"] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wish_is_an_identity_or_nothing() {
        assert_eq!(wish(b" \n").unwrap(), None);
        assert_eq!(wish(b"{}").unwrap(), None);
        assert_eq!(wish(br#"{"to":"jane"}"#).unwrap(), Identity::new("jane"));
        for wrong in [&b"jane"[..], br#"{"To":"jane"}"#, br#"{"to":"a\u0007"}"#, b"\xff"] {
            assert!(wish(wrong).is_err(), "{wrong:?}");
        }
    }
}
