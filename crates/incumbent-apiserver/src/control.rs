//! `/incumbent/...`: faults, restarts, compaction and request counts at run time.
//!
//! These paths work with curl and with `kubectl create --raw`, `get --raw` and `delete --raw`. No fault applies to
//! them, because then no client could end it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::answer::Answer;
use crate::auth::User;
use crate::fault::{ActiveFault, Fault, parse_duration};
use crate::rbac::{Access, Decision, decide};
use crate::request::{Target, Verb};
use crate::state::Shared;
use crate::status::Status;

/// Whether this module answers requests for this path.
pub(crate) fn handles(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Answers such a request.
///
/// # Errors
///
/// The user is not allowed to do this, or the request is invalid.
pub(crate) fn respond(
    shared: &Arc<Shared>,
    target: &Target,
    user: &User,
    body: &[u8],
) -> Result<Answer, Status> {
    authorize(shared, target, user)?;
    let path = target.path.strip_prefix(PREFIX).unwrap_or_default().trim_end_matches('/');
    match (path, target.verb) {
        ("faults", Verb::Get) => Ok(Answer::json(200, list(&shared.faults.list()))),
        ("faults", Verb::Create) => {
            let faults = read(body).map_err(Status::bad_request)?;
            let added: Vec<_> = faults.into_iter().map(|fault| shared.add_fault(fault)).collect();
            Ok(Answer::json(201, list(&added)))
        }
        ("faults", Verb::Delete) => {
            let removed = shared.faults.clear();
            Ok(Answer::json(200, json!({"removed": removed})))
        }
        ("restart", Verb::Create) => restart(shared, target),
        ("compact", Verb::Create) => {
            shared.lock().world.store.compact();
            Ok(Answer::json(200, json!({"compacted": true})))
        }
        ("requests", Verb::Get) => Ok(Answer::json(200, requests(shared))),
        ("faults" | "restart" | "compact" | "requests", _) => Err(Status::method_not_allowed()),
        (path, verb) => match path.strip_prefix("faults/") {
            Some(id) => one(shared, id, verb),
            None => Ok(Answer::page_not_found()),
        },
    }
}

const PREFIX: &str = "/incumbent/";

/// The administrator's group may do everything. Other users need a rule for these `nonResourceURLs`.
fn authorize(shared: &Shared, target: &Target, user: &User) -> Result<(), Status> {
    let (verb, path) = (target.verb.as_str(), target.path.as_str());
    match decide(&shared.lock().world.store, user, Access::Path { verb, path }) {
        Decision::Allowed { .. } => Ok(()),
        Decision::Denied { .. } => Err(Status::forbidden_path(&user.name, verb, path)),
    }
}

fn one(shared: &Shared, id: &str, verb: Verb) -> Result<Answer, Status> {
    let id: u64 = id.parse().map_err(|_| Status::bad_request("the id of a fault is a number"))?;
    match verb {
        Verb::Get => {
            let faults = shared.faults.list();
            let found = faults.iter().find(|active| active.id() == id);
            found.map_or_else(|| Err(unknown()), |active| Ok(Answer::json(200, describe(active))))
        }
        Verb::Delete if shared.faults.remove(id) => Ok(Answer::json(200, json!({"removed": 1}))),
        Verb::Delete => Err(unknown()),
        _ => Err(Status::method_not_allowed()),
    }
}

fn unknown() -> Status {
    Status::no_such_resource()
}

fn restart(shared: &Arc<Shared>, target: &Target) -> Result<Answer, Status> {
    /// Long enough to send the answer before its connection is closed.
    const GRACE: Duration = Duration::from_millis(100);
    let down = match target.query.text("for") {
        None => Duration::ZERO,
        Some(text) => {
            let why = || {
                Status::bad_request(format!(
                    "for={text} is not understood: a time such as 2s or 500ms"
                ))
            };
            parse_duration(text).ok_or_else(why)?
        }
    };
    let shared = shared.clone();
    tokio::spawn(async move {
        sleep(GRACE).await;
        shared.restart(down);
    });
    Ok(Answer::json(202, json!({"restarting": true, "downSeconds": down.as_secs_f64()})))
}

/// The number of requests since the start, by user, verb and answer. Requests to `/incumbent/` are not counted.
fn requests(shared: &Shared) -> Value {
    let counts = shared.lock().requests.clone();
    let each = counts.iter().map(|(user, verb, code, count)| {
        json!({"user": user, "verb": verb.as_str(), "code": code, "count": count})
    });
    json!({"requests": each.collect::<Vec<_>>()})
}

/// Reads one fault per line, or JSON: an object, or an array of objects and strings.
fn read(body: &[u8]) -> Result<Vec<Fault>, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let text = text.trim();
    if text.starts_with(['{', '[', '"']) {
        let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let all = if let Value::Array(all) = json { all } else { vec![json] };
        return all.iter().map(from_json).collect();
    }
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err(format!("the body contains no fault\n{}", Fault::SYNTAX));
    }
    lines.into_iter().map(|line| line.parse().map_err(to_message)).collect()
}

fn from_json(json: &Value) -> Result<Fault, String> {
    match json {
        Value::String(text) => text.parse().map_err(to_message),
        json => Fault::from_json(json).map_err(to_message),
    }
}

fn to_message(error: crate::fault::FaultError) -> String {
    error.to_string()
}

fn list(faults: &[ActiveFault]) -> Value {
    json!({"faults": faults.iter().map(describe).collect::<Vec<_>>()})
}

fn describe(active: &ActiveFault) -> Value {
    let mut described =
        json!({"id": active.id(), "fault": active.fault().to_string(), "hits": active.hits()});
    if let Some(left) = active.time_left() {
        described["secondsLeft"] = json!(left.as_secs_f64());
    }
    described
}
