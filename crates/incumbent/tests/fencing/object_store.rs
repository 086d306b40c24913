//! An object store that speaks S3, by way of curl: the small one that `interop/build` builds, or the bucket
//! that `INCUMBENT_TEST_BUCKET` names, with the curl that `CURL` says.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::page::{snippet, snippet_without};
use crate::program::{Server, find, run};
use crate::rule::{Race, history, is_obeyed};

/// One object, which does not exist yet.
struct Store {
    bucket: String,
    key: String,
    curl: String,
    folder: TempDir,
    _server: Option<Server>,
}

impl Store {
    fn start() -> Option<Self> {
        let (server, bucket) = match std::env::var("INCUMBENT_TEST_BUCKET") {
            Ok(bucket) => (None, bucket),
            Err(_) => {
                let program = find("object-store", "interop/build object-store", &[interop()])?;
                let folder = Server::folder();
                let command = [program.to_str().unwrap()];
                let server = Server::start(folder, &command, "ready at ", Signal::KILL);
                let bucket = server.greeting().trim_start_matches("ready at ").to_owned();
                (Some(server), bucket)
            }
        };
        Some(Self {
            bucket,
            key: format!("plan-{:016x}", fastrand::u64(..)),
            curl: std::env::var("CURL").unwrap_or_else(|_| "curl".to_owned()),
            folder: tempfile::tempdir().unwrap(),
            _server: server,
        })
    }

    fn object(&self) -> String {
        format!("{}/{}", self.bucket, self.key)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        file
    }

    /// Writes as the page says; `curl` may be something that comes between.
    fn write_with(&self, curl: &str, script: &str, token: u64, value: &str) -> bool {
        let name = fastrand::u64(..);
        let script = self.file(&format!("{name}.sh"), script);
        let value = self.file(&format!("{name}.value"), value);
        // Others may be quicker five times in a row, but not for ever.
        for _ in 0..10 {
            let mut write = Command::new("sh");
            write.arg(&script).arg(token.to_string()).arg(&value);
            let output = write.env("OBJECT", self.object()).env("CURL", curl).output().unwrap();
            match output.status.code() {
                Some(0) => return true,
                Some(3) => return false,
                Some(1) => {}
                _ => panic!("{output:?}"),
            }
        }
        panic!("the store takes nothing");
    }

    fn write(&self, token: u64, value: &str) -> bool {
        self.write_with(&self.curl, &snippet("object-store-write"), token, value)
    }

    /// A curl that does `instead` where it is asked to put.
    fn curl_that_puts(&self, instead: &str) -> String {
        let curl = format!(
            "#!/bin/sh\ncase \" $* \" in *' -T '*) {instead} ;; *) exec {} \"$@\" ;; esac\n",
            self.curl
        );
        format!("sh {}", self.file("curl.sh", &curl).display())
    }

    fn curl(&self, arguments: &[&str]) -> String {
        let mut command: Vec<_> = self.curl.split_whitespace().collect();
        command.extend(["-sS", "--fail"]);
        command.extend(arguments);
        run(&command)
    }

    /// What is stored, without the token.
    fn read(&self) -> Option<String> {
        let mut get = Command::new("sh");
        get.args(["-c", "exec $CURL -sS --fail \"$OBJECT\""]);
        let output = get.env("CURL", &self.curl).env("OBJECT", self.object()).output().unwrap();
        let body = String::from_utf8(output.stdout).unwrap();
        body.split_once('\n').map(|(_, value)| value.to_owned())
    }

    /// The tokens of all versions, the first one first.
    fn history(&self) -> Vec<u64> {
        let list = self.curl(&[&format!("{}?prefix={}&versions=", self.bucket, self.key)]);
        let mut versions: Vec<_> = list.split("<Version>").skip(1).collect();
        // S3 begins with the latest.
        if versions.first().is_some_and(|first| first.contains("<IsLatest>true")) {
            versions.reverse();
        }
        let latest = versions.iter().position(|version| version.contains("<IsLatest>true"));
        assert_eq!(latest.map(|place| place + 1), Some(versions.len()), "{list}");
        let token = |version: &&str| {
            let (_, id) = version.split_once("<VersionId>").unwrap();
            let id = format!("versionId={}", id.split_once('<').unwrap().0);
            let body = self.curl(&["-G", "--data-urlencode", &id, &self.object()]);
            body.lines().next().unwrap().to_owned()
        };
        history(&versions.iter().map(token).collect::<Vec<_>>().join("\n"))
    }

    fn race(&self, script: &str) -> Race {
        let writers = (0..4).map(|writer| {
            let mut round = 0;
            move |token| {
                round += 1;
                self.write_with(&self.curl, script, token, &format!("{writer}/{round}"))
            }
        });
        Race::run(8, writers.collect())
    }
}

/// `target/interop`, beside `target/debug`.
fn interop() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("interop")
}

#[test]
fn the_script_obeys_the_rule() {
    let Some(store) = Store::start() else { return };
    is_obeyed(|token, value| store.write(token, value), || store.read());
}

#[test]
fn the_history_of_many_who_write_at_once_never_falls() {
    let Some(store) = Store::start() else { return };
    let race = store.race(&snippet("object-store-write"));
    race.went_well(&store.history());
}

#[test]
fn without_its_condition_the_history_falls() {
    let Some(store) = Store::start() else { return };
    let race = store.race(&snippet_without("object-store-write", "-le", "-le"));
    race.went_wrong(&store.history());
}

#[test]
fn a_newer_leader_that_comes_between_the_read_and_the_write_wins() {
    let Some(store) = Store::start() else { return };
    for (older, newer) in [(1, 2), (3, 4)] {
        let script = store.file("newer.sh", &snippet("object-store-write"));
        let value = store.file("newer.value", "by the newer");
        let (script, value) = (script.display(), value.display());
        let curl = &store.curl;
        let between = format!("CURL='{curl}' sh {script} {newer} {value}; exec {curl} \"$@\"");
        let curl = store.curl_that_puts(&between);
        let is_taken = store.write_with(&curl, &snippet("object-store-write"), older, "late");
        assert!(!is_taken);
        assert_eq!(store.read().as_deref(), Some("by the newer"));
    }
    assert_eq!(store.history(), [2, 4]);
}

#[test]
fn a_write_whose_answer_is_lost_is_known_again() {
    let Some(store) = Store::start() else { return };
    let lost = format!("{} \"$@\" > /dev/null; exit 52", store.curl);
    let curl = store.curl_that_puts(&lost);
    assert!(store.write_with(&curl, &snippet("object-store-write"), 5, "once"));
    assert_eq!(store.history(), [5]);
}

#[test]
fn a_first_line_that_is_no_token_lets_nobody_in() {
    let Some(store) = Store::start() else { return };
    for line in ["", "abc", "5 6", "99999999999999999999999"] {
        let file = store.file("body", &format!("{line}\nvalue"));
        store.curl(&["-T", file.to_str().unwrap(), &store.object()]);
        assert!(!store.write(7, "mine"), "{line:?}");
        assert_eq!(store.read().as_deref(), Some("value"), "{line:?}");
    }
}

#[test]
fn a_token_in_the_metadata_alone_is_no_fence() {
    let Some(store) = Store::start() else { return };
    let (same, other) = (store.file("same", "same"), store.file("other", "by the older"));
    let put = |file: &Path, token: &str, condition: &str| {
        let token = format!("x-amz-meta-token: {token}");
        let file = file.to_str().unwrap();
        store.curl(&["-T", file, "-H", &token, "-H", condition, &store.object()]);
        let etag = store.curl(&["-o", "/dev/null", "-w", "%header{etag}", &store.object()]);
        format!("If-Match: {etag}")
    };
    let seen_by_the_older = put(&same, "5", "If-None-Match: *");
    put(&same, "6", &seen_by_the_older);
    put(&other, "5", &seen_by_the_older); // Fails if it is refused.
}
