//! The command under `incumbent run`: acts from its start to its end. It knows nothing of elections.
//!
//! `bench-worker MILLISECONDS`, and no lines but the first if that is 0.

use std::time::Duration;

fn main() -> Result<(), contender::Error> {
    let every: u64 = std::env::args().nth(1).ok_or("how often?")?.parse()?;
    let identity = std::env::var("INCUMBENT_IDENTITY")?;
    let lock = std::env::var("INCUMBENT_LOCK")?;
    contender::report("leading", &identity, &lock);
    loop {
        std::thread::sleep(Duration::from_millis(if every == 0 { 60_000 } else { every }));
        if every > 0 {
            contender::report("acting", &identity, &lock);
        }
    }
}
