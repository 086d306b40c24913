//! `incumbent move`: pins a task to a member, and waits until the table gives it to that member.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use incumbent::group_survey::{GroupSurvey, GroupView, TaskKind};
use incumbent::{Error, Identity, InvalidSetting};

use crate::commands::control::groups::{control, forgotten};
use crate::commands::observe::groups::{changed, existing, status};
use crate::flags::cluster::Operator;
use crate::flags::duration::duration;
use crate::flags::group;
use crate::model::format::{name, span};
use crate::model::group_row::waiting_sentence;
use crate::model::group_status::{GroupStatus, TaskState, TaskStatus, obeyed, versions};
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
back, and has no effect while the member is absent, drains or leaves. If the task leaves the group, its pin stays, too: \
`incumbent status` names such pins.

Only the members' program may name the tasks. Then a task that is not in the table may be a typing error, and is refused \
without --no-wait.

Exit codes:
  0  the table gives the task to that member, or the pin was taken back
  1  it does not in time, or cannot: the group is frozen, or the member takes no tasks
  5  the group, the task or the member does not exist
  others as of incumbent";

pub(crate) async fn run(args: Move) -> anyhow::Result<ExitCode> {
    let survey = existing(&args.operator, &args.group).await?;
    let (view, status) = status(&survey, None);
    args.check_task(&view, &status)?;
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
        None => args.unpin(&view).await,
    }
}

fn unfit(what: &str, hint: &str) -> Error {
    let (what, hint) = (what.to_owned(), hint.to_owned());
    Error::Invalid(InvalidSetting::Program { what, hint })
}

impl Move {
    /// Refuses a task that the group does not have. The pin of one that it had can be taken back.
    fn check_task(&self, view: &GroupView, status: &GroupStatus) -> Result<(), Error> {
        let (task, group) = (name(&self.task), &self.group);
        let is_pinned = obeyed(view).is_some_and(|config| config.pins.contains_key(&self.task));
        let is_known = status.tasks.iter().any(|known| known.name == self.task);
        // What members read before cannot be seen, and taking a pin back is harmless.
        let may_be_pinned = is_pinned || obeyed(view).is_none();
        let may_be_named = !status.list.is_known();
        let what = format!("task {task} of group/{group}");
        match &self.to {
            _ if is_known => Ok(()),
            None if may_be_pinned => Ok(()),
            Some(_) if may_be_named && self.no_wait => Ok(()),
            Some(_) if may_be_named => Err(Error::Missing {
                what: format!("{what} in the table"),
                hint: "only the members' program names the tasks, so it may exist all the same; to pin it without \
                       waiting for it: --no-wait"
                    .to_owned(),
            }),
            None => Err(Error::Missing {
                what: format!("a pin of {what}"),
                hint: format!("to list the pins: incumbent status group/{group}"),
            }),
            Some(_) => Err(Error::Missing {
                what,
                hint: format!("to list the tasks: incumbent status group/{group}"),
            }),
        }
    }

    async fn pin(
        &self,
        survey: GroupSurvey,
        status: &GroupStatus,
        member: &Identity,
    ) -> anyhow::Result<ExitCode> {
        let (group, task) = (&self.group, name(&self.task));
        let to = name(member.as_str());
        if !self.no_wait {
            if !status.present().any(|known| known.name == member.as_str()) {
                return Err(Error::Missing {
                    what: format!("member {to} of group/{group}"),
                    hint: "to pin the task to it all the same: --no-wait".to_owned(),
                }
                .into());
            }
            if let Some(why) = obstacle(status, member.as_str()) {
                eprintln!("error: {why}\n  hint: to pin the task all the same: --no-wait");
                return Ok(ExitCode::from(exit::NO));
            }
        }
        let owner = owner(status, &self.task);
        let from = owner.map(|(owner, _)| format!(" from {}", name(owner))).unwrap_or_default();
        let is_known = status.tasks.iter().any(|known| known.name == self.task);
        let what = match owner {
            _ if !is_known => format!(
                "{task} is pinned to {to}; no page of the table names it, so the pin has no effect unless the members' \
                 program does"
            ),
            Some((owner, _)) if owner == member.as_str() => format!("{task} stays at {to}"),
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
        self.follow(survey, asked_at, member.as_str(), owner.map(|(_, token)| token)).await
    }

    /// Tells what the table says, until it gives the task to the member.
    async fn follow(
        &self,
        mut survey: GroupSurvey,
        asked_at: Instant,
        to: &str,
        token: Option<u64>,
    ) -> anyhow::Result<ExitCode> {
        let (group, task, to_name) = (&self.group, name(&self.task), name(to));
        let mut is_told = false;
        while asked_at.elapsed() < self.timeout {
            let (_, now) = status(&survey, None);
            let known = now.tasks.iter().find(|known| known.name == self.task);
            let after = span(asked_at.elapsed());
            match known.map(|known| (known.state, known)) {
                Some((TaskState::Assigned, known)) if known.owner.as_deref() == Some(to) => {
                    let under = known.token.unwrap_or_default();
                    let line = match known.token == token {
                        true => format!("{to_name} has it already, under token {under}"),
                        false => format!("assigned to {to_name} under token {under} after {after}"),
                    };
                    output::line(&format!("group/{group}: {task}: {line}"))?;
                    return Ok(ExitCode::SUCCESS);
                }
                Some((TaskState::Stopping, known)) if !is_told => {
                    is_told = true;
                    let owner = known.owner.as_deref().map(name).unwrap_or_default();
                    let line = format!("{owner} was asked to stop after {after}");
                    output::line(&format!("group/{group}: {task}: {line}"))?;
                }
                _ => {}
            }
            changed(&mut survey).await;
        }
        let (_, now) = status(&survey, None);
        eprintln!(
            "group/{group}: {task} is not at {to_name} within {:?}{}",
            self.timeout,
            why(&now, &self.task, to)
        );
        Ok(ExitCode::from(exit::NO))
    }

    async fn unpin(&self, view: &GroupView) -> anyhow::Result<ExitCode> {
        let (group, task) = (&self.group, name(&self.task));
        let what = match obeyed(view).and_then(|config| config.pins.get(&self.task)) {
            Some(member) => format!("{task} is no longer pinned to {}", name(member)),
            None => format!("{task} is not pinned{}", forgotten(view)),
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
    if status.is_frozen == Some(true) {
        return Some("the group is frozen, so no task moves: incumbent unfreeze".to_owned());
    }
    if let Some(known) = known.filter(|known| !known.takes_tasks) {
        let wishes = known.wishes.join(", ");
        return Some(format!("{} takes no tasks: it is {wishes}", name(member)));
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
