//! A schedule as people and programs read it. Pure.

use std::time::Duration;

use incumbent::schedule_view::{Moment, Past, Run, ScheduleRecord, ScheduleView, Tick, When, time};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::format::{age, cut, duration, name, span};

/// The columns of a table of schedules.
pub(crate) const HEADS: [&str; 6] = ["NAME", "STATE", "NEXT", "LAST RUN", "MISSED", "WHEN"];

pub(crate) fn cells(view: &ScheduleView, now: Timestamp) -> Vec<String> {
    let record = view.record.as_ref();
    vec![
        target(&view.config_map, &view.name),
        state(view).to_owned(),
        view.next().map_or_else(none, |next| distance(next, now)),
        record.and_then(|record| record.last.first()).map_or_else(none, |past| last(past, now)),
        record.map_or_else(none, |record| record.counts.missed.to_string()),
        record.map_or_else(none, |record| when(&record.spec.when)),
    ]
}

fn none() -> String {
    "<none>".to_owned()
}

/// The ConfigMap that `incumbent schedule` uses unless --lock names another one.
pub(crate) const DEFAULT_CONFIG_MAP: &str = "schedules";

/// What people type to name the schedule.
pub(crate) fn target(config_map: &str, name: &str) -> String {
    match config_map {
        DEFAULT_CONFIG_MAP => format!("schedule/{name}"),
        other => format!("schedule/{other}/{name}"),
    }
}

/// What the record says in one word. It does not say whether a replica is there to run the schedule.
pub(crate) fn state(view: &ScheduleView) -> &'static str {
    match &view.record {
        None => "Unreadable",
        Some(record) if record.moved_to.is_some() => "Renamed",
        Some(record) if record.run.is_some() => "Running",
        Some(record) if record.suspended.is_some() => "Suspended",
        Some(_) => "Waiting",
    }
}

/// The pattern with its time zone, or the period.
pub(crate) fn when(when: &When) -> String {
    match when {
        When::Cron { pattern, zone } => name(&format!("{pattern} {zone}")),
        When::Every { period, .. } => format!("every {}", duration(*period)),
    }
}

/// How far away a tick is. One that has passed was decided by no replica yet.
pub(crate) fn distance(tick: Timestamp, now: Timestamp) -> String {
    match Duration::try_from(tick.duration_since(now)) {
        Ok(left) => format!("in {}", age(left)),
        Err(_) => format!("due {} ago", age(since(tick, now))),
    }
}

fn last(past: &Past, now: Timestamp) -> String {
    format!("{} {} ago", past.outcome.reason(), age(ago(past.ended, now)))
}

/// How long ago that was, by this machine's clock.
pub(crate) fn ago(moment: Moment, now: Timestamp) -> Duration {
    time(moment).map_or(Duration::ZERO, |moment| since(moment, now))
}

fn since(moment: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(moment)).unwrap_or_default()
}

/// The columns of the runs of one schedule.
pub(crate) const RUN_HEADS: [&str; 6] = ["TICK", "ATTEMPT", "LATE", "TOOK", "OUTCOME", "TOKEN"];

/// The run that has begun, and those that have ended, the newest first.
pub(crate) fn runs(record: &ScheduleRecord) -> Vec<Vec<String>> {
    let present = record.run.iter().map(|run| run_cells(run, None, "running".to_owned()));
    let past = record.last.iter().map(|past| {
        let outcome = past.outcome.reason().to_owned();
        run_cells(&past.run, Some(past.ended), outcome)
    });
    present.chain(past).collect()
}

fn run_cells(run: &Run, ended: Option<Moment>, outcome: String) -> Vec<String> {
    let tick = time(run.tick.moment()).map_or_else(none, |tick| format!("{tick:.0}"));
    let tick = match run.tick {
        Tick::At(_) => tick,
        Tick::Asked { .. } => format!("{tick} (asked for)"),
    };
    let took = ended.map(|ended| span(ended.saturating_since(run.began)));
    vec![
        tick,
        run.attempt.to_string(),
        span(run.began.saturating_since(run.tick.moment())),
        took.unwrap_or_else(none),
        outcome,
        run.token.to_string(),
    ]
}

/// What a page about one schedule begins with.
pub(crate) fn facts(view: &ScheduleView, now: Timestamp) -> Vec<(&'static str, String)> {
    let place = format!("configmap/{} in namespace {}", view.config_map, view.namespace);
    let mut facts = vec![("Schedule", target(&view.config_map, &view.name)), ("Record", place)];
    let Some(record) = &view.record else {
        let why = "cannot be read: nothing runs, and nothing is written over it";
        facts.extend([("State", why.to_owned()), ("Stored", cut(&name(&view.text), LONG))]);
        return facts;
    };
    let counts = record.counts;
    let next = view.next().map(|next| format!("{next:.0} ({})", distance(next, now)));
    let success = record.last_success.map(|moment| format!("{} ago", age(ago(moment, now))));
    facts.extend([
        ("State", sentence(view, record, now)),
        ("When", format!("{}, revision {}", when(&record.spec.when), record.spec.revision)),
        ("Next", next.unwrap_or_else(|| "none".to_owned())),
        ("Succeeded", success.unwrap_or_else(|| "never".to_owned())),
        (
            "Ticks",
            format!(
                "{} ran, {} missed, {} skipped, {} while suspended",
                counts.ran, counts.missed, counts.skipped, counts.suspended
            ),
        ),
    ]);
    facts
}

fn sentence(view: &ScheduleView, record: &ScheduleRecord, now: Timestamp) -> String {
    let asked = match record.asked {
        Some(asked) => format!("; a run was asked for {} ago", age(ago(asked.at, now))),
        None => String::new(),
    };
    let suspended = match &record.suspended {
        Some(it) => format!("suspended {} ago by {}", age(ago(it.since, now)), name(&it.by)),
        None => String::new(),
    };
    let state = match (&record.moved_to, &record.run) {
        (Some(to), _) => format!("renamed to {}", name(to)),
        (None, Some(run)) => {
            let began = age(ago(run.began, now));
            let also = if suspended.is_empty() { String::new() } else { format!("; {suspended}") };
            format!(
                "a run began {began} ago under token {}, and no end is recorded{also}",
                run.token
            )
        }
        (None, None) if !suspended.is_empty() => suspended,
        (None, None) if view.next().is_some_and(|next| next < now) => {
            "a tick is due, and no replica has decided it".to_owned()
        }
        (None, None) => "waits for the next tick".to_owned(),
    };
    state + &asked
}

/// The same for programs: the record as it is stored, and what follows from it.
pub(crate) fn json(view: &ScheduleView) -> Value {
    json!({
        "schedule": view.name,
        "configMap": view.config_map,
        "namespace": view.namespace,
        "state": state(view).to_lowercase(),
        "next": view.next().map(|next| next.to_string()),
        "record": serde_json::from_str::<Value>(&view.text).unwrap_or_else(|_| view.text.clone().into()),
    })
}

const LONG: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_that_passed_is_due() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        assert_eq!(distance("2026-11-29T12:03:00Z".parse().unwrap(), now), "in 3m");
        assert_eq!(distance("2026-11-29T11:59:00Z".parse().unwrap(), now), "due 60s ago");
    }

    #[test]
    fn a_period_is_shown_in_the_unit_that_fits() {
        let every = When::Every { period: Duration::from_secs(300), anchor: Moment::default() };
        assert_eq!(when(&every), "every 5 min");
        let cron = When::Cron { pattern: "0 7 * * *".to_owned(), zone: "UTC\u{202e}".to_owned() };
        assert_eq!(when(&cron), "0 7 * * * UTC\u{fffd}");
    }
}
