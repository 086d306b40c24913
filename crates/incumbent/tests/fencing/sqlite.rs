//! SQLite, by way of its shell.

use tempfile::TempDir;

use crate::page::{snippet, snippet_without};
use crate::program::{Session, find, run};
use crate::rule::{Race, history, is_obeyed};

/// A file with the tables of the page, and a history of what is written into them.
struct Database {
    folder: TempDir,
    shell: String,
}

impl Database {
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

    fn file(&self) -> String {
        self.folder.path().join("database").to_str().unwrap().to_owned()
    }

    /// A process of its own, which waits for locks.
    fn connect(&self) -> Session {
        let mut session = Session::start(&[&self.shell, &self.file()], ".print");
        session.ask(".timeout 20000\nPRAGMA synchronous = OFF;");
        session
    }
}

/// The statement with its parameters, as the shell sets them.
fn statement(text: &str, parameters: &[&str]) -> String {
    let set = (1..).zip(parameters).map(|(n, value)| format!(".parameter set ${n} {value}\n"));
    format!("{}{text};", set.collect::<String>())
}

fn raise(text: &str, token: u64) -> String {
    statement(text, &["\"'scanner'\"", &token.to_string()])
}

/// One transaction as the page says: raise, go on only if a row comes back.
fn transact(session: &mut Session, text: &str, token: u64, change: &str) -> bool {
    let raised = session.ask(&format!("BEGIN IMMEDIATE;\n{}", raise(text, token)));
    let is_ours = raised == token.to_string();
    assert!(is_ours || raised.is_empty(), "{raised}");
    let end = if is_ours { format!("{change}; COMMIT;") } else { "ROLLBACK;".to_owned() };
    assert_eq!(session.ask(&end), "");
    is_ours
}

fn write_row(session: &mut Session, token: u64, value: &str) -> bool {
    let parameters = ["\"'mode'\"", &format!("\"'{value}'\""), &token.to_string()];
    let written = session.ask(&statement(&snippet("row"), &parameters));
    assert!(written.is_empty() || written == token.to_string(), "{written}");
    !written.is_empty()
}

#[test]
fn a_transaction_that_raises_the_fence_obeys_the_rule() {
    let Some(database) = Database::create() else { return };
    let (mut writer, mut reader, text) = (database.connect(), database.connect(), snippet("raise"));
    is_obeyed(
        |token, value| {
            transact(&mut writer, &text, token, &format!("UPDATE plan SET value = '{value}'"))
        },
        || Some(reader.ask("SELECT value FROM plan;")).filter(|value| !value.is_empty()),
    );
}

#[test]
fn a_row_with_a_token_obeys_the_rule() {
    let Some(database) = Database::create() else { return };
    let (mut writer, mut reader) = (database.connect(), database.connect());
    is_obeyed(
        |token, value| write_row(&mut writer, token, value),
        || Some(reader.ask("SELECT value FROM setting;")).filter(|value| !value.is_empty()),
    );
}

#[test]
fn the_history_of_many_who_write_at_once_never_falls() {
    let Some(database) = Database::create() else { return };
    let (mut reader, text) = (database.connect(), snippet("raise"));
    let mut history = |source| {
        let ask = format!("SELECT token FROM history WHERE source = '{source}' ORDER BY at;");
        history(&reader.ask(&ask))
    };

    let change = "UPDATE plan SET value = random()";
    let sessions = (0..6).map(|_| (database.connect(), text.clone()));
    let writers = sessions
        .map(|(mut session, text)| move |token| transact(&mut session, &text, token, change));
    Race::run(40, writers.collect()).went_well(&history("fence"));
    let sessions = (0..6).map(|_| database.connect());
    let writers = sessions.map(|mut session| move |token| write_row(&mut session, token, "x"));
    Race::run(40, writers.collect()).went_well(&history("setting"));
}

#[test]
fn without_its_condition_the_history_falls() {
    let Some(database) = Database::create() else { return };
    let careless = snippet_without("raise", "WHERE", "WHERE");
    let sessions = (0..3).map(|_| (database.connect(), careless.clone()));
    let writers = sessions.map(|(mut session, text)| {
        move |token| transact(&mut session, &text, token, "SELECT 1 WHERE 0")
    });
    let race = Race::run(40, writers.collect());
    let mut reader = database.connect();
    race.went_wrong(&history(&reader.ask("SELECT token FROM history ORDER BY at;")));
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
    let (mut newer, mut older, text) = (database.connect(), database.connect(), snippet("raise"));
    assert!(transact(&mut older, &text, 7, "SELECT 1 WHERE 0"));
    assert_eq!(older.ask("BEGIN; SELECT token FROM fence;"), "7");
    assert!(transact(&mut newer, &text, 8, "SELECT 1 WHERE 0"));
    let answer = older.ask(&raise(&text, 7));
    assert!(answer.contains("database is locked"), "{answer}");
}
