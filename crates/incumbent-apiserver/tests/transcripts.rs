//! Plays transcripts recorded from a real kube-apiserver 1.36 against this one.
//!
//! A transcript holds requests and answers; what the server chose is a token in it, such as
//! `${rv1}`. The rules, which are those of the recorder's own player:
//!
//! - `${rvN}`, `${uidN}` and `${tokN}` are bound where they are first seen in an answer. From then
//!   on the same token is the same value, and two tokens of a kind are two values. Requests are
//!   sent with what is bound. `${timeN}` and `${*}` match anything.
//! - The version of a list and of a bookmark matches anything; managedFields are ignored.
//! - A table of leases has two columns more than upstream's, and an object that is only stored a warning more.
//! - All else is equal, no member more and no member less, unless the step says otherwise.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::ApiServer;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tower_service::Service;

use matcher::Matcher;

mod matcher;

#[tokio::test(start_paused = true)]
async fn the_blackboard_walkthrough_agrees_with_upstream() {
    play("blackboard-walkthrough").await;
}

#[tokio::test(start_paused = true)]
async fn the_blackboard_from_a_service_account_agrees_with_upstream() {
    play("blackboard-service-account").await;
}

#[tokio::test(start_paused = true)]
async fn config_maps_agree_with_upstream() {
    play("configmap-crud").await;
}

#[tokio::test(start_paused = true)]
async fn leases_agree_with_upstream() {
    play("lease-crud").await;
}

#[tokio::test(start_paused = true)]
async fn watches_agree_with_upstream() {
    play("watch").await;
}

#[tokio::test(start_paused = true)]
async fn pods_agree_with_upstream() {
    play("pods").await;
}

#[tokio::test(start_paused = true)]
async fn events_agree_with_upstream() {
    play("events").await;
}

#[tokio::test(start_paused = true)]
async fn lists_agree_with_upstream() {
    play("lists").await;
}

#[tokio::test(start_paused = true)]
async fn reviews_agree_with_upstream() {
    play("reviews").await;
}

#[tokio::test(start_paused = true)]
async fn server_side_apply_agrees_with_upstream() {
    play("apply").await;
}

#[tokio::test(start_paused = true)]
async fn tables_agree_with_upstream() {
    play("tables").await;
}

#[tokio::test(start_paused = true)]
async fn deletion_owners_times_gated_fields_long_names_and_options_agree_with_upstream() {
    play("metadata-rules").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_only_stored_agrees_with_upstream() {
    play("stored").await;
}

#[tokio::test(start_paused = true)]
async fn discovery_agrees_with_upstream() {
    play("discovery").await;
}

async fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/transcripts/{name}.json"));
    let text = std::fs::read_to_string(path).expect("the transcript is there");
    let transcript: Value = serde_json::from_str(&text).expect("the transcript is JSON");
    let player = Player::new(&transcript);
    let steps = transcript["steps"].as_array().expect("the transcript has steps");
    LocalSet::new().run_until(player.steps(steps)).await;
    let differences = player.differences.borrow();
    assert!(differences.is_empty(), "{name} differs:\n{}", differences.join("\n"));
}

/// How this server warns of what it only stores.
const OWN_WARNING: &str = "this development server only stores";

/// Between the steps that are played while a watch is open, as the recorder waited.
const PAUSE: Duration = Duration::from_millis(150);

struct Player {
    server: ApiServer,
    matcher: Rc<RefCell<Matcher>>,
    differences: RefCell<Vec<String>>,
}

struct Answer {
    status: u16,
    content_type: String,
    /// Without those that say what this server does not do.
    warnings: Vec<String>,
    body: Value,
}

impl Player {
    fn new(transcript: &Value) -> Self {
        let loose = transcript["scenario"] == "discovery";
        let matcher = Rc::new(RefCell::new(Matcher::new(loose)));
        // Recorded with the gate on.
        let is_coordinated = transcript["featureGates"] == "CoordinatedLeaderElection=true";
        let server = ApiServer::builder().coordinated_leader_election(is_coordinated).build();
        Self { server, matcher, differences: RefCell::default() }
    }

    async fn steps(&self, steps: &[Value]) {
        for step in steps {
            self.step(step).await;
        }
    }

    fn step<'a>(&'a self, step: &'a Value) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            let outcome = match step.get("watchSeconds") {
                Some(_) => self.watch(step).await,
                None => {
                    let answer = self.send(&step["request"]).await;
                    self.judge(step, &answer)
                }
            };
            if let Err(why) = outcome {
                let (request, note) = (&step["request"], &step["note"]);
                let line = format!("{} {} {note}: {why}", request["method"], request["path"]);
                self.differences.borrow_mut().push(line);
            }
        })
    }

    async fn send(&self, request: &Value) -> Answer {
        let mut service = match request.get("as").and_then(Value::as_str) {
            None => self.server.service(),
            Some(token) => self.server.service_as(&self.matcher.borrow().fill_text(token)),
        };
        let response = service.call(self.request(request)).await.expect("cannot fail");
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("cannot fail").to_bytes();
        let content_type = head.headers[header::CONTENT_TYPE].to_str().expect("is text");
        let content_type = content_type.split(';').next().unwrap_or_default().to_owned();
        let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        let warnings = head.headers.get_all(header::WARNING).into_iter();
        let warnings = warnings.map(|warning| warning.to_str().expect("is text").to_owned());
        let warnings = warnings.filter(|warning| !warning.contains(OWN_WARNING)).collect();
        Answer { status: head.status.as_u16(), content_type, warnings, body }
    }

    fn request(&self, request: &Value) -> Request<Full<Bytes>> {
        let matcher = self.matcher.borrow();
        let text = |name: &str| request.get(name).and_then(Value::as_str);
        let body = match request.get("body") {
            Some(body) => matcher.fill(body).to_string(),
            None => text("rawBody").unwrap_or_default().to_owned(),
        };
        let method: Method = text("method").expect("a method").parse().expect("a method");
        let path = matcher.fill_text(text("path").expect("a path"));
        let mut builder = Request::builder().method(method).uri(path);
        builder = builder.header(header::ACCEPT, text("accept").unwrap_or("application/json"));
        if let Some(content_type) = text("contentType") {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        builder.body(Full::from(body)).expect("a good request")
    }

    fn judge(&self, step: &Value, answer: &Answer) -> Result<(), String> {
        let wanted = &step["response"];
        let how = step["compare"].as_str().unwrap_or("all");
        if how == "none" {
            return Ok(());
        }
        same("HTTP status", &wanted["status"], &json!(answer.status))?;
        if step["request"]["path"] == "/version" {
            return Ok(());
        }
        if how == "status-and-reason" {
            return self.judge_reason(&wanted["body"], &answer.body);
        }
        same("Content-Type", &wanted["contentType"], &json!(answer.content_type))?;
        // The older transcripts say nothing of them.
        if let Some(warnings) = wanted.get("warnings") {
            same("Warning", warnings, &json!(answer.warnings))?;
        }
        let found = without_own_columns(&answer.body);
        self.matcher.borrow_mut().require(&wanted["body"], &found, "")
    }

    /// Only what kind of refusal it is; the words are the server's own.
    fn judge_reason(&self, wanted: &Value, found: &Value) -> Result<(), String> {
        if wanted["kind"] == "Status" {
            let mut members = ["kind", "status", "reason", "code"].into_iter();
            return members.try_for_each(|name| same(name, &wanted[name], &found[name]));
        }
        if wanted.is_object() {
            // For what it binds; a difference does not count.
            let _ = self.matcher.borrow_mut().require(wanted, found, "");
        }
        Ok(())
    }

    async fn watch(&self, step: &Value) -> Result<(), String> {
        let mut service = self.server.service();
        let response = service.call(self.request(&step["request"])).await.expect("cannot fail");
        let status = response.status().as_u16();
        let stream = tokio::task::spawn_local(response.into_body().collect());
        for inner in step["during"].as_array().into_iter().flatten() {
            tokio::time::sleep(PAUSE).await;
            self.step(inner).await;
        }
        let seconds = step["watchSeconds"].as_u64().expect("a number");
        let limit = Duration::from_secs(seconds + 8);
        let collected = tokio::time::timeout(limit, stream).await;
        if step["compare"] == "none" {
            return Ok(());
        }
        let wanted = &step["response"];
        same("HTTP status", &wanted["status"], &json!(status))?;
        if step["compare"] == "status-and-reason" || status >= 500 {
            return Ok(());
        }
        same("closed by the server", &wanted["closedByServer"], &json!(collected.is_ok()))?;
        let Ok(collected) = collected else { return Ok(()) };
        let bytes = collected.expect("no panic").expect("cannot fail").to_bytes();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events: Result<Vec<Value>, _> = lines.map(serde_json::from_slice).collect();
        let events = events.map_err(|error| format!("no JSON: {error}"))?;
        self.matcher.borrow_mut().require(&wanted["events"], &events.into(), "events")
    }
}

/// The columns of a table that upstream has too.
fn without_own_columns(body: &Value) -> Value {
    let mut body = body.clone();
    let columns = body["columnDefinitions"].as_array().into_iter().flatten();
    let is_own = |column: &Value| column["name"] == "Renewed" || column["name"] == "Transitions";
    let is_own: Vec<bool> = columns.map(is_own).collect();
    let lists = |body: &mut Value, pick: fn(&mut Value) -> Option<&mut Vec<Value>>| {
        if let Some(list) = pick(body) {
            let mut is_own = is_own.iter();
            list.retain(|_| is_own.next() == Some(&false));
        }
    };
    lists(&mut body, |body| body.get_mut("columnDefinitions")?.as_array_mut());
    for row in body.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        lists(row, |row| row.get_mut("cells")?.as_array_mut());
    }
    body
}

fn same(what: &str, wanted: &Value, found: &Value) -> Result<(), String> {
    if wanted == found { Ok(()) } else { Err(format!("{what}: want {wanted}, got {found}")) }
}
