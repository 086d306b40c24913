//! The verbs create, update and patch.

use std::sync::Arc;

use serde_json::{Value, json};

use super::body::{Body, Decoded, decode_object};
use super::options::{DryRun, dry_run, field_validation, parse_version, writer};
use super::patch_kind::PatchKind;
use super::read::existing;
use super::{Call, Location, World, authorize_as};
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

pub(super) fn create(
    world: &mut World,
    call: &mut Call,
    location: &Location,
) -> Result<Answer, Status> {
    let dry = dry_run(&call.target.query, "CreateOptions")?;
    let Decoded { mut fields, mut warnings } = decode(call, location.resource, "CreateOptions")?;
    metadata_mut(&mut fields).remove("selfLink");
    warnings.extend(remove_duplicate_owners(&mut fields, ""));
    let writer = writer(call, location, Part::Main, "CreateOptions")?;
    let made = check_namespace(&fields, location).and_then(|()| {
        let is_versioned = parse_version(text(&fields, "resourceVersion")).is_ok_and(|it| it != 0);
        add(world, &writer, location, fields, dry, is_versioned)
    });
    with_warnings(made.map(|object| Answer::object(201, location.resource, object)), warnings)
}

/// Removes duplicate owners, and returns a warning for each.
fn remove_duplicate_owners(fields: &mut Fields, when: &str) -> Option<String> {
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

/// Adds the warnings about the body to an answer or a refusal.
fn with_warnings(answer: Result<Answer, Status>, warnings: Vec<String>) -> Result<Answer, Status> {
    match answer {
        Ok(answer) => Ok(answer.with_warnings(warnings)),
        Err(status) => Err(status.with_warnings(warnings)),
    }
}

pub(super) fn update(
    world: &mut World,
    call: &mut Call,
    location: &Location,
    part: Part,
) -> Result<Answer, Status> {
    let dry = dry_run(&call.target.query, "UpdateOptions")?;
    let Decoded { mut fields, mut warnings } = decode(call, location.resource, "UpdateOptions")?;
    warnings.extend(remove_duplicate_owners(&mut fields, ""));
    let writer = writer(call, location, part, "UpdateOptions")?;
    with_warnings(put(world, call, location, part, &writer, fields, dry), warnings)
}

fn put(
    world: &mut World,
    call: &Call,
    location: &Location,
    part: Part,
    writer: &Writer,
    fields: Fields,
    dry: DryRun,
) -> Result<Answer, Status> {
    let resource = location.resource;
    check_name(&fields, location)?;
    check_namespace(&fields, location)?;
    let uid = text(&fields, "uid");
    match existing(&world.store, location).cloned() {
        Ok(current) => {
            if !uid.is_empty() && uid != current.uid() {
                return Err(wrong_uid(location, uid, current.uid()));
            }
            let object = replace(world, writer, location, &current, fields, part, dry)?;
            Ok(Answer::object(200, resource, object))
        }
        Err(missing) => {
            let may_create = resource.missing_on_update == MissingOnUpdate::Create;
            if !may_create || part != Part::Main {
                return Err(missing);
            }
            if !uid.is_empty() {
                return Err(wrong_uid(location, uid, ""));
            }
            parse_version(text(&fields, "resourceVersion"))?;
            authorize_as(world, call, &location.path, Verb::Create)?;
            let object = add(world, writer, location, fields, dry, false)?;
            Ok(Answer::object(201, resource, object))
        }
    }
}

pub(super) fn patch(
    world: &mut World,
    call: &mut Call,
    location: &Location,
    part: Part,
) -> Result<Answer, Status> {
    let resource = location.resource;
    let dry = dry_run(&call.target.query, "PatchOptions")?;
    let validation = field_validation(&call.target.query, "PatchOptions")?;
    let kind = PatchKind::of(&call.content_type)?;
    if call.target.query.text("force").is_some() {
        let cause = Cause::forbidden("force", "may not be specified for non-apply patch");
        return Err(Status::invalid_options("PatchOptions", cause));
    }
    let writer = writer(call, location, part, "PatchOptions")?;
    let current = existing(&world.store, location)?.clone();
    let patch = match call.body.take() {
        Body::Json(patch) => patch,
        Body::Broken { why, .. } => return Err(kind.undecodable(&why)),
    };
    let patched = kind.patched(resource, &current, patch, validation)?;
    let Decoded { mut fields, mut warnings } = patched;
    warnings.extend(remove_duplicate_owners(&mut fields, " after mutating admission happens"));
    let patched = check_name(&fields, location)
        .and_then(|()| check_namespace(&fields, location))
        .and_then(|()| replace(world, &writer, location, &current, fields, part, dry));
    with_warnings(patched.map(|object| Answer::object(200, resource, object)), warnings)
}

/// Stores a new object; `fields` are in the form of the resource.
///
/// An object that `is_versioned` is refused, after all other checks.
pub(super) fn add(
    world: &mut World,
    writer: &Writer,
    location: &Location,
    fields: Fields,
    dry: DryRun,
    is_versioned: bool,
) -> Result<Arc<Object>, Status> {
    let resource = location.resource;
    let mut fields = resource.stored(fields);
    enter_namespace(&world.store, &mut fields, location)?;
    let name = new_name(&world.store, resource, &fields);
    check_namespace_is_active(&world.store, resource, &fields)?;
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
    let there = world.store.object(resource.table, location.namespace(), &name).cloned();
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

/// Replaces `current` by `fields`, which are in the form of the resource.
pub(super) fn replace(
    world: &mut World,
    writer: &Writer,
    location: &Location,
    current: &Arc<Object>,
    fields: Fields,
    part: Part,
    dry: DryRun,
) -> Result<Arc<Object>, Status> {
    let resource = location.resource;
    let mut fields = resource.stored(fields);
    enter_namespace(&world.store, &mut fields, location)?;
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
            location.name(),
            vec![cause],
        ));
    }
    if version != 0 && version != current.version() {
        return Err(Status::conflict(&resource.kind, location.name(), MODIFIED));
    }
    restore_server_fields(&mut fields, current.fields());
    (resource.prepare_update)(&mut fields, current.fields(), part);
    writer.record(resource, Some(current.fields()), &mut fields);
    // As upstream: a writer owns the fields that it sent, even if they are dropped.
    world.features.drop_disabled(resource, &mut fields, Some(current.fields()));
    restore_unchanged_times(current, &mut fields);
    check_rules(resource, &fields, Some(current.fields()))?;
    check_grant(&world.store, writer, resource, Some(current.fields()), &fields)?;
    if dry == DryRun::All {
        return Ok(Arc::new(Object::new(fields, current.version())));
    }
    metadata_mut(&mut fields).remove("selfLink");
    commit(&mut world.store, resource, current, fields)
}

/// Restores the old times in `managedFields` if the write changes nothing else, so that the store skips it.
fn restore_unchanged_times(current: &Object, fields: &mut Fields) {
    let timeless = |list: &Value| -> Vec<Fields> {
        let entries = list.as_array().into_iter().flatten().filter_map(Value::as_object);
        let timeless =
            |entry: &Fields| entry.clone().into_iter().filter(|(name, _)| name != "time");
        entries.map(|entry| timeless(entry).collect()).collect()
    };
    // Most writes change a spec or data, and return here.
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

/// The message of a conflict, which election clients match.
pub(super) const MODIFIED: &str = "the object has been modified; please apply your changes to the \
                                   latest version and try again";

/// Stores a replaced object, or removes it if it was waiting only for its last finalizer.
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

pub(super) fn check_name(fields: &Fields, location: &Location) -> Result<(), Status> {
    match (text(fields, "name"), location.name()) {
        ("", name) => Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        (own, name) if own != name => Err(Status::bad_request(format!(
            "the name of the object ({own}) does not match the name on the URL ({name})"
        ))),
        _ => Ok(()),
    }
}

pub(super) fn check_namespace(fields: &Fields, location: &Location) -> Result<(), Status> {
    match text(fields, "namespace") {
        own if own.is_empty() || own == location.namespace() => Ok(()),
        _ => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

fn enter_namespace(store: &Store, fields: &mut Fields, location: &Location) -> Result<(), Status> {
    let namespace = location.namespace();
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

/// Refuses new objects in a namespace that is being deleted.
fn check_namespace_is_active(
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

/// A generated name, if the client asks for one.
fn new_name(store: &Store, resource: &Resource, fields: &Fields) -> Option<String> {
    /// Leaves room for the suffix in names that are limited to 63 bytes.
    const LONGEST: usize = 58;
    let base = text(fields, "generateName");
    if base.is_empty() || !text(fields, "name").is_empty() {
        return None;
    }
    let end = (0..=LONGEST.min(base.len())).rev().find(|end| base.is_char_boundary(*end))?;
    let namespace = text(fields, "namespace");
    let names = std::iter::repeat_with(|| format!("{}{}", &base[..end], random::suffix()));
    // After eight attempts out of fourteen million names, the create fails with a conflict.
    let mut names = names.take(8).peekable();
    let fallback = names.peek().cloned();
    names.find(|name| store.object(resource.table, namespace, name).is_none()).or(fallback)
}

fn restore_server_fields(fields: &mut Fields, old: &Fields) {
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
    // A converted kind is validated under its stored kind, which is in the core group.
    let group = if resource.conversion.is_some() { "" } else { resource.kind.group };
    Err(Status::invalid(group, resource.kind.name, text(fields, "name"), causes))
}

/// Refuses roles and bindings that grant rights which the writer does not have.
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

/// The refusal of a write whose uid is that of another object, in the words of upstream's storage.
pub(super) fn wrong_uid(location: &Location, given: &str, found: &str) -> Status {
    let key = match location.namespace() {
        "" => format!("/registry/{}/{}", location.resource.table, location.name()),
        namespace => {
            format!("/registry/{}/{namespace}/{}", location.resource.table, location.name())
        }
    };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object \
         meta: {found}"
    );
    Status::conflict(&location.resource.kind, location.name(), &why)
}
