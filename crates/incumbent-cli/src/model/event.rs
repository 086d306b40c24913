//! When a Kubernetes Event says that something was so.

use jiff::Timestamp;
use serde_json::Value;

use crate::model::time_bounds::TimeBounds;

/// When it was last so.
pub(crate) fn at(event: &Value) -> Option<TimeBounds> {
    times(event).pop()
}

/// When it was so, as precisely as it says; where it stands for many, the first and the last time.
pub(crate) fn times(event: &Value) -> Vec<TimeBounds> {
    let time = |time: &Value| time.as_str()?.parse::<Timestamp>().ok();
    let exact = |time_of: &Value| time(time_of).map(TimeBounds::at);
    let coarse = |time_of: &Value| time(time_of).map(TimeBounds::in_second);
    let (first, last) = match exact(&event["eventTime"]) {
        Some(first) => (Some(first), exact(&event["series"]["lastObservedTime"])),
        None => (coarse(&event["firstTimestamp"]), coarse(&event["lastTimestamp"])),
    };
    first.into_iter().chain(last).collect()
}
