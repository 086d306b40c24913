//! Server-side apply: a client says which fields it means, and owns them from then on.

use serde_json::Value;

use super::body::{APPLY_PATCH, Body, check_kind};
use super::options::{dry_run, writer};
use super::read::existing;
use super::write::{add, check_name, replace, stored, wrong_uid};
use super::{Call, Spot, World, authorize_as, last_applied};
use crate::answer::Answer;
use crate::fieldset::{FieldSet, meant_by, merge, prune};
use crate::managed::{Operation, before_and_after, encode, managers};
use crate::object::{at, metadata_mut, text, text_at};
use crate::request::Verb;
use crate::resources::{Part, Resource};
use crate::schema::{Fields, Shape};
use crate::status::{Cause, Status};

/// Whether a patch is one of these.
pub(super) fn is_meant(call: &Call) -> bool {
    call.content_type == APPLY_PATCH
}

pub(super) fn apply(
    world: &mut World,
    call: &mut Call,
    spot: &Spot,
    part: Part,
) -> Result<Answer, Status> {
    const OPTIONS: &str = "PatchOptions";
    let resource = spot.resource;
    let dry = dry_run(&call.target.query, OPTIONS)?;
    if call.target.query.text("fieldManager").is_none() {
        let cause = Cause::required("fieldManager", "is required for apply patch");
        return Err(Status::invalid_options(OPTIONS, cause));
    }
    let mut writer = writer(call, spot, part, OPTIONS)?;
    writer.id.operation = Operation::Apply;
    writer.force = call.target.query.flag("force");
    let applied = decode(call.body.take(), spot)?;
    check_name(&applied, spot)?;
    let uid = text(&applied, "uid").to_owned();
    let (applied, home) = (stored(resource, applied), resource.home());
    let meant = meant_by(home.schema, &applied).without_parts(writer.other_parts);
    writer.applied = Some(meant.clone());
    let Ok(current) = existing(&world.store, spot).cloned() else {
        if part != Part::Main {
            return Err(Status::not_found(resource, spot.name()));
        }
        if !uid.is_empty() {
            return Err(no_such_uid(spot, &uid));
        }
        authorize_as(world, call, &spot.path, Verb::Create)?;
        let mut fields = conform(home, applied, spot)?;
        metadata_mut(&mut fields).remove("resourceVersion");
        let object = add(world, &writer, spot, fields, dry)?;
        return Ok(Answer::object(201, resource, object));
    };
    if !uid.is_empty() && uid != current.uid() {
        return Err(wrong_uid(spot, &uid, current.uid()));
    }
    let said = last_applied::said(current.fields()).filter(|_| writer.id.name == "kubectl");
    if let Some(said) = said {
        writer.inherited = last_applied::fields(home, said, current.fields());
        writer.annotation = Some((last_applied::NAME, last_applied::encode(&applied)));
    }
    let managers = managers(home, current.fields());
    let (before, after) = before_and_after(&managers, &writer.id, &meant);
    let merged = merged(home, current.fields().clone(), applied, &before, &after);
    let mut fields = conform(home, merged, spot)?;
    metadata_mut(&mut fields).insert("managedFields".to_owned(), encode(&managers));
    let object = replace(world, &writer, spot, &current, fields, part, dry)?;
    Ok(Answer::object(200, resource, object))
}

/// The live object with what is applied, and without what the applier gave up.
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

/// What the client means; unlike in other writes, a field that is unknown is an error.
fn decode(body: Body, spot: &Spot) -> Result<Fields, Status> {
    let resource = spot.resource;
    let fields = match body {
        Body::Json(Value::Object(fields)) => without_nulls(fields),
        Body::Json(_) => {
            return Err(Status::bad_request("error decoding YAML: what is applied is no object"));
        }
        Body::Broken { why, .. } => {
            return Err(Status::bad_request(format!("error decoding YAML: {why}")));
        }
    };
    let version = text_at(&fields, "/apiVersion");
    if version != resource.api_version() {
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, \
             expected: {}",
            resource.api_version()
        )));
    }
    check_kind(&fields, resource.group, resource.version, resource.kind)?;
    if at(&fields, "/metadata/managedFields").is_some() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    conform(resource, fields.clone(), spot)?;
    Ok(fields)
}

fn conform(resource: &Resource, fields: Fields, spot: &Spot) -> Result<Fields, Status> {
    let untyped = |why: String| {
        Status::raw(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): {why}",
            spot.namespace(),
            spot.name(),
            resource.api_version(),
            resource.kind
        ))
    };
    let conformed = resource.conform(fields).map_err(untyped)?;
    match conformed.unknown.as_slice() {
        [] => Ok(conformed.fields),
        [first, ..] => Err(untyped(format!(".{first}: field not declared in schema"))),
    }
}

fn without_nulls(fields: Fields) -> Fields {
    let clean = |value| match value {
        Value::Object(fields) => without_nulls(fields).into(),
        other => other,
    };
    let said = fields.into_iter().filter(|(_, value)| !value.is_null());
    said.map(|(name, value)| (name, clean(value))).collect()
}

/// An object that is meant by its uid is not made anew.
fn no_such_uid(spot: &Spot, uid: &str) -> Status {
    let why = format!(
        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
    );
    Status::conflict(spot.resource, spot.name(), &why)
}
