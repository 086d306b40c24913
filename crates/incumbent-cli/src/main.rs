//! The `incumbent` command: it parses, calls, and maps the outcome to an exit code.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments of arguments are the help, where [] is optional"
)]

mod cli;
mod commands;
#[cfg(unix)]
mod dashboard;
mod flags;
mod http;
mod model;
mod runtime;

use std::process::ExitCode;

use crate::cli::Command;
use crate::commands::control::{claim, pause, step_down};
use crate::commands::dev::{demo, dev_server};
use crate::commands::observe::{check, get, history, status, wait, watch};
use crate::commands::participate::elect;
#[cfg(unix)]
use crate::commands::participate::sidecar;
#[cfg(target_os = "linux")]
use crate::commands::participate::{once, run};
use crate::commands::setup::{completion, doctor, man, manifests, timings};
#[cfg(target_os = "linux")]
use crate::runtime::init;
use crate::runtime::{exit, output, program_name};

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Some(code) = run::become_helper() {
        return code;
    }
    if let Some(code) = completion::answer() {
        return code;
    }
    let args = program_name::parse();
    #[cfg(target_os = "linux")]
    if let Command::Sidecar(_) = args.command
        && let Some(code) = init::stand_in()
    {
        return code;
    }
    output::start_log();
    // One thread is enough for what is mostly waiting, and keeps a candidate small.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error.into()),
    };
    let outcome = runtime.block_on(async {
        match args.command {
            Command::Demo(args) => demo::run(args).await,
            #[cfg(unix)]
            Command::Dashboard(args) => dashboard::run(args).await,
            Command::DevServer(args) => dev_server::run(args).await,
            Command::Elect(args) => elect::run(args).await,
            #[cfg(unix)]
            Command::Sidecar(args) => sidecar::run(args).await,
            #[cfg(target_os = "linux")]
            Command::Run(args) => Ok(run::run(args).await),
            #[cfg(target_os = "linux")]
            Command::Once(args) => Ok(once::run(args).await),
            Command::Claim(args) => claim::run(args).await,
            Command::Get(args) => get::run(args).await,
            Command::Status(args) => status::run(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Wait(args) => wait::run(args).await,
            Command::Watch(args) => watch::run(args).await,
            Command::History(args) => history::run(args).await,
            Command::StepDown(args) => step_down::run(args).await,
            Command::Pause(args) => pause::run(args).await,
            Command::Resume(args) => pause::resume(args).await,
            Command::Manifests(wanted) => manifests::run(&wanted),
            Command::Timings(args) => timings::run(&args),
            Command::Doctor(args) => doctor::run(args).await,
            Command::Completion(args) => completion::run(&args),
            Command::Man(args) => man::run(&args),
        }
    });
    // Whatever still hangs in a request to a server that is gone must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}
