//! Help that fits the terminal: its notes are written as one line for each paragraph and each row of a table, and
//! broken here. What clap breaks itself, descriptions of commands and flags, is left to it.

use clap::Command;
use clap::builder::StyledStr;

/// The same command, with all help for lines of so many characters.
pub(crate) fn fit(command: Command, width: usize) -> Command {
    let command = lay_out_notes(command, width).term_width(width);
    let names: Vec<_> = command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |one| fit(one, width)))
}

/// The list of all commands, in these groups: a heading, and the names of its commands.
pub(crate) fn grouped(command: &Command, groups: &[(&str, &[&str])], width: usize) -> String {
    let head = command.get_styles().get_header();
    let longest = command.get_subcommands().map(|one| one.get_name().len()).max().unwrap_or(0);
    let row = |name: &&str| {
        let about = command.find_subcommand(name).and_then(Command::get_about)?;
        Some(laid_out(&format!("  {name:longest$}  {about}"), width))
    };
    let group = |(title, names): &(&str, &[&str])| {
        let rows: Vec<_> = names.iter().filter_map(row).collect();
        format!("{head}{title}:{head:#}\n{}", rows.join("\n"))
    };
    groups.iter().map(group).collect::<Vec<_>>().join("\n\n")
}

fn lay_out_notes(command: Command, width: usize) -> Command {
    let lay_out = |notes: &StyledStr| laid_out(&notes.to_string(), width);
    let short = command.get_after_help().map(lay_out);
    let long = command.get_after_long_help().map(lay_out);
    let command = short.into_iter().fold(command, |command, notes| command.after_help(notes));
    long.into_iter().fold(command, |command, notes| command.after_long_help(notes))
}

/// How many characters a line of this terminal has; no more than are read with ease.
pub(crate) fn width() -> usize {
    let of_terminal = || Some(usize::from(terminal_size::terminal_size()?.0.0));
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    let columns: usize = of_terminal().or_else(said).unwrap_or(USUAL);
    columns.clamp(NARROWEST, WIDEST)
}

/// Each line broken where it has to be. What comes after two spaces stands in a separate column, and the rest of
/// such a row continues there. An example, which begins with `$`, stays one line, to be copied.
pub(crate) fn laid_out(text: &str, width: usize) -> String {
    let mut whole: Vec<String> = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        // A row that was broken already, as the library has it for a document.
        match whole
            .last_mut()
            .filter(|row| indent > 0 && column(row) == indent && column(line) == indent)
            .filter(|row| !is_example(row) && !is_example(line))
        {
            Some(row) => *row += &format!(" {}", line.trim_start()),
            None => whole.push(line.to_owned()),
        }
    }
    let lines: Vec<_> = whole
        .iter()
        .map(|line| match is_example(line) {
            true => line.clone(),
            false => broken(line, width),
        })
        .collect();
    lines.join("\n")
}

fn is_example(line: &str) -> bool {
    line.trim_start().starts_with("$ ")
}

fn broken(line: &str, width: usize) -> String {
    let column = column(line);
    let (head, rest) = line.split_at(column);
    let (mut broken, mut length) = (head.to_owned(), head.chars().count());
    let indent = length;
    for word in rest.split_whitespace() {
        let wanted = word.chars().count() + usize::from(length > indent);
        if length > indent && length + wanted > width {
            broken.push('\n');
            broken.push_str(&" ".repeat(indent));
            length = indent;
        }
        if length > indent {
            broken.push(' ');
            length += 1;
        }
        broken.push_str(word);
        length += word.chars().count();
    }
    broken
}

/// Where the text of a line begins: behind its key, if it is the row of a table, else behind its indent.
fn column(line: &str) -> usize {
    let start = line.len() - line.trim_start().len();
    let gap = line[start..].find("  ").map(|gap| start + gap);
    gap.map_or(start, |gap| gap + line[gap..].len() - line[gap..].trim_start().len())
}

/// Where nothing says.
const USUAL: usize = 80;

/// As wide as text is read with ease.
const WIDEST: usize = 100;

/// Narrower than this, a word each line is no help either.
const NARROWEST: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_filled_and_a_row_continues_in_its_column() {
        let text = "States:\n  Held   its holder renews\n\none two three four five six";
        let laid = "States:\n  Held   its holder\n         renews\n\none two three four\nfive six";
        assert_eq!(laid_out(text, 20), laid);
        assert_eq!(laid_out(text, 80), text);
        assert_eq!(laid_out("  a  one\n     two\n  b  three", 80), "  a  one two\n  b  three");
        let examples = "  Say this:\n    $ one two three\n  And that:\n    $ four";
        assert_eq!(laid_out(examples, 14), examples, "an example is not broken");
        assert_eq!(laid_out("a-word-that-is-far-too-long x", 10), "a-word-that-is-far-too-long\nx");
    }
}
