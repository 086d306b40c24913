//! Plays the files of a folder, each a story with the answers below what happens.

use std::fs;
use std::path::Path;

/// Fails if a story does not go as it is written. `UPDATE_SCENARIOS=1` writes the answers again.
pub(crate) fn each_goes_as_it_is_written(folder: &str, play: impl Fn(&str) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the scenarios are missing from {}", folder.display());

    let differing: Vec<_> = files
        .iter()
        .filter(|file| {
            let written = fs::read_to_string(file).unwrap();
            let actual = play(&written);
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
