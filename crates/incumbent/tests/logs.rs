//! What is logged. A process of its own: one test has all callsites to itself.

mod support;

use incumbent_apiserver::ApiServer;
use support::log::Log;
use support::{Line, State, builder, candidate, client_on, delete, seconds};
use tracing_subscriber::filter::LevelFilter;

#[tokio::test(start_paused = true)]
async fn info_is_for_changes_of_the_leader_and_nothing_else() {
    let (log, _guard) = Log::start(LevelFilter::INFO);
    let server = ApiServer::new();
    let (line, (health, is_well)) = (Line::to(&server), tokio::sync::watch::channel(true));
    let mut john = builder(client_on(&server, &line), "john").health(is_well).build().unwrap();
    let mut jane = candidate(&server, "jane");

    let first = john.campaign().await.unwrap();
    seconds(3600.0).await;
    let token = first.fencing_token();
    let at = "lock=lease/lock";
    assert_eq!(
        log.take(),
        [
            format!("INFO leading {at} token={token}"),
            format!("INFO following {at} leader=john token={token}"),
        ],
        "renewals are no news"
    );

    first.release().await;
    assert_eq!(log.take(), [format!("INFO no longer leading {at} token={token} reason=released")]);

    let second = jane.campaign().await.unwrap();
    seconds(1.0).await;
    let token = second.fencing_token();
    assert_eq!(
        log.take(),
        [
            format!("INFO leading {at} token={token}"),
            format!("INFO following {at} leader=jane token={token}"),
        ]
    );

    delete(&server).await;
    second.lost().await;
    drop(second);
    seconds(1.0).await;
    assert_eq!(log.take(), [format!("INFO no longer leading {at} token={token} reason=lock-gone")]);

    // He is asked to hand over by his own health: the reasons are for those who debug.
    let work = tokio::spawn(async move {
        john.run(|_| async { std::future::pending::<Result<(), _>>().await }).await
    });
    seconds(30.0).await;
    health.send_replace(false);
    seconds(1.0).await;
    let lines = log.take();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].starts_with("INFO leading") && lines[1].starts_with("INFO following"));
    assert!(lines[2].ends_with("reason=released"), "{lines:#?}");

    // Trouble is one warning, however often it is retried.
    line.set(State::Silent);
    health.send_replace(true);
    seconds(60.0).await;
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with("WARN will retry lock=lease/lock error="), "{lines:#?}");
    work.abort();
}
