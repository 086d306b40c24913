//! The program of one worker: this test program again, as a separate process, or as the command of `incumbent work`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use incumbent::{BoxError, FencingToken, Group, Tasks, connect, shutdown_signal};
use tokio::signal::unix::{SignalKind, signal};

use super::register;

const NAME: &str = "INCUMBENT_TEST_WORKER";
const VERSION: &str = "INCUMBENT_TEST_WORKER_VERSION";
const LEASE: &str = "INCUMBENT_TEST_WORKER_LEASE";
const REGISTERS: &str = "INCUMBENT_TEST_WORKER_REGISTERS";
/// Which start of a worker it is, to tell apart two processes of one name.
const START: &str = "INCUMBENT_TEST_WORKER_START";

/// What takes part in the group.
#[derive(Clone, Copy)]
pub(crate) enum Program {
    Library,
    /// `incumbent work`
    Command,
}

/// How a worker is started.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    pub(crate) lease: Duration,
    /// Where the register of each task is.
    pub(crate) registers: BTreeMap<&'static str, SocketAddr>,
}

static STARTS: AtomicU32 = AtomicU32::new(0);

impl Worker {
    pub(crate) fn command(&self, version: u32) -> Command {
        let this = std::env::current_exe().unwrap();
        let mut command = match self.program {
            Program::Library => {
                super::support::program(&this, &format!("--exact {LIBRARY} {AS_A_TEST}"))
            }
            Program::Command => {
                let (name, seconds) = (self.name, self.lease.as_secs());
                let mut command = super::support::incumbent(&format!(
                    "work indexers --from-config --member {name} --lease-duration {seconds}s --kill-after 200ms --",
                ));
                let arguments = format!("--exact {COMMAND} {AS_A_TEST}");
                command.arg(this).args(arguments.split(' '));
                command
            }
        };
        let registers = self.registers.iter().map(|(task, address)| format!("{task}={address}"));
        command
            .env(NAME, self.name)
            .env(VERSION, version.to_string())
            .env(LEASE, self.lease.as_secs().to_string())
            .env(START, STARTS.fetch_add(1, Ordering::Relaxed).to_string())
            .env(REGISTERS, registers.collect::<Vec<_>>().join(","));
        command
    }
}

const AS_A_TEST: &str = "--nocapture --test-threads 1";
const LIBRARY: &str = "worker::takes_part_where_a_test_starts_it";
const COMMAND: &str = "worker::is_a_command_where_a_test_starts_it";

/// Works on the one task that it was started for, for as long as it lives, and ignores SIGTERM: it is a fault of
/// `incumbent work` if it lives when the task is another's.
#[test]
fn is_a_command_where_a_test_starts_it() {
    let Ok(task) = std::env::var("INCUMBENT_TASK") else { return };
    let variable = |name| std::env::var(name).unwrap();
    let register = registers()[&task];
    let token = FencingToken(variable("INCUMBENT_TOKEN").parse().unwrap());
    // A command that its guardian has ended while the task stayed here begins again under the same token.
    let identity = format!("{} {}", variable("INCUMBENT_MEMBER"), variable(START));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let written = runtime.block_on(async {
        // A process that listens for a signal is not ended by it.
        let _ignored = signal(SignalKind::terminate()).unwrap();
        register::write(register, token, || true, &identity).await
    });
    written.unwrap();
}

fn registers() -> BTreeMap<String, SocketAddr> {
    std::env::var(REGISTERS)
        .unwrap()
        .split(',')
        .map(|register| register.split_once('=').unwrap())
        .map(|(task, address)| (task.to_owned(), address.parse().unwrap()))
        .collect()
}

/// Runs each task that it owns: it writes to the task's register as fast as that answers.
#[test]
fn takes_part_where_a_test_starts_it() {
    let Ok(name) = std::env::var(NAME) else { return };
    let variable = |name| std::env::var(name).unwrap();
    let lease = Duration::from_secs(variable(LEASE).parse().unwrap());
    let registers = registers();
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
