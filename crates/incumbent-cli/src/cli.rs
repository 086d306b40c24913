//! The command line, parsed once, and the command that it calls. Nothing below imports this.

use std::error::Error as _;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::control::{claim, freeze, move_task, pause, schedules, step_down};
use crate::commands::dev::{demo, dev_server};
#[cfg(unix)]
use crate::commands::observe::dashboard;
use crate::commands::observe::{check, get, history, members, status, wait, watch};
#[cfg(unix)]
use crate::commands::participate::sidecar;
use crate::commands::participate::{elect, register};
#[cfg(target_os = "linux")]
use crate::commands::participate::{once, run, schedule, work};
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
    /// Take part in elections, and print what happens as one JSON object per line
    Elect(elect::Elect),
    /// Run a command only while this process leads
    #[cfg(target_os = "linux")]
    Run(run::args::Run),
    /// Run a command once across many replicas; the others learn how it ended
    #[cfg(target_os = "linux")]
    Once(once::args::Once),
    /// Run a command on a schedule, once per tick, in the replica that leads
    #[cfg(target_os = "linux")]
    Schedule(Box<schedule::args::Schedule>),
    /// Share tasks among processes, and run a command for each task that this one owns
    #[cfg(target_os = "linux")]
    Work(work::args::Work),
    /// Publish where this process can be reached, for as long as it runs
    Register(register::Register),
    /// Take part for a program in any language, and tell it over HTTP whether it leads
    #[cfg(unix)]
    Sidecar(Box<sidecar::args::Sidecar>),
    /// List locks or groups, their holders, and whether each holder still renews
    Get(get::Get),
    /// Show one lock or group on a page: who leads, who waits, who owns which task, what needs attention
    Status(status::Status),
    /// Tell scripts and probes by the exit code whether there is a leader, or whether tasks of a group are stuck
    Check(check::Check),
    /// Wait until there is a leader, another leader, or none; or until tasks of a group have owners
    Wait(wait::Wait),
    /// Print a line for each change of a leader or a group, as it happens
    Watch(watch::Watch),
    /// List who is registered on a blackboard or shares tasks, and where each can be reached
    Members(members::Members),
    /// List past terms of a lock, or what happened in a group, as far as Events show it
    History(history::History),
    /// Serve a live web page of every election: the leader, its health, and what needs attention
    #[cfg(unix)]
    Dashboard(dashboard::Dashboard),
    /// Ask the leader to hand over
    StepDown(step_down::StepDown),
    /// Keep candidates from leading: all of them, or some; or drain a member of a group
    Pause(pause::Pause),
    /// Let paused candidates lead again, or give a drained member tasks again
    Resume(pause::Resume),
    /// Ask for a run of a schedule, beside its ticks
    Trigger(schedules::Trigger),
    /// Move a task of a group to another member, and keep it there
    Move(move_task::Move),
    /// Keep the tasks of a group where they are
    Freeze(freeze::Freeze),
    /// Let the tasks of a group move again
    Unfreeze(freeze::Unfreeze),
    /// Write a name on a blackboard, if it is free: first come, first served
    Claim(claim::Claim),
    /// Print what a workload needs in the cluster: account, least permissions, and a Deployment
    Manifests(manifests::Wanted),
    /// Check what elections depend on: permissions, latency, clocks, names, leftovers
    Doctor(doctor::Doctor),
    /// Show what a timing tolerates and costs: outages, crashes, slow work
    Timings(timings::Timings),
    /// Print the completion script of a shell
    Completion(completion::Completion),
    /// Write the manual, one page for each command
    Man(man::Manual),
    /// Show an election on this machine, break it in five ways, and measure what happens
    Demo(demo::Demo),
    /// Run a small Kubernetes API server for development; not for production
    DevServer(dev_server::DevServer),
}

/// The commands as the help lists them.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Take part", &["elect", "run", "once", "schedule", "work", "sidecar", "register"]),
    ("See", &["get", "status", "check", "wait", "watch", "history", "members", "dashboard"]),
    ("Steer", &["step-down", "pause", "resume", "trigger", "move", "freeze", "unfreeze", "claim"]),
    ("Set up", &["manifests", "doctor", "timings", "completion", "man"]),
    ("Try", &["demo", "dev-server"]),
];

/// The command line of this process. Ends it where there is nothing to run: for help, or a mistake.
pub(crate) fn parse() -> Args {
    let command = || Args::command().bin_name(Name::of_this_process().typed());
    // Help is laid out only when it is shown: a candidate that runs for months has no use for it.
    let shown = |_| with_help(command()).try_get_matches().unwrap_or_else(|error| end(&error));
    let matches = command().try_get_matches().unwrap_or_else(shown);
    Args::from_arg_matches(&matches).unwrap_or_else(|error| end(&error))
}

/// The same command, with help that fits the terminal, and the commands in groups.
fn with_help(command: clap::Command) -> clap::Command {
    let width = help::width();
    let command = help::fit(command, width);
    let commands = help::grouped(&command, &GROUPS, width);
    let head = command.get_styles().get_header();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{commands}\n\n\
         {head}Options:{head:#}\n{{options}}{{after-help}}"
    );
    command.help_template(template)
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
            Self::Sidecar(args) => sidecar::run(*args).await,
            #[cfg(target_os = "linux")]
            Self::Run(args) => Ok(run::run(args).await),
            #[cfg(target_os = "linux")]
            Self::Once(args) => Ok(once::run(args).await),
            #[cfg(target_os = "linux")]
            Self::Schedule(args) => Ok(schedule::run(*args).await),
            #[cfg(target_os = "linux")]
            Self::Work(args) => Ok(work::run(args).await),
            Self::Claim(args) => claim::run(args).await,
            Self::Get(args) => get::run(args).await,
            Self::Status(args) => status::run(args).await,
            Self::Check(args) => check::run(args).await,
            Self::Wait(args) => wait::run(args).await,
            Self::Watch(args) => watch::run(args).await,
            Self::History(args) => history::run(args).await,
            Self::Members(args) => members::run(args).await,
            Self::Register(args) => register::run(args).await,
            Self::StepDown(args) => step_down::run(args).await,
            Self::Pause(args) => pause::run(args).await,
            Self::Resume(args) => pause::resume(args).await,
            Self::Trigger(args) => schedules::trigger(args).await,
            Self::Move(args) => move_task::run(args).await,
            Self::Freeze(args) => freeze::run(args).await,
            Self::Unfreeze(args) => freeze::unfreeze(args).await,
            Self::Manifests(wanted) => manifests::run(&wanted),
            Self::Timings(args) => timings::run(&args),
            Self::Doctor(args) => doctor::run(args).await,
            Self::Completion(args) => completion::run(&args),
            Self::Man(args) => man::run(&args, Args::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_in_one_group() {
        let whole = Args::command();
        let mut commands: Vec<_> = whole.get_subcommands().map(clap::Command::get_name).collect();
        let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        grouped.retain(|name| cfg!(target_os = "linux") || commands.contains(name));
        commands.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, commands);
    }

    /// As a shell reads them: what stands between two quotes is one word.
    fn words(typed: &str) -> Vec<&str> {
        let parts = typed.split('\'').enumerate();
        let words = parts.flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        });
        words.collect()
    }

    #[test]
    fn each_command_has_examples_that_are_understood() {
        for command in Args::command().get_subcommands() {
            let name = command.get_name();
            let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<_> =
                notes.lines().filter_map(|line| line.trim_start().strip_prefix("$ ")).collect();
            assert!(examples.len() >= 2, "{name}");
            for example in examples {
                let typed = &example[example.find("incumbent ").unwrap()..];
                let parsed =
                    Args::try_parse_from(words(typed.split([')', '|', '&']).next().unwrap()));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }
}
