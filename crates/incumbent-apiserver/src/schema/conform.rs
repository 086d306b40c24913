//! Conforms an object to a schema, as Go's decoders do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};

use super::go::{found, illegal_base64, unrestorable};
use super::{Field, Fields, Presence, Shape, Struct};
use crate::time;

/// An object that fits its schema, and the fields that were dropped.
#[derive(Debug)]
pub(crate) struct Conformed {
    pub(crate) fields: Fields,
    /// Paths of unknown fields, such as `spec.dta`.
    pub(crate) unknown: Vec<String>,
}

/// Conforms an object to the schema of its kind.
///
/// # Errors
///
/// A value has the wrong type, in the style of Go's JSON decoder.
pub(crate) fn conform(schema: &Struct, given: Fields) -> Result<Conformed, String> {
    conform_in(ErrorStyle::Json, schema, given)
}

/// The upstream decoder whose error messages are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorStyle {
    /// Decodes bytes. It continues after a wrong type, and so reports an invalid time first.
    Json,
    /// Decodes values in memory, the result of a strategic patch or an apply.
    Unstructured,
}

/// The same, with the error messages of one of the decoders.
///
/// # Errors
///
/// A value has the wrong type.
pub(crate) fn conform_in(
    style: ErrorStyle,
    schema: &Struct,
    given: Fields,
) -> Result<Conformed, String> {
    let mut decoder = Decoder {
        style,
        path: Vec::new(),
        structs: Vec::new(),
        unknown: Vec::new(),
        mismatch: None,
    };
    let fields = decoder.object(schema, given)?;
    match decoder.mismatch {
        Some(mismatch) => Err(mismatch),
        None => Ok(Conformed { fields, unknown: decoder.unknown }),
    }
}

/// Upstream's limit.
const MOST_UNKNOWN_FIELDS: usize = 100;

struct Decoder {
    style: ErrorStyle,
    path: Vec<String>,
    /// The path in Go structs: the owner's type and the field, without keys and indexes.
    structs: Vec<(&'static str, &'static str)>,
    unknown: Vec<String>,
    mismatch: Option<String>,
}

impl Decoder {
    fn value(&mut self, shape: &Shape, value: Value) -> Result<Value, String> {
        match (shape, value) {
            (Shape::Any, value) => Ok(value),
            (Shape::Atomic(inner), value) => self.value(inner, value),
            (shape, Value::Null) => Ok(shape.zero()),
            (Shape::Bool, value @ Value::Bool(_)) => Ok(value),
            (Shape::String, value @ Value::String(_)) => Ok(value),
            (Shape::Int64, Value::Number(number)) if number.is_i64() => Ok(number.into()),
            (Shape::Int32, Value::Number(number)) if fits_int32(&number) => Ok(number.into()),
            (Shape::Int32, Value::Number(number)) if self.wraps(&number) => Ok(wrapped(&number)),
            (Shape::Bytes, Value::String(text)) => match STANDARD.decode(&text) {
                Ok(_) => Ok(text.into()),
                Err(error) => self.wrong(format!("{}{}", self.prefix(), illegal_base64(&error))),
            },
            (Shape::Time, Value::String(text)) => time::parse_seconds(&text).map(Value::from),
            (Shape::MicroTime, Value::String(text)) => time::parse_micros(&text).map(Value::from),
            (Shape::Time | Shape::MicroTime, value) => {
                let found = found(&value);
                Err(format!("json: cannot unmarshal {found} into Go value of type string"))
            }
            (Shape::Quantity, value) => quantity(&value),
            (Shape::IntOrString, value @ Value::String(_)) => Ok(value),
            (Shape::IntOrString, Value::Number(number)) if fits_int32(&number) => Ok(number.into()),
            (Shape::IntOrString, value) => {
                let found = found(&value);
                Err(format!("json: cannot unmarshal {found} into Go value of type int32"))
            }
            (Shape::Map(item), Value::Object(map)) => self.map(item, map),
            (Shape::List(item, _), Value::Array(list)) => self.list(item, list),
            (Shape::Object(of), Value::Object(map)) => Ok(self.object(of, map)?.into()),
            (shape, value) => {
                let why = self.mismatch(shape, &value);
                self.wrong(why)
            }
        }
    }

    fn object(&mut self, schema: &Struct, mut given: Fields) -> Result<Fields, String> {
        let mut fields = Fields::new();
        for field in schema.fields.iter().filter(|field| !field.is_embedded()) {
            let value = match given.remove(field.name) {
                None | Some(Value::Null) => None,
                Some(value) => Some(self.member(schema.name, field, value)?),
            };
            let kept = match (field.presence, value) {
                (Presence::WhenNotEmpty, value) => value.filter(|value| !is_empty(value)),
                (Presence::WhenGiven | Presence::Embedded, value) => value,
                (Presence::Always, value) => Some(value.unwrap_or_else(|| field.shape.zero())),
            };
            if let Some(value) = kept {
                fields.insert(field.name.to_owned(), value);
            }
        }
        for name in given.keys() {
            if self.unknown.len() < MOST_UNKNOWN_FIELDS {
                self.unknown.push(self.path_to(name));
            }
        }
        Ok(fields)
    }

    fn map(&mut self, item: &Shape, map: Fields) -> Result<Value, String> {
        let mut values = Fields::new();
        for (key, value) in map {
            let value = self.within(key.clone(), item, value)?;
            values.insert(key, value);
        }
        Ok(values.into())
    }

    fn list(&mut self, item: &Shape, list: Vec<Value>) -> Result<Value, String> {
        let mut values = Vec::with_capacity(list.len());
        for (index, value) in list.into_iter().enumerate() {
            values.push(self.within(format!("[{index}]"), item, value)?);
        }
        Ok(values.into())
    }

    fn within(&mut self, step: String, shape: &Shape, value: Value) -> Result<Value, String> {
        self.path.push(step);
        let value = self.value(shape, value)?;
        self.path.pop();
        Ok(value)
    }

    fn member(
        &mut self,
        owner: &'static str,
        field: &Field,
        value: Value,
    ) -> Result<Value, String> {
        self.structs.push((owner, field.name));
        let value = self.within(field.name.to_owned(), &field.shape, value)?;
        self.structs.pop();
        Ok(value)
    }

    /// Records a mismatch. The first one is reported after the whole object is read.
    fn wrong(&mut self, why: String) -> Result<Value, String> {
        if self.style == ErrorStyle::Unstructured {
            return Err(why);
        }
        self.mismatch.get_or_insert(why);
        Ok(Value::Null)
    }

    fn wraps(&self, number: &Number) -> bool {
        self.style == ErrorStyle::Unstructured && number.is_i64()
    }

    fn prefix(&self) -> &'static str {
        if self.style == ErrorStyle::Unstructured { "error decoding from json: " } else { "" }
    }

    fn mismatch(&self, shape: &Shape, value: &Value) -> String {
        if self.style == ErrorStyle::Unstructured {
            return unrestorable(shape, value);
        }
        let found = match value {
            // Go shows the number only if the wanted type is numeric.
            Value::Number(number) if matches!(shape, Shape::Int32 | Shape::Int64) => {
                format!("number {number}")
            }
            value => found(value).to_owned(),
        };
        let (owner, _) = self.structs.last().copied().unwrap_or_default();
        let path: Vec<&str> = self.structs.iter().map(|(_, field)| *field).collect();
        let (path, wanted) = (path.join("."), shape.go_name());
        format!(
            "json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {wanted}"
        )
    }

    fn path_to(&self, last: &str) -> String {
        let mut path = String::new();
        for step in self.path.iter().map(String::as_str).chain([last]) {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        path
    }
}

/// The lower 32 bits, as Go converts.
fn wrapped(number: &Number) -> Value {
    let [a, b, c, d, ..] = number.as_i64().unwrap_or_default().to_le_bytes();
    i32::from_le_bytes([a, b, c, d]).into()
}

/// An amount, as a string.
fn quantity(value: &Value) -> Result<Value, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let sign = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let suffix = sign.trim_start_matches(|char: char| char.is_ascii_digit() || char == '.');
    let is_number = suffix.len() < sign.len();
    let exponent = suffix.strip_prefix(['e', 'E']).map(|rest| rest.parse::<i32>());
    let is_known = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E"].contains(&suffix)
        || ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].contains(&suffix)
        || matches!(exponent, Some(Ok(_)));
    if is_number && is_known {
        return Ok(text.into());
    }
    Err("quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        .to_owned())
}

fn fits_int32(number: &Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::ListMerge;

    const INNER: &Struct = &Struct {
        name: "Inner",
        fields: &[Field::always(1, "ready", Shape::Bool), Field::string(2, "note")],
    };
    const OUTER: &Struct = &Struct {
        name: "Outer",
        fields: &[
            Field::pointer(3, "holder", Shape::String),
            Field::plain(4, "labels", Shape::Map(&Shape::String)),
            Field::always(5, "inner", Shape::Object(INNER)),
            Field::plain(6, "all", Shape::List(&Shape::Object(INNER), ListMerge::Replace)),
        ],
    };

    fn conformed(given: Value) -> Result<(Value, Vec<String>), String> {
        let Value::Object(given) = given else { panic!("not an object") };
        conform(OUTER, given).map(|done| (done.fields.into(), done.unknown))
    }

    #[test]
    fn a_pointer_is_kept_when_empty_and_a_plain_value_is_not() {
        let (fields, unknown) = conformed(json!({"holder": "", "labels": {}})).unwrap();
        assert_eq!(fields, json!({"holder": "", "inner": {"ready": false}}));
        assert!(unknown.is_empty());
    }

    #[test]
    fn unknown_fields_are_dropped_and_named_by_their_path() {
        let given = json!({"x": 1, "all": [{"y": 1, "note": "n"}]});
        let (fields, unknown) = conformed(given).unwrap();
        assert_eq!(fields["all"], json!([{"ready": false, "note": "n"}]));
        assert_eq!(unknown, ["all[0].y", "x"]);
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_path() {
        let error = conformed(json!({"inner": {"ready": "yes"}})).unwrap_err();
        assert_eq!(
            error,
            "json: cannot unmarshal string into Go struct field Inner.inner.ready of type bool"
        );
    }
}
