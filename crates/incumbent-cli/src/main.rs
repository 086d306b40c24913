//! The `incumbent` command: it parses, calls, and maps the outcome to an exit code.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments of arguments are the help, where [] is optional"
)]

mod args;
mod called;
mod check;
mod chronicle;
mod claim;
mod cluster;
mod completion;
mod concern;
mod consent;
#[cfg(unix)]
mod dashboard;
mod demo;
mod dev_server;
mod doctor;
mod elect;
mod events;
mod exit;
mod get;
mod help;
mod history;
#[cfg(target_os = "linux")]
mod init;
mod man;
mod manifests;
mod metrics;
#[cfg(target_os = "linux")]
mod once;
mod output;
mod pause;
mod room;
mod row;
#[cfg(target_os = "linux")]
mod run;
#[cfg(unix)]
mod sidecar;
mod signals;
mod standing;
mod status;
mod stderr;
mod step_down;
mod timings;
mod wait;
mod watch;
#[cfg(unix)]
mod web;
mod when;

use std::process::ExitCode;

use crate::args::Command;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Some(code) = run::become_helper() {
        return code;
    }
    if let Some(code) = completion::answer() {
        return code;
    }
    let args = called::parse();
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
