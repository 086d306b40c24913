//! What the lock says beside the record: who waits, and what people ask for. All of it can be read and
//! edited with `kubectl annotate`.

use incumbent_core::{HandOver, Identity, Record, Session, Waiter, Waitlist};
use serde_json::{Value, json};

use super::Lock;
use super::codec::{annotate, text_annotation};

/// The line: `[{"identity":"jane","session":"…"},"jack"]`. A bare name means any candidate with this name.
pub(super) const WAITLIST: &str = "incumbent.dev/waitlist";

/// Whom the leader is asked to hand over to, by name; to the next in the waitlist where it is empty or `*`.
pub(crate) const HAND_OVER_TO: &str = "incumbent.dev/hand-over-to";

/// The names of those that must not lead, with commas or spaces between them; `*` means all.
pub(crate) const PAUSED: &str = "incumbent.dev/cordon";

impl Lock {
    /// Adds to `record` what the annotations of `object` say.
    pub(super) fn read_waitlist(&self, object: &Value, record: &mut Record) {
        let text = |name| object["metadata"]["annotations"][self.annotation(name, name)].as_str();
        let line = text_annotation(object, &self.annotation(WAITLIST, WAITLIST));
        let waiters = line.as_array().into_iter().flatten().filter_map(waiter);
        record.waitlist = Waitlist::new(waiters);
        record.hand_over = text(HAND_OVER_TO).map(|name| match name.trim() {
            "" | "*" => HandOver::ToNext,
            name => Identity::new(name).map_or(HandOver::ToNext, HandOver::To),
        });
        let names = text(PAUSED).unwrap_or_default();
        let names = names.split([',', ' ', '\n']).map(str::trim);
        record.paused = names.filter_map(Identity::new).collect();
    }

    /// Writes the line where it has changed, and takes out a request that was met. Nothing else is ours.
    pub(super) fn write_waitlist(&self, object: &mut Value, before: &Record, record: &Record) {
        let waitlist = self.annotation(WAITLIST, WAITLIST);
        if record.waitlist.waiters().is_empty() && before.waitlist != record.waitlist {
            take_out(object, &waitlist);
        } else if before.waitlist != record.waitlist {
            let line: Value = record.waitlist.waiters().iter().map(written).collect();
            annotate(object, &waitlist, &line);
        }
        if record.hand_over.is_none() {
            take_out(object, &self.annotation(HAND_OVER_TO, HAND_OVER_TO));
        }
    }
}

fn waiter(value: &Value) -> Option<Waiter> {
    let named = |name: &Value| name.as_str().and_then(Identity::new);
    let session = value["session"].as_str().and_then(|hex| u128::from_str_radix(hex, 16).ok());
    let priority = value["priority"].as_i64().and_then(|number| i32::try_from(number).ok());
    Some(Waiter {
        identity: named(value).or_else(|| named(&value["identity"]))?,
        session: session.map(Session),
        priority: priority.unwrap_or(0),
    })
}

fn written(waiter: &Waiter) -> Value {
    let mut value = json!({ "identity": waiter.identity.as_str() });
    if let Some(Session(session)) = waiter.session {
        value["session"] = format!("{session:032x}").into();
    }
    if waiter.priority != 0 {
        value["priority"] = waiter.priority.into();
    }
    value
}

fn take_out(object: &mut Value, annotation: &str) {
    if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.remove(annotation);
    }
}
