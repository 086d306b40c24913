//! The verbs get, list and watch.

use std::sync::Arc;

use super::options::{
    Continue, ReadVersion, check_list_options, check_watch_options, list_version, selection,
    version,
};
use super::{Call, Location, World};
use crate::answer::{Answer, Bookmarks, WatchStart};
use crate::list::{List, NextPage};
use crate::object::Object;
use crate::request::Query;
use crate::selector::Selection;
use crate::status::Status;
use crate::store::{Change, ChangeKind, Store};

pub(super) fn get(world: &World, call: &Call, location: &Location) -> Result<Answer, Status> {
    not_in_the_future(&world.store, version(&call.target.query)?)?;
    Ok(Answer::object(200, location.resource, existing(&world.store, location)?.clone()))
}

/// The object that a request names.
pub(super) fn existing<'a>(
    store: &'a Store,
    location: &Location,
) -> Result<&'a Arc<Object>, Status> {
    store
        .object(location.resource.table, location.namespace(), location.name())
        .ok_or_else(|| Status::not_found(&location.resource.kind, location.name()))
}

pub(super) fn list(world: &World, call: &Call, location: &Location) -> Result<Answer, Status> {
    let (store, query) = (&world.store, &call.target.query);
    let selection = selection(query, location.resource, location.namespace())?;
    check_list_options(query)?;
    let limit = query.number("limit").map_err(Status::bad_request)?.unwrap_or(0);
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    query.number("timeoutSeconds").map_err(Status::bad_request)?;
    let continued = query.text("continue").map(Continue::decode).transpose()?;
    let wanted = match &continued {
        None => list_version(query)?,
        Some(_) if version(query)? != 0 => {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(why));
        }
        Some(token) => token.version.map_or(ReadVersion::Newest, ReadVersion::Exactly),
    };
    let (version, objects) =
        objects(store, location, wanted, &selection).map_err(|refused| {
            match (refused, &continued) {
                (Unlistable::Compacted, Some(token)) => {
                    Status::expired_page(&token.newest().encode())
                }
                (Unlistable::Compacted, None) => Status::expired(TOO_OLD),
                (Unlistable::Refused(status), _) => status,
            }
        })?;
    let mut items = objects;
    if let Some(Continue { after, .. }) = &continued {
        let is_next = |object: &Arc<Object>| {
            (object.namespace(), object.name()) > (after.0.as_str(), after.1.as_str())
        };
        items.retain(is_next);
    }
    let remaining = items.len().saturating_sub(limit);
    items.truncate(limit);
    let is_whole = selection.labels.is_empty() && selection.fields.is_empty();
    let next = items.last().filter(|_| remaining > 0).map(|last| NextPage {
        token: Continue {
            version: Some(version),
            after: (last.namespace().to_owned(), last.name().to_owned()),
        }
        .encode(),
        remaining: is_whole.then_some(remaining),
    });
    Ok(Answer::list(List { resource: location.resource, items, version, next }))
}

/// The refusal of a version that the client named.
const TOO_OLD: &str = "The resourceVersion for the provided list is too old.";

/// Why a collection cannot be listed.
enum Unlistable {
    Compacted,
    Refused(Status),
}

impl From<Status> for Unlistable {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

/// The selected objects, and the version of the data.
fn objects(
    store: &Store,
    location: &Location,
    wanted: ReadVersion,
    selection: &Selection,
) -> Result<(u64, Vec<Arc<Object>>), Unlistable> {
    match wanted {
        ReadVersion::Newest => {}
        ReadVersion::NotOlderThan(version) => not_in_the_future(store, version)?,
        ReadVersion::Exactly(version) if version == store.version() => {}
        ReadVersion::Exactly(version) => {
            not_in_the_future(store, version)?;
            let past = store.objects_at(location.resource.table, version);
            let past = past.map_err(|_| Unlistable::Compacted)?;
            let selected = past.into_iter().filter(|object| selection.matches(object));
            return Ok((version, selected.collect()));
        }
    }
    Ok((store.version(), selected(store, location, selection)))
}

/// The selected objects in the newest version.
pub(super) fn selected(
    store: &Store,
    location: &Location,
    selection: &Selection,
) -> Vec<Arc<Object>> {
    let table = location.resource.table;
    // A fast path, because each candidate lists its lock by name before it watches.
    let one = selection.name().zip(selection.namespace.as_deref());
    let found: Vec<_> = match one {
        Some((name, namespace)) => store.object(table, namespace, name).into_iter().collect(),
        None => store.objects(table, selection.namespace.as_deref()).collect(),
    };
    found.into_iter().filter(|object| selection.matches(object)).cloned().collect()
}

pub(super) fn watch(world: &World, call: &Call, location: &Location) -> Result<Answer, Status> {
    let (store, query) = (&world.store, &call.target.query);
    let selection = selection(query, location.resource, location.namespace())?;
    let initial_events = initial_events(query)?;
    let since = version(query)?;
    let timeout = query.number("timeoutSeconds").map_err(Status::bad_request)?;
    query.number("limit").map_err(Status::bad_request)?;
    let wants_bookmarks = query.flag("allowWatchBookmarks");
    let mut start = WatchStart {
        resource: location.resource,
        initial: Vec::new(),
        marks_initial_end: wants_bookmarks && initial_events == InitialEvents::Wanted,
        bookmarks: if wants_bookmarks { Bookmarks::Wanted } else { Bookmarks::Unwanted },
        timeout_seconds: timeout.and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0),
        version: store.version().max(since),
        error: None,
        selection,
    };
    match initial_events {
        InitialEvents::Wanted => {
            not_in_the_future(store, since)?;
            start.initial = all_as_added(store, location, &start.selection);
        }
        InitialEvents::Unspecified if since == 0 => {
            start.initial = all_as_added(store, location, &start.selection);
        }
        InitialEvents::Unwanted if since == 0 => {}
        InitialEvents::Unspecified | InitialEvents::Unwanted => {
            match store.changes_since(location.resource.table, since) {
                Ok(changes) => start.initial = events_for(&changes, &start.selection),
                Err(compacted) => {
                    let oldest = compacted.oldest;
                    let why = format!("too old resource version: {since} ({oldest})");
                    start.error = Some(Status::expired(why));
                }
            }
        }
    }
    Ok(Answer::watch(start))
}

/// Whether a watch begins with the existing objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InitialEvents {
    Unspecified,
    Wanted,
    Unwanted,
}

fn initial_events(query: &Query) -> Result<InitialEvents, Status> {
    check_watch_options(query)?;
    Ok(match query.text("sendInitialEvents") {
        None => InitialEvents::Unspecified,
        Some(_) if query.flag("sendInitialEvents") => InitialEvents::Wanted,
        Some(_) => InitialEvents::Unwanted,
    })
}

fn all_as_added(
    store: &Store,
    location: &Location,
    selection: &Selection,
) -> Vec<(ChangeKind, Arc<Object>)> {
    let objects = selected(store, location, selection);
    objects.into_iter().map(|object| (ChangeKind::Added, object)).collect()
}

fn events_for(changes: &[Arc<Change>], selection: &Selection) -> Vec<(ChangeKind, Arc<Object>)> {
    let seen = changes.iter().filter_map(|change| {
        let kind = change.as_seen_by(selection)?;
        Some((kind, change.object_as(kind)))
    });
    seen.collect()
}

fn not_in_the_future(store: &Store, version: u64) -> Result<(), Status> {
    match store.version() {
        current if version > current => Err(Status::version_in_the_future(version, current)),
        _ => Ok(()),
    }
}
