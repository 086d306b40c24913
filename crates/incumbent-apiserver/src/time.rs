//! The two ways in which Kubernetes writes a time.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `2026-01-01T00:00:00Z`.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-01-01T00:00:00.000000Z`.
pub(crate) fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads an RFC 3339 time and writes it in UTC, to the second.
pub(crate) fn parse_seconds(text: &str) -> Result<String, String> {
    parse(text).map(seconds).ok_or_else(|| cannot_parse(text, SECONDS))
}

/// Reads a time with exactly six digits after the point and writes it in UTC, just so.
pub(crate) fn parse_micros(text: &str) -> Result<String, String> {
    let fraction = text.as_bytes().get(19..26);
    let six_digits =
        fraction.is_some_and(|part| part[0] == b'.' && part[1..].iter().all(u8::is_ascii_digit));
    let zone_follows =
        text.as_bytes().get(26).is_some_and(|byte| matches!(byte, b'Z' | b'+' | b'-'));
    let time = if six_digits && zone_follows { parse(text) } else { None };
    time.map(micros).ok_or_else(|| cannot_parse(text, MICROS))
}

/// Go's layouts, in the parts that it looks for one after the other.
const SECONDS: &[&str] = &["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", "Z07:00"];
const MICROS: &[&str] =
    &["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", ".000000", "Z07:00"];

fn parse(text: &str) -> Option<Timestamp> {
    // jiff reads more than RFC 3339 allows, such as a space for the T, or a leap second.
    let bytes = text.as_bytes();
    let plain = bytes.get(10) == Some(&b'T') && bytes.get(17..19) != Some(b"60");
    let time: Timestamp = if plain { text.parse().ok()? } else { return None };
    let year = time.to_zoned(TimeZone::UTC).year();
    (0..=9999).contains(&year).then_some(time)
}

/// Names the first part that is not as the layout has it.
fn cannot_parse(text: &str, layout: &[&str]) -> String {
    let mut rest = text;
    let is_wrong = |part: &&&str| match rest.get(..part.len()) {
        Some(found) if found.bytes().zip(part.bytes()).all(|(a, b)| is_like(a, b)) => {
            rest = &rest[part.len()..];
            false
        }
        _ => true,
    };
    // What fits and is no time all the same has a month, a day or an hour too many.
    let part = layout.iter().find(is_wrong).copied().unwrap_or("Z07:00");
    format!("parsing time {text:?} as {:?}: cannot parse {rest:?} as {part:?}", layout.concat())
}

/// A digit stands for any digit.
fn is_like(found: u8, wanted: u8) -> bool {
    if wanted.is_ascii_digit() { found.is_ascii_digit() } else { found == wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_micro_time_has_exactly_six_digits_and_comes_back_in_utc() {
        let utc = "2026-01-01T00:00:02.123456Z";
        assert_eq!(parse_micros(utc).as_deref(), Ok(utc));
        assert_eq!(parse_micros("2026-01-01T02:00:02.123456+02:00").as_deref(), Ok(utc));
        for wrong in ["yesterday", "2026-01-01T00:00:02Z", "2026-01-01T00:00:02.5Z", "", "é"] {
            assert!(parse_micros(wrong).is_err(), "{wrong}");
        }
        assert!(parse_micros("2026-01-01T00:00:02.123456789Z").is_err());
    }

    #[test]
    fn a_time_loses_its_fraction() {
        assert_eq!(parse_seconds("2026-01-01T00:00:02.9Z").as_deref(), Ok("2026-01-01T00:00:02Z"));
        assert!(parse_seconds("2026-01-01 00:00:02Z").is_err());
        assert!(parse_seconds("2026-01-01").is_err());
    }
}
