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

use clap::CommandFactory;

use crate::cli::{Args, Command};
#[cfg(target_os = "linux")]
use crate::commands::participate::guarded;
use crate::commands::setup::completion;
#[cfg(target_os = "linux")]
use crate::runtime::init;
use crate::runtime::{exit, output};

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Some(code) = guarded::become_helper() {
        return code;
    }
    if let Some(code) = completion::answer(Args::command) {
        return code;
    }
    let args = cli::parse();
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
    let outcome = runtime.block_on(args.command.run());
    // Whatever still hangs in a request to a server that is gone must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}
