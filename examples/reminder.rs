//! Sends one notification a minute, however many replicas run and whichever of them are killed.
//!
//! ```text
//! reminder &  reminder &  reminder &
//! reminder 5        # one every five seconds; all replicas have to say the same
//! ```
//!
//! Each minute is a tick of a schedule. Its record, in the ConfigMap `reminder`, says which tick began last: that is
//! written before the notification leaves, so no tick begins twice. A replica that is killed between that write and the
//! next leaves its tick in doubt, and it is not sent again. With [`OnDeath::Again`](incumbent::OnDeath::Again), it would
//! be, and a receiver that knows the tick can drop the second.

use std::time::Duration;

use incumbent::{BoxError, Candidate, CatchUp, Lock, Schedule, connect, shutdown_signal};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let shutdown = shutdown_signal();
    let seconds = std::env::args().nth(1).map_or(Ok(60), |text| text.parse())?;
    let mut candidate =
        Candidate::builder(connect().await?, Lock::config_map("default", "reminder"))
            .lease_duration(Duration::from_secs(3))
            .build()?;
    Schedule::every("reminder", Duration::from_secs(seconds))
        // After a crash, the ticks that passed meanwhile are sent late rather than never.
        .catch_up(CatchUp::All(100))
        .run_until(shutdown, &mut candidate, async |run| {
            println!("{}", run.tick_millis());
            Ok::<_, BoxError>(())
        })
        .await?;
    Ok(())
}
