//! Looking at the groups: those that were named for long enough to be sure, and others once.

use incumbent::group_survey::GroupSurvey;

use super::facts::{GroupFacts, Named};
use crate::commands::observe::groups::make_sure;

pub(super) async fn groups(
    client: &kube::Client,
    namespace: &str,
    named: &Named,
) -> Vec<GroupFacts> {
    let names = match (named.groups.as_slice(), named.locks.as_slice()) {
        ([], []) => {
            // That they may not be listed is told with the other rights.
            let found = GroupSurvey::list(client.clone(), Some(namespace)).await;
            found.unwrap_or_default().into_iter().map(|(_, name)| name).take(MOST).collect()
        }
        (groups, _) => groups.to_vec(),
    };
    let mut facts = Vec::new();
    for name in names {
        let survey = GroupSurvey::start(client.clone(), namespace, &name).await;
        let view = match survey {
            Ok(mut survey) => {
                if !named.groups.is_empty() {
                    make_sure(&mut survey, None).await;
                }
                Ok(survey.view())
            }
            Err(error) => Err(error.to_string()),
        };
        facts.push(GroupFacts { name, view });
    }
    facts
}

/// A namespace may have many groups; name one to look at it for certain.
const MOST: usize = 20;
