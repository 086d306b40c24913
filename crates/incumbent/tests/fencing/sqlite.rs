//! SQLite, by way of its shell.

use tempfile::TempDir;

use crate::groups;
use crate::page::snippet;
use crate::program::{Session, find, run};
use crate::sql::{self, Database as _, transact};

/// A file with the tables of the page, and a history of what is written into them.
struct Database {
    folder: TempDir,
    shell: String,
}

impl Database {
    fn file(&self) -> String {
        self.folder.path().join("database").to_str().unwrap().to_owned()
    }
}

impl sql::Database for Database {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const NOTHING: &'static str = "SELECT 1 WHERE 0";
    const ANY_VALUE: &'static str = "random()";

    fn create() -> Option<Self> {
        let shell = find("sqlite3", "apt-get install sqlite3", &[])?.to_str().unwrap().to_owned();
        let database = Self { folder: tempfile::tempdir().unwrap(), shell };
        let remember = |source: &str, verb: &str| {
            format!(
                "CREATE TRIGGER remember_{source}_{verb} AFTER {verb} ON {source} BEGIN
                     INSERT INTO history (source, token) VALUES ('{source}', new.token);
                 END;"
            )
        };
        let tables = format!(
            "{};
             PRAGMA journal_mode = WAL;
             CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT, token INTEGER) STRICT;
             CREATE TABLE plan (value TEXT);
             INSERT INTO plan VALUES (NULL);
             CREATE TABLE history (at INTEGER PRIMARY KEY, source TEXT, token INTEGER);
             {}{}{}{}",
            snippet("sqlite-fence"),
            remember("fence", "INSERT"),
            remember("fence", "UPDATE"),
            remember("setting", "INSERT"),
            remember("setting", "UPDATE"),
        );
        assert_eq!(run(&[&database.shell, "-bail", &database.file(), &tables]), "wal\n");
        Some(database)
    }

    /// A process of its own, which waits for locks. It prepares nothing.
    fn connect_with(&self, _: &str) -> Session {
        let mut session = Session::start(&[&self.shell, &self.file()], ".print");
        session.ask(".timeout 20000\nPRAGMA synchronous = OFF;");
        session
    }

    fn raise(text: &str, token: u64) -> String {
        statement(text, &["\"'scanner'\"", &token.to_string()])
    }

    fn row(token: u64, value: &str) -> String {
        let parameters = ["\"'mode'\"", &format!("\"'{value}'\""), &token.to_string()];
        statement(&snippet("row"), &parameters)
    }
}

/// The statement with its parameters, as the shell sets them.
fn statement(text: &str, parameters: &[&str]) -> String {
    let set = (1..).zip(parameters).map(|(n, value)| format!(".parameter set ${n} {value}\n"));
    format!("{}{text};", set.collect::<String>())
}

sql::stories!(Database);

#[tokio::test(start_paused = true)]
async fn a_late_write_of_a_former_owner_of_a_task_is_refused() {
    groups::a_late_write_of_a_former_owner_is_refused::<Database>().await;
}

#[test]
fn what_is_no_number_is_no_token() {
    let Some(database) = Database::create() else { return };
    let mut session = database.connect();
    let text = statement(&snippet("raise"), &["\"'scanner'\"", "\"'zzz'\""]);
    let answer = session.ask(&text);
    assert!(answer.contains("cannot store TEXT value in INTEGER column"), "{answer}");
    assert_eq!(session.ask("SELECT count(*) FROM fence;"), "0");
}

#[test]
fn a_plain_begin_that_has_read_before_is_refused_once_a_newer_leader_has_written() {
    let Some(database) = Database::create() else { return };
    let (mut newer, mut older) = (database.connect(), database.connect());
    assert!(transact::<Database>(&mut older, 7, Database::NOTHING));
    assert_eq!(older.ask("BEGIN; SELECT token FROM fence;"), "7");
    assert!(transact::<Database>(&mut newer, 8, Database::NOTHING));
    let answer = older.ask(&Database::raise(&snippet("raise"), 7));
    assert!(answer.contains("database is locked"), "{answer}");
}
