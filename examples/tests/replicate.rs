//! `replicate`: the copy is equal to its source, each row written once, though leaders are killed and frozen.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::Signal;

use crate::stage::{Process, Stage, within};

const REPLICATE: &str = env!("CARGO_BIN_EXE_replicate");

/// The two files of one test, and a log of all that is ever written into the second.
struct Databases {
    source: Connection,
    target: Connection,
}

impl Databases {
    fn create(folder: &Path) -> Self {
        let source = open(&folder.join("source"));
        source
            .execute_batch(
                "CREATE TABLE entry (id INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT",
            )
            .unwrap();
        let target = open(&folder.join("target"));
        target
            .execute_batch(
                "CREATE TABLE entry (id INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT;
                 CREATE TABLE fence (lock TEXT PRIMARY KEY, token INTEGER NOT NULL) STRICT;
                 CREATE TABLE log (at INTEGER PRIMARY KEY, id INTEGER, token INTEGER);
                 CREATE TRIGGER remember AFTER INSERT ON entry BEGIN
                     INSERT INTO log (id, token) SELECT new.id, token FROM fence;
                 END",
            )
            .unwrap();
        Self { source, target }
    }

    async fn copied(&self, at_least: i64) {
        let count = "SELECT count(*) FROM entry";
        within(async {
            while self.target.query_row(count, (), |row| row.get::<_, i64>(0)).unwrap() < at_least {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

fn open(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
    connection
}

fn rows<T: rusqlite::types::FromSql>(database: &Connection, query: &str) -> Vec<(i64, T)> {
    let mut query = database.prepare(query).unwrap();
    let rows = query.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

const ROWS: &str = "SELECT id, value FROM entry ORDER BY id";

fn start(stage: &Stage) -> Process {
    stage.start(REPLICATE, &["source", "target"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_row_is_copied_once_though_leaders_are_killed_and_frozen() {
    let stage = Stage::new().await;
    let databases = Databases::create(stage.folder());
    let (source, is_over) =
        (open(&stage.folder().join("source")), Arc::new(AtomicBool::new(false)));
    let stop = is_over.clone();
    // Somebody uses the source all the while.
    let user = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let insert = "INSERT INTO entry (value) VALUES (hex(randomblob(8)))";
            source.execute(insert, ()).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    });

    let mut first = start(&stage);
    first.says("leads").await;
    databases.copied(20).await;
    let mut second = start(&stage);
    first.kill();

    second.says("leads").await;
    let mut third = start(&stage);
    second.send(Signal::STOP);
    third.says("leads").await;
    second.send(Signal::CONT);
    // It was frozen anywhere, perhaps within a transaction. Now the watchdog ends it, or it waits in line.
    let so_far = rows::<String>(&databases.target, ROWS).len();
    databases.copied(so_far as i64 + 20).await;
    third.interrupt();
    second.kill();
    let mut fourth = start(&stage);
    fourth.says("leads").await;

    is_over.store(true, Ordering::Relaxed);
    user.join().unwrap();
    let expected = rows::<String>(&databases.source, ROWS);
    databases.copied(expected.len() as i64).await;
    fourth.interrupt();
    assert_eq!(rows::<String>(&databases.target, ROWS), expected);
    let log = rows::<i64>(&databases.target, "SELECT id, token FROM log ORDER BY at");
    assert!(log.is_sorted(), "each id once and in order, under tokens that never fall");
    assert_eq!(log.len(), expected.len());
    let mut tokens: Vec<_> = log.iter().map(|(_, token)| token).collect();
    assert!(tokens.is_sorted());
    tokens.dedup();
    assert!(tokens.len() >= 3, "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_target_refuses_a_leader_once_it_has_seen_a_newer_token() {
    let stage = Stage::new().await;
    let databases = Databases::create(stage.folder());
    databases.source.execute("INSERT INTO entry (value) VALUES ('before')", ()).unwrap();
    let mut process = start(&stage);
    databases.copied(1).await;
    databases.target.execute("UPDATE fence SET token = token + 1", ()).unwrap();
    databases.source.execute("INSERT INTO entry (value) VALUES ('after')", ()).unwrap();
    assert_eq!(process.rest().await, ["leads"]);
    assert!(!process.status().success());
    assert_eq!(rows::<String>(&databases.target, ROWS), [(1, "before".to_owned())]);
}
