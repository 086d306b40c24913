//! The documents as a whole: every link leads somewhere, and every page of `docs/` is in the book.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use support::files;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// Every Markdown file that people write.
fn documents() -> Vec<PathBuf> {
    let root = root();
    let entries = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let mut documents: Vec<_> = entries.filter(|path| is_markdown(path)).collect();
    let crates = std::fs::read_dir(root.join("crates")).unwrap();
    let of_crates = crates.map(|entry| entry.unwrap().path().join("README.md"));
    documents.extend(of_crates.filter(|path| path.exists()));
    documents.extend(
        ["bench/README.md", "bench/processes.md", "examples/README.md"].map(|file| root.join(file)),
    );
    documents.extend(files(&root.join("docs")).into_iter().filter(|path| is_markdown(path)));
    documents
}

/// The text without fenced blocks, in which `](` is no link and `#` no heading.
fn prose(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let mut is_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

fn links(prose: &str) -> Vec<String> {
    let after = prose.split("](").skip(1);
    after.filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

/// What GitHub and mdBook make of a heading.
fn anchors(prose: &str) -> BTreeSet<String> {
    let anchor = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    prose.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = prose(&document);
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.clone(),
                _ => document.parent().unwrap().join(path),
            };
            let has_anchor = || !is_markdown(&target) || anchors(&prose(&target)).contains(anchor);
            if !target.exists() || !(anchor.is_empty() || has_anchor()) {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn every_page_is_in_the_book_once() {
    let docs = root().join("docs");
    let mut listed = links(&prose(&docs.join("SUMMARY.md")));
    let mut pages: Vec<_> = files(&docs)
        .iter()
        .filter(|path| is_markdown(path))
        .map(|path| path.strip_prefix(&docs).unwrap().display().to_string())
        .filter(|name| name != "SUMMARY.md")
        .collect();
    listed.sort();
    pages.sort();
    assert_eq!(listed, pages);
}
