//! `incumbent claim`: the blackboard's six steps as one command.

use std::process::ExitCode;

use incumbent::{Blackboard, Claim as Outcome};

use crate::flags::cluster::Operator;
use crate::flags::lock::blackboard_text;
use crate::model::format;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Claim {
    /// Which blackboard: configmap/NAME[:KEY]
    #[arg(value_parser = blackboard_text)]
    blackboard: String,
    /// The name to write
    #[arg(long, env = "INCUMBENT_IDENTITY", value_name = "ID")]
    identity: String,
    /// Remove the name again
    #[arg(long, conflicts_with = "if_version")]
    release: bool,
    /// Replace exactly this resourceVersion, whatever the latest is
    #[arg(long, value_name = "RV")]
    if_version: Option<String>,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  Write a name on a blackboard:
    $ incumbent claim configmap/blackboard --identity john
  Remove it again:
    $ incumbent claim configmap/blackboard --identity john --release";

pub(crate) async fn run(args: Claim) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.operator.connect().await?;
    let lock =
        incumbent::Lock::parse(&namespace, &args.blackboard).map_err(incumbent::Error::from)?;
    let blackboard = Blackboard::on(client, lock.clone());
    if args.release {
        let other = blackboard.release(&args.identity).await?;
        return Ok(match other {
            None => say(&format!("{lock} is free"), ExitCode::SUCCESS)?,
            Some(by) => say(
                &format!("{} leads, and was left alone", format::name(&by)),
                ExitCode::from(exit::NO),
            )?,
        });
    }
    let claim = match &args.if_version {
        Some(version) => blackboard.claim_version(&args.identity, version).await?,
        None => blackboard.claim(&args.identity).await?,
    };
    let stale = |latest: &str| match &args.if_version {
        Some(version) if version != latest => {
            format!("; version {version} was replaced by {latest} meanwhile (409 Conflict)")
        }
        _ => String::new(),
    };
    Ok(match &claim {
        Outcome::Yours { resource_version } => {
            say(&format!("you lead (version {resource_version})"), ExitCode::SUCCESS)?
        }
        Outcome::Taken { by, resource_version } => {
            let by = format::name(by);
            say(&format!("{by} leads{}", stale(resource_version)), ExitCode::from(exit::NO))?
        }
        Outcome::Stale { resource_version } => {
            let text = format!(
                "there is no leader{}: read the lock, and try again",
                stale(resource_version)
            );
            say(&text, ExitCode::from(exit::NO))?
        }
    })
}

fn say(text: &str, code: ExitCode) -> anyhow::Result<ExitCode> {
    output::line(text)?;
    Ok(code)
}
