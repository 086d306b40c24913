//! What was stored otherwise than it was written: an admission webhook or a proxy may change each write.

use incumbent_core::Record;
use serde_json::Value;

use super::{HAND_OVER_TO, Kind, Lock, waitlist};

/// A field that is stored otherwise than it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Altered {
    pub(crate) field: String,
    pub(crate) wrote: String,
    pub(crate) stored: String,
}

impl Altered {
    /// Whether the two are the same at `pointer`.
    pub(crate) fn at(pointer: &str, wrote: &Value, stored: &Value) -> Option<Self> {
        let part = |object: &Value| object.pointer(pointer).cloned().unwrap_or_default();
        let (wrote, stored) = (part(wrote), part(stored));
        (wrote != stored).then(|| Self {
            field: named(pointer),
            wrote: cut(&wrote),
            stored: cut(&stored),
        })
    }
}

impl Lock {
    /// What of a write is stored otherwise: the first field by which the stored record differs in its meaning.
    pub(crate) fn altered(
        &self,
        (wrote, record): (&Value, &Record),
        (stored, in_store): (&Value, &Record),
    ) -> Option<Altered> {
        if record == in_store {
            return None;
        }
        let differs = |pointer: &String| Altered::at(pointer, wrote, stored);
        Some(self.pointers().iter().find_map(differs).unwrap_or_else(|| Altered {
            field: named(&annotation(&self.term_annotation())),
            wrote: format!("token {}", record.last_token),
            stored: format!("token {}", in_store.last_token),
        }))
    }

    /// Where a record is in an object.
    fn pointers(&self) -> Vec<String> {
        let fields = match &self.kind {
            Kind::Lease | Kind::Seat => {
                LEASE_FIELDS.iter().map(|field| format!("/spec/{field}")).collect()
            }
            Kind::ConfigMap { key } => {
                vec![format!("/data/{}", escaped(key)), annotation(&self.record_annotation())]
            }
        };
        let beside = [waitlist::WAITLIST, HAND_OVER_TO, waitlist::PAUSED];
        let beside = beside.map(|name| annotation(&self.annotation(name, name)));
        fields.into_iter().chain([annotation(&self.term_annotation())]).chain(beside).collect()
    }
}

const LEASE_FIELDS: [&str; 5] =
    ["holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime", "leaseTransitions"];

/// The pointer to an annotation.
pub(crate) fn annotation(name: &str) -> String {
    format!("/metadata/annotations/{}", escaped(name))
}

/// A name as a part of a JSON pointer.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A pointer as people write it: `spec.holderIdentity`, `metadata.annotations[incumbent.dev/term]`.
fn named(pointer: &str) -> String {
    let plain = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let mut parts = pointer.split('/').skip(1).map(plain);
    let first = parts.next().unwrap_or_default();
    parts.fold(first, |path, part| match part.contains(['.', '/']) {
        true => format!("{path}[{part}]"),
        false => format!("{path}.{part}"),
    })
}

/// A value for people, none as `nothing`.
fn cut(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

const LONGEST: usize = 120;
