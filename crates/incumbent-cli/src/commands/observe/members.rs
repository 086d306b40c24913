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

Exit codes:
  0  done
  5  the blackboard, the group or the member does not exist
  others as of incumbent";

/// A member, whatever it is registered on.
struct Found {
    name: String,
    address: Option<String>,
    /// For how long its last sign of life is good.
    valid_for: Option<Duration>,
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
            valid_for: member.lasts,
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
            valid_for: member.seat.expires_in,
        });
        Ok(found.collect())
    }
}

const HEADS: [&str; 3] = ["NAME", "ADDRESS", "VALID"];

fn cells(member: &Found) -> Vec<String> {
    vec![
        name(&member.name),
        or_none(member.address.as_deref().map(name)),
        or_none(member.valid_for.map(format::age)),
    ]
}

fn json_of(member: &Found) -> Value {
    json!({
        "name": member.name,
        "address": member.address,
        "validForMs": member.valid_for.map(format::millis),
    })
}
