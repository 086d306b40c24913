//! What may come next on the command line, for shells and for kubectl, from the one definition of the flags.

mod cluster;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

use clap::{Arg, Command, ValueEnum};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate, complete};
use clap_complete::env::{CompleteEnv, Shells};

use crate::runtime::program_name::Name;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Completion {
    /// Which shell
    shell: Shell,
    /// What the script runs to ask [default: this program, as it was called now]
    #[arg(long, value_name = "PROGRAM")]
    program: Option<String>,
}

const HELP: &str = "\
Examples:
  Complete in this session of bash:
    $ source <(incumbent completion bash)
  Complete in this session of fish:
    $ incumbent completion fish | source

For this session, and for those to come:
  source <(incumbent completion bash)    in ~/.bashrc
  source <(incumbent completion zsh)     in ~/.zshrc
  incumbent completion fish | source     in ~/.config/fish/config.fish

kubectl completes its plugin by itself if it finds this program under the name kubectl_complete-incumbent as well.";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// Prints the script of a shell. It asks this program at each key press, so that it never lags behind.
pub(crate) fn run(args: &Completion) -> anyhow::Result<ExitCode> {
    let name = args.shell.to_possible_value().map(|value| value.get_name().to_owned());
    let shells = Shells::builtins();
    let shell = name.as_deref().and_then(|name| shells.completer(name)).expect("all are known");
    let mut script = Vec::new();
    let program = args.program.clone().unwrap_or_else(own_path);
    shell.write_registration(QUESTION, "incumbent", "incumbent", &program, &mut script)?;
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// How to run this program again: by its name where that was enough, else from anywhere.
fn own_path() -> String {
    let called = std::env::args().next().unwrap_or_default();
    match called.contains(std::path::MAIN_SEPARATOR) {
        true => std::path::absolute(&called).map_or(called, |path| path.display().to_string()),
        false => called,
    }
}

/// Set by the script of a shell, with the shell's name, when it asks.
const QUESTION: &str = "INCUMBENT_COMPLETE";

/// Answers a shell or kubectl, where one of them asks. `whole` makes the command line of this program.
pub(crate) fn answer(whole: fn() -> Command) -> Option<ExitCode> {
    if Name::of_this_process() == Name::Completer {
        let words = std::env::args_os().collect();
        return Some(
            answer_kubectl(words, whole).unwrap_or_else(|error| exit::report(&error.into())),
        );
    }
    let shells = CompleteEnv::with_factory(|| completing(whole)).var(QUESTION);
    let folder = std::env::current_dir().ok();
    match shells.try_complete(std::env::args_os(), folder.as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(ExitCode::SUCCESS),
        Err(error) => error.exit(),
    }
}

/// A line for each candidate, and last what the shell shall do besides (Cobra's directive): not to
/// offer files, which are among the candidates where they make sense.
///
/// Flags are offered to who has typed a dash, as by kubectl.
fn answer_kubectl(words: Vec<OsString>, whole: fn() -> Command) -> std::io::Result<ExitCode> {
    let wants_flags = words.last().is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    let last = words.len().saturating_sub(1);
    let folder = std::env::current_dir().ok();
    let candidates =
        complete(&mut completing(whole), words, last, folder.as_deref()).unwrap_or_default();
    let is_flag = |candidate: &CompletionCandidate| {
        candidate.get_value().as_encoded_bytes().starts_with(b"-")
    };
    let fits = |candidate: &&CompletionCandidate| {
        !candidate.is_hide_set() && (wants_flags || !is_flag(candidate))
    };
    let mut text = Vec::new();
    for candidate in candidates.iter().filter(fits) {
        text.extend_from_slice(candidate.get_value().as_encoded_bytes());
        if let Some(help) = candidate.get_help() {
            write!(text, "\t{}", help.to_string().lines().next().unwrap_or_default())?;
        }
        text.push(b'\n');
    }
    text.extend_from_slice(b":4\n");
    std::io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The whole command, and for each value that a cluster or a kubeconfig knows, how to ask.
fn completing(whole: fn() -> Command) -> Command {
    with_values(whole(), whole)
}

fn with_values(command: Command, whole: fn() -> Command) -> Command {
    let knows = match command.get_name() {
        "get" | "status" | "check" | "wait" | "watch" | "history" | "pause" | "resume" => {
            Knows::Both
        }
        "move" | "freeze" | "unfreeze" => Knows::Groups,
        _ => Knows::Locks,
    };
    command
        .mut_args(|arg| with_value(arg, whole, knows))
        .mut_subcommands(|command| with_values(command, whole))
}

/// The names that a cluster knows, each with a word about it.
type Known = fn(fn() -> Command) -> Vec<(String, String)>;

/// What a command can be about.
#[derive(Clone, Copy)]
enum Knows {
    Locks,
    Groups,
    Both,
}

fn with_value(arg: Arg, whole: fn() -> Command, knows: Knows) -> Arg {
    let completer = move |known: Known| {
        ArgValueCompleter::new(move |current: &OsStr| names(current, &known(whole)))
    };
    match (arg.get_id().as_str(), knows) {
        ("lock" | "locks" | "blackboard", Knows::Both) => {
            arg.add(completer(cluster::locks_and_groups))
        }
        ("lock" | "locks" | "blackboard", _) => arg.add(completer(cluster::locks)),
        ("group", Knows::Groups) => arg.add(completer(cluster::groups)),
        (id, _) => with_place(id.to_owned(), arg, whole),
    }
}

fn with_place(id: String, arg: Arg, whole: fn() -> Command) -> Arg {
    match id.as_str() {
        "namespace" => arg.add(ArgValueCandidates::new(move || plain(cluster::namespaces(whole)))),
        "context" => arg.add(ArgValueCandidates::new(move || plain(cluster::contexts(whole)))),
        _ => arg,
    }
}

/// As `lease/NAME`; as a mere name, which is a Lease, where one has begun to type it.
fn names(current: &OsStr, locks: &[(String, String)]) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let beginning = |prefix: &str| -> Vec<_> {
        let names =
            locks.iter().filter_map(|(lock, holder)| Some((lock.strip_prefix(prefix)?, holder)));
        let fitting = names.filter(|(name, _)| name.starts_with(current));
        let candidate = |(name, holder): (&str, &String)| {
            CompletionCandidate::new(name).help(Some(holder.into()))
        };
        fitting.map(candidate).collect()
    };
    let whole = beginning("");
    if whole.is_empty() { beginning("lease/") } else { whole }
}

fn plain(names: Vec<String>) -> Vec<CompletionCandidate> {
    names.into_iter().map(CompletionCandidate::new).collect()
}
