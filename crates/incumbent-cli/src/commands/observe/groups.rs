//! The commands that look at elections, where they look at groups.

pub(crate) mod check;
pub(crate) mod get;
pub(crate) mod history;
pub(crate) mod status;
pub(crate) mod wait;
pub(crate) mod watch;

use std::time::Duration;

use incumbent::group_survey::{GroupChange, GroupSurvey, GroupView};
use incumbent::{Error, InvalidSetting};
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
    expecting(operator, name, &[]).await
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

/// The same, where the caller names the tasks that the members' program names.
pub(crate) async fn expecting(
    operator: &Operator,
    name: &str,
    tasks: &[String],
) -> Result<GroupSurvey, Error> {
    let mut survey = survey(operator, name).await?;
    if !tasks.is_empty() {
        survey.expect(tasks)?;
    }
    let view = survey.view();
    match view.exists() {
        true => Ok(survey),
        false => Err(missing(&view)),
    }
}

/// That tasks were named of a lock is a mistake.
pub(crate) fn refuse_tasks(tasks: &[String]) -> Result<(), Error> {
    match tasks {
        [] => Ok(()),
        _ => Err(Error::Invalid(InvalidSetting::Program {
            what: "a lock has no tasks".to_owned(),
            hint: "write the group as group/NAME".to_owned(),
        })),
    }
}

/// Waits for a change, or until time alone may have changed something. Many members renew often, and what follows from
/// that need not be worked out each time.
pub(crate) async fn changed(survey: &mut GroupSurvey) {
    let changed = async { while survey.next().await == GroupChange::Renewed {} };
    let _ = tokio::time::timeout(TICK, changed).await;
}

/// Looks until nothing gets more certain by looking longer: each member has renewed or its term is over, and each task
/// that waits has waited for too long. At most as long as that takes: a lease until a
/// member is known to be gone, and then the bound until its tasks have waited for too long.
pub(crate) async fn make_sure(survey: &mut GroupSurvey, bound: Option<Duration>) {
    let (view, first) = status(survey, bound);
    let patience = patience(&view, first.bound);
    let settled = async {
        while status(survey, bound).1.is_open() {
            changed(survey).await;
        }
    };
    let _ = tokio::time::timeout(patience, settled).await;
}

/// A member may renew once more and die. Its tasks wait from the end of its lease on.
fn patience(view: &GroupView, bound: Duration) -> Duration {
    let leases = view.seats.iter().filter_map(|seat| seat.lock.view.lease_duration);
    leases.max().unwrap_or_default() + bound + Duration::from_secs(3)
}

/// What could not be looked at is said, and the rest is shown.
pub(crate) fn tell_blind(view: &GroupView) {
    for (_, message) in &view.blind {
        eprintln!("warning: {}", format::printable_text(message));
    }
}

/// Time alone changes what is true.
pub(crate) const TICK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use incumbent::Clock;
    use incumbent::kube::Client;
    use incumbent_apiserver::ApiServer;
    use serde_json::json;

    use super::*;

    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/jobs.john";

    /// A group with a seat of a lease of 15 s.
    async fn with_a_seat() -> (Client, GroupSurvey) {
        let server = ApiServer::new();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "jobs.john", "namespace": "default",
                "labels": { "incumbent.dev/group": "jobs" },
            },
            "spec": { "holderIdentity": "john", "leaseDurationSeconds": 15 },
        });
        server.create(lease).unwrap();
        let client = Client::new(server.service(), "default");
        let started = GroupSurvey::start_with(client.clone(), "default", "jobs", Clock::tokio());
        (client, started.await.unwrap())
    }

    async fn renew(client: &Client, second: u32) {
        let renewed = format!("2026-11-22T08:00:{second:02}.000000Z");
        let patch = json!({ "spec": { "renewTime": renewed } }).to_string().into_bytes();
        let request = http::Request::patch(LEASE)
            .header("Content-Type", "application/merge-patch+json")
            .body(patch)
            .unwrap();
        let _: serde_json::Value = client.request(request).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn many_renewals_are_looked_at_together() {
        let (client, mut survey) = with_a_seat().await;
        let _ = tokio::time::timeout(TICK, survey.next()).await;
        let renewing = tokio::spawn(async move {
            for second in 0..50 {
                renew(&client, second).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut looks = 0;
        while !renewing.is_finished() {
            changed(&mut survey).await;
            looks += 1;
        }
        assert!((3..=6).contains(&looks), "{looks} in a second");
        assert!(survey.view().seats[0].lock.beat_age.is_some(), "they were seen");
    }

    /// A member may renew at once and die, and then its tasks wait for the bound.
    #[tokio::test(start_paused = true)]
    async fn to_be_sure_takes_a_lease_and_the_bound() {
        let (_, survey) = with_a_seat().await;
        assert_eq!(patience(&survey.view(), Duration::from_secs(20)), Duration::from_secs(38));
    }
}
