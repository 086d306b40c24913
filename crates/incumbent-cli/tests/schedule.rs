//! `incumbent schedule`, with real commands and real processes.

#![cfg(target_os = "linux")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use rustix::process::Signal;
use serde_json::Value;
use support::{Candidate, Cluster, Outcome};

/// A new schedule runs nothing for twelve seconds, because clocks differ.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn each_tick_runs_once_whichever_replica_is_killed() {
    let cluster = Cluster::start();
    let diary = cluster.folder.path().join("diary");
    let script =
        format!("echo $INCUMBENT_TICK $INCUMBENT_TOKEN $INCUMBENT_IDENTITY >> {}", diary.display());
    let start = |name: &str| {
        let flags = "--every 1s --name beat --catch-up all=100 --lease-duration 1s --identity";
        Candidate::start(schedule(&cluster, flags, &[name, "--", "sh", "-c", &script]))
    };
    let mut replicas: Vec<_> = ["a", "b", "c"].map(|name| (name.to_owned(), start(name))).into();
    for (round, next) in ["d", "e"].into_iter().enumerate() {
        let before = wait_for(&diary, 3 * (round + 1));
        let leader = before.last().unwrap().2.clone();
        let at = replicas.iter().position(|(name, _)| *name == leader).unwrap();
        replicas.remove(at).1.kill();
        replicas.push((next.to_owned(), start(next)));
    }
    let runs = wait_for(&diary, 12);
    let ticks: Vec<Timestamp> = runs.iter().map(|(tick, ..)| *tick).collect();
    assert!(ticks.is_sorted_by(|one, next| one < next), "no tick runs twice: {runs:?}");
    assert!(runs.is_sorted_by(|one, next| one.1 <= next.1), "tokens rise: {runs:?}");
    let leaders: BTreeSet<&str> = runs.iter().map(|run| run.2.as_str()).collect();
    assert!(leaders.len() >= 3, "{leaders:?}");
    // A replica that is killed between the start of a command and its end leaves that tick in doubt.
    let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
    let expected = last.duration_since(first).as_secs() + 1;
    let missing = expected - i64::try_from(ticks.len()).unwrap();
    assert!((0..=2).contains(&missing), "{missing} are missing: {runs:?}");
    assert_eq!(record(&cluster, "beat")["missed"], 0);
}

#[test]
fn a_signal_stops_the_run_and_ends_the_program() {
    let cluster = Cluster::start();
    let script = r#"trap 'echo "{\"event\":\"bye\"}"; exit 0' TERM; echo "{\"event\":\"up\",\"tick\":\"$INCUMBENT_TICK\",\"attempt\":$INCUMBENT_ATTEMPT,\"late\":$INCUMBENT_LATE_MS,\"name\":\"$INCUMBENT_SCHEDULE\"}"; while :; do sleep 1 & wait $!; done"#;
    let words = ["*/1 * * * * *", "--", "sh", "-c", script];
    let mut replica = Candidate::start(schedule(&cluster, "--name long --identity john", &words));
    let up = eventually(&replica, "up");
    assert_eq!((&up["attempt"], &up["name"]), (&1.into(), &"long".into()));
    let tick: Timestamp = up["tick"].as_str().unwrap().parse().unwrap();
    assert!(tick <= Timestamp::now() && tick > Timestamp::now() - 30.seconds(), "{tick}");
    assert!(up["late"].as_u64().is_some_and(|late| late < 30_000), "{up}");
    replica.signal(Signal::TERM);
    assert_eq!(replica.end(), 128 + 15);
    assert_eq!(eventually(&replica, "bye")["event"], "bye");
    let record = record(&cluster, "long");
    assert_eq!(record["last"][0]["outcome"], "stopped", "{record}");
    assert_eq!(record["run"], Value::Null);
}

#[test]
fn what_cannot_run_is_refused_before_anything_is_sent() {
    let cluster = Cluster::start();
    let daily = "0 7 * * *";
    for (flags, words, code, said) in [
        ("--name never", &["0 0 30 2 *", "--", "true"][..], 78, "never comes"),
        ("--name odd", &["every day", "--", "true"], 78, "is not a cron pattern"),
        ("--name lost --tz Europe/Atlantis", &[daily, "--", "true"], 78, "there is no time zone"),
        ("--name fast --every 1ms", &["--", "true"], 78, "cannot run every 1ms"),
        ("--name missing", &[daily, "--", "no-such-program"], 127, "there is no program"),
        ("--name none", &["--", "true"], 2, "PATTERN"),
        ("--name both --every 1h", &[daily, "--", "true"], 2, "cannot be used with"),
        ("--name many --catch-up all", &[daily, "--", "true"], 2, "all=N"),
    ] {
        let outcome = Outcome::of(schedule(&cluster, flags, words).output().unwrap());
        assert_eq!(outcome.code, code, "{flags}: {outcome:?}");
        assert!(outcome.stderr.contains(said), "{flags}: {outcome:?}");
    }
    assert_eq!(cluster.stored("/api/v1/namespaces/default/configmaps/schedules"), None);
}

/// With these flags, and the words after them as they are: a pattern has blanks.
fn schedule(cluster: &Cluster, flags: &str, words: &[&str]) -> Command {
    let mut command = cluster.command(&format!("schedule {flags}"));
    command.args(words);
    command
}

fn record(cluster: &Cluster, name: &str) -> Value {
    let map = cluster.stored("/api/v1/namespaces/default/configmaps/schedules").unwrap();
    serde_json::from_str(map["data"][format!("{name}.schedule")].as_str().unwrap()).unwrap()
}

/// The runs of the diary, once there are so many.
fn wait_for(diary: &Path, count: usize) -> Vec<(Timestamp, u64, String)> {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(diary).unwrap_or_default();
        if text.lines().count() >= count {
            return text.lines().map(run).collect();
        }
        assert!(Instant::now() < until, "{count} runs: {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn run(line: &str) -> (Timestamp, u64, String) {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("{line}"));
    (word().parse().unwrap(), word().parse().unwrap(), word().to_owned())
}

fn eventually(replica: &Candidate, event: &str) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(line) = replica.history().into_iter().find(|line| line["event"] == event) {
            return line;
        }
        assert!(Instant::now() < until, "{event} does not come: {:?}", replica.history());
        std::thread::sleep(Duration::from_millis(20));
    }
}
