//! `incumbent move`: pins a task to a member, and waits until the table gives it to that member.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use incumbent::group_survey::{GroupSurvey, TaskKind};
use incumbent::{Error, Identity, InvalidSetting};

use crate::commands::control::groups::control;
use crate::commands::observe::groups::{TICK, existing, status};
use crate::flags::cluster::Operator;
use crate::flags::duration::duration;
use crate::flags::group;
use crate::model::format::{name, span};
use crate::model::group_row::waiting_sentence;
use crate::model::group_status::{GroupStatus, List, TaskState, TaskStatus, versions};
use crate::runtime::confirm::Confirmation;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Move {
    /// Which group: group/NAME
    #[arg(value_parser = group::group)]
    group: String,
    /// Which task; of slots, the number
    task: String,
    /// The member that should own it from now on
    #[arg(long, value_name = "MEMBER", required_unless_present = "release")]
    to: Option<String>,
    /// Take the pin back, so that the task may move again
    #[arg(long, conflicts_with = "to")]
    release: bool,
    /// Do not wait until the task has moved
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for that
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    operator: Operator,
}

const HELP: &str = "\
Examples:
  Move a task to another member, and keep it there:
    $ incumbent move group/indexers eu --to indexers-1
  Let it go where the balance puts it again:
    $ incumbent move group/indexers eu --release

The request is a pin in the ConfigMap GROUP.config, next to the list of tasks, which stays as it is. The present owner \
stops its work and releases the task; then the member gets it, under a higher token. The pin stays until you take it \
back, and has no effect while the member is absent, drains or leaves.

Exit codes:
  0  the table gives the task to that member, or the pin was taken back
  1  it does not in time, or cannot: the group is frozen, or the member takes no tasks
  5  the group, the task or the member does not exist
  others as of incumbent";

pub(crate) async fn run(args: Move) -> anyhow::Result<ExitCode> {
    let survey = existing(&args.operator, &args.group).await?;
    let (view, status) = status(&survey, None);
    let task = status.tasks.iter().find(|task| task.name == args.task);
    if task.is_none() && status.list != List::Program {
        return Err(Error::Missing {
            what: format!("task {} of group/{}", name(&args.task), args.group),
            hint: format!("to list the tasks: incumbent status group/{}", args.group),
        }
        .into());
    }
    if matches!(view.kind, Some(TaskKind::Permits(_))) {
        return Err(
            unfit("permits are alike, and cannot be pinned", "use pause --candidate").into()
        );
    }
    match &args.to {
        Some(member) => {
            let member = Identity::new(member)
                .ok_or_else(|| Error::Invalid(InvalidSetting::Identity(member.clone())))?;
            args.pin(survey, &status, &member).await
        }
        None => args.unpin(&status).await,
    }
}

fn unfit(what: &str, hint: &str) -> Error {
    let (what, hint) = (what.to_owned(), hint.to_owned());
    Error::Invalid(InvalidSetting::Program { what, hint })
}

impl Move {
    async fn pin(
        &self,
        survey: GroupSurvey,
        status: &GroupStatus,
        member: &Identity,
    ) -> anyhow::Result<ExitCode> {
        let (group, task) = (&self.group, name(&self.task));
        let to = name(member.as_str());
        if !self.no_wait {
            if !status.present().any(|known| known.name == to) {
                return Err(Error::Missing {
                    what: format!("member {to} of group/{group}"),
                    hint: "to pin the task to it all the same: --no-wait".to_owned(),
                }
                .into());
            }
            if let Some(why) = obstacle(status, &to) {
                eprintln!("error: {why}\n  hint: to pin the task all the same: --no-wait");
                return Ok(ExitCode::from(exit::NO));
            }
        }
        let owner = owner(status, &task);
        let from = owner.map(|(owner, _)| format!(" from {owner}")).unwrap_or_default();
        let what = match owner {
            Some((owner, _)) if *owner == to => format!("{task} stays at {to}"),
            _ => format!("{task} moves{from} to {to}, and stays there"),
        };
        if !self.confirmation.given(&format!("group/{group}: {what}"))? {
            return Ok(ExitCode::from(exit::NO));
        }
        let asked_at = Instant::now();
        let control = control(&self.operator, group, &self.confirmation).await?;
        self.operator.within(control.pin(&self.task, member)).await?;
        output::line(&format!("group/{group}: {task} is pinned to {to}"))?;
        if self.no_wait || self.confirmation.dry_run {
            return Ok(ExitCode::SUCCESS);
        }
        self.follow(survey, asked_at, &to, owner.map(|(_, token)| token)).await
    }

    /// Tells what the table says, until it gives the task to the member.
    async fn follow(
        &self,
        mut survey: GroupSurvey,
        asked_at: Instant,
        to: &str,
        token: Option<u64>,
    ) -> anyhow::Result<ExitCode> {
        let (group, task) = (&self.group, name(&self.task));
        let mut is_told = false;
        while asked_at.elapsed() < self.timeout {
            let (_, now) = status(&survey, None);
            let known = now.tasks.iter().find(|known| known.name == task);
            let after = span(asked_at.elapsed());
            match known.map(|known| (known.state, known)) {
                Some((TaskState::Assigned, known)) if known.owner.as_deref() == Some(to) => {
                    let under = known.token.unwrap_or_default();
                    let line = match known.token == token {
                        true => format!("{to} has it already, under token {under}"),
                        false => format!("assigned to {to} under token {under} after {after}"),
                    };
                    output::line(&format!("group/{group}: {task}: {line}"))?;
                    return Ok(ExitCode::SUCCESS);
                }
                Some((TaskState::Stopping, known)) if !is_told => {
                    is_told = true;
                    let owner = known.owner.as_deref().unwrap_or_default();
                    let line = format!("{owner} was asked to stop after {after}");
                    output::line(&format!("group/{group}: {task}: {line}"))?;
                }
                _ => {}
            }
            let _ = tokio::time::timeout(TICK, survey.next()).await;
        }
        let (_, now) = status(&survey, None);
        eprintln!(
            "group/{group}: {task} is not at {to} within {:?}{}",
            self.timeout,
            why(&now, &task, to)
        );
        Ok(ExitCode::from(exit::NO))
    }

    async fn unpin(&self, status: &GroupStatus) -> anyhow::Result<ExitCode> {
        let (group, task) = (&self.group, name(&self.task));
        let pin =
            status.tasks.iter().find(|known| known.name == task).and_then(|it| it.pin.clone());
        let what = match &pin {
            Some(member) => format!("{task} is no longer pinned to {member}"),
            None => format!("{task} is not pinned"),
        };
        if !self.confirmation.given(&format!("group/{group}: {what}"))? {
            return Ok(ExitCode::from(exit::NO));
        }
        let control = control(&self.operator, group, &self.confirmation).await?;
        let config = self.operator.within(control.unpin(&self.task)).await?;
        let state = match config.pins.get(&self.task) {
            Some(member) => format!(
                "the list of tasks in configmap/{group}.config pins it to {}: edit the list",
                name(member)
            ),
            None => "it is not pinned".to_owned(),
        };
        output::line(&format!("group/{group}: {task}: {state}"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The owner of a task, and the token that it works with.
fn owner<'a>(status: &'a GroupStatus, task: &str) -> Option<(&'a String, u64)> {
    let known = status.tasks.iter().find(|known| known.name == task);
    let known: &TaskStatus = known.filter(|known| known.state == TaskState::Assigned)?;
    Some((known.owner.as_ref()?, known.token?))
}

/// Why a pin would have no effect now.
fn obstacle(status: &GroupStatus, member: &str) -> Option<String> {
    let known = status.present().find(|known| known.name == member);
    let wishes: Vec<_> = known
        .into_iter()
        .flat_map(|known| &known.wishes)
        .filter(|wish| !wish.starts_with("declines"))
        .cloned()
        .collect();
    if status.is_frozen {
        return Some("the group is frozen, so no task moves: incumbent unfreeze".to_owned());
    }
    if !wishes.is_empty() {
        return Some(format!("{member} takes no tasks: it is {}", wishes.join(", ")));
    }
    (versions(status).len() > 1)
        .then(|| "members of two versions run, so tasks move only if they must".to_owned())
}

fn why(status: &GroupStatus, task: &str, to: &str) -> String {
    let waiting = status.waiting().find(|known| known.name == task);
    let reason = waiting.map(waiting_sentence).or_else(|| obstacle(status, to));
    let is_led = status.allocator.as_ref().is_some_and(|allocator| allocator.is_led());
    match reason {
        Some(reason) => format!(": {reason}"),
        None if !is_led => ": no member is the allocator".to_owned(),
        None => ": the allocator has not moved it; look at its log".to_owned(),
    }
}
