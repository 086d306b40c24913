//! Writes YAML, in the plain block style that kubectl's users know; a library reads it.

use std::fmt::Write;

use serde_json::Value;

/// The value as a YAML document.
pub(crate) fn write(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut text, value, 0),
        Value::Array(list) if !list.is_empty() => block(&mut text, value, 0),
        scalar => text = format!("{}\n", inline(scalar)),
    }
    text
}

/// Reads one YAML document.
///
/// # Errors
///
/// What is wrong with it, in the words that Go's reader has for most mistakes.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, String> {
    serde_saphyr::from_slice(bytes).map_err(|error| {
        tracing::debug!(%error, "a body is no YAML");
        let line = error.location().map_or(1, |place| place.line());
        let place = if line > 1 { format!("line {line}: ") } else { String::new() };
        format!("error converting YAML to JSON: yaml: {place}did not find expected node content")
    })
}

fn block(text: &mut String, value: &Value, indent: usize) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                text.push_str(&pad);
                entry(text, &format!("{}:", scalar(name)), value, indent);
            }
        }
        Value::Array(list) => {
            for value in list {
                text.push_str(&pad);
                item(text, value, indent);
            }
        }
        _ => {}
    }
}

fn entry(text: &mut String, key: &str, value: &Value, indent: usize) {
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    text.push_str(key);
    if is_block {
        text.push('\n');
        // A list stands as far left as its name.
        block(text, value, if value.is_array() { indent } else { indent + 2 });
    } else {
        // Writing to a string does not fail.
        let _ = writeln!(text, " {}", inline(value));
    }
}

fn item(text: &mut String, value: &Value, indent: usize) {
    text.push_str("- ");
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut inner = String::new();
            block(&mut inner, value, indent + 2);
            text.push_str(inner.trim_start());
        }
        Value::Array(list) if !list.is_empty() => {
            let mut inner = String::new();
            block(&mut inner, value, indent + 2);
            text.push_str(inner.trim_start());
        }
        value => {
            let _ = writeln!(text, "{}", inline(value));
        }
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        value => value.to_string(),
    }
}

/// Without quotes where no reader could take it for anything else.
fn scalar(text: &str) -> String {
    let is_safe = |char: char| char.is_ascii_alphanumeric() || "-_./\"'()=+@ :,".contains(char);
    let is_word = text.chars().all(is_safe)
        && text.starts_with(|char: char| char.is_ascii_alphabetic())
        && !text.ends_with([' ', ':'])
        && !text.contains(": ");
    let is_other = matches!(
        text.to_ascii_lowercase().as_str(),
        "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    if is_word && !is_other { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_are_indented_and_ambiguous_texts_are_quoted() {
        let value =
            json!({"a": {"b": "1", "c": [{"d": "no", "e": []}, "x y"]}, "f": {}, "g": "a: b"});
        assert_eq!(
            write(&value),
            "a:\n  b: \"1\"\n  c:\n  - d: \"no\"\n    e: []\n  - x y\nf: {}\ng: \"a: b\"\n"
        );
    }
}
