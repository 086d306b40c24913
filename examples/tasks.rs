//! Shares tasks among workers: each task has one worker at any time, and the tasks of one that dies go to others.
//!
//! ```text
//! kubectl create configmap tasks.config --from-literal=tasks=$'eu\nus\nap'
//! kubectl label configmap tasks.config incumbent.dev/group=tasks
//! cargo run -p examples --bin tasks -- a     # in three terminals: a, b and c
//! kubectl get leases,configmaps -l incumbent.dev/group=tasks
//! ```

use std::time::Duration;

use incumbent::{BoxError, Group, Tasks, connect, shutdown_signal};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let shutdown = shutdown_signal();
    let name = std::env::args().nth(1).ok_or("usage: tasks NAME, with a name for each worker")?;
    let group = Group::builder(connect().await?, "default", "tasks")
        .member(name)
        .tasks(Tasks::config_map()) // people edit the list while tasks run
        .lease_duration(Duration::from_secs(3))
        .build()?;
    group
        .run_until(shutdown, |task| async move {
            while task.is_valid() {
                // One step of a task that has no end: a queue, a tenant, a part of the keys.
                println!("{}", task.name());
                sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        })
        .await?;
    Ok(())
}
