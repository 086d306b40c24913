//! Tasks of a group: a store refuses the late write of a former owner.

use std::time::Duration;

use incumbent::{Clock, Group, Task, Tasks};
use incumbent_apiserver::ApiServer;

use crate::sql::{Database, transact, write_row};
use crate::support::{Line, State, client, client_on};

/// john is cut off with a write under way, and jane gets his task.
pub(crate) async fn a_late_write_of_a_former_owner_is_refused<D: Database>() {
    let Some(database) = D::create() else { return };
    let (mut johns, mut janes) = (database.connect(), database.connect());
    let server = ApiServer::new();
    let line = Line::to(&server);
    let mut john = member(client_on(&server, &line), "john");
    let old = next_task(&mut john).await;
    let token = old.fencing_token().0;
    assert!(transact::<D>(&mut johns, token, "UPDATE plan SET value = 'john'"));
    assert!(write_row::<D>(&mut johns, token, "john"));

    line.set(State::Silent);
    let mut jane = member(client(&server), "jane");
    old.revoked().await;
    assert!(!old.is_valid());
    drop(old);
    let new = next_task(&mut jane).await;
    assert!(new.fencing_token().0 > token);
    assert!(transact::<D>(&mut janes, new.fencing_token().0, "UPDATE plan SET value = 'jane'"));
    assert!(write_row::<D>(&mut janes, new.fencing_token().0, "jane"));
    assert!(!transact::<D>(&mut johns, token, "UPDATE plan SET value = 'late'"));
    assert!(!write_row::<D>(&mut johns, token, "late"));
    assert_eq!(janes.ask("SELECT value FROM plan;"), "jane");
    assert_eq!(janes.ask("SELECT value FROM setting;"), "jane");
    assert!(new.is_valid());
}

fn member(client: kube::Client, name: &str) -> Group {
    let group = Group::builder(client, "default", "indexers").member(name).clock(Clock::tokio());
    group.tasks(Tasks::named(["eu"])).build().unwrap()
}

async fn next_task(group: &mut Group) -> Task {
    let task = tokio::time::timeout(Duration::from_secs(60), group.next_task()).await;
    task.expect("it is assigned").unwrap()
}
