//! The verbs delete and deletecollection.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::body::Body;
use super::options::{DryRun, check_list_options, dry_run, selection};
use super::read::{existing, selected};
use super::write::{MODIFIED, commit};
use super::{Call, Location, World};
use crate::answer::Answer;
use crate::list::List;
use crate::object::{Object, at, map_mut, metadata_mut, text_at};
use crate::request::Verb;
use crate::resources::namespace::PERMANENT;
use crate::resources::registry::RESOURCES;
use crate::resources::types::meta::DELETE_OPTIONS;
use crate::resources::{Deletion, Resource};
use crate::schema::{Fields, conform};
use crate::status::Status;
use crate::store::Store;
use crate::time;

pub(super) fn one(
    world: &mut World,
    call: &mut Call,
    location: &Location,
) -> Result<Answer, Status> {
    let options = Options::read(call)?;
    let object = existing(&world.store, location)?.clone();
    options.check_preconditions(location, &object)?;
    let (outcome, shown) =
        delete(&mut world.store, location.resource, &object, &options, call.now)?;
    if outcome == Outcome::Gone && !is_shown(location.resource) {
        return Ok(Answer::json(200, success(location.resource, &object)));
    }
    Ok(Answer::object(200, location.resource, shown))
}

/// Evicts a Pod, which is the same as a delete: this server enforces no PodDisruptionBudget.
pub(super) fn evict(
    world: &mut World,
    call: &mut Call,
    location: &Location,
) -> Result<Answer, Status> {
    if call.target.verb != Verb::Create {
        return Err(Status::method_not_allowed());
    }
    call.require_known_type()?;
    if let Body::Json(eviction) = &mut call.body {
        if eviction["kind"] != "Eviction" {
            return Err(Status::bad_request("expected an Eviction of policy/v1"));
        }
        call.body = Body::Json(eviction["deleteOptions"].take());
    }
    one(world, call, location)?;
    let done = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
    });
    Ok(Answer::json(201, done))
}

pub(super) fn collection(
    world: &mut World,
    call: &mut Call,
    location: &Location,
) -> Result<Answer, Status> {
    let options = Options::read(call)?;
    let selection = selection(&call.target.query, location.resource, location.namespace())?;
    check_list_options(&call.target.query)?;
    let version = world.store.version();
    let items = selected(&world.store, location, &selection);
    for object in &items {
        delete(&mut world.store, location.resource, object, &options, call.now)?;
    }
    Ok(Answer::list(List { resource: location.resource, items, version, next: None }))
}

/// The result of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Gone,
    /// The object is marked; a finalizer or a client has to complete the deletion.
    Pending,
}

/// Deletes an object or marks it for deletion, and returns what the answer may show.
fn delete(
    store: &mut Store,
    resource: &'static Resource,
    object: &Arc<Object>,
    options: &Options,
    now: Timestamp,
) -> Result<(Outcome, Arc<Object>), Status> {
    if options.dry_run == DryRun::All {
        return Ok((Outcome::Gone, object.clone()));
    }
    let has_finalizers = at(object.fields(), "/metadata/finalizers").is_some();
    match resource.deletion {
        Deletion::Namespace => delete_namespace(store, resource, object, now),
        Deletion::Graceful => delete_gracefully(store, resource, object, options, now),
        Deletion::AtOnce | Deletion::AtOnceShown if has_finalizers => {
            let marked = marked(object, now, 0);
            Ok((Outcome::Pending, commit(store, resource, object, marked)?))
        }
        Deletion::AtOnce | Deletion::AtOnceShown => {
            remove(store, resource, object)?;
            Ok((Outcome::Gone, object.clone()))
        }
    }
}

/// Starts a Pod's grace period. There is no kubelet to end the Pod after it.
fn delete_gracefully(
    store: &mut Store,
    resource: &'static Resource,
    object: &Arc<Object>,
    options: &Options,
    now: Timestamp,
) -> Result<(Outcome, Arc<Object>), Status> {
    let fields = object.fields();
    let number = |pointer| at(fields, pointer).and_then(Value::as_i64);
    let is_idle = text_at(fields, "/spec/nodeName").is_empty()
        || matches!(text_at(fields, "/status/phase"), "Succeeded" | "Failed");
    let asked = options.grace_seconds.or_else(|| number("/spec/terminationGracePeriodSeconds"));
    let grace = if is_idle { 0 } else { asked.unwrap_or(30).clamp(0, LONGEST_GRACE) };
    let has_finalizers = at(fields, "/metadata/finalizers").is_some();
    let is_marked = at(fields, "/metadata/deletionTimestamp").is_some();
    // A second delete can only shorten the grace period.
    let pending = number("/metadata/deletionGracePeriodSeconds").filter(|_| is_marked);
    if pending.is_some_and(|pending| grace >= pending && (pending > 0 || has_finalizers)) {
        return Ok((Outcome::Pending, object.clone()));
    }
    let marked = marked(object, now, grace);
    let shown = store
        .replace(resource.table, object.version(), marked)
        .map_err(|_| Status::conflict(&resource.kind, object.name(), MODIFIED))?;
    if grace > 0 || has_finalizers {
        return Ok((Outcome::Pending, shown));
    }
    remove(store, resource, &shown)?;
    Ok((Outcome::Gone, shown))
}

fn delete_namespace(
    store: &mut Store,
    resource: &'static Resource,
    namespace: &Arc<Object>,
    now: Timestamp,
) -> Result<(Outcome, Arc<Object>), Status> {
    let name = namespace.name();
    if PERMANENT.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden(resource.kind.group, resource.kind.plural, name, why));
    }
    let mut marked = marked(namespace, now, 0);
    metadata_mut(&mut marked).remove("deletionGracePeriodSeconds");
    marked.insert("status".to_owned(), json!({"phase": "Terminating"}));
    let shown = store
        .replace(resource.table, namespace.version(), marked)
        .map_err(|_| Status::conflict(&resource.kind, name, MODIFIED))?;
    // Two resources can show one table; it is empty when the second one is deleted.
    for inner in RESOURCES.iter().filter(|inner| inner.is_namespaced()) {
        let inside: Vec<_> = store.objects(inner.table, Some(name)).cloned().collect();
        for object in inside {
            remove(store, inner, &object)?;
        }
    }
    if at(shown.fields(), "/metadata/finalizers").is_some() {
        return Ok((Outcome::Pending, shown));
    }
    remove(store, resource, &shown)?;
    Ok((Outcome::Gone, shown))
}

fn remove(store: &mut Store, resource: &Resource, object: &Object) -> Result<(), Status> {
    store
        .remove(resource.table, object.namespace(), object.name(), object.version())
        .map(drop)
        .map_err(|_| Status::conflict(&resource.kind, object.name(), MODIFIED))
}

fn marked(object: &Object, now: Timestamp, grace: i64) -> Fields {
    let mut fields = object.fields().clone();
    let metadata = metadata_mut(&mut fields);
    let is_first = !metadata.contains_key("deletionTimestamp");
    let end = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
    metadata.insert("deletionTimestamp".to_owned(), time::seconds(end).into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
    if let (true, Some(generation)) = (is_first, metadata.get("generation").and_then(Value::as_i64))
    {
        metadata.insert("generation".to_owned(), (generation + 1).into());
    }
    fields
}

fn is_shown(resource: &Resource) -> bool {
    !matches!(resource.deletion, Deletion::AtOnce)
}

fn success(resource: &Resource, object: &Object) -> Value {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": object.name(), "kind": resource.kind.plural, "uid": object.uid()},
    });
    if !resource.kind.group.is_empty() {
        status["details"]["group"] = json!(resource.kind.group);
    }
    status
}

/// A century, so that the end of the grace period is a valid time.
const LONGEST_GRACE: i64 = 100 * 366 * 86_400;

/// `DeleteOptions`, from the body and the query.
#[derive(Debug)]
struct Options {
    grace_seconds: Option<i64>,
    uid: Option<String>,
    version: Option<String>,
    dry_run: DryRun,
}

impl Options {
    fn read(call: &mut Call) -> Result<Self, Status> {
        let body = match call.body.take() {
            Body::Json(Value::Object(fields)) => fields,
            Body::Json(Value::Null) => Fields::new(),
            Body::Json(_) => return Err(Status::bad_request("expected DeleteOptions")),
            Body::Broken { why, start } => {
                let why = format!("couldn't get version/kind; json parse error: {why} ({start})");
                return Err(Status::bad_request(why));
            }
        };
        let mut fields = conform(DELETE_OPTIONS, body).map_err(Status::bad_request)?.fields;
        let query = &call.target.query;
        let in_query = query.number("gracePeriodSeconds").map_err(Status::bad_request)?;
        let in_body = fields.get("gracePeriodSeconds").and_then(Value::as_i64);
        let asks_dry = fields.contains_key("dryRun");
        let preconditions = map_mut(&mut fields, "preconditions");
        let text = |name: &str| preconditions.get(name)?.as_str().map(str::to_owned);
        Ok(Self {
            grace_seconds: in_body.or(in_query),
            uid: text("uid"),
            version: text("resourceVersion"),
            dry_run: if asks_dry { DryRun::All } else { dry_run(query, "DeleteOptions")? },
        })
    }

    fn check_preconditions(&self, location: &Location, object: &Object) -> Result<(), Status> {
        let refuse =
            |why: &str| Err(Status::kind_conflict(&location.resource.kind, location.name(), why));
        let found = object.uid();
        if let Some(uid) = self.uid.as_deref().filter(|uid| *uid != found) {
            return refuse(&format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({found}). \
                 The object might have been deleted and then recreated"
            ));
        }
        let found = object.version().to_string();
        if let Some(version) = self.version.as_deref().filter(|version| *version != found) {
            return refuse(&format!(
                "the ResourceVersion in the precondition ({version}) does not match the \
                 ResourceVersion in record ({found}). The object might have been modified"
            ));
        }
        Ok(())
    }
}
