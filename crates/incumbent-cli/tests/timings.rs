//! `incumbent timings`, and the tables of docs/timing.md beside it.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Outcome, incumbent};

fn run(arguments: &str) -> Outcome {
    Outcome::of(incumbent(&format!("timings {arguments}")).output().unwrap())
}

fn json(arguments: &str) -> Value {
    let outcome = run(&format!("{arguments} -o json"));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn a_timing_is_explained_in_words_and_in_figures() {
    let text = run("").stdout;
    for line in [
        "lease duration     15 s     others wait this long after a sign of life",
        "stop deadline      14.7 s   then work that still runs is ended by force",
        "  below 2.5 s       the leader continues",
        "  above 10 s        it stops; the first to reach the server again leads",
        "  after a crash     10 s to 15.1 s; polling, up to 17.5 s",
        "                    3 s before others may lead; nothing ends work by force",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    let figures = json("--lease-duration 30s --candidates 11");
    assert_eq!(figures["renewDeadlineSeconds"], 20.0);
    assert_eq!(figures["requestsPerSecond"]["candidates"], 11);
    // 1 / 9.5 of the leader, and 10 / 4.4 of those that wait.
    assert_eq!(figures["requestsPerSecond"]["polling"], 2.378);
}

#[test]
fn a_timing_that_cannot_work_is_refused_with_the_reason() {
    let outcome = run("--lease-duration 8s --renew-deadline 10s");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
    let reason = "a leader must have stopped before others may start";
    assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("  hint: "), "{}", outcome.stderr);
}

const PRESETS: [&str; 4] = ["fast", "default", "patient", "single-node"];

/// Which row of the page shows which figure.
const ROWS: [(&str, &str); 14] = [
    ("lease duration", "/leaseDurationSeconds"),
    ("renew deadline", "/renewDeadlineSeconds"),
    ("retry period", "/retryPeriodSeconds"),
    ("renew interval", "/renewIntervalSeconds"),
    ("request time-out", "/requestTimeoutSeconds"),
    ("stop budget", "/stopBudgetSeconds"),
    ("stop deadline", "/stopDeadlineSeconds"),
    ("best", "/nobodyLeads/afterCrashBestSeconds"),
    ("worst", "/nobodyLeads/afterCrashWorstSeconds"),
    ("worst, polling", "/nobodyLeads/afterCrashWorstPollingSeconds"),
    ("never: shorter than renew deadline − R − gap", "/outage/alwaysSurvivedBelowSeconds"),
    ("always: longer than the renew deadline", "/outage/neverSurvivedAboveSeconds"),
    ("leader, PUT per second", "/requestsPerSecond/watching"),
    ("waiting, polling, GET per second", ""),
];

#[test]
fn the_tables_are_what_timings_prints() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/timing.md");
    let page = std::fs::read_to_string(page).unwrap();
    let figures = PRESETS.map(|preset| json(&format!("--preset {preset} --candidates 2")));
    for (row, pointer) in ROWS {
        // The table of all durations has the default and words; those of the presets have four figures.
        let cells = page.lines().filter_map(|line| line.strip_prefix(&format!("| {row} |")));
        let mut cells =
            cells.map(|line| line.trim_end_matches('|').split('|').map(str::trim).collect());
        let cells: Vec<&str> = cells.rfind(|cells: &Vec<_>| cells.len() >= 4).unwrap();
        for (cell, figures) in cells[cells.len() - 4..].iter().zip(&figures) {
            let of = |pointer| figures.pointer(pointer).and_then(Value::as_f64).unwrap();
            let figure = match pointer {
                "" => of("/requestsPerSecond/polling") - of("/requestsPerSecond/watching"),
                pointer => of(pointer),
            };
            let number = cell.trim_end_matches(" s").trim_end_matches(" n");
            let digits = number.split_once('.').map_or(0, |(_, digits)| digits.len());
            // As the page rounds it; the figures are rounded themselves, to a few digits more.
            let is_same = (figure - number.parse::<f64>().unwrap()).abs()
                <= 0.5 * 0.1_f64.powi(i32::try_from(digits).unwrap()) + 0.0001;
            assert!(is_same, "{row}: {cell}, but it is {figure}");
        }
    }
}
