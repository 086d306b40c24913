//! `incumbent members`: who is registered, and where each can be reached.

use std::process::ExitCode;
use std::time::Duration;

use incumbent::{Blackboard, Error, Lock};
use serde_json::{Value, json};

use crate::commands::observe::groups;
use crate::flags::cluster::Operator;
use crate::flags::group::group_of;
use crate::flags::output_format::OutputFormat;
use crate::model::format::{self, name, or_none};
use crate::model::lock_status::Evidence;
use crate::runtime::output;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Members {
    /// Which blackboard or group: configmap/NAME or group/NAME
    #[arg(value_parser = board_text)]
    board: String,
    /// Print the address of this member, and nothing else
    name: Option<String>,
    /// Watch for long enough to leave out members that have died
    #[arg(long)]
    sure: bool,
    /// How to print them
    #[arg(short, long, value_enum, default_value = "text")]
    output: OutputFormat,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  List the members that are registered on a blackboard, or that share tasks:
    $ incumbent members configmap/peers
    $ incumbent members group/indexers
  Print where one of them can be reached:
    $ incumbent members configmap/peers web-0

A single look may show a member that has just died. With --sure, the command watches until each member has given a sign \
of life, or its last one has expired.

VALID is for how long the last sign of life is good: with ~ by wall clocks; <unknown> if none was seen, as in a single look \
at a blackboard; <forever> for an entry that does not expire.

Exit codes:
  0  done
  5  the blackboard, the group or the member does not exist
  others as of incumbent";

/// A member, whatever it is registered on.
struct Found {
    name: String,
    address: Option<String>,
    valid: Valid,
}

/// For how long the last sign of life of a member is good.
#[derive(Clone, Copy)]
enum Valid {
    /// By a sign of life that was seen, at most.
    Seen(Duration),
    /// By the wall clocks of the member and of this machine.
    ByClocks(Duration),
    /// It does not end.
    Forever,
    /// No sign of life was seen.
    Unknown,
}

pub(crate) async fn run(args: Members) -> anyhow::Result<ExitCode> {
    let found = match group_of(&args.board) {
        Some(group) => args.of_group(group).await?,
        None => args.of_blackboard().await?,
    };
    let wanted = args.name.as_ref();
    let found: Vec<_> =
        found.into_iter().filter(|member| wanted.is_none_or(|name| member.name == *name)).collect();
    if let (Some(wanted), []) = (wanted, found.as_slice()) {
        return Err(Error::Missing {
            what: format!("member {} of {}", name(wanted), args.board),
            hint: format!("to list the members: incumbent members {}", args.board),
        }
        .into());
    }
    match (args.output, wanted, found.as_slice()) {
        (OutputFormat::Json, ..) => {
            let items: Value = found.iter().map(json_of).collect();
            output::line(&format::printable_json(&serde_json::to_string_pretty(&items)?))?;
        }
        (_, Some(_), [member]) => output::line(&or_none(member.address.as_deref().map(name)))?,
        (_, _, []) => eprintln!("no members of {}", args.board),
        (_, _, members) => {
            let rows: Vec<_> = members.iter().map(cells).collect();
            output::line(&format::table(&HEADS, &rows))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn board_text(text: &str) -> Result<String, Error> {
    match group_of(text) {
        Some(_) => crate::flags::group::group(text).map(|_| text.to_owned()),
        None => crate::flags::lock::blackboard_text(text),
    }
}

impl Members {
    async fn of_blackboard(&self) -> anyhow::Result<Vec<Found>> {
        let (client, namespace) = self.operator.connect().await?;
        let lock = Lock::parse(&namespace, &self.board).map_err(Error::from)?;
        let blackboard = Blackboard::on(client, lock);
        let mut members = self.operator.within(blackboard.members()).await?;
        if self.sure {
            let longest = members.iter().filter_map(|member| member.lasts).max();
            let mut observer = blackboard.observe_members();
            let watched = async {
                loop {
                    members = observer.changed().await?;
                }
            };
            let patience = longest.unwrap_or_default() + Duration::from_secs(3);
            let ended: Result<Result<(), Error>, _> = tokio::time::timeout(patience, watched).await;
            if let Ok(Err(error)) = ended {
                return Err(error.into());
            }
        }
        let found = members.into_iter().map(|member| Found {
            name: member.name,
            address: Some(member.address),
            // An entry does not say when it was written. A member that was watched has lived within that time.
            valid: match member.lasts {
                None => Valid::Forever,
                Some(lasts) if self.sure => Valid::Seen(lasts),
                Some(_) => Valid::Unknown,
            },
        });
        Ok(found.collect())
    }

    async fn of_group(&self, group: &str) -> anyhow::Result<Vec<Found>> {
        let mut survey = groups::existing(&self.operator, group).await?;
        if self.sure {
            groups::make_sure(&mut survey, None).await;
        }
        let (view, status) = groups::status(&survey, None);
        groups::tell_blind(&view);
        let found = status.present().map(|member| Found {
            name: member.name.clone(),
            address: member.address.clone(),
            valid: match (member.seat.expires_in, member.seat.evidence) {
                (Some(left), Evidence::Watched) => Valid::Seen(left),
                (Some(left), Evidence::Clocks) => Valid::ByClocks(left),
                _ => Valid::Unknown,
            },
        });
        Ok(found.collect())
    }
}

const HEADS: [&str; 3] = ["NAME", "ADDRESS", "VALID"];

fn cells(member: &Found) -> Vec<String> {
    vec![
        name(&member.name),
        or_none(member.address.as_deref().map(name)),
        match member.valid {
            Valid::Seen(left) => format!("<={}", format::age(left)),
            Valid::ByClocks(left) => format!("{}~", format::age(left)),
            Valid::Forever => "<forever>".to_owned(),
            Valid::Unknown => "<unknown>".to_owned(),
        },
    ]
}

fn json_of(member: &Found) -> Value {
    let (valid_for, evidence) = match member.valid {
        Valid::Seen(left) => (Some(left), "watched"),
        Valid::ByClocks(left) => (Some(left), "clocks"),
        Valid::Forever => (None, "record"),
        Valid::Unknown => (None, "none"),
    };
    json!({
        "name": member.name,
        "address": member.address,
        "validForMs": valid_for.map(format::millis),
        "evidence": evidence,
    })
}
