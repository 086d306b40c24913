//! What goes to stdout (data) and stderr (talk).

use std::io::{self, IsTerminal, Write};

use serde_json::Value;
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::runtime::stderr::Stderr;

/// For a command that prints sentences, or the same for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    Text,
    Json,
}

/// Adds the fields of another JSON object to one.
pub(crate) fn add(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        to.extend(more);
    }
}

/// Writes one line of data, at once. Fails where nobody reads it any more.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// The log goes to stderr, and never waits for a reader: warnings, or what `RUST_LOG` asks for.
pub(crate) fn start_log() {
    let asked_for = std::env::var("RUST_LOG").ok().and_then(|targets| targets.parse().ok());
    let targets = asked_for.unwrap_or_else(|| Targets::new().with_target("incumbent", Level::WARN));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false);
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
}

/// Text of others, as a name in a record is: it must not move the cursor, nor turn around what follows.
pub(crate) fn printable(name: &str) -> String {
    name.chars().map(|c| if is_trick(c) { '\u{fffd}' } else { c }).collect()
}

/// The same with its line breaks, and not without an end: an answer of the API server, or of what is in between.
pub(crate) fn printable_text(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(printable).collect();
    crate::model::format::cut(&lines.join("\n"), LONGEST_TEXT)
}

const LONGEST_TEXT: usize = 2000;

/// JSON in which such characters are escapes: a program reads the same, and a terminal is not moved.
pub(crate) fn printable_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // Between the parts of JSON stand line breaks; in its strings there is none.
        match is_trick(c) && c != '\n' {
            true => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => text.push(c),
        }
    }
    text
}

/// All of these are below U+10000, so that one escape of JSON is enough for each.
fn is_trick(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A table as kubectl prints it: upper-case heads, three spaces, no lines.
///
/// A cell of others that is longer than any name should be is cut: it would push away all else.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let cut = |cell: &String| crate::model::format::cut(cell, LONGEST_CELL);
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(cut).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let print = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths);
        let line: Vec<_> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        line.join("   ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| print(row.iter().map(String::as_str).collect()));
    [print(heads.to_vec())].into_iter().chain(body).collect::<Vec<_>>().join("\n")
}

/// A Pod's name and uid have 290 at most.
const LONGEST_CELL: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_of_any_length_is_cut_and_the_table_is_whole() {
        let long = "h".repeat(66_000);
        let shown = table(&["NAME", "HOLDER"], &[vec!["lease/a".to_owned(), long]]);
        assert!(shown.lines().all(|line| line.chars().count() <= LONGEST_CELL + 20), "{shown}");
        assert!(shown.ends_with('…'));
    }
}
