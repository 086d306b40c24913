//! A look at the lock before a command takes part, so that what cannot work fails at once.

use std::time::Duration;

use incumbent::survey::LockView;
use incumbent::{Error, Lock};

/// A candidate retries for as long as it runs. A person who starts one wants to know at once that it cannot
/// work.
pub(crate) async fn look_before(
    client: kube::Client,
    lock: &Lock,
) -> Result<Option<LockView>, Error> {
    match LockView::read(client, lock.clone()).await {
        Ok(view) => Ok(Some(view)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same for what runs long: it waits for an API server that is away or overloaded.
pub(crate) async fn look_patiently(
    client: kube::Client,
    lock: &Lock,
) -> Result<Option<LockView>, Error> {
    patiently(&lock.to_string(), async || look_before(client.clone(), lock).await).await
}

/// Tries until it works, or fails in a way that does not pass by itself. Logs each trouble once.
pub(crate) async fn patiently<T>(
    lock: &str,
    work: impl AsyncFn() -> Result<T, Error>,
) -> Result<T, Error> {
    let (mut told, mut pause) = (String::new(), FIRST_PAUSE);
    loop {
        let error = match work().await {
            Err(error) if error.is_passing() => error,
            outcome => return outcome,
        };
        let text = error.to_string();
        if told != text {
            tracing::warn!(lock, error = text, hint = error.hint(), "cannot begin yet: will retry");
            told = text;
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);

const LONGEST_PAUSE: Duration = Duration::from_secs(4);
