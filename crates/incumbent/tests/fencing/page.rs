//! The snippets of the page.

use std::path::Path;

/// The block of `docs/fencing.md` that has this name, after its language.
pub(crate) fn snippet(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fencing.md");
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    let is_head = |line: &str| {
        line.strip_prefix("```")
            .and_then(|info| info.split_once(' '))
            .is_some_and(|of| of.1 == name)
    };
    lines.find(|line| is_head(line)).unwrap_or_else(|| panic!("the page has no snippet {name}"));
    lines.take_while(|line| *line != "```").collect::<Vec<_>>().join("\n")
}

/// The same without the lines from the one that contains `first` to the one that contains `last`: what a
/// careless hand might leave out.
pub(crate) fn snippet_without(name: &str, first: &str, last: &str) -> String {
    let whole = snippet(name);
    let mut lines: Vec<_> = whole.lines().collect();
    let start = lines.iter().position(|line| line.contains(first)).unwrap();
    let length = lines[start..].iter().position(|line| line.contains(last)).unwrap() + 1;
    lines.drain(start..start + length);
    lines.join("\n")
}
