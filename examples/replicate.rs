//! Copies the rows of one database into another: `replicate SOURCE TARGET`, as often as you like.
//!
//! One process leads and copies; the others are ready to continue. It asks once a term how far the copy goes, and
//! counts on from there. What makes that safe is the **fence** in the target: a leader that was frozen, or
//! whose write was on its way for a long time comes with an older token, and the target refuses it. So each row is
//! copied exactly once, whichever process is killed or frozen. The rule behind it is in `docs/fencing.md`.
//!
//! Both are SQLite files, so that it runs anywhere. Put them on a local disk.

use std::sync::Arc;
use std::time::Duration;

use incumbent::{BoxError, Candidate, Leadership, Lock, connect, shutdown_signal};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::task::{block_in_place, yield_now};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let shutdown = shutdown_signal();
    let [source, target] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| {
        "usage: replicate SOURCE TARGET, two SQLite files; SOURCE has a table entry (id, value)"
    })?;
    let mut candidate = Candidate::builder(connect().await?, Lock::lease("default", "replicate"))
        .lease_duration(Duration::from_secs(3))
        .build()?;
    candidate.run_until(shutdown, |leadership| replicate(&source, &target, leadership)).await?;
    Ok(())
}

async fn replicate(
    source: &str,
    target: &str,
    leadership: Arc<Leadership>,
) -> Result<(), BoxError> {
    println!("leads");
    let mut copy = patiently(|| Copy::begin(source, target, &leadership)).await?;
    while leadership.is_valid() {
        if patiently(|| copy.batch()).await? == 0 {
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Waits while another holds the target's lock: a leader that was frozen within a transaction does, until it
/// wakes or is killed.
async fn patiently<T>(mut act: impl FnMut() -> Result<T, BoxError>) -> Result<T, BoxError> {
    loop {
        // SQLite blocks, so this says so, and renewals continue meanwhile.
        match block_in_place(&mut act) {
            Err(error) if is_busy(&error) => sleep(PAUSE).await,
            outcome => {
                // Here a loss is noticed: between two transactions.
                yield_now().await;
                return outcome;
            }
        }
    }
}

fn is_busy(error: &BoxError) -> bool {
    let error = error.downcast_ref::<rusqlite::Error>().and_then(|error| error.sqlite_error_code());
    error == Some(ErrorCode::DatabaseBusy)
}

/// The copying of one term.
struct Copy {
    source: Connection,
    target: Connection,
    token: i64,
    /// The last row that the target has.
    last: i64,
}

impl Copy {
    fn begin(source: &str, target: &str, leadership: &Leadership) -> Result<Self, BoxError> {
        let (source, mut target) = (open(source)?, open(target)?);
        let token = i64::try_from(leadership.fencing_token().0)?;
        let transaction = target.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        // First the fence, then the reading: what is read before it, an older leader may still change.
        raise_fence(&transaction, token)?;
        let last = "SELECT coalesce(max(id), 0) FROM entry";
        let last = transaction.query_row(last, (), |row| row.get(0))?;
        transaction.commit()?;
        Ok(Self { source, target, token, last })
    }

    /// Copies what comes next, and says how many rows that was.
    fn batch(&mut self) -> Result<usize, BoxError> {
        let mut next = self.source.prepare(NEXT)?;
        let rows = next.query_map([self.last], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows: Vec<(i64, String)> = rows.collect::<Result<_, _>>()?;
        let Some((last, _)) = rows.last() else { return Ok(0) };

        let behaviour = TransactionBehavior::Immediate; // Compares tokens behind the lock.
        let transaction = self.target.transaction_with_behavior(behaviour)?;
        raise_fence(&transaction, self.token)?;
        for row in &rows {
            transaction
                .execute("INSERT INTO entry (id, value) VALUES (?1, ?2)", (row.0, &row.1))?;
        }
        transaction.commit()?;
        self.last = *last;
        Ok(rows.len())
    }
}

fn open(file: &str) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(file)?;
    // Well within what is left to stop in, when leadership is lost while it waits.
    connection.busy_timeout(Duration::from_millis(500))?;
    Ok(connection)
}

/// Comes first in each transaction. No row comes back where a newer leader has been, which is an error here,
/// and rolls all of the transaction back.
fn raise_fence(transaction: &Transaction<'_>, token: i64) -> Result<(), BoxError> {
    let raised = transaction.query_row(RAISE, ("replicate", token), |_| Ok(()));
    raised.map_err(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => "a newer leader has been here".into(),
        error => error.into(),
    })
}

const PAUSE: Duration = Duration::from_millis(100);
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS fence (lock TEXT PRIMARY KEY, token INTEGER NOT NULL) STRICT;
";
const RAISE: &str = "
    INSERT INTO fence AS seen (lock, token) VALUES (?1, ?2)
    ON CONFLICT (lock) DO UPDATE SET token = excluded.token
        WHERE seen.token <= excluded.token
    RETURNING token
";
const NEXT: &str = "SELECT id, value FROM entry WHERE id > ?1 ORDER BY id LIMIT 100";
