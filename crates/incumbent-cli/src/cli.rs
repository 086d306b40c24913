//! The command line, parsed once, and the command that it calls. Nothing below imports this.

use std::error::Error as _;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::control::{claim, pause, step_down};
use crate::commands::dev::{demo, dev_server};
#[cfg(unix)]
use crate::commands::observe::dashboard;
use crate::commands::observe::{check, get, history, status, wait, watch};
use crate::commands::participate::elect;
#[cfg(unix)]
use crate::commands::participate::sidecar;
#[cfg(target_os = "linux")]
use crate::commands::participate::{once, run};
use crate::commands::setup::{completion, doctor, man, manifests, timings};
use crate::runtime::program_name::Name;
use crate::runtime::{exit, help};

/// Leader election on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "incumbent", version, after_help = exit::HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show an election on this machine, break it in five ways, and measure what happens
    Demo(demo::Demo),
    /// Run a small Kubernetes API server for development; not for production
    DevServer(dev_server::DevServer),
    /// Show elections on a page that goes on as they do: who leads, what needs attention, and why
    #[cfg(unix)]
    Dashboard(dashboard::Dashboard),
    /// Take part in elections until SIGTERM or SIGINT, one JSON object a line
    Elect(elect::Elect),
    #[cfg(unix)]
    /// Take part for an application of any language, and tell it who leads, over HTTP on loopback
    Sidecar(sidecar::args::Sidecar),
    /// Run a command only while this process leads
    #[cfg(target_os = "linux")]
    Run(run::args::Run),
    /// Run a command once, however many come to run it; everybody else learns what became of it
    #[cfg(target_os = "linux")]
    Once(once::args::Once),
    /// Write a name on the blackboard, if none stands there: first come, first served
    Claim(claim::Claim),
    /// Show locks, who holds each, and whether it is fresh
    Get(get::Get),
    /// One page about one lock: who leads, since when, who waits, what happened, what to do
    Status(status::Status),
    /// Say by the exit code whether somebody leads, for scripts and probes
    Check(check::Check),
    /// Wait until somebody leads, somebody else does, or nobody
    Wait(wait::Wait),
    /// Print a line for each change of a leader, as it happens
    Watch(watch::Watch),
    /// Show the terms of the past, as far as Events tell
    History(history::History),
    /// Ask the leader to hand over
    StepDown(step_down::StepDown),
    /// Keep candidates from leading, all of them or some
    Pause(pause::Pause),
    /// Let them lead again
    Resume(pause::Resume),
    /// Print what a workload needs in the cluster: account, least rights, and a Deployment
    Manifests(manifests::Wanted),
    /// Show what a timing tolerates: outages, crashes, slow work; and what it costs
    Timings(timings::Timings),
    /// Look at all that an election rests on: rights, latency, clocks, names, leftovers
    Doctor(doctor::Doctor),
    /// Print what a shell needs to complete commands, flags and the names of locks
    Completion(completion::Completion),
    /// Write the manual, a page for each command
    #[command(hide = true)]
    Man(man::Manual),
}

/// The command line of this process. Ends it where there is nothing to run: for help, or a mistake.
pub(crate) fn parse() -> Args {
    let command = Args::command().bin_name(Name::of_this_process().typed());
    let command = help::fit(command, help::width());
    let matches = command.try_get_matches().unwrap_or_else(|error| end(&error));
    Args::from_arg_matches(&matches).unwrap_or_else(|error| end(&error))
}

/// Prints an argument that our own parsers refuse in the same form as every other error.
fn end(error: &clap::Error) -> ! {
    match error.source().and_then(|source| source.downcast_ref::<incumbent::Error>()) {
        Some(refused) => exit::end_for_usage(refused),
        None => error.exit(),
    }
}

impl Command {
    /// Does what was asked for, and returns the exit code.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Demo(args) => demo::run(args).await,
            #[cfg(unix)]
            Self::Dashboard(args) => dashboard::run(args).await,
            Self::DevServer(args) => dev_server::run(args).await,
            Self::Elect(args) => elect::run(args).await,
            #[cfg(unix)]
            Self::Sidecar(args) => sidecar::run(args).await,
            #[cfg(target_os = "linux")]
            Self::Run(args) => Ok(run::run(args).await),
            #[cfg(target_os = "linux")]
            Self::Once(args) => Ok(once::run(args).await),
            Self::Claim(args) => claim::run(args).await,
            Self::Get(args) => get::run(args).await,
            Self::Status(args) => status::run(args).await,
            Self::Check(args) => check::run(args).await,
            Self::Wait(args) => wait::run(args).await,
            Self::Watch(args) => watch::run(args).await,
            Self::History(args) => history::run(args).await,
            Self::StepDown(args) => step_down::run(args).await,
            Self::Pause(args) => pause::run(args).await,
            Self::Resume(args) => pause::resume(args).await,
            Self::Manifests(wanted) => manifests::run(&wanted),
            Self::Timings(args) => timings::run(&args),
            Self::Doctor(args) => doctor::run(args).await,
            Self::Completion(args) => completion::run(&args),
            Self::Man(args) => man::run(&args, Args::command()),
        }
    }
}
