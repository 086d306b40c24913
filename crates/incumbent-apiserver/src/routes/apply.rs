//! Server-side apply: a client states fields, and owns them from then on.

use std::sync::Arc;

use serde_json::Value;

use super::body::{APPLY_PATCH, Body, check_kind};
use super::options::{DryRun, dry_run, writer};
use super::read::existing;
use super::write::{add, check_name, check_namespace, replace, wrong_uid};
use super::{Call, Location, World, authorize_as, last_applied};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::fieldset::{FieldSet, compare, merge, prune, stated_by};
use crate::managed::{Applied, Operation, Writer, before_and_after, encode, managers};
use crate::object::{Object, at, metadata_mut, text, text_at};
use crate::request::Verb;
use crate::resources::registry::find_kind;
use crate::resources::{Part, Resource};
use crate::schema::{ErrorStyle, Fields, Shape, found};
use crate::status::Status;
use crate::typed::misfits;

/// Whether a patch is an apply.
pub(super) fn is_apply(call: &Call) -> bool {
    call.content_type == APPLY_PATCH
}

pub(super) fn apply(
    world: &mut World,
    call: &mut Call,
    location: &Location,
    part: Part,
) -> Result<Answer, Status> {
    let dry = dry_run(&call.target.query, OPTIONS)?;
    let writer = applier(call, location, part)?;
    let applied = decode(call.body.take(), location)?;
    let current = existing(&world.store, location).cloned();
    // An object that exists has its name already.
    if current.is_err() || !text(&applied, "name").is_empty() {
        check_name(&applied, location)?;
    }
    check_namespace(&applied, location)?;
    let intent = Intent::of(applied, location.resource, &writer);
    match current {
        Ok(current) => update(world, location, writer, intent, &current, part, dry),
        Err(missing) if part != Part::Main => Err(missing),
        Err(_) => create(world, call, location, writer, intent, dry),
    }
}

const OPTIONS: &str = "PatchOptions";

fn applier(call: &Call, location: &Location, part: Part) -> Result<Writer, Status> {
    if call.target.query.text("fieldManager").is_none() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(Status::invalid_options(OPTIONS, cause));
    }
    let mut writer = writer(call, location, part, OPTIONS)?;
    writer.id.operation = Operation::Apply;
    writer.force = call.target.query.flag("force");
    Ok(writer)
}

/// What a client applies.
struct Intent {
    /// In the stored form.
    applied: Fields,
    /// The fields that the client states, and will own.
    stated: FieldSet,
    /// Empty if the client does not state it.
    uid: String,
    subject: String,
}

impl Intent {
    fn of(applied: Fields, resource: &Resource, writer: &Writer) -> Self {
        let uid = text(&applied, "uid").to_owned();
        let subject = subject(&applied, resource);
        let applied = resource.stored(applied);
        let stated = stated_by(resource.home().schema, &applied).without_parts(writer.other_parts);
        Self { applied, stated, uid, subject }
    }
}

fn create(
    world: &mut World,
    call: &Call,
    location: &Location,
    mut writer: Writer,
    intent: Intent,
    dry: DryRun,
) -> Result<Answer, Status> {
    let Intent { applied, stated, uid, subject } = intent;
    if !uid.is_empty() {
        return Err(no_such_uid(location, &uid));
    }
    authorize_as(world, call, &location.path, Verb::Create)?;
    writer.applied = Some(Applied { fields: stated, changes: None, is_idle: false });
    let mut fields = conform(location.resource.home(), applied, &subject)?;
    metadata_mut(&mut fields).remove("resourceVersion");
    metadata_mut(&mut fields).remove("selfLink");
    let object = add(world, &writer, location, fields, dry, false)?;
    Ok(Answer::object(201, location.resource, object))
}

fn update(
    world: &mut World,
    location: &Location,
    mut writer: Writer,
    intent: Intent,
    current: &Arc<Object>,
    part: Part,
    dry: DryRun,
) -> Result<Answer, Status> {
    let Intent { applied, stated, uid, subject } = intent;
    if !uid.is_empty() && uid != current.uid() {
        return Err(wrong_uid(location, &uid, current.uid()));
    }
    let home = location.resource.home();
    let last = last_applied::read(current.fields()).filter(|_| writer.id.name == "kubectl");
    if let Some(last) = last {
        writer.inherited = last_applied::fields(home, last, current.fields());
        writer.annotation = Some((last_applied::NAME, last_applied::encode(&applied)));
    }
    let managers = managers(home, current.fields());
    let (before, after) = before_and_after(&managers, &writer.id, &stated);
    let merged = merged(home, current.fields().clone(), applied, &before, &after);
    let changes = compare(home.schema, current.fields(), &merged, writer.other_parts);
    writer.refuse_conflicts(&managers, &changes)?;
    let is_idle = merged == *current.fields();
    writer.applied = Some(Applied { fields: stated, changes: Some(changes), is_idle });
    let mut fields = conform(home, merged, &subject)?;
    metadata_mut(&mut fields).insert("managedFields".to_owned(), encode(&managers));
    let object = replace(world, &writer, location, current, fields, part, dry)?;
    Ok(Answer::object(200, location.resource, object))
}

/// The live object with the applied fields, and without the fields that the applier no longer states.
fn merged(
    resource: &Resource,
    live: Fields,
    applied: Fields,
    before: &FieldSet,
    after: &FieldSet,
) -> Fields {
    let shape = Shape::Object(resource.schema);
    let mut object = Value::Object(live);
    merge(&shape, &mut object, applied.into());
    prune(&shape, &mut object, before, Some(after));
    match object {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// Reads the applied object. Unlike in other writes, an unknown field is an error.
fn decode(body: Body, location: &Location) -> Result<Fields, Status> {
    let resource = location.resource;
    let undecodable = |why: &str| Status::bad_request(format!("error decoding YAML: {why}"));
    let fields = match body {
        Body::Json(Value::Object(fields)) => fields,
        Body::Json(other) => {
            return Err(undecodable(&format!(
                "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go \
                 value of type map[string]interface {{}}",
                found(&other)
            )));
        }
        Body::Broken { why, .. } => return Err(undecodable(&why)),
    };
    let (version, kind) = (text_at(&fields, "/apiVersion"), text_at(&fields, "/kind"));
    if !version.is_empty() && !kind.is_empty() && find_kind(version, kind).is_none() {
        let what = group_version_kind(version, kind);
        return Err(Status::bad_request(format!("invalid object type: {what}")));
    }
    if version != resource.kind.api_version() {
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, \
             expected: {}",
            resource.kind.api_version()
        )));
    }
    check_kind(&fields, &resource.kind)?;
    if at(&fields, "/metadata/managedFields").is_some_and(|given| !given.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let why = match misfits(resource.schema, &fields).as_slice() {
        [] => return Ok(fields),
        [only] => only.clone(),
        several => format!("errors:\n  {}", several.join("\n  ")),
    };
    let subject = subject(&fields, resource);
    Err(Status::raw(format!("failed to create typed patch object ({subject}): {why}")))
}

/// The applied object, as upstream's messages name it.
fn subject(applied: &Fields, resource: &Resource) -> String {
    let kind = group_version_kind(&resource.kind.api_version(), resource.kind.name);
    format!("{}/{}; {kind}", text(applied, "namespace"), text(applied, "name"))
}

fn group_version_kind(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

fn conform(resource: &Resource, fields: Fields, subject: &str) -> Result<Fields, Status> {
    let conformed = resource.conform(ErrorStyle::Unstructured, fields).map_err(|why| {
        let kind = group_version_kind(&resource.kind.api_version(), resource.kind.name);
        Status::raw(format!(
            "failed to convert new object ({subject}) to proper version: unable to convert \
             unstructured object to {kind}: {why}"
        ))
    })?;
    Ok(conformed.fields)
}

/// The refusal of an apply that states a uid, but whose object does not exist.
fn no_such_uid(location: &Location, uid: &str) -> Status {
    let why = format!(
        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
    );
    Status::conflict(&location.resource.kind, location.name(), &why)
}
