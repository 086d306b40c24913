//! What the routes answer, before it is written out; writing happens outside of the lock.

use std::sync::Arc;

use serde_json::Value;

use crate::list::List;
use crate::object::Object;
use crate::resources::Resource;
use crate::selector::Selection;
use crate::status::Status;
use crate::store::ChangeKind;

/// An answer that is not a refusal.
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

/// A watch to be opened.
#[derive(Debug)]
pub(crate) struct WatchStart {
    pub(crate) resource: &'static Resource,
    pub(crate) selection: Selection,
    /// What is told before anything new.
    pub(crate) initial: Vec<(ChangeKind, Arc<Object>)>,
    /// Ends the initial events with a bookmark.
    pub(crate) marks_initial_end: bool,
    pub(crate) bookmarks: Bookmarks,
    pub(crate) timeout_seconds: Option<u64>,
    /// Nothing newer than this has been told; the watch goes on from here.
    pub(crate) version: u64,
    /// Says why the watch ends before it began, inside of the stream.
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
