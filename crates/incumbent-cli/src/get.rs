//! `incumbent get`: the locks of a namespace, who holds each, and whether it is fresh.

use std::process::ExitCode;
use std::time::Duration;

use incumbent::survey::{LockView, Registration};
use serde_json::{Value, json};

use crate::args::Format;
use crate::{args, output};

pub(crate) async fn run(args: args::Get) -> anyhow::Result<ExitCode> {
    let (client, namespace) = args.cluster.connect().await?;
    let mut views = Vec::new();
    for text in &args.locks {
        let lock = args::lock(&namespace, text)?;
        views.push(LockView::read(client.clone(), lock).await?);
    }
    if args.locks.is_empty() {
        let survey = incumbent::survey::Survey::start(
            client,
            &incumbent::survey::Scope::namespace(namespace.clone()),
        )
        .await?;
        views = survey.locks().map(|sighted| (*sighted.view).clone()).collect();
    }
    let now = jiff::Timestamp::now();
    match args.output {
        Format::Json => {
            let items: Vec<_> = views.iter().map(|view| to_json(view, now)).collect();
            output::line(&serde_json::to_string_pretty(&items)?)?;
        }
        Format::Table if views.is_empty() => eprintln!("no locks in namespace {namespace}"),
        Format::Table => {
            let rows: Vec<_> = views.iter().map(|view| to_row(view, now)).collect();
            output::line(&output::table(&HEADS, &rows))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

const HEADS: [&str; 6] = ["NAME", "HOLDER", "STATE", "RENEWED", "TOKEN", "TRANSITIONS"];

/// Whether a lock is fresh, by the holder's wall clock and ours: a hint, which a look from outside
/// cannot better.
fn state(view: &LockView, now: jiff::Timestamp) -> &'static str {
    match (view.registration, age(view, now), view.lease_duration) {
        (Registration::Vacant, ..) => "Vacant",
        (Registration::Claim, ..) => "Claimed",
        (_, Some(age), Some(lease)) if age > lease => "Expired~",
        (_, Some(_), Some(_)) => "Held~",
        _ => "Unknown",
    }
}

fn age(view: &LockView, now: jiff::Timestamp) -> Option<Duration> {
    view.renewed.map(|renewed| Duration::try_from(now.duration_since(renewed)).unwrap_or_default())
}

fn to_row(view: &LockView, now: jiff::Timestamp) -> Vec<String> {
    let renewed = match (view.registration, age(view, now)) {
        (Registration::Vacant | Registration::Claim, _) | (_, None) => "<none>".to_owned(),
        (_, Some(age)) => format!("{} ago~", rounded(age)),
    };
    vec![
        view.lock.to_string(),
        view.holder.as_deref().map_or_else(|| "<none>".to_owned(), output::printable),
        state(view, now).to_owned(),
        renewed,
        view.token.map_or_else(|| "<none>".to_owned(), |token| token.to_string()),
        view.transitions.to_string(),
    ]
}

/// As kubectl shows an age: the unit in which two digits or so are enough.
fn rounded(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn to_json(view: &LockView, now: jiff::Timestamp) -> Value {
    json!({
        "lock": view.lock.to_string(),
        "namespace": view.lock.namespace(),
        "holder": view.holder,
        "state": state(view, now).trim_end_matches('~').to_lowercase(),
        "token": view.token.map(|token| token.0),
        "acquireTime": view.acquired.map(|time| time.to_string()),
        "renewTime": view.renewed.map(|time| time.to_string()),
        "leaseDurationSeconds": view.lease_duration.map(|duration| duration.as_secs()),
        "transitions": view.transitions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_shown_in_the_unit_that_fits() {
        let shown = [0, 119, 120, 7_199, 7_200, 172_799, 172_800, 63_930_936_533];
        let shown = shown.map(|seconds| rounded(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0s", "119s", "2m", "119m", "2h", "47h", "2d", "739941d"]);
    }
}
