//! The fields of logs have stable words, those of metrics among them. A process of its own: one test has all
//! callsites to itself.

mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use incumbent::{ElectionControl, Ending, HandOver, Identity, Lock, Metrics};
use incumbent_apiserver::ApiServer;
use support::log::Log;
use support::{Line, State, builder, client, client_on, delete, patch, seconds};
use tracing_subscriber::filter::LevelFilter;

/// Passes on the reasons that metrics are told.
struct Reasons(Mutex<Sender<&'static str>>);

impl Metrics for Reasons {
    fn term_ended(&self, _lock: &Lock, ending: &Ending) {
        let _ = self.0.lock().unwrap().send(ending.reason());
    }
}

#[tokio::test(start_paused = true)]
async fn log_fields_have_the_words_of_metrics_and_are_no_debug_prints() {
    let (log, _guard) = Log::start(LevelFilter::TRACE);
    let (reasons, told) = channel();
    play(&ApiServer::new(), Reasons(Mutex::new(reasons))).await;

    let lines: Vec<_> = log.take().into_iter().filter(|line| line.contains("lock=")).collect();
    for line in &lines {
        for trace_of_debug in ["Some(", "None", "{", "}", "::", "(Done)", "Ok(", "Err("] {
            assert!(!line.contains(trace_of_debug), "{line}");
        }
    }
    let of = |message: &str| -> BTreeSet<String> {
        let told = lines.iter().filter(|line| line.contains(message));
        let reason = |line: &String| {
            let (_, reason) = line.split_once("reason=").unwrap_or_else(|| panic!("{line}"));
            reason.split(' ').next().unwrap().to_owned()
        };
        told.map(reason).collect()
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let expected: BTreeSet<String> =
        words(&["deadline-passed", "lock-gone", "record-changed", "released"]);
    assert_eq!(of(" no longer leading "), expected);
    // Metrics are told by a thread of their own.
    let mut in_metrics = BTreeSet::new();
    while in_metrics != expected {
        let reason = told.recv_timeout(Duration::from_secs(60)).expect("metrics are told it, too");
        assert!(expected.contains(reason), "{reason}");
        in_metrics.insert(reason.to_owned());
    }
    assert_eq!(of(" handing over "), words(&["paused", "requested"]));
    assert!(of(" campaigning again ").contains("deadline-passed"), "{lines:#?}");
    for message in ["watching", "following", "will retry", "renewed", "released"] {
        assert!(lines.iter().any(|line| line.contains(&format!(" {message} "))), "{message}");
    }
}

/// A leader is lost in each way, and hands over for each reason.
async fn play(server: &ApiServer, reasons: Reasons) {
    let line = Line::to(server);
    let john = builder(client_on(server, &line), "john").metrics(reasons);
    let mut john = john.build().unwrap();
    let named = [Identity::new("john").unwrap()];
    let control = ElectionControl::new(client(server), Lock::lease("default", "lock")).unwrap();
    let work = tokio::spawn(async move {
        john.run(|_| async { std::future::pending::<Result<(), _>>().await }).await
    });
    seconds(10.0).await;
    control.hand_over(&HandOver::ToNext).await.unwrap();
    seconds(10.0).await;
    control.pause(&named).await.unwrap();
    seconds(10.0).await;
    control.resume(&named).await.unwrap();
    seconds(60.0).await;
    line.set(State::Silent);
    seconds(60.0).await;
    line.set(State::Whole);
    seconds(60.0).await;
    delete(server).await;
    seconds(60.0).await;
    patch(server, serde_json::json!({ "spec": { "holderIdentity": "another" } })).await;
    seconds(60.0).await;
    work.abort();
}
