//! Upstream's type check of an applied object, which comes before all other checks.

use serde_json::Value;

use crate::schema::{Fields, ListMerge, Shape, Struct};

/// All values that do not fit the schema.
pub(crate) fn misfits(schema: &Struct, applied: &Fields) -> Vec<String> {
    let mut misfits = Vec::new();
    for (name, value) in applied.iter().filter(|(name, _)| *name != "apiVersion" && *name != "kind")
    {
        member(schema, name, value, &format!(".{name}"), &mut misfits);
    }
    misfits
}

fn member(schema: &Struct, name: &str, value: &Value, path: &str, misfits: &mut Vec<String>) {
    match schema.find(name) {
        Some(field) => check(&field.shape, value, path, misfits),
        None => misfits.push(format!("{path}: field not declared in schema")),
    }
}

fn check(shape: &Shape, value: &Value, path: &str, misfits: &mut Vec<String>) {
    let expected = match (shape, value) {
        // Times are checked later.
        (_, Value::Null)
        | (Shape::Any | Shape::Time | Shape::MicroTime | Shape::Quantity | Shape::IntOrString, _)
        | (Shape::Bool, Value::Bool(_))
        | (Shape::Int32 | Shape::Int64, Value::Number(_))
        | (Shape::String | Shape::Bytes, Value::String(_)) => return,
        (Shape::Atomic(inner), value) => return check(inner, value, path, misfits),
        (Shape::Object(of), Value::Object(map)) => {
            return map.iter().for_each(|(name, value)| {
                member(of, name, value, &format!("{path}.{name}"), misfits);
            });
        }
        (Shape::Map(item), Value::Object(map)) => {
            return map.iter().for_each(|(name, value)| {
                check(item, value, &format!("{path}.{name}"), misfits);
            });
        }
        (Shape::List(item, how), Value::Array(list)) => {
            return list.iter().enumerate().for_each(|(index, value)| {
                let entry = entry(*how, value).unwrap_or_else(|| index.to_string());
                check(item, value, &format!("{path}[{entry}]"), misfits);
            });
        }
        (Shape::Bool, value) => format!("boolean, got &{{{}}}", go_text(value)),
        (Shape::Int32 | Shape::Int64, value) => {
            format!("numeric (int or float), got {}", go_type(value))
        }
        (Shape::String | Shape::Bytes, value) => {
            format!("string, got &value.valueUnstructured{{Value:{}}}", go_text(value))
        }
        (Shape::Object(_) | Shape::Map(_), value) => format!("map, got &{{{}}}", go_text(value)),
        (Shape::List(..), value) => format!("list, got &{{{}}}", go_text(value)),
    };
    misfits.push(format!("{path}: expected {expected}"));
}

/// The key of a list's entry, as upstream shows it.
fn entry(how: ListMerge, value: &Value) -> Option<String> {
    match how {
        ListMerge::Key(key) => Some(format!("{key}={}", value.get(key)?)),
        ListMerge::Keys(first, (second, usual)) => {
            let usual = Value::from(usual);
            let second_value = value.get(second).unwrap_or(&usual);
            Some(format!("{first}={},{second}={second_value}", value.get(first)?))
        }
        ListMerge::Set => Some(format!("={value}")),
        ListMerge::Replace => None,
    }
}

/// A JSON value as Go prints it.
pub(crate) fn go_text(value: &Value) -> String {
    let joined = |each: Vec<String>| each.join(" ");
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", joined(list.iter().map(go_text).collect())),
        Value::Object(map) => {
            let member = |(name, value)| format!("{name}:{}", go_text(value));
            format!("map[{}]", joined(map.iter().map(member).collect()))
        }
        plain => plain.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
