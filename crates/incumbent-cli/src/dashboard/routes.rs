//! From a request to an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use incumbent::{Clock, Lock};
use maud::html;
use serde::Deserialize;
use tokio::sync::watch;

use super::actions::ActionForm;
use super::board::{Board, Row};
use super::frame::Frame;
use super::group_board::{GroupBoard, GroupName};
use super::stream::{Of, Subject, stream};
use super::timeline::Window;
use super::{Setting, group_page, json, lock_page, page};
use crate::http::access::{Access, Refusal, by_own_name};
use crate::http::response::{JSON, guard, of_type, short_body, wrong_method};
use crate::model::format;
use crate::runtime::events;

/// What the routes know.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) boards: watch::Receiver<Arc<Board>>,
    pub(crate) setting: Arc<Setting>,
    pub(crate) access: Arc<Access>,
}

impl Routes {
    pub(crate) fn router(self) -> Router {
        let lock = get(lock_page)
            .merge(post(steer).route_layer(from_fn_with_state(LONGEST_BODY, short_body)));
        // One thread does all: that it answers says that it lives.
        let lives = || get(async || "ok\n");
        let icon = || get(async || of_type("image/svg+xml", ICON.to_owned()));
        let by_own_name = from_fn_with_state(Arc::clone(&self.access), by_own_name);
        Router::new()
            .route("/", get(front))
            .route("/api/state", get(state))
            .route("/events", get(news))
            .route("/style.css", get(async || of_type("text/css; charset=utf-8", STYLE.to_owned())))
            .route(
                "/script.js",
                get(async || of_type("text/javascript; charset=utf-8", SCRIPT.to_owned())),
            )
            .route("/icon.svg", icon())
            .route("/favicon.ico", icon())
            .route("/healthz", lives())
            .route("/livez", lives())
            .route("/readyz", get(ready))
            .route("/lock/{namespace}/{kind}/{name}", lock)
            .route("/api/lock/{namespace}/{kind}/{name}", get(lock_state))
            .route("/group/{namespace}/{name}", get(group))
            .route("/api/group/{namespace}/{name}", get(group_state))
            .fallback(NO_PAGE)
            .method_not_allowed_fallback(wrong_method)
            .layer(by_own_name)
            .layer(map_response(async |mut response: Response| {
                shield(response.headers_mut());
                response
            }))
            .with_state(self)
    }

    fn board(&self) -> Arc<Board> {
        self.boards.borrow().clone()
    }
}

async fn front(State(routes): State<Routes>, wanted: Wanted, headers: HeaderMap) -> Response {
    if wants_json(&headers) {
        return state(State(routes)).await;
    }
    let board = routes.board();
    html_page(page::front(&routes.setting, &board, wanted.window, &wanted.filter))
}

async fn state(State(routes): State<Routes>) -> Response {
    of_type(JSON, json::all(&routes.setting, &routes.board(), now()))
}

async fn ready(State(routes): State<Routes>) -> Result<&'static str, Refusal> {
    match routes.board().has_looked {
        true => Ok("ok\n"),
        false => Err((StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n")),
    }
}

async fn news(
    State(routes): State<Routes>,
    wanted: Wanted,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // Another site's page cannot read it, but could use up the connections.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Err((StatusCode::FORBIDDEN, "not for other sites' pages\n"));
    }
    let of = match (wanted.lock, wanted.group) {
        (Some(lock), _) => Of::Lock(lock),
        (None, Some(group)) => Of::Group(group, wanted.filter),
        (None, None) => Of::All,
    };
    let subject = Subject { window: wanted.window, of };
    Ok(stream(routes.boards, routes.setting, subject))
}

async fn lock_page(
    State(routes): State<Routes>,
    Named(lock): Named,
    wanted: Wanted,
    headers: HeaderMap,
) -> Response {
    let board = routes.board();
    let Some(row) = board.row(&lock) else { return no_lock(&routes, &board, &lock) };
    if wants_json(&headers) {
        return of_type(JSON, json::one(&board, row, now()));
    }
    let events = events::of(&routes.setting.client, &lock).await;
    html_page(lock_page::page(&routes.setting, &board, row, wanted.window, &events))
}

async fn lock_state(State(routes): State<Routes>, Named(lock): Named) -> Response {
    let board = routes.board();
    match board.row(&lock) {
        Some(row) => of_type(JSON, json::one(&board, row, now())),
        None => no_lock(&routes, &board, &lock),
    }
}

async fn group(
    State(routes): State<Routes>,
    Path((namespace, name)): Path<(String, String)>,
    wanted: Wanted,
    headers: HeaderMap,
) -> Response {
    let (board, name) = (routes.board(), GroupName { namespace, name });
    match board.group(&name) {
        None => no_group(&routes, &board, &name),
        Some(group) if wants_json(&headers) => group_json(group),
        Some(group) => html_page(group_page::page(&routes.setting, &board, group, &wanted.filter)),
    }
}

async fn group_state(
    State(routes): State<Routes>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    let (board, name) = (routes.board(), GroupName { namespace, name });
    board.group(&name).map_or_else(|| no_group(&routes, &board, &name), group_json)
}

fn group_json(group: &GroupBoard) -> Response {
    of_type(JSON, json::group(group, now()))
}

async fn steer(
    State(routes): State<Routes>,
    Named(lock): Named,
    headers: HeaderMap,
    form: Result<Form<ActionForm>, FormRejection>,
) -> Result<Response, Refusal> {
    let Some(steering) = &routes.setting.steering else {
        return Err((StatusCode::FORBIDDEN, "this page changes nothing: see --allow-steer\n"));
    };
    let Form(form) =
        form.map_err(|_| (StatusCode::BAD_REQUEST, "this is not one of the page's forms\n"))?;
    steering.check(&headers, &form)?;
    if steering.needs_secret {
        routes.access.check_secret(form.secret.as_bytes())?;
    }
    // What is true now, not when the request came in.
    let board = routes.board();
    let row = board.row(&lock).ok_or((StatusCode::NOT_FOUND, "the lock is gone\n"))?;
    let outcome = match form.action(row) {
        Ok(action) => {
            tracing::info!(%lock, action = form.action, to = form.to, "asked by the page");
            let asked = action.ask(routes.setting.client.clone(), &row.sighted.view).await;
            asked.map_err(|why| (StatusCode::BAD_GATEWAY, why))
        }
        Err((status, why)) => Err((status, why.to_owned())),
    };
    Ok(match outcome {
        Ok(()) => asked(row),
        Err((status, why)) => refused(&routes, &board, status, &why, &row.view().path()),
    })
}

/// Leads back to the page of the lock.
fn asked(row: &Row) -> Response {
    let path = HeaderValue::try_from(row.view().path()).ok();
    let path: HeaderMap = path.map(|path| (header::LOCATION, path)).into_iter().collect();
    (StatusCode::SEE_OTHER, path, "asked\n").into_response()
}

/// A page that says why not, and leads back.
fn refused(routes: &Routes, board: &Board, status: StatusCode, why: &str, path: &str) -> Response {
    let main = html! {
        h1 { "It was not asked" }
        p data-testid="refused" { (format::printable(why.trim_end())) }
        p { a href=(path) { "Back" } }
    };
    let (title, events) = ("It was not asked · incumbent", "");
    let page = Frame { title, events, setting: &routes.setting, board }.around(&main);
    (status, html_page(page)).into_response()
}

fn no_lock(routes: &Routes, board: &Board, lock: &Lock) -> Response {
    absent(routes, board, "No such election", &lock.to_string(), lock.namespace())
}

fn no_group(routes: &Routes, board: &Board, name: &GroupName) -> Response {
    let GroupName { namespace, name } = name;
    absent(routes, board, "No such group", &format!("group/{}", format::name(name)), namespace)
}

fn absent(routes: &Routes, board: &Board, head: &str, what: &str, namespace: &str) -> Response {
    let main = html! {
        h1 { (head) }
        p { (what) " in namespace " (format::name(namespace)) " does not exist, or is not shown here." }
        p { a href="/" { "Overview" } }
    };
    let (title, events) = (&*format!("{head} · incumbent"), "");
    let page = Frame { title, events, setting: &routes.setting, board }.around(&main);
    (StatusCode::NOT_FOUND, html_page(page)).into_response()
}

fn html_page(page: String) -> Response {
    of_type("text/html; charset=utf-8", page)
}

/// The moment on the clock of the survey.
fn now() -> Duration {
    Clock::system().instant().since_start()
}

/// The lock of `/lock/NAMESPACE/KIND/NAME[:KEY]`.
struct Named(Lock);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<(String, String, String)>::from_request_parts(parts, state).await;
        let Path((namespace, kind, name)) = path.map_err(|_| NO_PAGE)?;
        let lock = Lock::parse(&namespace, &format!("{kind}/{name}"));
        lock.map(Self).map_err(|_| NO_PAGE)
    }
}

/// What stands behind the question mark.
struct Wanted {
    window: Window,
    lock: Option<Lock>,
    group: Option<GroupName>,
    filter: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        /// Whoever links here may add what they like.
        #[derive(Deserialize)]
        struct Text {
            window: Option<String>,
            lock: Option<String>,
            group: Option<String>,
            q: Option<String>,
        }
        let wrong = |why| (StatusCode::BAD_REQUEST, why);
        let text = Query::<Text>::from_request_parts(parts, state).await;
        let Query(text) = text.map_err(|_: QueryRejection| wrong("give each parameter once\n"))?;
        let window = text.window.map_or(Some(Window::FiveMinutes), |word| Window::parse(&word));
        let window = window.ok_or_else(|| wrong("window is 5m, 1h or start\n"))?;
        let named = |text: String| {
            let (namespace, lock) = text.split_once('/')?;
            Lock::parse(namespace, lock).ok()
        };
        let lock =
            text.lock.map(|text| named(text).ok_or_else(|| wrong("lock is NAMESPACE/KIND/NAME\n")));
        let group = text.group.map(|text| {
            let (namespace, name) = text.split_once('/')?;
            Some(GroupName { namespace: namespace.to_owned(), name: name.to_owned() })
        });
        let group = group.map(|group| group.ok_or_else(|| wrong("group is NAMESPACE/NAME\n")));
        let (lock, group) = (lock.transpose()?, group.transpose()?);
        Ok(Self { window, lock, group, filter: text.q.unwrap_or_default() })
    }
}

/// A browser asks for HTML first, and names JSON nowhere.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains(JSON) && !accept.contains("text/html"))
}

/// A page of ours loads what is ours, and is shown in nobody else's.
fn shield(headers: &mut HeaderMap) {
    guard(headers);
    for (name, value) in SHIELD {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

const SHIELD: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    // Without any referrer a form's Origin would be "null", which another site's may be as well.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

const NO_PAGE: Refusal = (StatusCode::NOT_FOUND, "there is no such page\n");

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
const ICON: &str = include_str!("icon.svg");

/// Two identities and two secrets, of which a form may make three bytes each.
const LONGEST_BODY: usize = 8192;
