use std::cell::Cell;
use std::collections::BTreeMap;

use super::*;

thread_local! {
    /// How often a local time was searched.
    pub(super) static SEARCHES: Cell<u64> = const { Cell::new(0) };
}

/// Each zone with a day of a gap and one of a doubled hour, and the date line, which Samoa has crossed.
const DAYS: [(&str, &str); 9] = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Africa/Cairo", "2026-04-24"),
    ("Pacific/Apia", "2011-12-30"),
    ("UTC", "2026-06-01"),
];

const PATTERNS: [&str; 11] = [
    "*/7 * * * *",
    "30 2 * * *",
    "0,30 2 * * *",
    "30 2,14 * * *",
    "0 0 * * *",
    "15 1-3 * * *",
    "*/20 2 * * *",
    "0 */2 * * *",
    "0 3 * * SUN",
    "10 0-5 L * *",
    "@hourly",
];

/// All ticks of the pattern, by looking at each minute.
fn brute_force(pattern: &Pattern, from: Timestamp, minutes: i64) -> Vec<Timestamp> {
    let minute = |index: i64| from + SignedDuration::from_mins(index);
    let mut comes_at = BTreeMap::<DateTime, Vec<Timestamp>>::new();
    for index in 0..minutes {
        comes_at.entry(pattern.zone.to_datetime(minute(index))).or_default().push(minute(index));
    }
    let (first, last) = (*comes_at.keys().next().unwrap(), *comes_at.keys().last().unwrap());
    let mut ticks = Vec::new();
    let mut civil = first;
    while civil <= last {
        if pattern.cron.is_time_matching(&civil).unwrap() {
            match comes_at.get(&civil) {
                Some(instants) if pattern.is_fixed => ticks.push(instants[0]),
                Some(instants) => ticks.extend(instants),
                // Right after the gap: the first instant whose local time is later.
                None if pattern.is_fixed => {
                    ticks.extend(comes_at.range(civil..).next().map(|(_, instants)| instants[0]));
                }
                None => {}
            }
        }
        civil = civil.checked_add(SignedDuration::from_mins(1)).unwrap();
    }
    ticks.sort();
    ticks.dedup();
    ticks
}

#[test]
fn the_ticks_are_those_that_brute_force_finds() {
    for (zone, day) in DAYS {
        for text in PATTERNS {
            let pattern = Pattern::read(text, zone).unwrap();
            let noon: Timestamp = format!("{day}T12:00:00Z").parse().unwrap();
            let from = noon - SignedDuration::from_hours(38);
            let brute = brute_force(&pattern, from, 76 * 60);
            // The ends of the span are not judged: what comes again or never may lie outside.
            let (begin, end) =
                (from + SignedDuration::from_hours(26), from + SignedDuration::from_hours(50));
            let mut found = Vec::new();
            let mut last = begin;
            while let Some(next) = pattern.next(last).filter(|next| *next < end) {
                assert!(next > last, "{text} in {zone}: {next} after {last}");
                found.push(next);
                last = next;
            }
            let brute: Vec<_> =
                brute.into_iter().filter(|tick| *tick > begin && *tick < end).collect();
            assert_eq!(found, brute, "{text} in {zone} about {day}");
        }
    }
}

#[test]
fn a_single_time_comes_once_where_clocks_change() {
    let ticks = |text: &str, zone: &str, after: &str, count: usize| -> Vec<String> {
        let pattern = Pattern::read(text, zone).unwrap();
        let next = |last: &Timestamp| pattern.next(*last);
        let first = pattern.next(after.parse().unwrap());
        std::iter::successors(first, next).take(count).map(|tick| tick.to_string()).collect()
    };
    // 02:30 does not come on that day: right after the gap.
    assert_eq!(
        ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    // It comes twice: the first time.
    assert_eq!(
        ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // A list of times is as good as one.
    assert_eq!(
        ticks("30 2,14 * * *", "Europe/Berlin", "2026-10-24T20:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-25T13:30:00Z"]
    );
    // A rhythm goes by real time, without a pause or a burst.
    assert_eq!(
        ticks("0,30 * * * *", "Europe/Berlin", "2026-10-25T00:15:00Z", 4),
        [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:00:00Z"
        ]
    );
}

#[test]
fn a_change_of_the_clocks_costs_one_search_more() {
    for (zone, day) in DAYS {
        let pattern = Pattern::read("* * * * * *", zone).unwrap();
        let begin: Timestamp = format!("{day}T12:00:00Z").parse().unwrap();
        let begin = begin - SignedDuration::from_hours(38);
        let change =
            pattern.zone.following(begin).next().map_or(begin, |change| change.timestamp());
        let before = SEARCHES.get();
        for second in -7200..=7200 {
            let after = change + SignedDuration::from_secs(second);
            assert_eq!(pattern.next(after), Some(after + SignedDuration::from_secs(1)), "{zone}");
        }
        let searches = SEARCHES.get() - before;
        assert!(searches <= 14_401 + 1, "{searches} in {zone}");
    }
}

#[test]
fn seconds_may_come_first() {
    let pattern = Pattern::read("*/10 * * * * *", "Europe/Berlin").unwrap();
    let next = pattern.next("2026-10-25T00:59:55Z".parse().unwrap()).unwrap();
    assert_eq!(next.to_string(), "2026-10-25T01:00:00Z");
}

#[test]
fn what_never_comes_or_cannot_be_read_is_known() {
    let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
    assert_eq!(Pattern::read("0 0 30 2 *", "UTC").unwrap().next(now), None);
    assert!(matches!(Pattern::read("61 * * * *", "UTC"), Err(Unreadable::Pattern(_))));
    assert!(matches!(Pattern::read("", "UTC"), Err(Unreadable::Pattern(_))));
    let zone = Pattern::read("0 0 * * *", "Europe/Nowhere").map(drop);
    assert_eq!(zone, Err(Unreadable::Zone("Europe/Nowhere".to_owned())));
}

#[test]
fn two_passes_of_one_local_time_are_told_apart() {
    let calendar = CronCalendar::default();
    let civil = |text: &str| {
        let tick: Timestamp = text.parse().unwrap();
        let tick = Moment::from_unix_micros(tick.as_microsecond());
        calendar.civil("Europe/Berlin", tick).unwrap()
    };
    assert_eq!(civil("2026-10-25T00:30:00Z"), "2026-10-25T02:30:00");
    assert_eq!(civil("2026-10-25T01:30:00Z"), "2026-10-25T02:30:00 again");
}
