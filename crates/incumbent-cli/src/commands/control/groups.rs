//! `incumbent pause` and `resume` of a member of a group: it is drained, and gets tasks again.

use std::collections::BTreeSet;
use std::process::ExitCode;

use incumbent::group_survey::{ConfigView, GroupView};
use incumbent::{Error, GroupControl, Identity, InvalidSetting};

use crate::commands::observe::groups::{existing, status};
use crate::flags::cluster::Operator;
use crate::model::format::name;
use crate::model::group_status::GroupStatus;
use crate::runtime::confirm::Confirmation;
use crate::runtime::{exit, output};

pub(crate) async fn pause(
    operator: &Operator,
    group: &str,
    candidates: &[String],
    confirmation: &Confirmation,
) -> anyhow::Result<ExitCode> {
    if candidates.is_empty() {
        return Err(Error::Invalid(InvalidSetting::Program {
            what: "of a group, name the members that are to have no tasks".to_owned(),
            hint: format!(
                "incumbent pause group/{group} --candidate MEMBER; to keep all tasks where they are: incumbent freeze \
                 group/{group}"
            ),
        })
        .into());
    }
    let members = identities(candidates)?;
    let (_, status) = status(&existing(operator, group).await?, None);
    let what = format!(
        "group/{group}: the pause drains {}{}{}",
        listed(&members),
        then(&status, &members),
        absent(&status, &members)
    );
    if !confirmation.given(&what)? {
        return Ok(ExitCode::from(exit::NO));
    }
    let control = control(operator, group, confirmation).await?;
    tell(group, &operator.within(control.drain(&members)).await?)
}

pub(crate) async fn resume(
    operator: &Operator,
    group: &str,
    candidates: &[String],
    confirmation: &Confirmation,
) -> anyhow::Result<ExitCode> {
    let view = existing(operator, group).await?.view();
    let drained = view.config.as_ref().map(|config| config.drained.clone()).unwrap_or_default();
    let members = match candidates {
        [] => drained.iter().filter_map(Identity::new).collect(),
        names => identities(names)?,
    };
    let is_drained = |member: &Identity| drained.contains(member.as_str());
    let (resumed, others): (Vec<_>, Vec<_>) = members.iter().cloned().partition(is_drained);
    let what = match (drained.is_empty(), resumed.as_slice(), others.as_slice()) {
        (true, ..) => format!("group/{group}: no member is drained{}", forgotten(&view)),
        (_, [], others) => format!("group/{group}: not drained: {}", listed(others)),
        (_, resumed, []) => format!("group/{group}: {} may have tasks again", listed(resumed)),
        (_, resumed, others) => format!(
            "group/{group}: {} may have tasks again; not drained: {}",
            listed(resumed),
            listed(others)
        ),
    };
    if !confirmation.given(&what)? {
        return Ok(ExitCode::from(exit::NO));
    }
    let control = control(operator, group, confirmation).await?;
    tell(group, &operator.within(control.resume(&members)).await?)
}

/// A way to ask something of the group.
pub(crate) async fn control(
    operator: &Operator,
    group: &str,
    confirmation: &Confirmation,
) -> Result<GroupControl, Error> {
    let (client, namespace) = operator.connect().await?;
    Ok(GroupControl::new(client, namespace, group)?.dry_run(confirmation.dry_run))
}

/// What becomes of requests whose object was deleted.
pub(crate) fn forgotten(view: &GroupView) -> String {
    let config_map = format!("configmap/{}.config", view.name);
    match &view.config {
        Some(_) => String::new(),
        None => format!(
            "; {config_map} does not exist, and is created, so that members forget what an earlier one asked for"
        ),
    }
}

fn identities(names: &[String]) -> Result<Vec<Identity>, Error> {
    let identity = |name: &String| {
        Identity::new(name).ok_or_else(|| Error::Invalid(InvalidSetting::Identity(name.clone())))
    };
    names.iter().map(identity).collect()
}

/// What comes of it.
fn then(status: &GroupStatus, members: &[Identity]) -> String {
    let names: BTreeSet<_> = members.iter().map(Identity::as_str).collect();
    let is_meant = |member: &String| names.contains(member.as_str());
    let others = status.present().filter(|member| !is_meant(&member.name) && member.takes_tasks);
    let tasks: usize =
        status.members.iter().filter(|member| is_meant(&member.name)).map(|it| it.tasks).sum();
    match (others.count(), tasks) {
        _ if status.is_frozen == Some(true) => {
            "; the group is frozen, so their tasks stay where they are until it is not".to_owned()
        }
        (0, _) => "; no other member takes tasks, so theirs stay where they are".to_owned(),
        (_, 0) => String::new(),
        (_, 1) => "; 1 task moves to another member".to_owned(),
        (_, tasks) => format!("; {tasks} tasks move to other members"),
    }
}

/// A name that no member has may be a typing error.
fn absent(status: &GroupStatus, members: &[Identity]) -> String {
    let absent = members.iter().filter(|member| status.is_absent(member.as_str()));
    match absent.cloned().collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        absent => format!("; not there now, so check the name: {}", listed(absent)),
    }
}

fn tell(group: &str, config: &ConfigView) -> anyhow::Result<ExitCode> {
    let state = match config.drained.is_empty() {
        true => "no member is drained".to_owned(),
        false => {
            let names: Vec<_> = config.drained.iter().map(|member| name(member)).collect();
            format!("drained: {}", names.join(", "))
        }
    };
    output::line(&format!("group/{group}: {state}"))?;
    Ok(ExitCode::SUCCESS)
}

fn listed(members: &[Identity]) -> String {
    let names: Vec<_> = members.iter().map(|member| name(member.as_str())).collect();
    names.join(", ")
}
