//! `incumbent claim`: the blackboard's six steps as one command.

use std::process::ExitCode;

use incumbent::{Blackboard, Claim};

use crate::{args, exit, output, row};

pub(crate) async fn run(args: args::Claim) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.operator.connect().await?;
    let lock =
        incumbent::Lock::parse(&namespace, &args.blackboard).map_err(incumbent::Error::from)?;
    let blackboard = Blackboard::on(client, lock.clone());
    if args.release {
        let other = blackboard.release(&args.identity).await?;
        return Ok(match other {
            None => say(&format!("{lock} is free"), ExitCode::SUCCESS)?,
            Some(by) => say(
                &format!("{} leads, and was left alone", row::name(&by)),
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
        Claim::Yours { resource_version } => {
            say(&format!("you lead (version {resource_version})"), ExitCode::SUCCESS)?
        }
        Claim::Taken { by, resource_version } => {
            let by = row::name(by);
            say(&format!("{by} leads{}", stale(resource_version)), ExitCode::from(exit::NO))?
        }
        Claim::Stale { resource_version } => {
            let text = format!("nobody leads{}: read it, and try again", stale(resource_version));
            say(&text, ExitCode::from(exit::NO))?
        }
    })
}

fn say(text: &str, code: ExitCode) -> anyhow::Result<ExitCode> {
    output::line(text)?;
    Ok(code)
}
