//! What a member of a group says in the annotation of its term.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use incumbent_core::group::{PageIndex, Released, SeatInfo, TaskName};
use serde_json::{Map, Value, json};

/// What the member of this seat says. A text that no member wrote is one of a member that releases nothing and takes no
/// tasks: it still holds the seat, so its work is waited for.
pub(super) fn read(from: &Value) -> Option<SeatInfo> {
    let unreadable = || SeatInfo { capacity: 0, is_draining: true, ..SeatInfo::default() };
    (!from.is_null()).then(|| said(from).unwrap_or_else(unreadable))
}

fn said(from: &Value) -> Option<SeatInfo> {
    let running = from["running"].as_array()?.iter();
    let exceptions = running.map(|task| TaskName::new(task.as_str()?));
    Some(SeatInfo {
        capacity: u32::try_from(from["capacity"].as_u64()?).ok()?,
        version: from["version"].as_str()?.to_owned(),
        zone: from["zone"].as_str().unwrap_or_default().to_owned(),
        is_draining: from["draining"].as_bool()?,
        is_leaving: from["leaving"].as_bool()?,
        declined: names(&from["declined"]).collect(),
        prepares_within: from["preparesWithinMs"].as_u64().map(Duration::from_millis),
        prepared: versions(&from["prepared"]).unwrap_or_default(),
        released: Released {
            pages: versions(&from["released"])?,
            exceptions: exceptions.collect::<Option<BTreeSet<_>>>()?,
        },
    })
}

/// The version of each page.
fn versions(from: &Value) -> Option<BTreeMap<PageIndex, u64>> {
    let versions = from.as_object()?.iter();
    let versions = versions
        .map(|(index, revision)| Some((PageIndex(index.parse().ok()?), revision.as_u64()?)));
    versions.collect()
}

/// Members that decline nothing do not say so, nor do those of an older version.
fn names(from: &Value) -> impl Iterator<Item = TaskName> {
    let names = from.as_array().into_iter().flatten();
    names.filter_map(|task| TaskName::new(task.as_str()?))
}

pub(super) fn written(info: &SeatInfo) -> Value {
    let versions = |versions: &BTreeMap<PageIndex, u64>| -> Map<String, Value> {
        let versions = versions.iter();
        versions.map(|(page, revision)| (page.0.to_string(), (*revision).into())).collect()
    };
    let running: Vec<&str> = info.released.exceptions.iter().map(TaskName::as_str).collect();
    let mut written = json!({
        "capacity": info.capacity,
        "version": info.version,
        "zone": info.zone,
        "draining": info.is_draining,
        "leaving": info.is_leaving,
        "released": versions(&info.released.pages),
        "running": running,
    });
    if !info.declined.is_empty() {
        let declined: Vec<&str> = info.declined.iter().map(TaskName::as_str).collect();
        written["declined"] = declined.into();
    }
    if let Some(limit) = info.prepares_within {
        written["preparesWithinMs"] = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).into();
    }
    if !info.prepared.is_empty() {
        written["prepared"] = versions(&info.prepared).into();
    }
    written
}
