//! The groups that are looked at: a task for each, which owns the survey of that group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use incumbent::Clock;
use incumbent::group_survey::{GroupChange, GroupSurvey};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::group_board::{GroupBoard, GroupName};
use crate::model::group_status::GroupStatus;

/// All groups of which a seat was seen.
pub(crate) struct Groups {
    client: kube::Client,
    followed: BTreeMap<GroupName, Followed>,
    changed: Arc<Notify>,
}

struct Followed {
    board: watch::Receiver<Arc<GroupBoard>>,
    task: AbortHandle,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Groups {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client, followed: BTreeMap::new(), changed: Arc::default() }
    }

    /// Follows the groups of which a seat is there, as far as there is room, and the others for as long as their tables exist.
    pub(crate) fn follow(&mut self, seen: &BTreeSet<GroupName>) {
        self.followed
            .retain(|name, followed| seen.contains(name) || followed.board.borrow().exists());
        let unknown: Vec<_> =
            seen.iter().filter(|name| !self.followed.contains_key(name)).cloned().collect();
        for name in unknown.into_iter().take(MOST_GROUPS.saturating_sub(self.followed.len())) {
            let (publish, board) = watch::channel(Arc::new(GroupBoard::unseen(name.clone())));
            let followed = follow(self.client.clone(), publish, Arc::clone(&self.changed));
            let task = tokio::spawn(followed).abort_handle();
            self.followed.insert(name, Followed { board, task });
        }
    }

    pub(crate) fn is_followed(&self, name: &GroupName) -> bool {
        self.followed.contains_key(name)
    }

    /// What is known of each.
    pub(crate) fn boards(&self) -> Vec<Arc<GroupBoard>> {
        self.followed.values().map(|followed| followed.board.borrow().clone()).collect()
    }

    /// Waits until something of a group has changed. Dropping the future loses nothing.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Publishes what is known of one group, until it is aborted.
async fn follow(
    client: kube::Client,
    publish: watch::Sender<Arc<GroupBoard>>,
    changed: Arc<Notify>,
) {
    let clock = Clock::system();
    let name = publish.borrow().name.clone();
    let mut survey = loop {
        match GroupSurvey::start(client.clone(), name.namespace.clone(), name.name.clone()).await {
            Ok(survey) => break survey,
            Err(error) => publish.send_modify(|board| {
                *board = Arc::new(GroupBoard::cut_off(name.clone(), error.to_string()));
            }),
        }
        changed.notify_one();
        tokio::time::sleep(RETRY_PERIOD).await;
    };
    loop {
        let view = survey.view();
        let (at, now) = (clock.instant().since_start(), Timestamp::now());
        let status = GroupStatus::of(&view, now, None);
        let board = GroupBoard::of(view, status, at, &publish.borrow());
        let pause = LEAST_PAUSE
            + PAUSE_OF_A_TASK * u32::try_from(board.status.tasks.len()).unwrap_or(u32::MAX);
        publish.send_replace(Arc::new(board));
        changed.notify_one();
        learn(&mut survey, pause.min(TICK)).await;
    }
}

/// Takes in what comes: a change is shown after `pause`, together with what follows at once. A renewal alone changes
/// nothing that is shown, and time alone does so within [`TICK`].
async fn learn(survey: &mut GroupSurvey, pause: Duration) {
    let tick = tokio::time::sleep(TICK);
    tokio::pin!(tick);
    loop {
        tokio::select! {
            change = survey.next() => {
                if change != GroupChange::Renewed {
                    break;
                }
            }
            () = &mut tick => return,
        }
    }
    let soon = tokio::time::sleep(pause);
    tokio::pin!(soon);
    loop {
        tokio::select! {
            _ = survey.next() => {}
            () = &mut soon => return,
        }
    }
}

/// Each costs three watches.
pub(crate) const MOST_GROUPS: usize = 64;

const TICK: Duration = Duration::from_secs(1);

/// Twenty pictures a second look like no waiting.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// 16,384 slots are looked at three times a second.
const PAUSE_OF_A_TASK: Duration = Duration::from_micros(20);

const RETRY_PERIOD: Duration = Duration::from_secs(2);
