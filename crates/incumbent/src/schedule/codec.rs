//! A record as the JSON that a ConfigMap holds.
//!
//! A stored record is edited, never rebuilt, so that fields of later versions survive. If any part cannot be understood,
//! the whole record is unreadable, and nothing runs.

use std::time::Duration;

use incumbent_core::schedule::{
    Asked, Counts, Moment, Outcome, Past, Run, ScheduleRecord, Spec, Suspension, Tick, When,
};
use incumbent_core::{FencingToken, Session};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Reads a record.
pub(super) fn decode(text: &str) -> Option<ScheduleRecord> {
    let from: Value = serde_json::from_str(text).ok()?;
    let counts = Counts {
        ran: count(&from["ran"])?,
        missed: count(&from["missed"])?,
        skipped: count(&from["skipped"])?,
        suspended: count(&from["passedSuspended"])?,
    };
    Some(ScheduleRecord {
        spec: spec(&from["spec"])?,
        floor: moment(&from["floor"])?,
        floor_civil: optional(&from["floorCivil"], text_of)?,
        run: optional(&from["run"], run)?,
        last: match &from["last"] {
            Value::Null => Vec::new(),
            Value::Array(last) => last.iter().map(past).collect::<Option<_>>()?,
            _ => return None,
        },
        counts,
        last_success: optional(&from["lastSuccess"], moment)?,
        suspended: optional(&from["suspended"], suspension)?,
        asked: optional(&from["asked"], asked)?,
        moved_to: optional(&from["movedTo"], text_of)?,
    })
}

/// Writes a record over the stored text.
pub(super) fn encode(record: &ScheduleRecord, stored: Option<&str>) -> String {
    let known = stored.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut fields = match known {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let counts = record.counts;
    for (name, value) in [
        ("spec", Some(spec_value(&record.spec))),
        ("floor", Some(moment_value(record.floor))),
        ("floorCivil", record.floor_civil.as_deref().map(Value::from)),
        ("run", record.run.as_ref().map(run_value)),
        ("last", Some(record.last.iter().map(past_value).collect())),
        ("ran", Some(counts.ran.into())),
        ("missed", Some(counts.missed.into())),
        ("skipped", Some(counts.skipped.into())),
        ("passedSuspended", Some(counts.suspended.into())),
        ("lastSuccess", record.last_success.map(moment_value)),
        ("suspended", record.suspended.as_ref().map(suspension_value)),
        ("asked", record.asked.as_ref().map(asked_value)),
        ("movedTo", record.moved_to.as_deref().map(Value::from)),
    ] {
        match value {
            Some(value) => fields.insert(name.to_owned(), value),
            None => fields.remove(name),
        };
    }
    Value::Object(fields).to_string()
}

// Reading.

/// `Some(None)` if there is no value; `None` if there is one that cannot be read.
fn optional<T>(value: &Value, read: impl FnOnce(&Value) -> Option<T>) -> Option<Option<T>> {
    if value.is_null() { Some(None) } else { read(value).map(Some) }
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn count(value: &Value) -> Option<u64> {
    // So that sums do not overflow.
    if value.is_null() { Some(0) } else { value.as_u64().filter(|count| *count < 1 << 60) }
}

fn moment(value: &Value) -> Option<Moment> {
    let time: Timestamp = value.as_str()?.parse().ok()?;
    Some(Moment::from_unix_micros(time.as_microsecond()))
}

fn small(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

fn hex(value: &Value) -> Option<u128> {
    u128::from_str_radix(value.as_str()?, 16).ok()
}

fn spec(from: &Value) -> Option<Spec> {
    let when = match (&from["cron"], &from["everyMillis"]) {
        (Value::String(pattern), Value::Null) => {
            When::Cron { pattern: pattern.clone(), zone: text_of(&from["tz"])? }
        }
        (Value::Null, every) => When::Every {
            period: every.as_u64().filter(|every| *every > 0).map(Duration::from_millis)?,
            anchor: moment(&from["anchor"])?,
        },
        _ => return None,
    };
    Some(Spec { when, revision: from["revision"].as_u64()? })
}

fn run(from: &Value) -> Option<Run> {
    let at = moment(&from["tick"])?;
    Some(Run {
        tick: match optional(&from["asked"], hex)? {
            None => Tick::At(at),
            Some(id) => Tick::Asked { id: u64::try_from(id).ok()?, at },
        },
        attempt: small(&from["attempt"])?,
        failures: if from["failures"].is_null() { 0 } else { small(&from["failures"])? },
        token: FencingToken(from["token"].as_u64()?),
        session: Session(hex(&from["session"])?),
        first: moment(&from["first"])?,
        began: moment(&from["began"])?,
    })
}

fn past(from: &Value) -> Option<Past> {
    const OUTCOMES: [Outcome; 6] = [
        Outcome::Succeeded,
        Outcome::Failed,
        Outcome::Stopped,
        Outcome::Replaced,
        Outcome::Unstarted,
        Outcome::InDoubt,
    ];
    let word = from["outcome"].as_str()?;
    let outcome = OUTCOMES.into_iter().find(|outcome| outcome.reason() == word)?;
    Some(Past { run: run(from)?, ended: moment(&from["ended"])?, outcome })
}

fn suspension(from: &Value) -> Option<Suspension> {
    Some(Suspension { since: moment(&from["since"])?, by: text_of(&from["by"])? })
}

fn asked(from: &Value) -> Option<Asked> {
    Some(Asked { id: u64::try_from(hex(&from["id"])?).ok()?, at: moment(&from["at"])? })
}

// Writing.

fn moment_value(moment: Moment) -> Value {
    match Timestamp::from_microsecond(moment.unix_micros()) {
        Ok(time) => time.to_string().into(),
        Err(_) => Timestamp::MAX.to_string().into(),
    }
}

fn spec_value(spec: &Spec) -> Value {
    match &spec.when {
        When::Cron { pattern, zone } => {
            json!({ "cron": pattern, "tz": zone, "revision": spec.revision })
        }
        When::Every { period, anchor } => json!({
            "everyMillis": u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
            "anchor": moment_value(*anchor),
            "revision": spec.revision,
        }),
    }
}

fn run_value(run: &Run) -> Value {
    let mut value = json!({
        "tick": moment_value(run.tick.moment()),
        "attempt": run.attempt,
        "token": run.token.0,
        "session": format!("{:032x}", run.session.0),
        "first": moment_value(run.first),
        "began": moment_value(run.began),
    });
    if run.failures > 0 {
        value["failures"] = run.failures.into();
    }
    if let Tick::Asked { id, .. } = run.tick {
        value["asked"] = format!("{id:016x}").into();
    }
    value
}

fn past_value(past: &Past) -> Value {
    let mut value = run_value(&past.run);
    value["ended"] = moment_value(past.ended);
    value["outcome"] = past.outcome.reason().into();
    value
}

fn suspension_value(suspension: &Suspension) -> Value {
    json!({ "since": moment_value(suspension.since), "by": suspension.by })
}

fn asked_value(asked: &Asked) -> Value {
    json!({ "id": format!("{:016x}", asked.id), "at": moment_value(asked.at) })
}

#[cfg(test)]
mod tests;
