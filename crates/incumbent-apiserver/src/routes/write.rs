//! create, update and patch.

use std::sync::Arc;

use serde_json::{Value, json};

use super::body::{Body, Decoded, decode_object};
use super::options::{DryRun, dry_run, field_validation, parse_version, writer};
use super::patch_kind::PatchKind;
use super::read::existing;
use super::{Call, Spot, World, authorize_as};
use crate::answer::Answer;
use crate::cause::Cause;
use crate::managed::Writer;
use crate::object::{Object, at, metadata_mut, text};
use crate::request::Verb;
use crate::resources::namespace::NAMESPACE;
use crate::resources::{MissingOnUpdate, Part, Resource, UnversionedUpdate};
use crate::schema::Fields;
use crate::status::Status;
use crate::store::{Refused, Store};
use crate::{random, rbac, time, validate};

pub(super) fn create(world: &mut World, call: &mut Call, spot: &Spot) -> Result<Answer, Status> {
    let dry = dry_run(&call.target.query, "CreateOptions")?;
    let Decoded { mut fields, mut warnings } = decode(call, spot.resource, "CreateOptions")?;
    metadata_mut(&mut fields).remove("selfLink");
    warnings.extend(take_owners_twice_named(&mut fields, ""));
    let writer = writer(call, spot, Part::Main, "CreateOptions")?;
    let made = check_namespace(&fields, spot).and_then(|()| {
        let is_versioned = parse_version(text(&fields, "resourceVersion")).is_ok_and(|it| it != 0);
        add(world, &writer, spot, fields, dry, is_versioned)
    });
    warned(made.map(|object| Answer::object(201, spot.resource, object)), warnings)
}

/// Leaves each owner once, and warns of those that were there twice.
fn take_owners_twice_named(fields: &mut Fields, when: &str) -> Option<String> {
    let owners = metadata_mut(fields).get_mut("ownerReferences").and_then(Value::as_array_mut)?;
    let mut twice = Vec::new();
    let mut once: Vec<Value> = Vec::new();
    for owner in owners.drain(..) {
        if once.contains(&owner) {
            twice.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        } else {
            once.push(owner);
        }
    }
    *owners = once;
    let uids = twice.join(", ");
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner \
             references in 1.20+, and may reject such requests as early as 1.24; please fix your \
             requests; duplicate UID(s) observed: {uids}"
        )
    })
}

/// What is said of the body is said with a refusal too.
fn warned(answer: Result<Answer, Status>, warnings: Vec<String>) -> Result<Answer, Status> {
    match answer {
        Ok(answer) => Ok(answer.with_warnings(warnings)),
        Err(status) => Err(status.with_warnings(warnings)),
    }
}

pub(super) fn update(
    world: &mut World,
    call: &mut Call,
    spot: &Spot,
    part: Part,
) -> Result<Answer, Status> {
    let dry = dry_run(&call.target.query, "UpdateOptions")?;
    let Decoded { mut fields, mut warnings } = decode(call, spot.resource, "UpdateOptions")?;
    warnings.extend(take_owners_twice_named(&mut fields, ""));
    let writer = writer(call, spot, part, "UpdateOptions")?;
    warned(put(world, call, spot, part, &writer, fields, dry), warnings)
}

fn put(
    world: &mut World,
    call: &Call,
    spot: &Spot,
    part: Part,
    writer: &Writer,
    fields: Fields,
    dry: DryRun,
) -> Result<Answer, Status> {
    let resource = spot.resource;
    check_name(&fields, spot)?;
    check_namespace(&fields, spot)?;
    let uid = text(&fields, "uid");
    match existing(&world.store, spot).cloned() {
        Ok(current) => {
            if !uid.is_empty() && uid != current.uid() {
                return Err(wrong_uid(spot, uid, current.uid()));
            }
            let object = replace(world, writer, spot, &current, fields, part, dry)?;
            Ok(Answer::object(200, resource, object))
        }
        Err(missing) => {
            let may_create = resource.missing_on_update == MissingOnUpdate::Create;
            if !may_create || part != Part::Main {
                return Err(missing);
            }
            if !uid.is_empty() {
                return Err(wrong_uid(spot, uid, ""));
            }
            parse_version(text(&fields, "resourceVersion"))?;
            authorize_as(world, call, &spot.path, Verb::Create)?;
            let object = add(world, writer, spot, fields, dry, false)?;
            Ok(Answer::object(201, resource, object))
        }
    }
}

pub(super) fn patch(
    world: &mut World,
    call: &mut Call,
    spot: &Spot,
    part: Part,
) -> Result<Answer, Status> {
    let resource = spot.resource;
    let dry = dry_run(&call.target.query, "PatchOptions")?;
    let validation = field_validation(&call.target.query, "PatchOptions")?;
    let kind = PatchKind::of(&call.content_type)?;
    if call.target.query.text("force").is_some() {
        let cause = Cause::forbidden("force", "may not be specified for non-apply patch");
        return Err(Status::invalid_options("PatchOptions", cause));
    }
    let writer = writer(call, spot, part, "PatchOptions")?;
    let current = existing(&world.store, spot)?.clone();
    let patch = match call.body.take() {
        Body::Json(patch) => patch,
        Body::Broken { why, .. } => return Err(kind.undecodable(&why)),
    };
    let patched = kind.patched(resource, &current, patch, validation)?;
    let Decoded { mut fields, mut warnings } = patched;
    warnings.extend(take_owners_twice_named(&mut fields, " after mutating admission happens"));
    let patched = check_name(&fields, spot)
        .and_then(|()| check_namespace(&fields, spot))
        .and_then(|()| replace(world, &writer, spot, &current, fields, part, dry));
    warned(patched.map(|object| Answer::object(200, resource, object)), warnings)
}

/// Stores a new object; `fields` are in the form of the resource.
///
/// A version that it `is_versioned` with is refused; other ones are passed over.
pub(super) fn add(
    world: &mut World,
    writer: &Writer,
    spot: &Spot,
    fields: Fields,
    dry: DryRun,
    is_versioned: bool,
) -> Result<Arc<Object>, Status> {
    let resource = spot.resource;
    let mut fields = resource.stored(fields);
    enter_namespace(&world.store, &mut fields, spot)?;
    let name = new_name(&world.store, resource, &fields);
    check_namespace_lives(&world.store, resource, &fields)?;
    let metadata = metadata_mut(&mut fields);
    metadata.extend(name.map(|name| ("name".to_owned(), name.into())));
    metadata.insert("uid".to_owned(), random::uid().into());
    metadata.insert("creationTimestamp".to_owned(), time::seconds(writer.now).into());
    for decided_here in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        metadata.remove(decided_here);
    }
    writer.record(resource, None, &mut fields);
    (resource.prepare_create)(&mut fields);
    world.features.drop_disabled(resource, &mut fields, None);
    check_rules(resource, &fields, None)?;
    check_grant(&world.store, writer, resource, None, &fields)?;
    let name = text(&fields, "name").to_owned();
    let there = world.store.object(resource.table, spot.namespace(), &name).cloned();
    let is_dying = there.as_ref().is_some_and(|there| there.is_dying());
    let exists = || Status::already_exists(&resource.kind, &name, is_dying);
    match dry {
        DryRun::No if is_versioned => {
            Err(Status::raw("resourceVersion should not be set on objects to be created"))
        }
        DryRun::No => {
            metadata_mut(&mut fields).remove("selfLink");
            world.store.create(resource.table, fields).map_err(|_| exists())
        }
        DryRun::All if there.is_some() => Err(exists()),
        DryRun::All => Ok(Arc::new(Object::unstored(fields))),
    }
}

/// Puts `fields`, in the form of the resource, in the place of `current`.
pub(super) fn replace(
    world: &mut World,
    writer: &Writer,
    spot: &Spot,
    current: &Arc<Object>,
    fields: Fields,
    part: Part,
    dry: DryRun,
) -> Result<Arc<Object>, Status> {
    let resource = spot.resource;
    let mut fields = resource.stored(fields);
    enter_namespace(&world.store, &mut fields, spot)?;
    let version = parse_version(text(&fields, "resourceVersion"))?;
    if version == 0 && resource.unversioned_update == UnversionedUpdate::Refuse {
        let cause = Cause::invalid(
            "metadata.resourceVersion",
            &json!(0),
            "must be specified for an update",
        );
        return Err(Status::invalid(
            resource.kind.group,
            resource.kind.plural,
            spot.name(),
            vec![cause],
        ));
    }
    if version != 0 && version != current.version() {
        return Err(Status::conflict(&resource.kind, spot.name(), MODIFIED));
    }
    keep_what_the_server_decides(&mut fields, current.fields());
    (resource.prepare_update)(&mut fields, current.fields(), part);
    writer.record(resource, Some(current.fields()), &mut fields);
    // As upstream: who sent a field owns it, also if it is dropped.
    world.features.drop_disabled(resource, &mut fields, Some(current.fields()));
    keep_times_where_nothing_changed(current, &mut fields);
    check_rules(resource, &fields, Some(current.fields()))?;
    check_grant(&world.store, writer, resource, Some(current.fields()), &fields)?;
    if dry == DryRun::All {
        return Ok(Arc::new(Object::new(fields, current.version())));
    }
    metadata_mut(&mut fields).remove("selfLink");
    commit(&mut world.store, resource, current, fields)
}

/// A write that leaves all as it was, but for the times at which fields were set, is not made.
fn keep_times_where_nothing_changed(current: &Object, fields: &mut Fields) {
    let timeless = |list: &Value| -> Vec<Fields> {
        let entries = list.as_array().into_iter().flatten().filter_map(Value::as_object);
        let timeless =
            |entry: &Fields| entry.clone().into_iter().filter(|(name, _)| name != "time");
        entries.map(|entry| timeless(entry).collect()).collect()
    };
    // Most writes change a spec or data, and end here.
    let is_other = |(name, value): (&String, &Value)| {
        name != "metadata" && current.fields().get(name) != Some(value)
    };
    let kept = at(current.fields(), "/metadata/managedFields");
    let given = at(fields, "/metadata/managedFields");
    let (Some(kept), Some(given)) = (kept, given) else { return };
    if fields.iter().any(is_other) || kept == given || timeless(kept) != timeless(given) {
        return;
    }
    let given = metadata_mut(fields).insert("managedFields".to_owned(), kept.clone());
    if !current.says_the_same_as(fields) {
        metadata_mut(fields).extend(given.map(|given| ("managedFields".to_owned(), given)));
    }
}

/// What everybody knows an election's loser by.
pub(super) const MODIFIED: &str = "the object has been modified; please apply your changes to the \
                                   latest version and try again";

/// Writes; an object that was only waiting for its last finalizer goes.
pub(super) fn commit(
    store: &mut Store,
    resource: &Resource,
    current: &Object,
    fields: Fields,
) -> Result<Arc<Object>, Status> {
    let (namespace, name, based_on) = (current.namespace(), current.name(), current.version());
    let grace = at(&fields, "/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    let is_dying = at(&fields, "/metadata/deletionTimestamp").is_some() && grace.unwrap_or(0) == 0;
    let is_released = is_dying && at(&fields, "/metadata/finalizers").is_none();
    let outcome = if is_released {
        let shown = Arc::new(Object::new(fields, based_on));
        store.remove(resource.table, namespace, name, based_on).map(|_| shown)
    } else {
        store.replace(resource.table, based_on, fields)
    };
    outcome.map_err(|refused| match refused {
        Refused::Missing => Status::not_found(&resource.kind, name),
        Refused::Exists | Refused::Changed => Status::conflict(&resource.kind, name, MODIFIED),
    })
}

fn decode(call: &mut Call, resource: &Resource, options: &str) -> Result<Decoded, Status> {
    call.require_known_type()?;
    let validation = field_validation(&call.target.query, options)?;
    decode_object(call.body.take(), resource, validation)
}

pub(super) fn check_name(fields: &Fields, spot: &Spot) -> Result<(), Status> {
    match (text(fields, "name"), spot.name()) {
        ("", name) => Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        (own, name) if own != name => Err(Status::bad_request(format!(
            "the name of the object ({own}) does not match the name on the URL ({name})"
        ))),
        _ => Ok(()),
    }
}

pub(super) fn check_namespace(fields: &Fields, spot: &Spot) -> Result<(), Status> {
    match text(fields, "namespace") {
        own if own.is_empty() || own == spot.namespace() => Ok(()),
        _ => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

fn enter_namespace(store: &Store, fields: &mut Fields, spot: &Spot) -> Result<(), Status> {
    let namespace = spot.namespace();
    let metadata = metadata_mut(fields);
    if namespace.is_empty() {
        metadata.remove("namespace");
        return Ok(());
    }
    metadata.insert("namespace".to_owned(), namespace.into());
    match store.object(NAMESPACE.table, "", namespace) {
        Some(_) => Ok(()),
        None => Err(Status::not_found(&NAMESPACE.kind, namespace)),
    }
}

/// A namespace that waits for its finalizers takes in nothing new.
fn check_namespace_lives(
    store: &Store,
    resource: &Resource,
    fields: &Fields,
) -> Result<(), Status> {
    let namespace = text(fields, "namespace");
    match store.object(NAMESPACE.table, "", namespace) {
        Some(found) if found.is_dying() => {
            Err(Status::namespace_terminating(&resource.kind, text(fields, "name"), namespace))
        }
        _ => Ok(()),
    }
}

/// A name where the client left the choice to the server.
fn new_name(store: &Store, resource: &Resource, fields: &Fields) -> Option<String> {
    /// So that the suffix fits into the 63 bytes that some names may have.
    const LONGEST: usize = 58;
    let base = text(fields, "generateName");
    if base.is_empty() || !text(fields, "name").is_empty() {
        return None;
    }
    let end = (0..=LONGEST.min(base.len())).rev().find(|end| base.is_char_boundary(*end))?;
    let namespace = text(fields, "namespace");
    let names = std::iter::repeat_with(|| format!("{}{}", &base[..end], random::suffix()));
    // Eight times out of fourteen million: then let it be a conflict.
    let mut names = names.take(8).peekable();
    let fallback = names.peek().cloned();
    names.find(|name| store.object(resource.table, namespace, name).is_none()).or(fallback)
}

fn keep_what_the_server_decides(fields: &mut Fields, old: &Fields) {
    let uid_is_open = text(fields, "uid").is_empty();
    let metadata = metadata_mut(fields);
    for name in
        ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        metadata.remove(name);
        let kept = at(old, "/metadata").and_then(|old| old.get(name));
        metadata.extend(kept.map(|kept| (name.to_owned(), kept.clone())));
    }
    if uid_is_open {
        metadata.insert("uid".to_owned(), text(old, "uid").into());
    }
}

fn check_rules(resource: &Resource, fields: &Fields, old: Option<&Fields>) -> Result<(), Status> {
    let mut causes =
        validate::metadata_causes((resource.name_rule, resource.metadata_rules), fields, old);
    causes.extend((resource.validate)(fields, old));
    if causes.is_empty() {
        return Ok(());
    }
    // A shown-elsewhere kind is validated as what it is stored as.
    let group = if resource.conversion.is_some() { "" } else { resource.kind.group };
    Err(Status::invalid(group, resource.kind.name, text(fields, "name"), causes))
}

/// Nobody gives away rights that he does not have.
fn check_grant(
    store: &Store,
    writer: &Writer,
    resource: &Resource,
    old: Option<&Fields>,
    new: &Fields,
) -> Result<(), Status> {
    let is_old = |name| old.is_some_and(|old| old.get(name) == new.get(name));
    if resource.kind.group != rbac::GROUP || (is_old("rules") && is_old("subjects")) {
        return Ok(());
    }
    rbac::may_grant(store, &writer.user, resource, new).map_err(|why| {
        Status::forbidden(resource.kind.group, resource.kind.plural, text(new, "name"), &why)
    })
}

/// The uid says that another object is meant, in the words of upstream's storage.
pub(super) fn wrong_uid(spot: &Spot, given: &str, found: &str) -> Status {
    let key = match spot.namespace() {
        "" => format!("/registry/{}/{}", spot.resource.table, spot.name()),
        namespace => format!("/registry/{}/{namespace}/{}", spot.resource.table, spot.name()),
    };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object \
         meta: {found}"
    );
    Status::conflict(&spot.resource.kind, spot.name(), &why)
}
