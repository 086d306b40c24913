//! PostgreSQL, by way of psql.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::process::{Signal, geteuid};

use crate::page::{snippet, snippet_without};
use crate::program::{Server, Session, find, run};
use crate::rule::{Race, history, is_obeyed};

/// A database with the tables of the page, and a history of what is written into them.
struct Database {
    server: Arc<Server>,
    name: String,
}

impl Database {
    fn create() -> Option<Self> {
        static LATEST: AtomicU64 = AtomicU64::new(0);
        let server = server()?;
        let name = format!("test_{}", LATEST.fetch_add(1, Ordering::Relaxed));
        let made = session(&server, "postgres").ask(&format!("CREATE DATABASE {name};"));
        assert_eq!(made, "");
        let database = Self { server, name };
        let tables = format!(
            "{};
             CREATE TABLE setting (name text PRIMARY KEY, value text NOT NULL, token bigint NOT NULL);
             CREATE TABLE plan (value text);
             INSERT INTO plan VALUES (NULL);
             CREATE TABLE history (at bigserial, source text, token bigint);
             CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO history (source, token) VALUES (tg_table_name, new.token);
                 RETURN new;
             END $$;
             CREATE TRIGGER remember AFTER INSERT OR UPDATE ON fence
                 FOR EACH ROW EXECUTE FUNCTION remember();
             CREATE TRIGGER remember AFTER INSERT OR UPDATE ON setting
                 FOR EACH ROW EXECUTE FUNCTION remember();",
            snippet("postgresql-fence")
        );
        assert_eq!(session(&database.server, &database.name).ask(&tables), "");
        Some(database)
    }

    /// One connection, to which the statements of the page are known as `raise`, `hold` and `row`.
    fn connect(&self) -> Session {
        self.connect_with(&snippet("raise"))
    }

    fn connect_with(&self, raise: &str) -> Session {
        let mut session = session(&self.server, &self.name);
        let (hold, row) = (snippet("postgresql-hold"), snippet("row"));
        let prepared = session.ask(&format!(
            "PREPARE raise AS {raise}; PREPARE hold AS {hold}; PREPARE row AS {row};"
        ));
        assert_eq!(prepared, "");
        session
    }
}

/// The one server of all tests that run at this moment.
fn server() -> Option<Arc<Server>> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    let server = Arc::new(start_server()?);
    *shared = Arc::downgrade(&server);
    Some(server)
}

fn start_server() -> Option<Server> {
    let (initdb, postgres, _) = (program("initdb")?, program("postgres")?, program("psql")?);
    let folder = Server::folder();
    let path = &folder.path().to_str().unwrap().to_owned();
    let data = &format!("{path}/data");
    let mut initdb = vec![&*initdb, "--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust"];
    initdb.extend(["-U", "postgres", "-D", data]);
    let mut server = vec![&*postgres, "-D", data, "-k", path, "-h", "", "-F"];
    // It refuses to run as root.
    if geteuid().is_root() {
        run(&["chown", "postgres:", path]);
        let user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
        initdb.splice(0..0, user);
        server.splice(0..0, user);
    }
    run(&initdb);
    Some(Server::start(folder, &server, "ready to accept connections", Signal::QUIT))
}

fn session(server: &Server, database: &str) -> Session {
    let (psql, path) = (program("psql").unwrap(), server.path().to_str().unwrap());
    Session::start(&[&psql, "-XqAt", "-h", path, "-U", "postgres", database], "\\echo")
}

/// Debian keeps the server out of the path, in a folder for each version.
fn program(name: &str) -> Option<String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.unwrap().path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    Some(find(name, "apt-get install postgresql", &folders)?.to_str().unwrap().to_owned())
}

/// One transaction as the page says: raise, go on only if a row comes back.
fn transact(session: &mut Session, token: u64, change: &str) -> bool {
    let raised = session.ask(&format!("BEGIN; EXECUTE raise('scanner', {token});"));
    let is_ours = raised == token.to_string();
    assert!(is_ours || raised.is_empty(), "{raised}");
    let end = if is_ours { format!("{change}; COMMIT;") } else { "ROLLBACK;".to_owned() };
    assert_eq!(session.ask(&end), "");
    is_ours
}

fn write_row(session: &mut Session, token: u64, value: &str) -> bool {
    let written = session.ask(&format!("EXECUTE row('mode', '{value}', {token});"));
    assert!(written.is_empty() || written == token.to_string(), "{written}");
    !written.is_empty()
}

/// Waits until this many sessions wait for a lock.
fn until_waiting(session: &mut Session, waiting: &str) {
    let ask = "SELECT count(*) FROM pg_stat_activity \
               WHERE wait_event_type = 'Lock' AND datname = current_database();";
    while session.ask(ask) != waiting {}
}

#[test]
fn a_transaction_that_raises_the_fence_obeys_the_rule() {
    let Some(database) = Database::create() else { return };
    let (mut writer, mut reader) = (database.connect(), database.connect());
    is_obeyed(
        |token, value| transact(&mut writer, token, &format!("UPDATE plan SET value = '{value}'")),
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
    let sessions = || (0..6).map(|_| database.connect());
    let mut reader = database.connect();
    let mut history = |source| {
        let ask = format!("SELECT token FROM history WHERE source = '{source}' ORDER BY at;");
        history(&reader.ask(&ask))
    };

    let change = "UPDATE plan SET value = pg_backend_pid()";
    let writers = sessions().map(|mut session| move |token| transact(&mut session, token, change));
    Race::run(40, writers.collect()).went_well(&history("fence"));
    let writers = sessions().map(|mut session| move |token| write_row(&mut session, token, "x"));
    Race::run(40, writers.collect()).went_well(&history("setting"));
}

#[test]
fn without_its_condition_the_history_falls() {
    let Some(database) = Database::create() else { return };
    let careless = snippet_without("raise", "WHERE", "WHERE");
    let sessions = (0..3).map(|_| database.connect_with(&careless));
    let writers = sessions.map(|mut session| move |token| transact(&mut session, token, "SELECT"));
    let race = Race::run(40, writers.collect());
    let mut reader = database.connect_with(&careless);
    race.went_wrong(&history(&reader.ask("SELECT token FROM history ORDER BY at;")));
}

#[test]
fn who_waits_for_a_newer_leader_finds_its_token_at_each_level_of_isolation() {
    let Some(database) = Database::create() else { return };
    let [mut newer, mut older, mut looker] = [(); 3].map(|()| database.connect());
    assert!(transact(&mut newer, 10, "SELECT"));
    let levels = [
        ("READ COMMITTED", ""),
        ("REPEATABLE READ", "could not serialize access due to concurrent update"),
        ("SERIALIZABLE", "could not serialize access due to concurrent update"),
    ];
    for (token, (level, outcome)) in (20..).step_by(10).zip(levels) {
        let raised = newer.ask(&format!("BEGIN; EXECUTE raise('scanner', {token});"));
        assert_eq!(raised, token.to_string());
        let below = token - 1;
        older.send(&format!("BEGIN ISOLATION LEVEL {level}; EXECUTE raise('scanner', {below});"));
        until_waiting(&mut looker, "1");
        assert_eq!(newer.ask("COMMIT;"), "");
        let found = older.answer();
        assert_eq!(found.trim_start_matches("ERROR:").trim(), outcome, "{level}");
        older.ask("ROLLBACK;");
    }
}

#[test]
fn a_newer_leader_waits_for_what_is_under_way_and_then_sees_it() {
    let Some(database) = Database::create() else { return };
    let [mut newer, mut older, mut looker] = [(); 3].map(|()| database.connect());
    older.ask("BEGIN; EXECUTE raise('scanner', 7); UPDATE plan SET value = 'by the older';");
    newer.send("BEGIN; EXECUTE raise('scanner', 8); SELECT value FROM plan;");
    until_waiting(&mut looker, "1");
    older.ask("COMMIT;");
    assert_eq!(newer.answer(), "8\nby the older");
    newer.ask("COMMIT;");
}

#[test]
fn a_leader_holds_its_fence_in_many_transactions_until_a_newer_one_raises_it() {
    let Some(database) = Database::create() else { return };
    let [mut newer, mut first, mut second, mut looker] = [(); 4].map(|()| database.connect());
    assert!(transact(&mut first, 7, "SELECT"));
    for session in [&mut first, &mut second] {
        assert_eq!(session.ask("BEGIN; EXECUTE hold('scanner', 7);"), "7", "none waits");
    }
    newer.send("BEGIN; EXECUTE raise('scanner', 8);");
    until_waiting(&mut looker, "1");
    for session in [&mut first, &mut second] {
        assert_eq!(session.ask("COMMIT;"), "");
    }
    assert_eq!(newer.answer(), "8");
    // Raised, and not yet committed: the older one waits, and is then too late.
    first.send("BEGIN; EXECUTE hold('scanner', 7);");
    until_waiting(&mut looker, "1");
    newer.ask("COMMIT;");
    assert_eq!(first.answer(), "");
}
