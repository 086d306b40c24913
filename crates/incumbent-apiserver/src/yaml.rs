//! Reads and writes YAML.

use serde_json::Value;

/// The value as a YAML document, in the block style of kubectl.
pub(crate) fn write(value: &Value) -> String {
    // Long strings stay on one line.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    // JSON is YAML as well.
    serde_saphyr::to_string_with_options(value, options).unwrap_or_else(|_| value.to_string())
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_are_indented_and_ambiguous_strings_are_quoted() {
        let value =
            json!({"a": {"b": "1", "c": [{"d": "no", "e": []}, "x y"]}, "f": {}, "g": "a: b"});
        assert_eq!(
            write(&value),
            "a:\n  b: \"1\"\n  c:\n  - d: \"no\"\n    e: []\n  - x y\nf: {}\ng: \"a: b\"\n"
        );
    }

    #[test]
    fn every_string_is_read_back_as_it_was_written() {
        let long = "word ".repeat(100);
        let strings = [
            "",
            " ",
            "null",
            "~",
            "1e3",
            "0x10",
            "12:30",
            "2026-01-01",
            "- a",
            "#",
            "é",
            "a\nb\n\n",
            "\t",
            "\u{7f}",
            "\u{feff}",
            "'\"",
            "{}",
            "a #b",
            &long,
            "2026-01-01T00:00:00Z",
        ];
        for string in strings {
            let value = json!({string: [string, {"nested": string}]});
            assert_eq!(read(write(&value).as_bytes()), Ok(value.clone()), "{value}");
        }
    }
}
