//! From a request to an answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use incumbent::{Clock, Lock};
use maud::html;
use tokio::sync::watch;

use super::actions::Form;
use super::board::Board;
use super::page::Frame;
use super::stream::{Subject, stream};
use super::timeline::Window;
use super::{Setting, json, lock_page, page};
use crate::http::access::{Access, Refusal};
use crate::http::response::{Body, JSON, event_stream, guard, of_type, plain};
use crate::runtime::events;

/// What the routes know.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) boards: watch::Receiver<Arc<Board>>,
    pub(crate) setting: Arc<Setting>,
    pub(crate) access: Access,
}

impl Routes {
    pub(crate) async fn respond(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let is_head = request.method() == Method::HEAD;
        let mut response = match self.try_respond(request).await {
            Ok(response) => response,
            Err((status, text)) => plain(status, text),
        };
        if is_head {
            *response.body_mut() = Body::Full(Bytes::new().into());
        }
        shield(response.headers_mut());
        Ok(response)
    }

    async fn try_respond(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        self.access.check_host(request.uri(), request.headers())?;
        let path = request.uri().path().to_owned();
        let is_allowed = match *request.method() {
            Method::GET | Method::HEAD => true,
            Method::POST => path.starts_with("/lock/"),
            _ => false,
        };
        if !is_allowed {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "not by this method\n"));
        }
        let query = Query::of(request.uri().query().unwrap_or_default())?;
        let board = self.boards.borrow().clone();
        let at = Clock::system().instant().since_start();
        match path.as_str() {
            "/" if wants_json(request.headers()) => {
                Ok(self.json(json::all(&self.setting, &board, at)))
            }
            "/" => Ok(self.html(page::front(&self.setting, &board, query.window, &query.filter))),
            "/api/state" => Ok(self.json(json::all(&self.setting, &board, at))),
            "/events" => self.events(&request, query),
            "/style.css" => {
                Ok(of_type(StatusCode::OK, "text/css; charset=utf-8", STYLE.to_owned()))
            }
            "/script.js" => {
                Ok(of_type(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT.to_owned()))
            }
            "/icon.svg" | "/favicon.ico" => {
                Ok(of_type(StatusCode::OK, "image/svg+xml", ICON.to_owned()))
            }
            // One thread does all: that it answers says that it lives.
            "/healthz" | "/livez" => Ok(plain(StatusCode::OK, "ok\n")),
            "/readyz" if board.has_looked => Ok(plain(StatusCode::OK, "ok\n")),
            "/readyz" => {
                Err((StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet\n"))
            }
            path => {
                let (lock, is_api) = match path.strip_prefix("/api") {
                    Some(path) => (lock_of(path), true),
                    None => (lock_of(path), false),
                };
                let lock = lock.ok_or((StatusCode::NOT_FOUND, "there is no such page\n"))?;
                if request.method() == Method::POST {
                    return self.steer(request, &lock).await;
                }
                let Some(row) = board.row(&lock) else { return Ok(self.no_lock(&board, &lock)) };
                if is_api || wants_json(request.headers()) {
                    return Ok(self.json(json::one(&board, row, at)));
                }
                let events = events::of(&self.setting.client, &lock).await;
                Ok(self.html(lock_page::page(&self.setting, &board, row, query.window, &events)))
            }
        }
    }

    fn events(&self, request: &Request<Incoming>, query: Query) -> Result<Response<Body>, Refusal> {
        // Another site's page cannot read it, but could use up the connections.
        let site = request.headers().get("sec-fetch-site").and_then(|site| site.to_str().ok());
        if site.is_some_and(|site| site != "same-origin" && site != "none") {
            return Err((StatusCode::FORBIDDEN, "not for other sites' pages\n"));
        }
        let body = match *request.method() {
            Method::HEAD => Body::Full(Bytes::new().into()),
            _ => {
                let subject = Subject { window: query.window, lock: query.lock };
                stream(self.boards.clone(), self.setting.clone(), subject)
            }
        };
        Ok(event_stream(body))
    }

    async fn steer(
        &self,
        request: Request<Incoming>,
        lock: &Lock,
    ) -> Result<Response<Body>, Refusal> {
        let Some(steering) = &self.setting.steering else {
            return Err((StatusCode::FORBIDDEN, "this page changes nothing: see --allow-steer\n"));
        };
        let (head, body) = request.into_parts();
        let body = tokio::time::timeout(PATIENCE, Limited::new(body, LONGEST_BODY).collect()).await;
        let Ok(Ok(body)) = body else {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "a short form, and soon\n"));
        };
        let form = Form::parse(&body.to_bytes());
        let form = form.ok_or((StatusCode::BAD_REQUEST, "this is none of the page's forms\n"))?;
        steering.check(&head.headers, &form)?;
        if steering.needs_secret {
            self.access.check_secret(form.secret.as_bytes())?;
        }
        // What is true now, not when the request came in.
        let board = self.boards.borrow().clone();
        let row = board.row(lock).ok_or((StatusCode::NOT_FOUND, "the lock is gone\n"))?;
        let outcome = match form.action(row) {
            Ok(action) => {
                tracing::info!(%lock, action = form.action, to = form.to, "asked by the page");
                let client = self.setting.client.clone();
                action
                    .ask(client, &row.sighted.view)
                    .await
                    .map_err(|why| (StatusCode::BAD_GATEWAY, why))
            }
            Err((status, why)) => Err((status, why.to_owned())),
        };
        let path = row.view().path();
        match outcome {
            Ok(()) => {
                let mut response = plain(StatusCode::SEE_OTHER, "asked\n");
                if let Ok(path) = HeaderValue::try_from(path) {
                    response.headers_mut().insert(header::LOCATION, path);
                }
                Ok(response)
            }
            Err((status, why)) => Ok(self.refused(&board, status, &why, &path)),
        }
    }

    /// A page that says why not, and leads back.
    fn refused(&self, board: &Board, status: StatusCode, why: &str, path: &str) -> Response<Body> {
        let main = html! {
            h1 { "It was not asked" }
            p data-testid="refused" { (crate::model::format::printable(why.trim_end())) }
            p { a href=(path) { "Back" } }
        };
        let (title, events) = ("It was not asked · incumbent", "");
        let page = Frame { title, events, setting: &self.setting, board }.around(&main);
        of_type(status, HTML, page)
    }

    fn no_lock(&self, board: &Board, lock: &Lock) -> Response<Body> {
        let main = html! {
            h1 { "No such election" }
            p {
                (lock) " in namespace " (lock.namespace())
                " does not exist, or is none of those that are looked at here."
            }
            p { a href="/" { "All elections" } }
        };
        let (title, events) = ("No such election · incumbent", "");
        let page = Frame { title, events, setting: &self.setting, board }.around(&main);
        of_type(StatusCode::NOT_FOUND, HTML, page)
    }

    fn html(&self, page: String) -> Response<Body> {
        of_type(StatusCode::OK, HTML, page)
    }

    fn json(&self, text: String) -> Response<Body> {
        of_type(StatusCode::OK, JSON, text)
    }
}

/// What stands behind the question mark.
struct Query {
    window: Window,
    lock: Option<Lock>,
    filter: String,
}

impl Query {
    fn of(text: &str) -> Result<Self, Refusal> {
        let mut query = Self { window: Window::FiveMinutes, lock: None, filter: String::new() };
        let wrong = |why| (StatusCode::BAD_REQUEST, why);
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "window" => {
                    let window = Window::parse(value);
                    query.window = window.ok_or_else(|| wrong("window is 5m, 1h or start\n"))?;
                }
                "lock" => {
                    let lock = lock_of(&format!("/lock/{value}"));
                    query.lock = Some(lock.ok_or_else(|| wrong("lock is NAMESPACE/KIND/NAME\n"))?);
                }
                "q" => {
                    let text = super::actions::decoded(value);
                    query.filter = text.ok_or_else(|| wrong("q is some text\n"))?;
                }
                // Whoever links here may add what they like.
                _ => {}
            }
        }
        Ok(query)
    }
}

/// The lock of `/lock/NAMESPACE/KIND/NAME[:KEY]`.
fn lock_of(path: &str) -> Option<Lock> {
    let (namespace, lock) = path.strip_prefix("/lock/")?.split_once('/')?;
    Lock::parse(namespace, lock).ok()
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

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
const ICON: &str = include_str!("icon.svg");

/// Two identities and two secrets, of which a form may make three bytes each.
const LONGEST_BODY: usize = 8192;

/// A form of some lines takes no time at all.
const PATIENCE: Duration = Duration::from_secs(5);
