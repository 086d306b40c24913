//! The commands that look at elections, where they look at groups.

pub(crate) mod check;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod status;
pub(crate) mod wait;
pub(crate) mod watch;

use std::time::Duration;

use incumbent::Error;
use incumbent::group_survey::{GroupSurvey, GroupView};
use jiff::Timestamp;

use crate::flags::cluster::Operator;
use crate::model::format;
use crate::model::group_status::GroupStatus;

/// A survey of one group, which may not exist yet.
pub(crate) async fn survey(operator: &Operator, name: &str) -> Result<GroupSurvey, Error> {
    let (client, namespace) = operator.connect().await?;
    operator.within(GroupSurvey::start(client, namespace, name)).await
}

/// The same. That nothing of it exists is an error.
pub(crate) async fn existing(operator: &Operator, name: &str) -> Result<GroupSurvey, Error> {
    let survey = survey(operator, name).await?;
    let view = survey.view();
    match view.exists() {
        true => Ok(survey),
        false => Err(missing(&view)),
    }
}

pub(crate) fn missing(view: &GroupView) -> Error {
    Error::Missing {
        what: format!("group/{} in namespace {}", view.name, view.namespace),
        hint: "to list the groups: incumbent get --groups".to_owned(),
    }
}

/// What is true now.
pub(crate) fn status(survey: &GroupSurvey, bound: Option<Duration>) -> (GroupView, GroupStatus) {
    let view = survey.view();
    let status = GroupStatus::of(&view, Timestamp::now(), bound);
    (view, status)
}

/// Looks until nothing gets more certain by looking longer: each member has renewed or its term is over, and each task
/// that waits has waited for too long. At most as long as that takes.
pub(crate) async fn make_sure(survey: &mut GroupSurvey, bound: Option<Duration>) {
    let (view, first) = status(survey, bound);
    let leases = view.seats.iter().filter_map(|seat| seat.lock.view.lease_duration);
    let patience = leases.max().unwrap_or_default().max(first.bound) + Duration::from_secs(3);
    let settled = async {
        while status(survey, bound).1.is_open() {
            let _ = tokio::time::timeout(TICK, survey.next()).await;
        }
    };
    let _ = tokio::time::timeout(patience, settled).await;
}

/// What could not be looked at is said, and the rest is shown.
pub(crate) fn tell_blind(view: &GroupView) {
    for (_, message) in &view.blind {
        eprintln!("warning: {}", format::printable_text(message));
    }
}

/// Time alone changes what is true.
pub(crate) const TICK: Duration = Duration::from_millis(250);
