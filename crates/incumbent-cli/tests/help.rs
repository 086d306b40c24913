//! Help as it is read: at any width, without lines that somebody has broken by hand.

mod support;

use support::{Outcome, incumbent};

fn help(command: &str, flag: &str, columns: usize) -> String {
    let mut help = incumbent(&format!("{command} {flag}"));
    help.env("COLUMNS", columns.to_string());
    let outcome = Outcome::of(help.output().unwrap());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.stdout
}

/// The names in the lists of commands.
fn commands() -> Vec<String> {
    let all = help("", "--help", 100);
    let lists = all.lines().skip_while(|line| *line != "Take part:").skip(1);
    let rows = lists.take_while(|line| *line != "Options:");
    let names = rows.filter(|row| row.starts_with("  ") && !row.starts_with("   "));
    names.map(|row| row.split_whitespace().next().unwrap().to_owned()).collect()
}

/// How far a line is indented, and where its text begins: behind the key, in the row of a table.
fn columns(line: &str) -> (usize, usize) {
    let indent = line.len() - line.trim_start().len();
    let gap = line[indent..].find("  ").map(|gap| indent + gap);
    let text = gap.map_or(indent, |gap| gap + line[gap..].len() - line[gap..].trim_start().len());
    (indent, text)
}

/// Whether `next` goes on with what `line` says.
fn continues(line: &str, next: &str) -> bool {
    let ((_, text), (indent, own_text)) = (columns(line), columns(next));
    let is_new = next.trim_start().starts_with(['-', '[', '$'])
        || line.contains(" $ ")
        || indent != own_text;
    !line.is_empty() && !next.is_empty() && !is_new && !line.ends_with(':') && indent == text
}

#[test]
fn help_names_groups_where_a_command_takes_them() {
    let names_groups = |command: &str| help(command, "--help", 100).contains("group/NAME");
    for command in ["get", "watch", "status", "check", "wait", "history", "pause"] {
        assert!(names_groups(command), "{command}");
    }
    for command in ["dashboard", "step-down", "elect"] {
        assert!(!names_groups(command), "{command}");
    }
}

#[test]
fn no_line_of_help_is_too_long_or_was_broken_by_hand() {
    let commands = commands();
    assert!(commands.len() >= 20, "{commands:?}");
    for command in commands.iter().map(String::as_str).chain([""]) {
        for (flag, width) in ["-h", "--help"]
            .into_iter()
            .flat_map(|flag| [60, 80, 100, 140].map(|width| (flag, width)))
        {
            let shown = help(command, flag, width);
            let width = width.min(100);
            let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
            for line in &lines {
                // clap leaves the usage as one line, and an example is there to be copied.
                let is_example = line.trim_start().starts_with("$ ");
                let is_whole = line.starts_with("Usage:") || is_example;
                let is_whole = is_whole || line.split_whitespace().count() <= 2;
                let length = line.chars().count();
                assert!(length <= width || is_whole, "{command} {flag} at {width}: {line}");
            }
            for pair in lines.windows(2).filter(|pair| continues(pair[0], pair[1])) {
                let word = pair[1].split_whitespace().next().unwrap_or_default();
                let filled = pair[0].chars().count() + 1 + word.chars().count();
                assert!(
                    filled > width,
                    "{command} {flag} at {width}: this line ends too early:\n{}\n{}",
                    pair[0],
                    pair[1]
                );
            }
        }
    }
}
