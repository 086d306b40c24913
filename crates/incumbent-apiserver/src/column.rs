//! The columns that a kind adds to a table.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::object::at;
use crate::schema::Fields;

/// A column besides name and age.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) shown: Shown,
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) cell: fn(&Fields, Timestamp) -> Value,
}

/// The type and the position of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Text,
    Number,
    /// After the age.
    Last,
    /// After the age, and only with `-o wide`.
    Wide,
}

/// The age of a time, as kubectl shows it. `None` if the text is not a time.
pub(crate) fn age_since(time: &str, now: Timestamp) -> Option<String> {
    let time: Timestamp = time.parse().ok()?;
    Some(age(now.as_second() - time.as_second()))
}

/// A duration as kubectl shows it: with a second unit while it is significant.
fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big, unit, small, small_unit| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{small_unit}"),
    };
    match seconds {
        ..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => pair(days / 365, "y", days % 365, "d"),
    }
}

/// The value at a pointer, as a cell.
pub(crate) fn cell(fields: &Fields, pointer: &str) -> Value {
    at(fields, pointer).cloned().unwrap_or_else(|| json!(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_as_long_as_it_is_useful() {
        let ages = [5, 119, 125, 600, 7200, 10_800, 29_000, 180_000, 864_000, 70_000_000];
        let shown = ages.map(age);
        let expected = ["5s", "119s", "2m5s", "10m", "120m", "3h", "8h", "2d2h", "10d", "2y80d"];
        assert_eq!(shown, expected);
    }
}
