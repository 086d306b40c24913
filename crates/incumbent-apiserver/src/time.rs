//! The two formats of a time in Kubernetes, read as Go reads them.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// `2026-01-01T00:00:00Z`.
pub(crate) fn seconds(time: Timestamp) -> String {
    seconds_of(in_utc(time))
}

/// Formats seconds since 1970 and nanoseconds to the second. `None` if the time is out of range.
pub(crate) fn seconds_since_1970(seconds: i64, nanos: i32) -> Option<String> {
    since_1970(seconds, nanos).map(seconds_of)
}

/// Formats them to the microsecond.
pub(crate) fn micros_since_1970(seconds: i64, nanos: i32) -> Option<String> {
    since_1970(seconds, nanos).map(micros_of)
}

/// Reads an RFC 3339 time and formats it in UTC, to the second. `None` for Go's zero time.
///
/// # Errors
///
/// The time is invalid, in Go's words.
pub(crate) fn parse_seconds(text: &str) -> Result<Option<String>, String> {
    Ok(Reader::read(text, Fraction::Any)?.map(seconds_of))
}

/// Reads a time with exactly six digits after the point, and formats it so in UTC. `None` for Go's zero time.
///
/// # Errors
///
/// The time is invalid, in Go's words.
pub(crate) fn parse_micros(text: &str) -> Result<Option<String>, String> {
    Ok(Reader::read(text, Fraction::SixDigits)?.map(micros_of))
}

fn seconds_of(time: DateTime) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn micros_of(time: DateTime) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A [`Timestamp`] ends a day before the end of the year 9999; the times of clients do not.
fn in_utc(time: Timestamp) -> DateTime {
    time.to_zoned(TimeZone::UTC).datetime()
}

fn since_1970(seconds: i64, nanos: i32) -> Option<DateTime> {
    in_utc(Timestamp::UNIX_EPOCH).checked_add(SignedDuration::new(seconds, nanos)).ok()
}

/// The fraction that may follow the seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fraction {
    Any,
    SixDigits,
}

impl Fraction {
    fn layout(self) -> &'static str {
        match self {
            Self::Any => "2006-01-02T15:04:05Z07:00",
            Self::SixDigits => "2006-01-02T15:04:05.000000Z07:00",
        }
    }
}

/// Parses a text part by part, as Go's `time.Parse` does.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    fraction: Fraction,
}

impl<'a> Reader<'a> {
    fn read(text: &'a str, fraction: Fraction) -> Result<Option<DateTime>, String> {
        let mut reader = Self { text, rest: text, fraction };
        let local = reader.date_and_time()?;
        let east = reader.offset()?;
        if !reader.rest.is_empty() {
            return Err(reader.wrong(&format!(": extra text: {:?}", reader.rest)));
        }
        let utc = local.checked_sub(east).map_err(|_| reader.out_of_range("year"))?;
        Ok((utc != ZERO).then_some(utc))
    }

    fn date_and_time(&mut self) -> Result<DateTime, String> {
        let year = self.year()?;
        self.mark("-")?;
        let month = self.number("01")?;
        self.in_range(month, 1..=12, "month")?;
        self.mark("-")?;
        let day = self.number("02")?;
        self.mark("T")?;
        let hour = self.hour()?;
        self.in_range(hour, 0..=23, "hour")?;
        self.mark(":")?;
        let minute = self.number("04")?;
        self.in_range(minute, 0..=59, "minute")?;
        self.mark(":")?;
        let second = self.number("05")?;
        self.in_range(second, 0..=59, "second")?;
        let nanos = self.nanos()?;
        let date = Date::new(year, month, day).map_err(|_| self.out_of_range("day"))?;
        Ok(date.at(hour, minute, second, nanos))
    }

    fn year(&mut self) -> Result<i16, String> {
        let year = self.rest.get(..4).filter(|year| year.bytes().all(|b| b.is_ascii_digit()));
        let year = year.and_then(|year| year.parse().ok()).ok_or_else(|| self.cannot("2006"))?;
        self.rest = &self.rest[4..];
        Ok(year)
    }

    /// Two digits.
    fn number(&mut self, part: &str) -> Result<i8, String> {
        match self.rest.as_bytes() {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', ..] => {
                self.rest = &self.rest[2..];
                Ok(((a - b'0') * 10 + (b - b'0')).cast_signed())
            }
            _ => Err(self.cannot(part)),
        }
    }

    /// One or two digits.
    fn hour(&mut self) -> Result<i8, String> {
        match self.rest.as_bytes() {
            [a @ b'0'..=b'9', b, ..] if !b.is_ascii_digit() => {
                self.rest = &self.rest[1..];
                Ok((a - b'0').cast_signed())
            }
            _ => self.number("15"),
        }
    }

    fn nanos(&mut self) -> Result<i32, String> {
        let digits = self
            .rest
            .strip_prefix(['.', ','])
            .map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        let taken = match self.fraction {
            Fraction::SixDigits if digits < 6 => return Err(self.cannot(".000000")),
            Fraction::SixDigits => 6,
            Fraction::Any if digits == 0 => return Ok(0),
            Fraction::Any => digits,
        };
        let (digits, rest) = self.rest[1..].split_at(taken);
        self.rest = rest;
        Ok(format!("{digits:0<9.9}").parse().unwrap_or_default())
    }

    /// The offset east of UTC.
    fn offset(&mut self) -> Result<SignedDuration, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(SignedDuration::ZERO);
        }
        let number = |tens: &u8, ones: &u8| i64::from((tens - b'0') * 10 + (ones - b'0'));
        let (sign, hours, minutes) = match self.rest.as_bytes() {
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2, ..]
                if [h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit()) =>
            {
                (if *sign == b'-' { -1 } else { 1 }, number(h1, h2), number(m1, m2))
            }
            _ => return Err(self.cannot("Z07:00")),
        };
        // Go accepts offsets of 24 hours and of 60 minutes.
        if hours > 24 {
            return Err(self.out_of_range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(self.out_of_range("time zone offset minute"));
        }
        self.rest = &self.rest[6..];
        Ok(SignedDuration::from_mins(sign * (hours * 60 + minutes)))
    }

    fn mark(&mut self, mark: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(mark).ok_or_else(|| self.cannot(mark))?;
        Ok(())
    }

    fn in_range(
        &self,
        number: i8,
        range: std::ops::RangeInclusive<i8>,
        what: &str,
    ) -> Result<(), String> {
        if range.contains(&number) { Ok(()) } else { Err(self.out_of_range(what)) }
    }

    fn out_of_range(&self, what: &str) -> String {
        self.wrong(&format!(": {what} out of range"))
    }

    fn wrong(&self, why: &str) -> String {
        format!("parsing time {:?}{why}", self.text)
    }

    /// The error for the part of the layout that the text lacks.
    fn cannot(&self, part: &str) -> String {
        let (text, rest, layout) = (self.text, self.rest, self.fraction.layout());
        format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}")
    }
}

/// Go's zero time, which Go writes as null.
const ZERO: DateTime = DateTime::constant(1, 1, 1, 0, 0, 0, 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_micro_time_has_exactly_six_digits_and_comes_back_in_utc() {
        let utc = Ok(Some("2026-01-01T00:00:02.123456Z".to_owned()));
        assert_eq!(parse_micros("2026-01-01T00:00:02.123456Z"), utc);
        assert_eq!(parse_micros("2026-01-01T02:00:02.123456+02:00"), utc);
        for wrong in ["yesterday", "2026-01-01T00:00:02Z", "2026-01-01T00:00:02.5Z", "", "é"] {
            assert!(parse_micros(wrong).is_err(), "{wrong}");
        }
        assert!(parse_micros("2026-01-01T00:00:02.123456789Z").is_err());
    }

    #[test]
    fn a_time_loses_its_fraction() {
        let utc = Ok(Some("2026-01-01T00:00:02Z".to_owned()));
        assert_eq!(parse_seconds("2026-01-01T00:00:02.9Z"), utc);
        assert!(parse_seconds("2026-01-01 00:00:02Z").is_err());
        assert!(parse_seconds("2026-01-01").is_err());
    }

    #[test]
    fn the_last_microsecond_of_the_year_9999_is_a_time_in_json_and_in_protobuf() {
        let last = "9999-12-31T23:59:59.999999Z";
        assert_eq!(parse_micros(last), Ok(Some(last.to_owned())));
        assert_eq!(micros_since_1970(253_402_300_799, 999_999_000).as_deref(), Some(last));
        assert_eq!(seconds_since_1970(253_402_300_800, 0), None);
        assert_eq!(parse_micros("0001-01-01T00:00:00.000000Z"), Ok(None));
    }
}
