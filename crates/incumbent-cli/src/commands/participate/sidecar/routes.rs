//! From a request to an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use incumbent::{Identity, Release};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::answers::{Answer, Answers, Asker};
use super::events::stream;
use super::leader_loop::StepDown;
use super::lifeline::Lifelines;
use super::places::Serve;
use crate::flags::duration::duration;
use crate::http::access::{Access, Refusal, by_own_name, with_secret};
use crate::http::metrics::{Exporter, page};
use crate::http::response::{JSON, guard, of_type, short_body, wrong_method};

/// What the routes know.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) answers: Answers,
    pub(crate) lifelines: Lifelines,
    pub(crate) exporter: Exporter,
    pub(crate) step_downs: mpsc::Sender<StepDown>,
    /// How often a listener gets a new time, if nothing changes.
    pub(crate) tick: Duration,
}

impl Serve for Routes {
    fn for_application(self, access: Access) -> Router {
        let access = Arc::new(access);
        let routes = application(&access).into_iter().chain(probes(&self.exporter, get(ready)));
        router(routes, "see /openapi.json\n", &access).with_state(self)
    }

    fn for_probes(self) -> Router {
        let leader: Route<Self> = ("/leader", get(leads_for_probes));
        let routes = probes(&self.exporter, get(ready)).into_iter().chain([leader]);
        router(routes, ONLY_PROBES, &Arc::new(Access::Probes)).with_state(self)
    }
}

/// A router with these routes, and with what all have in common.
pub(crate) fn router<S>(
    routes: impl Iterator<Item = Route<S>>,
    not_found: &'static str,
    access: &Arc<Access>,
) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    routes
        .fold(Router::new(), |all, (path, route)| all.route(path, route))
        .fallback((StatusCode::NOT_FOUND, not_found))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(access), by_own_name))
        .layer(map_response(async |mut response: Response| {
            guard(response.headers_mut());
            response
        }))
}

/// A path, and what answers there.
pub(crate) type Route<S> = (&'static str, MethodRouter<S>);

/// What only the application can ask for.
fn application(access: &Arc<Access>) -> [Route<Routes>; 7] {
    let secret = from_fn_with_state(Arc::clone(access), with_secret);
    let short = from_fn_with_state(LONGEST_BODY, short_body);
    [
        ("/", get(old_leader)),
        ("/leader", get(leads)),
        ("/v1/leader", get(leader)),
        ("/v1/events", get(events)),
        ("/v1/lifeline", get(lifeline).route_layer(secret.clone())),
        ("/openapi.json", get(async || of_type(JSON, OPENAPI.to_owned()))),
        ("/v1/step-down", post(step_down).route_layer(short).route_layer(secret)),
    ]
}

/// What probes can ask for as well.
pub(crate) fn probes<S>(exporter: &Exporter, ready: MethodRouter<S>) -> [Route<S>; 5]
where
    S: Clone + Send + Sync + 'static,
{
    // One thread does all: that it answers says that it lives.
    let lives = || get(async || "ok\n");
    [
        ("/livez", lives()),
        ("/healthz", lives()),
        ("/readyz", ready.clone()),
        ("/startupz", ready),
        ("/metrics", get(page).with_state(exporter.clone())),
    ]
}

async fn old_leader(State(routes): State<Routes>) -> Response {
    answered(StatusCode::OK, &routes.answers.ask(Asker::Application), Answer::old_json)
}

async fn leads(State(routes): State<Routes>) -> Response {
    let answer = routes.answers.ask(Asker::Application);
    answered(code(&answer), &answer, Answer::json)
}

/// From outside any client may ask: no names.
async fn leads_for_probes(State(routes): State<Routes>) -> (StatusCode, &'static str) {
    let answer = routes.answers.ask(Asker::Probe);
    (code(&answer), if answer.is_self { "leads\n" } else { "does not lead\n" })
}

fn code(answer: &Answer) -> StatusCode {
    if answer.is_self { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn ready(State(routes): State<Routes>) -> Result<&'static str, Refusal> {
    ready_if(routes.answers.is_ready())
}

/// Whether the API server has ever answered.
pub(crate) fn ready_if(was_reached: bool) -> Result<&'static str, Refusal> {
    match was_reached {
        true => Ok("ok\n"),
        false => Err((StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n")),
    }
}

/// The parameters of the query.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    wait: Option<String>,
    known: Option<String>,
}

/// What `GET /v1/leader` and `GET /v1/tasks` take.
pub(crate) type LongPoll = Result<Query<Wanted>, QueryRejection>;

/// How long to wait for something else than what, if at all.
pub(crate) fn wait_for(wanted: LongPoll) -> Result<Option<(Duration, String)>, Refusal> {
    let Query(wanted) = wanted
        .map_err(|_| (StatusCode::BAD_REQUEST, "the parameters are wait=30s and known=CHANGE\n"))?;
    let wait = wanted.wait.map(|wait| duration(&wait)).transpose();
    let wait = wait.map_err(|_| (StatusCode::BAD_REQUEST, "wait is like 30s\n"))?;
    Ok(wait.zip(wanted.known))
}

/// Never so long that what the asker knows expires.
pub(crate) fn longest_wait(wait: Duration, valid_for_ms: u64) -> Duration {
    let half = Duration::from_millis(valid_for_ms / 2);
    let wait = if half.is_zero() { wait } else { wait.min(half) };
    wait.min(LONGEST_WAIT)
}

async fn leader(State(routes): State<Routes>, wanted: LongPoll) -> Result<Response, Refusal> {
    if let Some((wait, known)) = wait_for(wanted)? {
        routes.wait(wait, &known).await;
    }
    Ok(answered(StatusCode::OK, &routes.answers.ask(Asker::Application), Answer::json))
}

impl Routes {
    /// Waits for a change.
    async fn wait(&self, wait: Duration, known: &str) {
        let mut changes = self.answers.changes();
        changes.borrow_and_update();
        let now = self.answers.ask(Asker::Probe);
        if now.change != known {
            return;
        }
        let wait = longest_wait(wait, now.valid_for_ms);
        let _ = tokio::time::timeout(wait, changes.changed()).await;
    }
}

async fn events(State(routes): State<Routes>, headers: HeaderMap) -> Response {
    stream(routes.answers, last_event(&headers), routes.tick, None)
}

async fn lifeline(
    State(routes): State<Routes>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let held = held(&method, || routes.lifelines.hold())?;
    Ok(stream(routes.answers, last_event(&headers), routes.tick, Some(held)))
}

/// A new lifeline, if the request can hold one and there are not too many.
pub(crate) fn held<L>(method: &Method, hold: impl FnOnce() -> Option<L>) -> Result<L, Refusal> {
    if method == Method::HEAD {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "use GET, and hold the connection open\n"));
    }
    hold().ok_or((StatusCode::TOO_MANY_REQUESTS, "too many lifelines are open\n"))
}

fn last_event(headers: &HeaderMap) -> Option<String> {
    headers.get("last-event-id")?.to_str().ok().map(str::to_owned)
}

async fn step_down(State(routes): State<Routes>, body: Bytes) -> Result<Response, Refusal> {
    let to = successor(&body)?;
    let not_leading: Refusal = (StatusCode::CONFLICT, "this candidate does not lead\n");
    if !routes.answers.is_held() {
        return Err(not_leading);
    }
    let (done, outcome) = oneshot::channel();
    let sent = routes.step_downs.try_send(StepDown { to, done });
    sent.map_err(|_| (StatusCode::TOO_MANY_REQUESTS, "another step-down is under way\n"))?;
    let Ok(Some(release)) = outcome.await else { return Err(not_leading) };
    let release = match release {
        Release::Done => "done",
        Release::NotHeld => "not-held",
        _ => "left-to-expire",
    };
    Ok(of_type(JSON, format!("{{\"release\":\"{release}\"}}")))
}

/// Which candidate is to lead next, if the body says so.
fn successor(body: &[u8]) -> Result<Option<Identity>, Refusal> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        to: Option<String>,
    }
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let named: Named = serde_json::from_slice(body).map_err(|_| {
        (StatusCode::BAD_REQUEST, "send {\"to\": \"IDENTITY\"}, or an empty body\n")
    })?;
    match named.to.as_deref() {
        None => Ok(None),
        Some(to) if to.len() <= 253 && !to.chars().any(char::is_control) => Ok(Identity::new(to)),
        Some(_) => Err((StatusCode::BAD_REQUEST, "that cannot be an identity\n")),
    }
}

fn answered(status: StatusCode, answer: &Answer, json: fn(&Answer) -> String) -> Response {
    let valid = valid_headers(answer.valid_for_ms, answer.valid_until_boot_ms);
    (status, [tag(&answer.change)], valid, of_type(JSON, json(answer))).into_response()
}

/// What the state that an answer shows is called.
pub(crate) fn tag(change: &str) -> (HeaderName, HeaderValue) {
    let tag = HeaderValue::try_from(format!("W/\"{change}\""));
    (header::ETAG, tag.expect("a change is a number and a dash"))
}

/// For how long an answer is valid, without JSON.
pub(crate) fn valid_headers(for_ms: u64, until_boot_ms: u64) -> [(HeaderName, HeaderValue); 2] {
    [(VALID_FOR, for_ms.into()), (VALID_UNTIL, until_boot_ms.into())]
}

/// What a port for probes answers to anything else.
pub(crate) const ONLY_PROBES: &str = "this port has only probes and metrics\n";

const OPENAPI: &str = include_str!("openapi.json");
const VALID_FOR: HeaderName = HeaderName::from_static("incumbent-valid-for-ms");
const VALID_UNTIL: HeaderName = HeaderName::from_static("incumbent-valid-until-boot-ms");

/// Proxies close connections that are silent for long. A client that wants to wait longer asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// An identity has 253 bytes, of which JSON may make six each.
const LONGEST_BODY: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_openapi_document_has_the_routes_and_no_others() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut documented: Vec<_> =
            document["paths"].as_object().unwrap().keys().cloned().collect();
        let (access, exporter) = (Arc::new(Access::Socket), Exporter::new());
        let routes = application(&access).into_iter().chain(probes(&exporter, get(ready)));
        let mut routes: Vec<_> = routes.map(|(path, _)| path.to_owned()).collect();
        documented.sort();
        routes.sort();
        assert_eq!(documented, routes);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn a_query_is_understood_or_refused() {
        let parsed = |query: &str| {
            let uri = format!("/v1/leader?{query}").parse().unwrap();
            Query::<Wanted>::try_from_uri(&uri).map(|Query(wanted)| wanted)
        };
        let (wait, known) = (Some("30s".to_owned()), Some("a-1".to_owned()));
        assert_eq!(parsed("wait=30s&known=a-1").unwrap(), Wanted { wait, known });
        assert_eq!(parsed("").unwrap(), Wanted::default());
        for wrong in ["index=7", "wait=1s&wait=2s", "wait=1s&index=7"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_successor_is_an_identity_or_nothing() {
        assert_eq!(successor(b" \n").unwrap(), None);
        assert_eq!(successor(b"{}").unwrap(), None);
        assert_eq!(successor(br#"{"to":"jane"}"#).unwrap(), Identity::new("jane"));
        for wrong in [&b"jane"[..], br#"{"To":"jane"}"#, br#"{"to":"a\u0007"}"#, b"\xff"] {
            assert!(successor(wrong).is_err(), "{wrong:?}");
        }
    }
}
