//! What the routes answer. The service serializes it after the lock is released.

use std::sync::Arc;

use serde_json::Value;

use crate::list::List;
use crate::object::Object;
use crate::resources::Resource;
use crate::selector::Selection;
use crate::status::Status;
use crate::store::ChangeKind;

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) payload: Payload,
    /// For the `Warning` header.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum Payload {
    Object(&'static Resource, Arc<Object>),
    List(List),
    Json(Value),
    Text(&'static str),
    Watch(Box<WatchStart>),
}

/// A watch to open.
#[derive(Debug)]
pub(crate) struct WatchStart {
    pub(crate) resource: &'static Resource,
    pub(crate) selection: Selection,
    /// The objects to send before any change.
    pub(crate) initial: Vec<(ChangeKind, Arc<Object>)>,
    /// Whether a bookmark ends the initial events.
    pub(crate) marks_initial_end: bool,
    pub(crate) bookmarks: Bookmarks,
    pub(crate) timeout_seconds: Option<u64>,
    /// The version of the initial events; changes after it follow.
    pub(crate) version: u64,
    /// Sent as the only event of a watch that cannot start.
    pub(crate) error: Option<Status>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bookmarks {
    Wanted,
    Unwanted,
}

impl Answer {
    pub(crate) fn object(code: u16, resource: &'static Resource, object: Arc<Object>) -> Self {
        Self { code, payload: Payload::Object(resource, object), warnings: Vec::new() }
    }

    pub(crate) fn json(code: u16, json: Value) -> Self {
        Self { code, payload: Payload::Json(json), warnings: Vec::new() }
    }

    pub(crate) fn text(code: u16, text: &'static str) -> Self {
        Self { code, payload: Payload::Text(text), warnings: Vec::new() }
    }

    pub(crate) fn page_not_found() -> Self {
        Self::text(404, "404 page not found\n")
    }

    pub(crate) fn list(list: List) -> Self {
        Self { code: 200, payload: Payload::List(list), warnings: Vec::new() }
    }

    pub(crate) fn watch(start: WatchStart) -> Self {
        Self { code: 200, payload: Payload::Watch(Box::new(start)), warnings: Vec::new() }
    }

    pub(crate) fn with_note(mut self, note: Option<String>) -> Self {
        self.warnings.extend(note);
        self
    }

    pub(crate) fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }
}
