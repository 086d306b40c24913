//! The manual: a page for each command, which says what the help says.

mod support;

use std::path::Path;
use std::process::Command;

use support::{Outcome, incumbent};

fn help(arguments: &str) -> String {
    let outcome = Outcome::of(incumbent(arguments).output().unwrap());
    assert_eq!(outcome.code, 0, "{arguments}: {outcome:?}");
    outcome.stdout
}

/// The commands in the help's lists.
fn commands() -> Vec<String> {
    let help = help("--help");
    let lists = help.lines().skip_while(|line| *line != "Take part:");
    let lists = lists.take_while(|line| *line != "Options:");
    // What a command does may go on in the next line, further to the right.
    let names = lists.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn written(folder: &Path) -> Vec<String> {
    let outcome = Outcome::of(incumbent("man").arg(folder.join("new/man1")).output().unwrap());
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
    let files = std::fs::read_dir(folder.join("new/man1")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path().display().to_string()).collect();
    files.sort();
    files
}

#[test]
fn each_command_that_is_listed_has_a_page_with_all_of_its_flags() {
    let folder = tempfile::tempdir().unwrap();
    let files = written(folder.path());
    let commands = commands();
    assert!(commands.len() >= 20 && commands.contains(&"man".to_owned()), "{commands:?}");
    assert_eq!(files.len(), commands.len() + 1, "and one for all: {files:?}");
    for command in commands {
        let page = folder.path().join(format!("new/man1/incumbent-{command}.1"));
        let page = std::fs::read_to_string(page).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{command}: {section}");
        }
        assert!(page.contains(&format!("\nincumbent\\-{} \\- ", command.replace('-', "\\-"))));
        let plain = page.replace("\\-", "-");
        for word in help(&format!("{command} --help")).split_whitespace() {
            let flag = word.trim_end_matches(',');
            if flag.starts_with("--")
                && flag.len() > 2
                && flag[2..].bytes().all(|b| b.is_ascii_lowercase())
            {
                assert!(plain.contains(flag), "{command} {flag}");
            }
        }
    }
}

#[test]
fn the_pages_read_well_without_a_warning() {
    let has_man = Command::new("man").arg("--version").output();
    if !has_man.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: man, missing here");
    }
    let folder = tempfile::tempdir().unwrap();
    for file in written(folder.path()) {
        let mut man = Command::new("man");
        man.args(["--warnings", "-l", &file]).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
        let shown = Outcome::of(man.output().unwrap());
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{file}");
        assert!(shown.stdout.contains("NAME"), "{file}: {}", shown.stdout);
    }
    let page = folder.path().join("new/man1/incumbent.1");
    let shown = Command::new("man").arg("-l").arg(page).env("MANWIDTH", "80").output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    // A table stays one, and the last line says which version it is of.
    let row = "         3  the API server cannot be reached or cannot answer now, or nothing\n            \
               says where it is\n";
    assert!(shown.contains(row), "{shown}");
    let last = shown.trim_end().lines().last().unwrap();
    assert!(last.starts_with(concat!("incumbent ", env!("CARGO_PKG_VERSION"))), "{last}");
}
