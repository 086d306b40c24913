//! Stories of one member, or of one allocator, as text that a newcomer can read.
//!
//! A line that begins with a time is what happens; the indented lines below it are what the member or the allocator
//! does. `UPDATE_SCENARIOS=1 cargo test -p incumbent-core` writes the answers anew: commit only what you understand.

#[path = "support/group_script.rs"]
mod group_script;

use std::fs;
use std::path::Path;

use group_script::GroupScript;

#[test]
fn each_scenario_of_a_group_goes_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/group_scenarios");
    let mut files: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the scenarios are missing from {}", folder.display());

    let differing: Vec<_> = files
        .iter()
        .filter(|file| {
            let written = fs::read_to_string(file).unwrap();
            let actual = GroupScript::play(&written);
            if std::env::var_os("UPDATE_SCENARIOS").is_some() {
                fs::write(file, &actual).unwrap();
                return false;
            }
            if written != actual {
                println!("--- {} goes like this now:\n{actual}", file.display());
            }
            written != actual
        })
        .collect();
    assert!(differing.is_empty(), "see above; UPDATE_SCENARIOS=1 accepts: {differing:?}");
}
