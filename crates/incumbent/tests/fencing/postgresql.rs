//! PostgreSQL, by way of psql.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::process::{Signal, geteuid};

use crate::groups;
use crate::page::snippet;
use crate::program::{Server, Session, find, run};
use crate::sql::{self, Database as _, transact};

/// A database with the tables of the page, and a history of what is written into them.
struct Database {
    server: Arc<Server>,
    name: String,
}

impl sql::Database for Database {
    const BEGIN: &'static str = "BEGIN";
    const NOTHING: &'static str = "SELECT";
    const ANY_VALUE: &'static str = "pg_backend_pid()";

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

    /// The statements of the page are known to it as `raise`, `hold` and `row`.
    fn connect_with(&self, raise: &str) -> Session {
        let mut session = session(&self.server, &self.name);
        let (hold, row) = (snippet("postgresql-hold"), snippet("row"));
        let prepared = session.ask(&format!(
            "PREPARE raise AS {raise}; PREPARE hold AS {hold}; PREPARE row AS {row};"
        ));
        assert_eq!(prepared, "");
        session
    }

    fn raise(_: &str, token: u64) -> String {
        format!("EXECUTE raise('scanner', {token});")
    }

    fn row(token: u64, value: &str) -> String {
        format!("EXECUTE row('mode', '{value}', {token});")
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

/// Waits until this many sessions wait for a lock.
fn until_waiting(session: &mut Session, waiting: &str) {
    let ask = "SELECT count(*) FROM pg_stat_activity \
               WHERE wait_event_type = 'Lock' AND datname = current_database();";
    while session.ask(ask) != waiting {}
}

sql::stories!(Database);

#[tokio::test(start_paused = true)]
async fn a_late_write_of_a_former_owner_of_a_task_is_refused() {
    groups::a_late_write_of_a_former_owner_is_refused::<Database>().await;
}

#[test]
fn who_waits_for_a_newer_leader_finds_its_token_at_each_level_of_isolation() {
    let Some(database) = Database::create() else { return };
    let [mut newer, mut older, mut looker] = [(); 3].map(|()| database.connect());
    assert!(transact::<Database>(&mut newer, 10, "SELECT"));
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
    assert!(transact::<Database>(&mut first, 7, "SELECT"));
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
