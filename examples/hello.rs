//! Says hello for as long as this process leads.
//!
//! Start it twice, and stop the one that speaks with ctrl-c: the other continues.

use std::time::Duration;

use incumbent::{Candidate, Error, Lock, connect, shutdown_signal};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let shutdown = shutdown_signal();
    let client = connect().await?;
    let mut candidate = Candidate::builder(client, Lock::lease("default", "hello")).build()?;
    candidate
        .run_until(shutdown, |leadership| async move {
            while leadership.is_valid() {
                println!("hello, I lead with token {}", leadership.fencing_token());
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(())
        })
        .await?;
    Ok(())
}
