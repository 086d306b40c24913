//! JSON patch (RFC 6902), with limits on the size and depth of the result.

use serde_json::Value;

use crate::schema::found;

/// Why a patch is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JsonPatchError {
    /// It is not a JSON patch.
    Malformed(String),
    /// It has more operations than upstream allows.
    TooMany,
    /// It does not match this document, or a test failed.
    Unfit(String),
}

/// Applies the operations in order. After an error the document is half patched.
///
/// # Errors
///
/// See [`JsonPatchError`].
pub(crate) fn apply(document: &mut Value, patch: &Value) -> Result<(), JsonPatchError> {
    if patch.is_null() {
        return Ok(());
    }
    let Value::Array(operations) = patch else {
        let found = found(patch);
        return Err(JsonPatchError::Malformed(format!(
            "json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp"
        )));
    };
    if operations.len() > MOST_OPERATIONS {
        return Err(JsonPatchError::TooMany);
    }
    let mut copied = 0;
    for operation in operations {
        let operation = Operation::parse(operation)?;
        operation.apply(document, &mut copied).map_err(JsonPatchError::Unfit)?;
    }
    Ok(())
}

/// Upstream's limit.
const MOST_OPERATIONS: usize = 10_000;

/// The limit on the bytes that one patch copies, because each copy can double the document.
const MOST_COPIED: usize = 3 * 1024 * 1024;

/// The depth to which documents are read, because later code recurses through them.
const DEEPEST: usize = 128;

struct Operation<'a> {
    verb: &'a str,
    path: Vec<String>,
    from: Option<Vec<String>>,
    value: Option<&'a Value>,
}

impl<'a> Operation<'a> {
    fn parse(operation: &'a Value) -> Result<Self, JsonPatchError> {
        let malformed = |what: &str| JsonPatchError::Malformed(what.to_owned());
        let no_pointer = || JsonPatchError::Unfit("path or from is no pointer".to_owned());
        let text = |name: &str| operation.get(name).and_then(Value::as_str);
        let from = match text("from") {
            Some(from) => Some(pointer(from).ok_or_else(no_pointer)?),
            None => None,
        };
        Ok(Self {
            verb: text("op").ok_or_else(|| malformed("an operation has no op"))?,
            path: text("path").and_then(pointer).ok_or_else(no_pointer)?,
            from,
            value: operation.get("value"),
        })
    }

    fn apply(&self, document: &mut Value, copied: &mut usize) -> Result<(), String> {
        // Upstream takes a missing value for null; only `remove` and `move` require one.
        let value = || self.value.cloned().unwrap_or_default();
        let from = || self.from.as_deref().ok_or_else(|| "missing from".to_owned());
        match self.verb {
            "add" => add(document, &self.path, value()),
            "remove" => remove(document, &self.path).map(drop),
            "replace" => {
                if !matches!(parent(document, &self.path)?, Value::Object(_)) {
                    remove(document, &self.path)?;
                }
                add(document, &self.path, value())
            }
            "move" => {
                if self.path.starts_with(from()?) && self.path != from()? {
                    return Err("cannot move a value into itself".to_owned());
                }
                let value = remove(document, from()?)?;
                add(document, &self.path, value)
            }
            "copy" => {
                let value = member(document, from()?)?.cloned().unwrap_or_default();
                *copied += value.to_string().len();
                if *copied > MOST_COPIED {
                    return Err("the patch copies too much".to_owned());
                }
                add(document, &self.path, value)
            }
            "test" if member(document, &self.path)?.unwrap_or(&Value::Null) == &value() => Ok(()),
            "test" => Err("testing value failed".to_owned()),
            other => Err(format!("unknown operation {other:?}")),
        }
    }
}

fn pointer(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let steps = text.strip_prefix('/')?.split('/');
    Some(steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

fn find<'a>(document: &'a Value, path: &[String]) -> Result<&'a Value, String> {
    let step = |value: &'a Value, step: &String| match value {
        Value::Array(list) => list.get(index(step)?),
        value => value.get(step),
    };
    path.iter().try_fold(document, step).ok_or_else(|| missing(path))
}

/// The value that contains the target of the last step; the document if the path has one step.
fn parent<'a>(document: &'a Value, path: &[String]) -> Result<&'a Value, String> {
    find(document, path.split_last().map_or(&[], |(_, parents)| parents))
}

/// `None` if the parent is an object without this member.
fn member<'a>(document: &'a Value, path: &[String]) -> Result<Option<&'a Value>, String> {
    match (parent(document, path)?, path.last()) {
        (Value::Object(map), Some(last)) => Ok(map.get(last)),
        _ => find(document, path).map(Some),
    }
}

fn find_mut<'a>(document: &'a mut Value, path: &[String]) -> Result<&'a mut Value, String> {
    let step = |value: &'a mut Value, step: &String| match value {
        Value::Array(list) => list.get_mut(index(step)?),
        value => value.get_mut(step),
    };
    path.iter().try_fold(document, step).ok_or_else(|| missing(path))
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    if path.len() + depth(&value) > DEEPEST {
        return Err("the patch nests too deep".to_owned());
    }
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match find_mut(document, parents)? {
        Value::Object(map) => {
            map.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(list) if last == "-" => {
            list.push(value);
            Ok(())
        }
        Value::Array(list) => {
            let place = index(last).filter(|place| *place <= list.len());
            list.insert(place.ok_or_else(|| missing(path))?, value);
            Ok(())
        }
        _ => Err(missing(path)),
    }
}

fn remove(document: &mut Value, path: &[String]) -> Result<Value, String> {
    let Some((last, parents)) = path.split_last() else { return Ok(document.take()) };
    let removed = match find_mut(document, parents)? {
        Value::Object(map) => map.remove(last),
        Value::Array(list) => {
            index(last).filter(|place| *place < list.len()).map(|place| list.remove(place))
        }
        _ => None,
    };
    removed.ok_or_else(|| missing(path))
}

fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || !step.starts_with(['0', '+']);
    if plain { step.parse().ok() } else { None }
}

fn missing(path: &[String]) -> String {
    format!("there is nothing at /{}", path.join("/"))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_operations_do_what_the_rfc_says() {
        let mut document = json!({"a": [1, 2], "b": {"c~/": 3}});
        let patch = json!([
            {"op": "test", "path": "/b/c~0~1", "value": 3},
            {"op": "add", "path": "/a/1", "value": 9},
            {"op": "add", "path": "/a/-", "value": 8},
            {"op": "remove", "path": "/a/0"},
            {"op": "replace", "path": "/a/0", "value": 7},
            {"op": "copy", "from": "/b", "path": "/d"},
            {"op": "move", "from": "/b", "path": "/e"},
        ]);
        apply(&mut document, &patch).unwrap();
        assert_eq!(document, json!({"a": [7, 2, 8], "d": {"c~/": 3}, "e": {"c~/": 3}}));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for patch in [
            json!([{"op": "test", "path": "/a", "value": 2}]),
            json!([{"op": "remove", "path": "/x"}]),
            json!([{"op": "add", "path": "/a/b", "value": 2}]),
            json!([{"op": "move", "from": "/l", "path": "/l/0"}]),
            json!([{"op": "add", "path": "/l/7", "value": 2}]),
        ] {
            let outcome = apply(&mut json!({"a": 1, "l": [[]]}), &patch);
            assert!(matches!(outcome, Err(JsonPatchError::Unfit(_))), "{patch} {outcome:?}");
        }
        assert!(matches!(apply(&mut json!({}), &json!({})), Err(JsonPatchError::Malformed(_))));
    }

    #[test]
    fn a_patch_cannot_make_a_document_grow_or_nest_without_bound() {
        let copies: Vec<Value> =
            (0..40).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect();
        let mut document = json!({"a": ["0123456789"]});
        assert!(matches!(apply(&mut document, &copies.into()), Err(JsonPatchError::Unfit(_))));

        let mut path = String::new();
        let nested: Vec<Value> = (0..200)
            .map(|_| {
                path.push_str("/x");
                json!({"op": "add", "path": path, "value": {}})
            })
            .collect();
        assert!(matches!(apply(&mut json!({}), &nested.into()), Err(JsonPatchError::Unfit(_))));
    }
}
