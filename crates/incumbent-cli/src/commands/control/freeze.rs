//! `incumbent freeze` and `unfreeze`: whether the tasks of a group may move.

use std::process::ExitCode;

use crate::commands::control::groups::{control, forgotten};
use crate::commands::observe::groups::existing;
use crate::flags::cluster::Operator;
use crate::flags::group;
use crate::runtime::confirm::Confirmation;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = FREEZE_HELP)]
pub(crate) struct Freeze {
    #[command(flatten)]
    request: Request,
}

#[derive(Debug, clap::Args)]
#[command(after_help = UNFREEZE_HELP)]
pub(crate) struct Unfreeze {
    #[command(flatten)]
    request: Request,
}

/// What both have in common.
#[derive(Debug, clap::Args)]
struct Request {
    /// Which group: group/NAME
    #[arg(value_parser = group::group)]
    group: String,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    operator: Operator,
}

const FREEZE_HELP: &str = "\
Examples:
  Keep the tasks of a group where they are, for example during maintenance:
    $ incumbent freeze group/indexers
  See what would be written, and write nothing:
    $ incumbent freeze group/indexers --dry-run

Each task stays with its owner for as long as the owner lives. If a member leaves or dies, its tasks still go to others, \
and new tasks get an owner. The request is the key `freeze` of the ConfigMap GROUP.config.";

const UNFREEZE_HELP: &str = "\
Examples:
  Let the tasks of a group move again:
    $ incumbent unfreeze group/indexers
  The same without a question:
    $ incumbent unfreeze group/indexers --yes";

pub(crate) async fn run(args: Freeze) -> anyhow::Result<ExitCode> {
    let what = "each task stays where it is for as long as its owner lives";
    args.request.send(true, what).await
}

pub(crate) async fn unfreeze(args: Unfreeze) -> anyhow::Result<ExitCode> {
    args.request.send(false, "tasks may move again").await
}

impl Request {
    async fn send(&self, on: bool, what: &str) -> anyhow::Result<ExitCode> {
        let group = &self.group;
        let view = existing(&self.operator, group).await?.view();
        let forgotten = if on { String::new() } else { forgotten(&view) };
        if !self.confirmation.given(&format!("group/{group}: {what}{forgotten}"))? {
            return Ok(ExitCode::from(exit::NO));
        }
        let control = control(&self.operator, group, &self.confirmation).await?;
        let config = self.operator.within(control.freeze(on)).await?;
        let state = if config.is_frozen { "frozen" } else { "not frozen" };
        output::line(&format!("group/{group}: {state}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
