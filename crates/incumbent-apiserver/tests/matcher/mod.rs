//! Compares an answer with a recorded one, in which `${rv1}` and the like stand for values.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What the tokens stand for so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matcher {
    bound: BTreeMap<String, String>,
    /// Lists may be shorter than the recorded ones.
    loose: bool,
}

impl Matcher {
    pub(crate) fn new(loose: bool) -> Self {
        Self { loose, ..Self::default() }
    }

    /// The value with all bound tokens filled in.
    pub(crate) fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill_text(text).into(),
            Value::Array(list) => list.iter().map(|value| self.fill(value)).collect(),
            Value::Object(map) => {
                let filled = map.iter().map(|(k, value)| (self.fill_text(k), self.fill(value)));
                Value::Object(filled.collect())
            }
            other => other.clone(),
        }
    }

    pub(crate) fn fill_text(&self, text: &str) -> String {
        let filled = pieces(text).into_iter().map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Token(token) => {
                self.bound.get(token).cloned().unwrap_or_else(|| token.to_owned())
            }
        });
        filled.collect()
    }

    /// Checks that an answer is the wanted one, and binds what is new in it.
    pub(crate) fn require(
        &mut self,
        wanted: &Value,
        found: &Value,
        at: &str,
    ) -> Result<(), String> {
        match (wanted, found) {
            (Value::Object(wanted), Value::Object(found)) => self.object(wanted, found, at),
            (Value::Array(wanted), Value::Array(found)) => self.list(wanted, found, at),
            (Value::String(wanted), Value::String(found)) => self.text(wanted, found, at),
            (wanted, found) if wanted == found => Ok(()),
            (wanted, found) => Err(format!("{at}: want {wanted}, got {found}")),
        }
    }

    fn object(
        &mut self,
        wanted: &Map<String, Value>,
        found: &Map<String, Value>,
        at: &str,
    ) -> Result<(), String> {
        let is_ignored = |name: &str| name == "managedFields" && at.ends_with("metadata");
        if let Some(more) =
            found.keys().find(|name| !wanted.contains_key(*name) && !is_ignored(name))
        {
            return Err(format!("{at}.{more}: not in the recorded answer: {}", found[more]));
        }
        let kind = wanted.get("kind").and_then(Value::as_str).unwrap_or_default();
        let is_bookmark = wanted.get("type") == Some(&json!("BOOKMARK"));
        let is_list = kind.ends_with("List") || kind == "Table";
        for (name, wanted) in wanted {
            let at = format!("{at}.{name}");
            let Some(found) = found.get(name) else {
                return Err(format!("{at}: missing, want {wanted}"));
            };
            let wanted = match name.as_str() {
                "metadata" if is_list => any_version(wanted, "/resourceVersion"),
                "object" if is_bookmark => any_version(wanted, "/metadata/resourceVersion"),
                _ => wanted.clone(),
            };
            self.require(&wanted, found, &at)?;
        }
        Ok(())
    }

    fn list(&mut self, wanted: &[Value], found: &[Value], at: &str) -> Result<(), String> {
        if self.loose {
            return found.iter().enumerate().try_for_each(|(index, found)| {
                let known = wanted.iter().any(|wanted| self.matches(wanted, found));
                if known { Ok(()) } else { Err(format!("{at}[{index}]: not recorded: {found}")) }
            });
        }
        if wanted.len() != found.len() {
            let found = Value::from(found.to_vec());
            return Err(format!("{at}: want {} entries, got {found}", wanted.len()));
        }
        let mut pairs = wanted.iter().zip(found).enumerate();
        pairs
            .try_for_each(|(i, (wanted, found))| self.require(wanted, found, &format!("{at}[{i}]")))
    }

    /// Like [`Self::require`], but a mismatch binds nothing.
    fn matches(&mut self, wanted: &Value, found: &Value) -> bool {
        let before = self.bound.clone();
        let matches = self.require(wanted, found, "").is_ok();
        if !matches {
            self.bound = before;
        }
        matches
    }

    fn text(&mut self, wanted: &str, found: &str, at: &str) -> Result<(), String> {
        let pieces = pieces(wanted);
        let mismatch = || format!("{at}: want {:?}, got {found:?}", self.fill_text(wanted));
        let values = split(&pieces, found).ok_or_else(mismatch)?;
        for (token, value) in values {
            self.bind(token, value, pieces.len() == 1, at)?;
        }
        Ok(())
    }

    fn bind(&mut self, token: &str, value: &str, is_whole: bool, at: &str) -> Result<(), String> {
        let kind = token_kind(token);
        match kind {
            "*" => return Ok(()),
            // A time may be sent back; it is never compared.
            "time" if is_whole => {
                self.bound.insert(token.to_owned(), value.to_owned());
                return Ok(());
            }
            "time" => return Ok(()),
            _ => {}
        }
        match self.bound.get(token) {
            Some(bound) if bound == value => return Ok(()),
            Some(bound) => return Err(format!("{at}: {token} was {bound}, now {value}")),
            None => {}
        }
        let twin = self.bound.iter().find(|(k, v)| token_kind(k) == kind && *v == value);
        if let Some((twin, _)) = twin {
            return Err(format!("{at}: {value} stands for both {twin} and {token}"));
        }
        self.bound.insert(token.to_owned(), value.to_owned());
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Piece<'a> {
    Text(&'a str),
    Token(&'a str),
}

/// Text and tokens, in order.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let end = rest[start..].find('}').map_or(rest.len(), |end| start + end + 1);
        if start > 0 {
            pieces.push(Piece::Text(&rest[..start]));
        }
        pieces.push(Piece::Token(&rest[start..end]));
        rest = &rest[end..];
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// Divides what was found among the pieces; none if it does not fit.
fn split<'a>(pieces: &[Piece<'a>], found: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    match pieces {
        [] => found.is_empty().then(Vec::new),
        [Piece::Text(text), rest @ ..] => split(rest, found.strip_prefix(text)?),
        [Piece::Token(token), rest @ ..] => {
            let shortest = usize::from(!matches!(token_kind(token), "time" | "*"));
            let ends = (shortest..=found.len()).filter(|end| found.is_char_boundary(*end));
            let mut splits = ends.filter_map(|end| {
                let mut values = split(rest, &found[end..])?;
                values.insert(0, (*token, &found[..end]));
                Some(values)
            });
            splits.next()
        }
    }
}

/// `rv` of `${rv1}`.
fn token_kind(token: &str) -> &str {
    token
        .trim_start_matches("${")
        .trim_end_matches('}')
        .trim_end_matches(|c: char| c.is_ascii_digit())
}

fn any_version(value: &Value, pointer: &str) -> Value {
    let mut value = value.clone();
    if let Some(version) = value.pointer_mut(pointer) {
        *version = json!("${*}");
    }
    value
}

#[test]
fn a_token_is_one_value_and_two_tokens_are_two() {
    let mut matcher = Matcher::new(false);
    assert!(matcher.require(&json!(["${rv1}", "${rv2}"]), &json!(["5", "6"]), "").is_ok());
    assert!(matcher.require(&json!("${rv1}"), &json!("6"), "").is_err());
    assert!(matcher.require(&json!("${rv3}"), &json!("6"), "").is_err());
    assert!(matcher.require(&json!("was ${rv1} (${*})"), &json!("was 5 (x)"), "").is_ok());
}

#[test]
fn a_member_more_or_less_is_a_difference() {
    let mut matcher = Matcher::new(false);
    assert!(matcher.require(&json!({"a": 1}), &json!({"a": 1, "b": 2}), "").is_err());
    assert!(matcher.require(&json!({"a": 1, "b": 2}), &json!({"a": 1}), "").is_err());
    assert!(matcher.require(&json!([1]), &json!([1, 1]), "").is_err());
    assert!(matcher.require(&json!({"kind": "Lease"}), &json!({"kind": 1}), "").is_err());
}
