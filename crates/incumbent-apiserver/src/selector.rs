//! Label and field selectors: `app in (a,b),!old` and `metadata.name=x`.

use serde_json::Value;

use crate::object::{Object, at};
use crate::resources::Resource;
use crate::validate::{label_value_errors, qualified_name_errors};

/// The objects that a list or a watch selects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) namespace: Option<String>,
    pub(crate) labels: Vec<LabelRequirement>,
    pub(crate) fields: Vec<FieldRequirement>,
}

impl Selection {
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == object.namespace())
            && self.fields.iter().all(|requirement| requirement.matches(object))
            && self.labels.iter().all(|requirement| requirement.matches(object))
    }

    /// The name of the only object that can match, if the selection has one.
    pub(crate) fn name(&self) -> Option<&str> {
        let on_name = |requirement: &&FieldRequirement| {
            requirement.pointer == "/metadata/name" && requirement.operator == Operator::Equal
        };
        self.fields.iter().find(on_name).map(|requirement| requirement.value.as_str())
    }
}

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LabelRequirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    /// Also matches objects without the label.
    NotIn(String, Vec<String>),
    Above(String, i64),
    Below(String, i64),
}

impl LabelRequirement {
    fn matches(&self, object: &Object) -> bool {
        let number = |key: &str| object.label(key).and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::Exists(key) => object.label(key).is_some(),
            Self::Absent(key) => object.label(key).is_none(),
            Self::In(key, values) => object.label(key).is_some_and(|value| contains(values, value)),
            Self::NotIn(key, values) => {
                object.label(key).is_none_or(|value| !contains(values, value))
            }
            Self::Above(key, bound) => number(key).is_some_and(|value| value > *bound),
            Self::Below(key, bound) => number(key).is_some_and(|value| value < *bound),
        }
    }
}

/// One condition on a field of the stored object.
#[derive(Clone, Debug)]
pub(crate) struct FieldRequirement {
    pointer: &'static str,
    operator: Operator,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
}

impl FieldRequirement {
    fn matches(&self, object: &Object) -> bool {
        let found = at(object.fields(), self.pointer).and_then(Value::as_str).unwrap_or_default();
        (found == self.value) == (self.operator == Operator::Equal)
    }
}

/// Reads a field selector.
///
/// # Errors
///
/// The selector is invalid, or the field cannot be selected on; in upstream's words.
pub(crate) fn parse_fields(
    text: &str,
    resource: &Resource,
) -> Result<Vec<FieldRequirement>, String> {
    split_terms(text)
        .into_iter()
        .filter(|term| !term.is_empty())
        .map(|term| parse_field_term(&term, resource))
        .collect()
}

/// Reads a label selector.
///
/// # Errors
///
/// What upstream's parser found, and what it expected.
pub(crate) fn parse_labels(text: &str) -> Result<Vec<LabelRequirement>, String> {
    LabelParser { tokens: lex(text), at: 0 }.parse()
}

fn contains(values: &[String], value: &str) -> bool {
    values.iter().any(|one| one == value)
}

/// Splits at unescaped commas.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for char in text.chars() {
        match char {
            ',' if !escaped => terms.push(String::new()),
            _ => terms.last_mut().expect("never empty").push(char),
        }
        escaped = char == '\\' && !escaped;
    }
    terms
}

fn parse_field_term(term: &str, resource: &Resource) -> Result<FieldRequirement, String> {
    let (field, operator, value) = split_field_term(term)
        .ok_or_else(|| format!("invalid selector: '{term}'; can't understand '{term}'"))?;
    let pointer = resource
        .selectable()
        .find_map(|(name, pointer)| (name == field).then_some(pointer))
        .ok_or_else(|| resource.not_selectable(field))?;
    Ok(FieldRequirement { pointer, operator, value: unescape(value) })
}

fn split_field_term(term: &str) -> Option<(&str, Operator, &str)> {
    let start = term.find(['!', '='])?;
    let (field, rest) = term.split_at(start);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, Operator::NotEqual, value));
    }
    let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    Some((field, Operator::Equal, value))
}

fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        plain.push(if char == '\\' { chars.next().unwrap_or('\\') } else { char });
    }
    plain
}

/// The tokens of upstream's lexer (`apimachinery/pkg/labels/selector.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Symbol(&'static str),
    Word(String),
    End,
}

impl Token {
    fn literal(&self) -> &str {
        match self {
            Self::Symbol(symbol) => symbol,
            Self::Word(word) => word,
            Self::End => "",
        }
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self, Self::Symbol(own) if *own == symbol)
    }
}

/// Longer symbols come first.
const SYMBOLS: &[&str] = &["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn lex(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let is_end = |char: char| char.is_whitespace() || "=!(),><".contains(char);
            let end = rest.find(is_end).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    tokens.push(Token::End);
    tokens
}

struct LabelParser {
    tokens: Vec<Token>,
    at: usize,
}

impl LabelParser {
    fn parse(mut self) -> Result<Vec<LabelRequirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(requirements),
                Token::Word(_) => requirements.push(self.whole_requirement()?),
                token if token.is("!") => requirements.push(self.whole_requirement()?),
                other => return Err(expected(other, "!, identifier, or 'end of string'")),
            }
            match self.next() {
                Token::End => return Ok(requirements),
                token if token.is(",") => match self.peek() {
                    Token::Word(_) => {}
                    token if token.is("!") => {}
                    other => return Err(expected(other, "identifier after ','")),
                },
                other => return Err(expected(&other, "',' or 'end of string'")),
            }
        }
    }

    fn whole_requirement(&mut self) -> Result<LabelRequirement, String> {
        self.requirement().map_err(|why| format!("unable to parse requirement: {why}"))
    }

    fn requirement(&mut self) -> Result<LabelRequirement, String> {
        let absent = self.peek().is("!");
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(expected(&other, "identifier")),
        };
        check(&key, qualified_name_errors(&key), "<nil>")?;
        if absent {
            return Ok(LabelRequirement::Absent(key));
        }
        match self.peek().clone() {
            Token::End => Ok(LabelRequirement::Exists(key)),
            token if token.is(",") => Ok(LabelRequirement::Exists(key)),
            _ => self.comparison(key),
        }
    }

    fn comparison(&mut self, key: String) -> Result<LabelRequirement, String> {
        const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";
        let operator = self.next();
        match operator.literal() {
            "in" => self.values(&key).map(|values| LabelRequirement::In(key, values)),
            "notin" => self.values(&key).map(|values| LabelRequirement::NotIn(key, values)),
            "=" | "==" => self.value(&key, 0).map(|value| LabelRequirement::In(key, vec![value])),
            "!=" => self.value(&key, 0).map(|value| LabelRequirement::NotIn(key, vec![value])),
            ">" => self.number(&key).map(|bound| LabelRequirement::Above(key, bound)),
            "<" => self.number(&key).map(|bound| LabelRequirement::Below(key, bound)),
            _ => Err(expected(&operator, OPERATORS)),
        }
    }

    /// Parses `(a,b)`. A missing value is the empty string.
    fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        match self.next() {
            token if token.is("(") => {}
            // Upstream's message lacks the comma.
            other => return Err(format!("found '{}' expected: '('", other.literal())),
        }
        if self.peek() == &Token::End {
            return Err(expected(&Token::End, "',', ')' or identifier"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value(key, values.len())?);
            match self.next() {
                token if token.is(",") => {}
                token if token.is(")") => return Ok(values),
                other => return Err(expected(&other, "',' or ')'")),
            }
        }
    }

    fn value(&mut self, key: &str, place: usize) -> Result<String, String> {
        let value = match self.peek() {
            Token::Word(word) => word.clone(),
            Token::End => return Ok(String::new()),
            token if token.is(",") || token.is(")") => return Ok(String::new()),
            other => return Err(expected(other, "identifier")),
        };
        self.next();
        check(&value, label_value_errors(&value), &format!("values[{place}][{key}]"))?;
        Ok(value)
    }

    fn number(&mut self, key: &str) -> Result<i64, String> {
        let value = self.value(key, 0)?;
        value.parse().map_err(|_| {
            format!(
                "values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be \
                 an integer"
            )
        })
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }
}

fn check(text: &str, errors: Vec<String>, what: &str) -> Result<(), String> {
    match errors.first() {
        None => Ok(()),
        Some(why) => Err(format!("{what}: Invalid value: {text:?}: {why}")),
    }
}

fn expected(found: &Token, what: &str) -> String {
    format!("found '{}', expected: {what}", found.literal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_label_requirement_is_read() {
        use LabelRequirement::{Above, Absent, Exists, In, NotIn};
        let text = |text: &str| text.to_owned();
        assert_eq!(
            parse_labels("a=1, b!=2 ,!c,d,e in (x, y),f notin (),g>3"),
            Ok(vec![
                In(text("a"), vec![text("1")]),
                NotIn(text("b"), vec![text("2")]),
                Absent(text("c")),
                Exists(text("d")),
                In(text("e"), vec![text("x"), text("y")]),
                NotIn(text("f"), vec![text("")]),
                Above(text("g"), 3),
            ])
        );
    }

    #[test]
    fn a_broken_label_selector_is_named_as_upstream_names_it() {
        let error = |text| parse_labels(text).unwrap_err();
        assert_eq!(error("=="), "found '==', expected: !, identifier, or 'end of string'");
        assert_eq!(error("a,"), "found '', expected: identifier after ','");
        assert_eq!(
            error("a b"),
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
        );
        assert_eq!(error("a in x"), "unable to parse requirement: found 'x' expected: '('");
    }

    #[test]
    fn an_escaped_comma_does_not_end_a_field_term() {
        let resource = crate::resources::registry::find("", "v1", "configmaps").unwrap();
        let terms = parse_fields(r"metadata.name=a\,b,metadata.namespace!=c", resource).unwrap();
        assert_eq!(terms.len(), 2);
        assert_eq!(terms[0].value, "a,b");
        assert_eq!(terms[1].operator, Operator::NotEqual);
    }
}
