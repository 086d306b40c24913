//! `incumbent doctor`: looks at all that an election rests on, changes nothing, and says what to do.
//!
//! `probe` gets the facts and judges nothing; `rules` and `locks` turn them into findings and ask nobody.

mod facts;
mod groups;
mod groups_seen;
mod locks;
mod probe;
mod rights;
mod rules;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use incumbent::Error;
use serde_json::{Value, json};

use crate::flags::cluster::Operator;
use crate::flags::group;
use crate::flags::output_format::OutputFormat;
use crate::flags::timing::TimingArgs;
use crate::runtime::exit;
use crate::runtime::output;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Doctor {
    /// Which locks to look at; can be repeated [default: all of the namespace]
    #[arg(long = "lock", value_name = "LOCK", value_parser = crate::flags::lock::lock_text)]
    locks: Vec<String>,
    /// Which groups to look at; can be repeated [default: all of the namespace]
    #[arg(long = "group", value_name = "GROUP", value_parser = group_name)]
    groups: Vec<String>,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value = "text")]
    output: OutputFormat,
    #[command(flatten)]
    timing: TimingArgs,
    #[command(flatten)]
    cluster: Operator,
}

const HELP: &str = "\
Examples:
  Check a namespace:
    $ incumbent doctor -n prod
  Check one lock with the rights of a workload:
    $ incumbent doctor --lock lease/scanner --as system:serviceaccount:prod:scanner
  Check a group, and watch it until it is certain what is stuck:
    $ incumbent doctor --group indexers

OK    as it should be
WARN  works, but look at it
FAIL  an election cannot work like this; the exit code is 1
SKIP  could not be checked, or is only needed by some

The rights are those of the account that doctor uses. To check a workload's, add --as \
system:serviceaccount:NAMESPACE:NAME.";

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    /// A word for programs and for the first column.
    check: &'static str,
    /// The lock that it is about, where it is about one.
    lock: Option<String>,
    /// What is so, and what that means.
    message: String,
    /// What to do, where there is something to do.
    hint: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    Warn,
    Fail,
    Skip,
}

pub(crate) async fn run(args: Doctor) -> anyhow::Result<ExitCode> {
    let timing = args.timing.timing()?;
    let (client, namespace) = args.cluster.connect().await?;
    let locks = args.locks.iter().map(|text| crate::flags::lock::parse(&namespace, text));
    let locks = locks.collect::<Result<Vec<_>, _>>()?;
    let named = facts::Named { locks, groups: args.groups };
    let facts = probe::facts(client, &namespace, &named, timing).await?;
    let findings = rules::findings(&facts);
    output::line(&match args.output {
        OutputFormat::Text => to_text(&findings),
        OutputFormat::Json => serde_json::to_string_pretty(&to_json(&findings))?,
    })?;
    Ok(if has_passed(&findings) { ExitCode::SUCCESS } else { ExitCode::from(exit::NO) })
}

/// A group, with or without `group/`.
fn group_name(text: &str) -> Result<String, Error> {
    let is_whole = text.contains('/');
    group::group(&if is_whole { text.to_owned() } else { format!("group/{text}") })
}

fn has_passed(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level != Level::Fail)
}

impl Finding {
    fn new(level: Level, check: &'static str, message: impl Into<String>) -> Self {
        Self { level, check, lock: None, message: message.into(), hint: String::new() }
    }

    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(Level::Ok, check, message)
    }

    fn warn(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(Level::Warn, check, message)
    }

    fn fail(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(Level::Fail, check, message)
    }

    fn skip(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(Level::Skip, check, message)
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    fn of(self, lock: &impl ToString) -> Self {
        Self { lock: Some(lock.to_string()), ..self }
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
            Self::Skip => "SKIP",
        }
    }
}

fn to_text(findings: &[Finding]) -> String {
    findings.iter().map(block).collect::<Vec<_>>().join("\n")
}

/// One line for what is well; where something is to be done, also what.
fn block(finding: &Finding) -> String {
    let Finding { level, check, lock, message, hint } = finding;
    let subject = lock.as_ref().map(|lock| format!("{lock}: ")).unwrap_or_default();
    let head = format!("{:<4}  {check:<10}  ", level.word());
    let mut text = head + &wrapped(&format!("{subject}{message}"), MARGIN).join(NEXT_LINE);
    let is_for_all = matches!(level, Level::Warn | Level::Fail);
    for (number, line) in hint.lines().enumerate().filter(|_| is_for_all) {
        let mark = if number == 0 { "hint: " } else { "      " };
        // What is meant to be copied is not broken.
        let is_prose = number == 0;
        let lines =
            if is_prose { wrapped(line, MARGIN + mark.len()) } else { vec![line.to_owned()] };
        text += NEXT_LINE;
        text += mark;
        text += &lines.join(&format!("{NEXT_LINE}      "));
    }
    text
}

const MARGIN: usize = 18;
const NEXT_LINE: &str = "\n                  ";
const WIDTH: usize = 80;

/// Lines that have room behind a margin. A number is not parted from its unit.
fn wrapped(text: &str, margin: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let is_unit =
            matches!(word.trim_matches([',', ';', '.', ':']), "ms" | "s" | "min" | "h" | "d");
        match words.last_mut().filter(|_| is_unit) {
            Some(number) => *number += &format!(" {word}"),
            None => words.push(word.to_owned()),
        }
    }
    let mut lines = vec![String::new()];
    for word in words {
        let line = lines.last_mut().expect("there is one");
        if line.is_empty() {
            *line = word;
        } else if margin + line.chars().count() + 1 + word.chars().count() <= WIDTH {
            *line += &format!(" {word}");
        } else {
            lines.push(word);
        }
    }
    lines
}

fn to_json(findings: &[Finding]) -> Value {
    let checks = findings.iter().map(|finding| {
        json!({
            "check": finding.check,
            "level": finding.level.word(),
            "lock": finding.lock,
            "message": finding.message,
            "hint": (!finding.hint.is_empty()).then_some(&finding.hint),
        })
    });
    json!({ "passed": has_passed(findings), "checks": checks.collect::<Vec<_>>() })
}
