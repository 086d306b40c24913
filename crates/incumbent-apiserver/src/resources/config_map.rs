//! ConfigMap: texts by key.

use serde_json::{Value, json};

use super::{Resource, USUAL, types};
use crate::cause::Cause;
use crate::column::{Column, Shown};
use crate::kind::Kind;
use crate::schema::Fields;
use crate::validate::{CHARACTERS, length_error};

pub(crate) const CONFIG_MAP: Resource = Resource {
    kind: Kind {
        name: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        storage_hash: "qFsyl6wFWjQ=",
        ..Kind::CORE
    },
    table: "configmaps",
    schema: types::core::CONFIG_MAP,
    columns: &[Column {
        shown: Shown::Text,
        name: "Data",
        description: "Data contains the configuration data. Each key must consist of alphanumeric \
                      characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use \
                      the BinaryData field. The keys stored in Data must not overlap with the keys \
                      in the BinaryData field, this is enforced during validation process.",
        cell: |fields, _| {
            let count =
                |name: &str| fields.get(name).and_then(Value::as_object).map_or(0, Fields::len);
            (count("data") + count("binaryData")).into()
        },
    }],
    validate,
    ..USUAL
};

/// Upstream's `MaxSecretSize`, for all values together.
const DATA_LIMIT: usize = 1024 * 1024;

fn validate(fields: &Fields, old: Option<&Fields>) -> Vec<Cause> {
    let mut causes = old.map_or_else(Vec::new, |old| immutable_causes(fields, old));
    let data = |name: &str| fields.get(name).and_then(Value::as_object).into_iter().flatten();
    let mut size = 0;
    for (key, value) in data("data") {
        causes.extend(key_causes("data", key));
        if fields.get("binaryData").and_then(|binary| binary.get(key)).is_some() {
            causes.push(Cause::invalid(
                format!("data[{key}]"),
                &json!(key),
                "duplicate of key present in binaryData",
            ));
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in data("binaryData") {
        causes.extend(key_causes("binaryData", key));
        size += value.as_str().map_or(0, |text| text.len() / 4 * 3);
    }
    if size > DATA_LIMIT {
        causes.push(Cause::too_long("", DATA_LIMIT));
    }
    causes
}

fn key_causes(field: &str, key: &str) -> Vec<Cause> {
    let mut errors: Vec<String> = length_error(key, 253, CHARACTERS).into_iter().collect();
    let is_key_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.is_empty() || !key.bytes().all(is_key_byte) {
        errors.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
             'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
             '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    if key == "." || key.starts_with("..") {
        errors.push(match key {
            "." | ".." => format!("must not be '{key}'"),
            _ => "must not start with '..'".to_owned(),
        });
    }
    let causes =
        errors.iter().map(|why| Cause::invalid(format!("{field}[{key}]"), &json!(key), why));
    causes.collect()
}

fn immutable_causes(fields: &Fields, old: &Fields) -> Vec<Cause> {
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return Vec::new();
    }
    let why = "field is immutable when `immutable` is set";
    ["immutable", "data", "binaryData"]
        .into_iter()
        .filter(|name| old.get(*name) != fields.get(*name))
        .map(|name| Cause::forbidden(name, why))
        .collect()
}
