//! Moments and spans, as precisely as they are known. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::format::{self, millis};

/// When something was: not before the one moment, and not after the other, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeBounds {
    pub(crate) earliest: Option<Timestamp>,
    pub(crate) latest: Option<Timestamp>,
}

impl TimeBounds {
    pub(crate) fn at(moment: Timestamp) -> Self {
        Self { earliest: Some(moment), latest: Some(moment) }
    }

    pub(crate) fn between(earliest: Timestamp, latest: Timestamp) -> Self {
        Self { earliest: Some(earliest), latest: Some(latest.max(earliest)) }
    }

    /// Nothing tells how long before.
    pub(crate) fn by(latest: Timestamp) -> Self {
        Self { earliest: None, latest: Some(latest) }
    }

    /// Something that says whole seconds cuts off the rest.
    pub(crate) fn in_second(second: Timestamp) -> Self {
        Self::between(second, after(second, A_SECOND))
    }

    /// One moment to draw and to sort it by.
    pub(crate) fn mostly(self) -> Timestamp {
        self.earliest.or(self.latest).unwrap_or_default()
    }

    /// No earlier than this.
    pub(crate) fn no_earlier_than(self, first: Self) -> Self {
        let clamp = |moment: Option<Timestamp>, least| moment.map(|moment| moment.max(least));
        match first.earliest {
            Some(least) => {
                Self { earliest: clamp(self.earliest, least), latest: clamp(self.latest, least) }
            }
            None => self,
        }
    }

    /// How long from here to there.
    pub(crate) fn until(self, later: Self) -> DurationBounds {
        let span = |from: Option<Timestamp>, to: Option<Timestamp>| {
            Duration::try_from(to?.duration_since(from?)).ok().or(Some(Duration::ZERO))
        };
        DurationBounds {
            least: span(self.latest, later.earliest).unwrap_or_default(),
            most: span(self.earliest, later.latest),
        }
    }

    /// For people, to the second.
    pub(crate) fn text(self) -> String {
        self.words(|moment| format!("{moment:.0}"))
    }

    /// The same, with moments written as `write` does.
    pub(crate) fn words(self, write: impl Fn(Timestamp) -> String) -> String {
        match (self.earliest, self.latest) {
            (Some(from), Some(to)) if to.duration_since(from).unsigned_abs() > A_SECOND => {
                format!("{} to {}", write(from), write(to))
            }
            (Some(moment), _) => write(moment),
            (None, Some(moment)) => format!("before {}", write(moment)),
            (None, None) => "unknown".to_owned(),
        }
    }

    pub(crate) fn json(self) -> Value {
        let text = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
        json!({ "earliest": text(self.earliest), "latest": text(self.latest) })
    }
}

/// How long something lasted: no less than the one, and no more than the other, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DurationBounds {
    pub(crate) least: Duration,
    pub(crate) most: Option<Duration>,
}

impl DurationBounds {
    pub(crate) fn text(self) -> String {
        let (least, most) = (format::span(self.least), self.most.map(format::span));
        match most {
            Some(most) if most == least => most,
            Some(most) if self.least.is_zero() => format!("< {}", plain(&most)),
            Some(most) => format!("{} to {}", plain(&least), plain(&most)),
            None if self.least.is_zero() => "unknown".to_owned(),
            None => format!("> {}", plain(&least)),
        }
    }

    pub(crate) fn json(self) -> Value {
        json!({ "least": millis(self.least), "most": self.most.map(millis) })
    }
}

/// A bound has no tenths that are none.
fn plain(span: &str) -> String {
    span.replace(".0 s", " s")
}

pub(crate) fn after(moment: Timestamp, span: Duration) -> Timestamp {
    moment.checked_add(span).unwrap_or(Timestamp::MAX)
}

const A_SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_790_000_000_000 + millis).unwrap()
    }

    #[test]
    fn what_is_known_to_the_second_is_no_outage() {
        let end = TimeBounds::in_second(at(5000));
        let gap = |next: TimeBounds| end.until(next).text();
        assert_eq!(gap(TimeBounds::in_second(at(5000))), "< 1 s");
        assert_eq!(gap(TimeBounds::at(at(5900))), "< 900.0 ms");
        assert_eq!(gap(TimeBounds::in_second(at(6000))), "< 2 s");
        assert_eq!(gap(TimeBounds::in_second(at(8000))), "2 s to 4 s");
        assert_eq!(gap(TimeBounds::at(at(4000))), "0.0 ms", "the clocks of two differ");
        assert_eq!(TimeBounds::at(at(0)).until(TimeBounds::at(at(3))).text(), "3.0 ms");
    }

    #[test]
    fn an_end_that_was_not_seen_bounds_what_came_before_it_and_after_it() {
        let began = TimeBounds::at(at(0));
        assert_eq!(began.until(TimeBounds::by(at(9000))).text(), "< 9 s");
        assert_eq!(TimeBounds::by(at(9000)).until(TimeBounds::at(at(9000))).text(), "unknown");
        let silent = TimeBounds::between(at(5000), at(20_000));
        assert_eq!(silent.until(TimeBounds::at(at(21_000))).text(), "1 s to 16 s");
        assert_eq!(silent.until(TimeBounds::at(at(19_000))).text(), "< 14 s");
        assert_eq!(TimeBounds::by(at(0)).text(), "before 2026-09-21T14:13:20Z");
        assert_eq!(silent.words(|at| at.to_string()[17..19].to_owned()), "25 to 40");
    }
}
