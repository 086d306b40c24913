//! YAML that is written for people: in a fixed order, with comments, and with parts that depend on what is
//! asked for.
//!
//! One tree has two forms. As plain text a part is there or not; in a Helm chart the condition itself is
//! written. A word in angle brackets, as in `lease/<lock>`, stands for what the form puts there.

/// A value.
pub(super) enum Node {
    Map(Vec<Part>),
    List(Vec<Part>),
    /// Quoted where YAML would read it as something else.
    Text(String),
    /// The same, where angle brackets mean nothing.
    Exact(String),
    /// As it is, with its words filled in: a number.
    Raw(&'static str),
    Bool(bool),
}

/// An entry of a map, or an item of a list, where the key is empty.
pub(super) struct Part {
    key: String,
    value: Node,
    note: &'static str,
    only: Option<Switch>,
}

/// What may be asked for, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    Lease,
    ConfigMap,
    CreateLease,
    CreateConfigMap,
    PreCreate,
    Namespace,
    Watch,
    Events,
    KubeletReports,
    Label,
    /// One of the two before: both look at Pods.
    Pods,
    EndpointSlice,
    FlowSchema,
    Account,
    Workload,
}

/// What a tree is written as.
pub(super) trait Form {
    /// Whether the part is there; or a condition for later.
    fn decide(&self, switch: Switch) -> Decision;
    /// What stands for a word in angle brackets.
    fn word(&self, word: &str) -> String;
}

pub(super) enum Decision {
    There,
    Absent,
    If(&'static str),
}

pub(super) fn text(text: impl Into<String>) -> Node {
    Node::Text(text.into())
}

pub(super) fn map<const N: usize>(parts: [Part; N]) -> Node {
    Node::Map(parts.into())
}

pub(super) fn list<const N: usize>(parts: [Part; N]) -> Node {
    Node::List(parts.into())
}

pub(super) fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Node {
    Node::List(items.into_iter().map(|item| self::item(text(item))).collect())
}

pub(super) fn part(key: &str, value: Node) -> Part {
    Part { key: key.to_owned(), value, note: "", only: None }
}

pub(super) fn item(value: Node) -> Part {
    part("", value)
}

impl Part {
    /// With a comment above it.
    pub(super) fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    pub(super) fn only(self, switch: Switch) -> Self {
        Self { only: Some(switch), ..self }
    }
}

/// Writes a whole document, without the line that separates it from the next.
pub(super) fn write(node: &Node, form: &impl Form) -> String {
    let mut text = String::new();
    match node {
        Node::Map(parts) | Node::List(parts) => block(&mut text, parts, 0, form),
        scalar => text = format!("{}\n", inline(scalar, form)),
    }
    text
}

fn block(text: &mut String, parts: &[Part], indent: usize, form: &impl Form) {
    for part in parts {
        let condition = match part.only.map(|switch| form.decide(switch)) {
            Some(Decision::Absent) => continue,
            Some(Decision::If(condition)) => Some(condition),
            Some(Decision::There) | None => None,
        };
        if let Some(condition) = condition {
            text.push_str(&format!("{{{{- if {condition} }}}}\n"));
        }
        for line in part.note.lines() {
            text.push_str(&format!("{:indent$}# {line}\n", ""));
        }
        write_part(text, part, indent, form);
        if condition.is_some() {
            text.push_str("{{- end }}\n");
        }
    }
}

fn write_part(text: &mut String, part: &Part, indent: usize, form: &impl Form) {
    let pad = " ".repeat(indent);
    match (&part.value, part.key.is_empty()) {
        // Within an item, the first entry stands beside the dash.
        (Node::Map(parts) | Node::List(parts), true) if !is_flow(&part.value, form) => {
            let mut inner = String::new();
            block(&mut inner, parts, indent + 2, form);
            text.push_str(&format!("{pad}- {}", &inner[indent + 2..]));
        }
        (Node::Map(parts), false) if !is_flow(&part.value, form) => {
            text.push_str(&format!("{pad}{}:\n", part.key));
            block(text, parts, indent + 2, form);
        }
        (Node::List(parts), false) if !is_flow(&part.value, form) => {
            text.push_str(&format!("{pad}{}:\n", part.key));
            block(text, parts, indent, form);
        }
        (value, true) => text.push_str(&format!("{pad}- {}\n", inline(value, form))),
        (value, false) => text.push_str(&format!("{pad}{}: {}\n", part.key, inline(value, form))),
    }
}

/// Whether it fits on the line of its key: a scalar, or a list of texts without conditions for later.
fn is_flow(node: &Node, form: &impl Form) -> bool {
    let is_plain = |part: &Part| {
        let is_text = matches!(part.value, Node::Text(_) | Node::Exact(_));
        let is_decided = |switch| !matches!(form.decide(switch), Decision::If(_));
        is_text && part.note.is_empty() && part.only.is_none_or(is_decided)
    };
    match node {
        Node::Map(parts) => parts.is_empty(),
        Node::List(parts) => parts.iter().all(is_plain),
        _ => true,
    }
}

fn inline(node: &Node, form: &impl Form) -> String {
    match node {
        Node::Text(words) => quoted(&filled(words, form)),
        Node::Exact(words) => quoted(words),
        Node::Raw(words) => filled(words, form),
        Node::Bool(truth) => truth.to_string(),
        Node::Map(_) => "{}".to_owned(),
        Node::List(parts) => {
            let is_absent = |switch| matches!(form.decide(switch), Decision::Absent);
            let there = parts.iter().filter(|part| !part.only.is_some_and(is_absent));
            let items = there.map(|part| match &part.value {
                Node::Text(words) => in_double_quotes(&filled(words, form)),
                Node::Exact(words) => in_double_quotes(words),
                other => inline(other, form),
            });
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
    }
}

fn filled(words: &str, form: &impl Form) -> String {
    let mut filled = String::new();
    let mut rest = words;
    while let Some((before, (word, after))) =
        rest.split_once('<').and_then(|(before, rest)| Some((before, rest.split_once('>')?)))
    {
        filled.push_str(before);
        filled.push_str(&form.word(word));
        rest = after;
    }
    filled + rest
}

/// As it is where that is safe: letters first, then what has no meaning in YAML.
fn quoted(text: &str) -> String {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./_".contains(&byte));
    let has_meaning = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    match is_word && !has_meaning.contains(&text.to_ascii_lowercase().as_str()) {
        true => text.to_owned(),
        false => in_double_quotes(text),
    }
}

/// JSON's strings are YAML's. What a chart puts there has no quotes in it; its schema sees to that.
fn in_double_quotes(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
