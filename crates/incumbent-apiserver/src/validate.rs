//! Validation of names, labels, annotations and other metadata, in upstream's words.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cause::Cause;
use crate::object::{at, metadata, text};
use crate::schema::Fields;

/// The names that a kind allows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NameRule {
    /// RFC 1123 subdomain: `example.com`.
    Subdomain,
    /// RFC 1123 label: no dots.
    Label,
    /// Any name that fits into a path.
    PathSegment,
}

/// The checks of metadata that upstream makes for a kind. On a replace some run more than once, and each
/// reports its errors again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetadataRules {
    /// The checks of the core kinds.
    Core,
    /// The same, but a replace is compared with the old object last.
    CoreLast,
    /// The same, but a replace is only compared with the old object.
    CoreChange,
    /// Finalizers need no prefix.
    Plain,
    /// The same, and the kind adds nothing to what is checked of all kinds.
    Once,
}

/// Validates the metadata of an object, and its changes from the stored object.
pub(crate) fn metadata_causes(
    (rule, rules): (NameRule, MetadataRules),
    fields: &Fields,
    old: Option<&Fields>,
) -> Vec<Cause> {
    let has_core_finalizers = !matches!(rules, MetadataRules::Plain | MetadataRules::Once);
    let finalizers = if has_core_finalizers { core_finalizer_causes(fields) } else { Vec::new() };
    let core = |causes: Vec<Cause>| [causes, finalizers.clone()].concat();
    let Some(old) = old else {
        return [name_causes(rule, fields), core(content_causes(fields))].concat();
    };
    let content = || content_causes(fields);
    let change = || change_causes(fields, old);
    let of_kind = match rules {
        MetadataRules::Core => [core(change()), core(content())].concat(),
        MetadataRules::CoreLast => [core(content()), core(change())].concat(),
        MetadataRules::CoreChange => core(change()),
        MetadataRules::Plain => change(),
        MetadataRules::Once => Vec::new(),
    };
    [content(), change(), of_kind].concat()
}

fn name_causes(rule: NameRule, fields: &Fields) -> Vec<Cause> {
    let name = text(fields, "name");
    if name.is_empty() {
        return vec![Cause::required("metadata.name", "name or generateName is required")];
    }
    let wrong = name_errors(rule, name);
    wrong.iter().map(|why| Cause::invalid("metadata.name", &json!(name), why)).collect()
}

fn content_causes(fields: &Fields) -> Vec<Cause> {
    let inner = [label_causes(fields), annotation_causes(fields), owner_causes(fields)];
    [inner.concat(), finalizer_causes(fields)].concat()
}

fn change_causes(fields: &Fields, old: &Fields) -> Vec<Cause> {
    let uid = unchanged("metadata.uid", text(old, "uid"), text(fields, "uid"));
    let inner = [label_causes(fields), annotation_causes(fields), owner_causes(fields)];
    new_finalizer_cause(fields, old).into_iter().chain(uid).chain(inner.concat()).collect()
}

/// Why a name is invalid; empty if it is valid.
pub(crate) fn name_errors(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => subdomain_errors(name, CHARACTERS),
        NameRule::Label => dns_label_errors(name),
        NameRule::PathSegment => path_segment_errors(name),
    }
}

/// Why a key of a label, annotation or finalizer is invalid. Keys are `name` or `prefix.example/name`.
pub(crate) fn qualified_name_errors(key: &str) -> Vec<String> {
    let (prefix, name) = match key.split_once('/') {
        None => (None, key),
        Some((prefix, name)) => (Some(prefix), name),
    };
    if name.contains('/') {
        return vec![format!(
            "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character {QUALIFIED_EXAMPLE} with an optional DNS \
             subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )];
    }
    let mut errors = Vec::new();
    match prefix {
        Some("") => errors.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            errors.extend(
                subdomain_errors(prefix, BYTES).into_iter().map(|why| format!("prefix part {why}")),
            );
        }
        None => {}
    }
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_between_alphanumerics(name, is_name_byte) {
        errors.push(format!(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start \
             and end with an alphanumeric character {QUALIFIED_EXAMPLE}"
        ));
    }
    errors
}

/// Why the value of a label is invalid.
pub(crate) fn label_value_errors(value: &str) -> Vec<String> {
    let mut errors: Vec<String> = length_error(value, 63, BYTES).into_iter().collect();
    if !value.is_empty() && !is_between_alphanumerics(value, is_name_byte) {
        errors.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
             or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
             'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    errors
}

/// A cause if an immutable field has changed.
pub(crate) fn unchanged(field: &str, old: &str, new: &str) -> Option<Cause> {
    (old != new).then(|| Cause::invalid(field, &json!(new), "field is immutable"))
}

const QUALIFIED_EXAMPLE: &str = "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
     validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Upstream's limit for all keys and values together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// The units that upstream's two copies of this rule name.
pub(crate) const CHARACTERS: &str = "characters";
const BYTES: &str = "bytes";

/// An error if the text has more bytes than the limit, whatever `unit` the message names.
pub(crate) fn length_error(text: &str, limit: usize, unit: &str) -> Option<String> {
    (text.len() > limit).then(|| format!("must be no more than {limit} {unit}"))
}

fn subdomain_errors(name: &str, unit: &str) -> Vec<String> {
    let mut errors: Vec<String> = length_error(name, 253, unit).into_iter().collect();
    if !name.split('.').all(is_between_lower) {
        errors.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '-' or '.', and must start and end with an alphanumeric character (e.g. \
             'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    errors
}

fn dns_label_errors(name: &str) -> Vec<String> {
    let mut errors: Vec<String> = length_error(name, 63, CHARACTERS).into_iter().collect();
    if !is_between_lower(name) {
        errors.push(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
             and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
             regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    errors
}

fn path_segment_errors(name: &str) -> Vec<String> {
    match name {
        "." | ".." => vec![format!("may not be '{name}'")],
        _ => ['/', '%']
            .into_iter()
            .filter(|forbidden| name.contains(*forbidden))
            .map(|forbidden| format!("may not contain '{forbidden}'"))
            .collect(),
    }
}

fn label_causes(fields: &Fields) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in texts(fields, "/metadata/labels") {
        let key_errors = qualified_name_errors(key);
        causes.extend(
            key_errors.iter().map(|why| Cause::invalid("metadata.labels", &json!(key), why)),
        );
        let errors = label_value_errors(value);
        causes
            .extend(errors.iter().map(|why| Cause::invalid("metadata.labels", &json!(value), why)));
    }
    causes
}

fn annotation_causes(fields: &Fields) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut size = 0;
    for (key, value) in texts(fields, "/metadata/annotations") {
        let errors = qualified_name_errors(&key.to_lowercase());
        let field = "metadata.annotations";
        causes.extend(errors.iter().map(|why| Cause::invalid(field, &json!(key), why)));
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_LIMIT {
        causes.push(Cause::too_long("metadata.annotations", ANNOTATIONS_LIMIT));
    }
    causes
}

fn finalizers(fields: &Fields) -> impl Iterator<Item = &str> {
    let finalizers = at(fields, "/metadata/finalizers").and_then(Value::as_array);
    finalizers.into_iter().flatten().filter_map(Value::as_str)
}

fn finalizer_causes(fields: &Fields) -> Vec<Cause> {
    const FIELD: &str = "metadata.finalizers";
    let mut causes = Vec::new();
    for name in finalizers(fields) {
        let errors = qualified_name_errors(name);
        causes.extend(errors.iter().map(|why| Cause::invalid(FIELD, &json!(name), why)));
    }
    let has = |wanted| finalizers(fields).any(|name| name == wanted);
    if has("orphan") && has("foregroundDeletion") {
        let all: Vec<&str> = finalizers(fields).collect();
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        causes.push(Cause::invalid(FIELD, &json!(all), why));
    }
    causes
}

/// A cause if an object that is being deleted gets a new finalizer.
fn new_finalizer_cause(fields: &Fields, old: &Fields) -> Option<Cause> {
    at(old, "/metadata/deletionTimestamp")?;
    let known: BTreeSet<&str> = finalizers(old).collect();
    let new: BTreeSet<&str> = finalizers(fields).filter(|name| !known.contains(name)).collect();
    let names: Vec<String> = new.iter().map(|name| format!("{name:?}")).collect();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers \
         []string{{{}}}",
        names.join(", ")
    );
    (!new.is_empty()).then(|| Cause::forbidden("metadata.finalizers", &why))
}

fn core_finalizer_causes(fields: &Fields) -> Vec<Cause> {
    const STANDARD: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    finalizers(fields)
        .enumerate()
        .filter(|(_, name)| !name.contains('/') && !STANDARD.contains(name))
        .map(|(index, name)| {
            Cause::invalid(format!("metadata.finalizers[{index}]"), &json!(name), why)
        })
        .collect()
}

/// An owner, with its members in upstream's order.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    controller: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_owner_deletion: Option<bool>,
}

impl Owner {
    fn causes(&self) -> Vec<Cause> {
        const FIELD: &str = "metadata.ownerReferences";
        let mut causes = Vec::new();
        let version = &self.api_version;
        if version.is_empty() || version.ends_with('/') || version.matches('/').count() > 1 {
            let field = format!("{FIELD}.apiVersion");
            causes.push(Cause::invalid(field, &json!(version), "version must not be empty"));
        }
        let members = [("kind", &self.kind), ("name", &self.name), ("uid", &self.uid)];
        for (member, _) in members.iter().filter(|(_, text)| text.is_empty()) {
            let field = format!("{FIELD}.{member}");
            causes.push(Cause::invalid(field, &json!(""), "must not be empty"));
        }
        if version == "v1" && self.kind == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            causes.push(Cause::invalid_struct(FIELD, self, why));
        }
        causes
    }
}

fn owner_causes(fields: &Fields) -> Vec<Cause> {
    let owners = metadata(fields).and_then(|metadata| metadata.get("ownerReferences"));
    let Some(owners) = owners.and_then(|owners| Vec::<Owner>::deserialize(owners).ok()) else {
        return Vec::new();
    };
    let mut causes = Vec::new();
    let mut first_controller = None;
    for owner in &owners {
        causes.extend(owner.causes());
        if owner.controller != Some(true) {
            continue;
        }
        let this = format!("{}/{}", owner.kind, owner.name);
        let Some(first) = &first_controller else {
            first_controller = Some(this);
            continue;
        };
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for \
             {first} and {this}"
        );
        causes.push(Cause::invalid_struct("metadata.ownerReferences", &owners, &why));
    }
    causes
}

fn texts<'a>(fields: &'a Fields, pointer: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map = at(fields, pointer).and_then(Value::as_object);
    map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

fn is_between_lower(text: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    is_between(text, edge, |byte| edge(byte) || *byte == b'-')
}

fn is_between_alphanumerics(text: &str, inner: impl Fn(&u8) -> bool) -> bool {
    is_between(text, u8::is_ascii_alphanumeric, inner)
}

fn is_between(text: &str, edge: impl Fn(&u8) -> bool, inner: impl Fn(&u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(&edge) && bytes.last().is_some_and(&edge) && bytes.iter().all(inner)
}

fn is_name_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}
