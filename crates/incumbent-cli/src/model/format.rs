//! Names, ages and tables for people: short, and without tricks of a terminal.

use std::time::Duration;

pub(crate) fn or_none(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "<none>".to_owned())
}

/// Text of others, for people: no tricks, and not so long that it pushes all else away.
pub(crate) fn name(text: &str) -> String {
    cut(&printable(text), LONGEST_NAME)
}

/// A name as a word of a shell. One with tricks in it is one that nobody should paste.
pub(crate) fn quoted(text: &str) -> Option<String> {
    let is_plain = printable(text) == text && text.chars().count() <= LONGEST_WORD;
    is_plain.then(|| format!("'{}'", text.replace('\'', r"'\''")))
}

const LONGEST_WORD: usize = 253;

/// No more than so many characters of it.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// A Pod's name and uid have a hundred at most; an annotation has room for a quarter of a million.
const LONGEST_NAME: usize = 120;

/// A Pod's name followed by its uid, without most of the uid; and no name longer than a column.
pub(crate) fn short(name: &str) -> String {
    let is_uid =
        |uid: &str| uid.len() == 36 && uid.bytes().filter(|byte| *byte == b'-').count() == 4;
    let name = match name.rsplit_once('_') {
        Some((pod, uid)) if is_uid(uid) => format!("{pod}_{}…", &uid[..4]),
        _ => name.to_owned(),
    };
    match name.chars().count() {
        0..=LONGEST => name,
        count => {
            let tail: String = name.chars().skip(count - LONGEST / 2).collect();
            name.chars().take(LONGEST - LONGEST / 2 - 1).collect::<String>() + "…" + &tail
        }
    }
}

const LONGEST: usize = 30;

/// Numbers in order: 0, 1, 2 and 5 as `0-2,5`. What is no number is left out.
pub(crate) fn ranges<'a>(numbers: impl IntoIterator<Item = &'a str>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers.into_iter().filter_map(|number| number.parse::<u32>().ok()) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let words = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(",")
}

/// As kubectl shows an age: the unit in which two digits or so are enough.
pub(crate) fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A span that is rarely long and may be very short.
pub(crate) fn span(span: Duration) -> String {
    match span {
        span if span < Duration::from_secs(1) => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        span if span < Duration::from_secs(120) => format!("{:.1} s", span.as_secs_f64()),
        span => age(span),
    }
}

/// A duration in the unit that fits.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let trimmed = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    match duration.as_secs() {
        0 => format!("{} ms", trimmed(format!("{:.1}", seconds * 1000.0))),
        1..120 => format!("{} s", trimmed(format!("{seconds:.1}"))),
        120..7_200 => format!("{} min", duration.as_secs() / 60),
        7_200..172_800 => format!("{} h", duration.as_secs() / 3_600),
        _ => format!("{} d", duration.as_secs() / 86_400),
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Text of others, as a name in a record is: it must not move the cursor, nor turn around what follows.
pub(crate) fn printable(name: &str) -> String {
    name.chars().map(|c| if is_trick(c) { '\u{fffd}' } else { c }).collect()
}

/// The same with its line breaks, and not without an end: an answer of the API server, or of what is in between.
pub(crate) fn printable_text(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(printable).collect();
    cut(&lines.join("\n"), LONGEST_TEXT)
}

const LONGEST_TEXT: usize = 2000;

/// JSON in which such characters are escapes: a program reads the same, and a terminal is not moved.
pub(crate) fn printable_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // Between the parts of JSON stand line breaks; in its strings there is none.
        match is_trick(c) && c != '\n' {
            true => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => text.push(c),
        }
    }
    text
}

/// All of these are below U+10000, so that one escape of JSON is enough for each.
fn is_trick(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A table as kubectl prints it: upper-case heads, three spaces, no lines.
///
/// A cell of others that is longer than any name should be is cut: it would push away all else.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let cut = |cell: &String| cut(cell, LONGEST_CELL);
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(cut).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let print = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths);
        let line: Vec<_> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        line.join("   ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| print(row.iter().map(String::as_str).collect()));
    [print(heads.to_vec())].into_iter().chain(body).collect::<Vec<_>>().join("\n")
}

/// A Pod's name and uid have 290 at most.
const LONGEST_CELL: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_shown_in_the_unit_that_fits() {
        let shown = [0, 119, 120, 7_199, 7_200, 172_799, 172_800, 63_930_936_533];
        let shown = shown.map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0s", "119s", "2m", "119m", "2h", "47h", "2d", "739941d"]);
    }

    #[test]
    fn a_name_has_no_tricks_and_an_end() {
        assert_eq!(name("john"), "john");
        assert_eq!(name("a\u{202e}b\u{7}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(name(&"x".repeat(5000)).chars().count(), LONGEST_NAME);
    }

    #[test]
    fn numbers_are_ranges() {
        assert_eq!(ranges("0,1,2,5,7,8".split(',')), "0-2,5,7-8");
        assert_eq!(ranges(["3"]), "3");
    }

    #[test]
    fn a_long_name_keeps_its_beginning_and_its_end() {
        assert_eq!(short("john"), "john");
        let pod = "scanner-7d9f5c-abcde_3f0d2c52-8f3e-4d0c-9d55-0f3c5f1b7a10";
        assert_eq!(short(pod), "scanner-7d9f5c-abcde_3f0d…");
        let long = short("a-very-long-name-that-says-something-at-its-very-end-7");
        assert_eq!((long.chars().count(), long.ends_with("-very-end-7")), (30, true));
    }

    #[test]
    fn a_cell_of_any_length_is_cut_and_the_table_is_whole() {
        let long = "h".repeat(66_000);
        let shown = table(&["NAME", "HOLDER"], &[vec!["lease/a".to_owned(), long]]);
        assert!(shown.lines().all(|line| line.chars().count() <= LONGEST_CELL + 20), "{shown}");
        assert!(shown.ends_with('…'));
    }
}
