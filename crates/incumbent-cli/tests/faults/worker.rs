//! The program of one worker: this test program again, as a process of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use incumbent::{BoxError, Group, Tasks, connect, shutdown_signal};

use super::register;

const NAME: &str = "INCUMBENT_TEST_WORKER";
const VERSION: &str = "INCUMBENT_TEST_WORKER_VERSION";
const LEASE: &str = "INCUMBENT_TEST_WORKER_LEASE";
const REGISTERS: &str = "INCUMBENT_TEST_WORKER_REGISTERS";

/// How a worker is started.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) name: &'static str,
    pub(crate) lease: Duration,
    /// Where the register of each task is.
    pub(crate) registers: BTreeMap<&'static str, SocketAddr>,
}

impl Worker {
    pub(crate) fn command(&self, version: u32) -> Command {
        let arguments =
            "--exact worker::takes_part_where_a_test_starts_it --nocapture --test-threads 1";
        let mut command = super::support::program(&std::env::current_exe().unwrap(), arguments);
        let registers = self.registers.iter().map(|(task, address)| format!("{task}={address}"));
        command
            .env(NAME, self.name)
            .env(VERSION, version.to_string())
            .env(LEASE, self.lease.as_secs().to_string())
            .env(REGISTERS, registers.collect::<Vec<_>>().join(","));
        command
    }
}

/// Runs each task that it owns: it writes to the task's register as fast as that answers.
#[test]
fn takes_part_where_a_test_starts_it() {
    let Ok(name) = std::env::var(NAME) else { return };
    let variable = |name| std::env::var(name).unwrap();
    let lease = Duration::from_secs(variable(LEASE).parse().unwrap());
    let registers: BTreeMap<String, SocketAddr> = variable(REGISTERS)
        .split(',')
        .map(|register| register.split_once('=').unwrap())
        .map(|(task, address)| (task.to_owned(), address.parse().unwrap()))
        .collect();
    // Two processes of one name are told apart.
    let identity = format!("{name} {}", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let shutdown = shutdown_signal();
        let group = Group::builder(connect().await?, "default", "indexers")
            .member(name)
            .version(variable(VERSION))
            .tasks(Tasks::config_map())
            .lease_duration(lease)
            .build()?;
        let work = |task: std::sync::Arc<incumbent::Task>| {
            let (register, identity) = (registers[task.name()], identity.clone());
            async move {
                let token = task.fencing_token();
                register::write(register, token, || task.is_valid(), &identity).await?;
                Ok(())
            }
        };
        group.run_until(shutdown, work).await?;
        Ok::<(), BoxError>(())
    });
    outcome.unwrap();
}
