//! What a cluster and a kubeconfig know of what one begins to type. Nothing, where they do not answer
//! at once.

use std::ffi::OsString;
use std::time::Duration;

use clap::{ArgMatches, Command, FromArgMatches};
use incumbent::Connect;
use incumbent::group_survey::GroupSurvey;
use incumbent::requests::Requests;
use incumbent::survey::{Registration, Scope, Survey};

use crate::flags::cluster::Cluster;
use crate::model::format;

/// Whoever presses a key waits for this.
const PATIENCE: Duration = Duration::from_secs(2);

/// The locks of the namespace that the line so far names, each with who holds it.
pub(super) fn locks(whole: fn() -> Command) -> Vec<(String, String)> {
    ask(whole, async |cluster| {
        let (client, namespace) = cluster.connect().await.ok()?;
        let survey = Survey::start(client, &Scope::namespace(namespace)).await.ok()?;
        let locks = survey.locks().map(|sighted| {
            let view = &sighted.view;
            let holder = match (&view.holder, view.registration) {
                (None, _) => "no holder".to_owned(),
                (Some(by), Registration::Claim) => format!("claimed by {}", format::name(by)),
                (Some(by), _) => format!("held by {}", format::name(by)),
            };
            (view.lock.to_string(), holder)
        });
        Some(locks.collect())
    })
}

/// The groups of the namespace.
pub(super) fn groups(whole: fn() -> Command) -> Vec<(String, String)> {
    ask(whole, async |cluster| {
        let (client, namespace) = cluster.connect().await.ok()?;
        let groups = GroupSurvey::list(client, Some(&namespace)).await.ok()?;
        let named = |(_, name): (String, String)| (format!("group/{name}"), "a group".to_owned());
        Some(groups.into_iter().map(named).collect())
    })
}

pub(super) fn locks_and_groups(whole: fn() -> Command) -> Vec<(String, String)> {
    let mut all = locks(whole);
    all.extend(groups(whole));
    all
}

pub(super) fn namespaces(whole: fn() -> Command) -> Vec<String> {
    ask(whole, async |cluster| {
        let (client, _) = cluster.connect().await.ok()?;
        let list = Requests::new(client).read("/api/v1/namespaces?limit=500").await.ok()?;
        let names = list["items"].as_array()?.iter();
        Some(
            names.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect(),
        )
    })
}

pub(super) fn contexts(whole: fn() -> Command) -> Vec<String> {
    let named = sub_matches(whole)
        .and_then(|matches| matches.get_raw("kubeconfig")?.next().map(OsString::from));
    let connect = match named {
        Some(file) => Connect::default().kubeconfig(file),
        None => Connect::default(),
    };
    connect.contexts().unwrap_or_default()
}

/// Asks the cluster that the line so far names.
fn ask<T: Default>(whole: fn() -> Command, question: impl AsyncFnOnce(Cluster) -> Option<T>) -> T {
    let answer = || {
        let cluster = Cluster::from_arg_matches(&sub_matches(whole)?).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let question = async { tokio::time::timeout(PATIENCE, question(cluster)).await.ok()? };
        let answer = runtime.block_on(question);
        runtime.shutdown_background();
        answer
    };
    answer().unwrap_or_default()
}

/// What the line says so far of the command in it, however much of it is missing.
fn sub_matches(whole: fn() -> Command) -> Option<ArgMatches> {
    let command = whole().ignore_errors(true);
    let mut matches = command.try_get_matches_from(words()).ok()?;
    Some(matches.remove_subcommand()?.1)
}

/// The words of the line but for the one that is being typed, which is the last. A shell puts `--` before
/// them, and kubectl nothing.
fn words() -> Vec<OsString> {
    let mut words: Vec<_> = std::env::args_os().collect();
    words.pop();
    match words.get(1) {
        Some(word) if word == "--" => words.split_off(2),
        _ => words,
    }
}
