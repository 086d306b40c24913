//! From a request to an answer, for a member of a group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::watch;

use super::super::places::Serve;
use super::super::routes::{
    LongPoll, ONLY_PROBES, Route, held, longest_wait, probes, ready_if, router, tag, valid_headers,
    wait_for,
};
use super::book::{Asker, NotHeld};
use super::directory::{Directory, Sought};
use super::events::stream;
use super::own_tasks::{OwnTasks, json};
use crate::http::access::{Access, Refusal, with_secret};
use crate::http::metrics::Exporter;
use crate::http::response::{JSON, of_type, short_body};

/// What the routes know.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) tasks: OwnTasks,
    pub(crate) directory: Directory,
    pub(crate) exporter: Exporter,
    /// Counts the permits that the application has given back; nothing where the tasks are something else.
    pub(crate) given_back: Option<watch::Sender<u64>>,
    pub(crate) was_reached: Arc<AtomicBool>,
    /// How often a listener gets a new time, if nothing changes.
    pub(crate) tick: Duration,
}

impl Serve for Routes {
    fn for_application(self, access: Access) -> Router {
        let access = Arc::new(access);
        let routes = application(&access).into_iter().chain(probes(&self.exporter, get(ready)));
        let not_found = "this sidecar is a member of a group: see /openapi.json\n";
        router(routes, not_found, &access).with_state(self)
    }

    fn for_probes(self) -> Router {
        let routes = probes(&self.exporter, get(ready)).into_iter();
        router(routes, ONLY_PROBES, &Arc::new(Access::Probes)).with_state(self)
    }
}

/// What only the application can ask for.
fn application(access: &Arc<Access>) -> [Route<Routes>; 7] {
    let secret = from_fn_with_state(Arc::clone(access), with_secret);
    let short = from_fn_with_state(LONGEST_BODY, short_body);
    [
        ("/v1/tasks", get(tasks)),
        ("/v1/events", get(events)),
        ("/v1/lifeline", get(lifeline).route_layer(secret.clone())),
        ("/v1/tasks/{name}/released", post(released).route_layer(short).route_layer(secret)),
        ("/v1/owner", get(owner)),
        ("/v1/members", get(members)),
        ("/openapi.json", get(async || of_type(JSON, OPENAPI.to_owned()))),
    ]
}

async fn ready(State(routes): State<Routes>) -> Result<&'static str, Refusal> {
    ready_if(routes.was_reached.load(Ordering::Relaxed))
}

async fn tasks(State(routes): State<Routes>, wanted: LongPoll) -> Result<Response, Refusal> {
    if let Some((wait, known)) = wait_for(wanted)? {
        routes.wait(wait, &known).await;
    }
    let answer = routes.tasks.ask(Asker::Answer);
    let validity = &answer.validity;
    let valid = valid_headers(validity.valid_for_ms, validity.valid_until_boot_ms);
    Ok(([tag(&validity.change)], valid, of_type(JSON, json(&answer))).into_response())
}

impl Routes {
    /// Waits for a change.
    async fn wait(&self, wait: Duration, known: &str) {
        let mut changes = self.tasks.changes();
        changes.borrow_and_update();
        let now = self.tasks.ask(Asker::Poll).validity;
        if now.change != known {
            return;
        }
        let wait = longest_wait(wait, now.valid_for_ms);
        let _ = tokio::time::timeout(wait, changes.changed()).await;
    }
}

async fn events(State(routes): State<Routes>) -> Response {
    stream(routes.tasks, routes.tick, None)
}

async fn lifeline(State(routes): State<Routes>, method: Method) -> Result<Response, Refusal> {
    let held = held(&method, || routes.tasks.hold_lifeline())?;
    Ok(stream(routes.tasks, routes.tick, Some(held)))
}

/// What the application says about a task on which its work has stopped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stopped {
    token: u64,
}

async fn released(
    State(routes): State<Routes>,
    name: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Result<Response, (StatusCode, String)> {
    let refused = |status, what: &str| (status, what.to_owned());
    let Path(name) =
        name.map_err(|_| refused(StatusCode::BAD_REQUEST, "no task has this name\n"))?;
    let Stopped { token } = serde_json::from_slice(&body).map_err(|_| {
        let hint = "send {\"token\": TOKEN}, with the token under which the work ran\n";
        refused(StatusCode::BAD_REQUEST, hint)
    })?;
    match routes.tasks.stopped(&name, token) {
        Ok(is_released) => {
            if let Some(given_back) = routes.given_back.as_ref().filter(|_| !is_released) {
                given_back.send_modify(|times| *times += 1);
            }
            let state = if is_released { "released" } else { "done" };
            let answer = serde_json::json!({ "name": name, "token": token, "state": state });
            Ok(of_type(JSON, json(&answer)))
        }
        Err(NotHeld::Task) => Err(refused(
            StatusCode::NOT_FOUND,
            "nothing was released: this member does not have the task, or has released it already; if your work on it \
             has stopped, there is nothing left to do\n",
        )),
        Err(NotHeld::Token(now)) => Err((
            StatusCode::CONFLICT,
            format!(
                "nothing was released: this member has the task under token {now}, and token {token} is over; ask \
                 GET /v1/tasks before you work on it again\n"
            ),
        )),
    }
}

/// The parameters of the query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    task: Option<String>,
    key: Option<String>,
}

async fn owner(
    State(routes): State<Routes>,
    named: Result<Query<Named>, QueryRejection>,
) -> Result<Response, Refusal> {
    let hint: Refusal = (StatusCode::BAD_REQUEST, "name one: task=NAME, or key=KEY of slots\n");
    let Query(named) = named.map_err(|_| hint)?;
    let sought = match (named.task, named.key) {
        (Some(task), None) => Sought::Task(task),
        // A key with other bytes belongs to another slot than what is left of it here.
        (None, Some(key)) if key.contains(char::REPLACEMENT_CHARACTER) => {
            return Err((StatusCode::BAD_REQUEST, "a key is UTF-8, percent-encoded\n"));
        }
        (None, Some(key)) => Sought::Key(key),
        _ => return Err(hint),
    };
    let answer = routes.directory.owner(sought).ok_or((
        StatusCode::CONFLICT,
        "the tasks of this group are not slots, so they have no keys: ask with task=NAME\n",
    ))?;
    let valid = valid_headers(answer.valid_for_ms, answer.valid_until_boot_ms);
    Ok((valid, of_type(JSON, json(&answer))).into_response())
}

async fn members(State(routes): State<Routes>) -> Result<Response, (StatusCode, String)> {
    match routes.directory.members().await {
        Ok(answer) => Ok(of_type(JSON, answer)),
        Err(why) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))),
    }
}

const OPENAPI: &str = include_str!("openapi.json");

/// There is room for a number, and for what a client may write around it.
const LONGEST_BODY: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_openapi_document_has_the_routes_and_no_others() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let documented = document["paths"].as_object().unwrap().keys().cloned();
        let mut documented: Vec<_> = documented.collect();
        let (access, exporter) = (Arc::new(Access::Socket), Exporter::new());
        let routes = application(&access).into_iter().chain(probes(&exporter, get(ready)));
        let mut routes: Vec<_> = routes.map(|(path, _)| path.to_owned()).collect();
        documented.sort();
        routes.sort();
        assert_eq!(documented, routes);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
