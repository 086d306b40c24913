//! `incumbent timings`: what a timing tolerates and costs, by the rules of docs/timing.md. Asks no cluster.

use std::process::ExitCode;
use std::time::Duration;

use incumbent::Timing;
use serde_json::{Value, json};

use crate::flags::output_format::OutputFormat;
use crate::flags::timing::TimingArgs;
use crate::model::format;
use crate::runtime::output;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Timings {
    /// For how many candidates to count requests; one of them leads
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    candidates: u32,
    /// How to print them
    #[arg(short, long, value_enum, default_value = "text")]
    output: OutputFormat,
    #[command(flatten)]
    timing: TimingArgs,
}

const HELP: &str = "\
Examples:
  Show what the default timing tolerates:
    $ incumbent timings
  Show what a lease of 30 seconds costs with ten candidates:
    $ incumbent timings --lease-duration 30s --candidates 10";

pub(crate) fn run(args: &Timings) -> anyhow::Result<ExitCode> {
    let timing = args.timing.timing()?;
    let figures = Figures::of(&timing, args.candidates);
    output::line(&match args.output {
        OutputFormat::Text => to_text(&timing, &figures),
        OutputFormat::Json => serde_json::to_string_pretty(&to_json(&timing, &figures))?,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What follows from a timing.
#[derive(Clone, Debug, PartialEq)]
struct Figures {
    /// An outage below this never costs the leadership.
    always_survived: Duration,
    /// Nor one below this that begins right after a renewal.
    survived_at_best: Duration,
    /// A longer one always does.
    never_survived: Duration,
    /// How many tries begin before the deadline, at least, where each is refused at once.
    tries_if_refused: u128,
    /// And where each is given up without an answer.
    tries_if_unanswered: u128,
    /// How long there is no leader after a release, where who waits may not watch.
    release_polling: Duration,
    crash_best: Duration,
    crash_worst: Duration,
    crash_worst_polling: Duration,
    candidates: u32,
    /// Requests a second.
    leader: f64,
    each_polling: f64,
    client_go: ClientGo,
}

/// The same of client-go (0.37), whose deadline begins a retry period after the answer to a renewal,
/// and which polls every retry period, with up to 120 % more by chance.
#[derive(Clone, Debug, PartialEq)]
struct ClientGo {
    stops_after: Duration,
    always_survived: Duration,
    release: Duration,
    crash_worst: Duration,
    leader: f64,
    each_waiting: f64,
}

impl Figures {
    fn of(timing: &Timing, candidates: u32) -> Self {
        let (lease, retry) = (timing.lease_duration(), timing.retry_period());
        let (deadline, interval) = (timing.renew_deadline(), timing.renew_interval());
        let longest_pause = retry * 6 / 5;
        // At least one try begins in any span of this length.
        let gap = timing.request_timeout().max(longest_pause);
        let left_to_retry = deadline - interval;
        let tries = |gap: Duration| left_to_retry.as_nanos().div_ceil(gap.as_nanos());
        Self {
            always_survived: left_to_retry.saturating_sub(gap),
            survived_at_best: deadline.saturating_sub(gap),
            never_survived: deadline,
            tries_if_refused: tries(longest_pause),
            tries_if_unanswered: tries(gap),
            release_polling: longest_pause,
            crash_best: lease - interval,
            crash_worst: lease + TAKEOVER,
            crash_worst_polling: lease + longest_pause + TAKEOVER,
            candidates,
            // Each renewal comes up to a tenth sooner by chance, each poll up to a fifth later.
            leader: per_second(interval * 19 / 20),
            each_polling: per_second(retry * 11 / 10),
            client_go: ClientGo::of(timing),
        }
    }

    fn waiting(&self) -> f64 {
        f64::from(self.candidates - 1)
    }

    fn polling(&self) -> f64 {
        self.leader + self.waiting() * self.each_polling
    }

    fn of_client_go(&self) -> f64 {
        self.client_go.leader + self.waiting() * self.client_go.each_waiting
    }
}

impl ClientGo {
    fn of(timing: &Timing) -> Self {
        let (lease, retry) = (timing.lease_duration(), timing.retry_period());
        let longest_poll = retry * 11 / 5;
        Self {
            stops_after: retry + timing.renew_deadline(),
            always_survived: timing.renew_deadline().saturating_sub(retry),
            release: longest_poll,
            // A poll may see the last renewal late, and the next one after the expiry late again.
            crash_worst: lease + longest_poll * 2,
            leader: per_second(retry),
            each_waiting: per_second(retry * 8 / 5),
        }
    }
}

/// Half of it is chance, so that not all try at one moment, and half the write.
const TAKEOVER: Duration = Duration::from_millis(100);

fn per_second(pause: Duration) -> f64 {
    1.0 / pause.as_secs_f64()
}

fn to_text(timing: &Timing, figures: &Figures) -> String {
    [
        durations(timing),
        outages(figures),
        gaps(figures),
        requests(figures),
        client_go(timing, figures),
    ]
    .join("\n\n")
}

fn durations(timing: &Timing) -> String {
    let clock_error = timing.lease_duration() - timing.stop_deadline();
    let rows = [
        ("lease duration", timing.lease_duration(), "others wait this long after a sign of life"),
        ("renew deadline", timing.renew_deadline(), "a leader may act this long on one renewal"),
        (
            "renew interval",
            timing.renew_interval(),
            "from renewal to renewal; a tenth less at most",
        ),
        ("retry period", timing.retry_period(), "pause after a failure; a fifth more at most"),
        ("request time-out", timing.request_timeout(), "then an outcome counts as unknown"),
        ("stop budget", timing.stop_budget(), "left for the work to stop after the deadline"),
        ("stop deadline", timing.stop_deadline(), "then work that still runs is ended by force"),
        ("clock error", clock_error, "left for clocks that run at another rate"),
    ];
    let rows = rows
        .map(|(name, value, meaning)| vec![name.to_owned(), seconds(value), meaning.to_owned()]);
    format::table(&["DURATION", "VALUE", "MEANING"], &rows)
}

fn outages(figures: &Figures) -> String {
    let mut rows = Vec::new();
    if !figures.always_survived.is_zero() {
        let length = format!("below {}", seconds(figures.always_survived));
        rows.push((length, "the leader continues".to_owned()));
    }
    if !figures.survived_at_best.is_zero() {
        let length = format!("below {}", seconds(figures.survived_at_best));
        rows.push((length, "it continues if it has just renewed".to_owned()));
    }
    let length = format!("above {}", seconds(figures.never_survived));
    rows.push((length, "it stops; the first to reach the server again leads".to_owned()));
    let tries = format!(
        "to renew in time: {} or more if refused, {} if not answered",
        figures.tries_if_refused, figures.tries_if_unanswered
    );
    rows.push(("tries".to_owned(), tries));
    section("The API server is away", &rows)
}

fn gaps(figures: &Figures) -> String {
    let release = format!(
        "one watch event and one write; polling, up to {} more",
        seconds(figures.release_polling)
    );
    let crash = format!(
        "{} to {}; polling, up to {}",
        seconds(figures.crash_best),
        seconds(figures.crash_worst),
        seconds(figures.crash_worst_polling)
    );
    let rows = [("after a release".to_owned(), release), ("after a crash".to_owned(), crash)];
    section("No leader", &rows)
}

fn requests(figures: &Figures) -> String {
    let watching = format!("{:<5}  renewals; waiting candidates ask nothing", rate(figures.leader));
    let polling = format!(
        "{:<5}  of which each waiting candidate sends {}",
        rate(figures.polling()),
        rate(figures.each_polling)
    );
    let rows = [("with a watch".to_owned(), watching), ("polling".to_owned(), polling)];
    section(&format!("Requests a second, with {} candidates", figures.candidates), &rows)
}

fn client_go(timing: &Timing, figures: &Figures) -> String {
    let other = &figures.client_go;
    let lease = timing.lease_duration();
    let margin = match lease.checked_sub(other.stops_after) {
        Some(margin) => format!("{} before others may lead", seconds(margin)),
        None => format!("{} AFTER others may lead", seconds(other.stops_after - lease)),
    };
    let rows = [
        (
            "stops".to_owned(),
            format!("{} after the answer to its last renewal:", seconds(other.stops_after)),
        ),
        (String::new(), format!("{margin}; nothing ends work by force")),
        (
            "outage".to_owned(),
            format!("the leader continues below {}", seconds(other.always_survived)),
        ),
        ("after a release".to_owned(), format!("no leader for up to {}", seconds(other.release))),
        ("after a crash".to_owned(), format!("no leader for up to {}", seconds(other.crash_worst))),
        ("requests".to_owned(), format!("{} a second", rate(figures.of_client_go()))),
    ];
    section("client-go with the same three numbers", &rows)
}

fn section(head: &str, rows: &[(String, String)]) -> String {
    let rows = rows.iter().map(|(name, value)| format!("  {name:<16}  {value}"));
    [head.to_owned()].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

fn to_json(timing: &Timing, figures: &Figures) -> Value {
    let other = &figures.client_go;
    let seconds = |duration: Duration| (duration.as_secs_f64() * 1000.0).round() / 1000.0;
    let rate = |rate: f64| (rate * 10_000.0).round() / 10_000.0;
    json!({
        "leaseDurationSeconds": seconds(timing.lease_duration()),
        "renewDeadlineSeconds": seconds(timing.renew_deadline()),
        "renewIntervalSeconds": seconds(timing.renew_interval()),
        "retryPeriodSeconds": seconds(timing.retry_period()),
        "requestTimeoutSeconds": seconds(timing.request_timeout()),
        "stopBudgetSeconds": seconds(timing.stop_budget()),
        "stopDeadlineSeconds": seconds(timing.stop_deadline()),
        "clockErrorSeconds": seconds(timing.lease_duration() - timing.stop_deadline()),
        "outage": {
            "alwaysSurvivedBelowSeconds": seconds(figures.always_survived),
            "survivedAfterRenewalBelowSeconds": seconds(figures.survived_at_best),
            "neverSurvivedAboveSeconds": seconds(figures.never_survived),
            "triesIfRefused": figures.tries_if_refused as u64,
            "triesIfUnanswered": figures.tries_if_unanswered as u64,
        },
        "nobodyLeads": {
            "afterReleasePollingSeconds": seconds(figures.release_polling),
            "afterCrashBestSeconds": seconds(figures.crash_best),
            "afterCrashWorstSeconds": seconds(figures.crash_worst),
            "afterCrashWorstPollingSeconds": seconds(figures.crash_worst_polling),
        },
        "requestsPerSecond": {
            "candidates": figures.candidates,
            "watching": rate(figures.leader),
            "polling": rate(figures.polling()),
        },
        "clientGo": {
            "stopsAfterSeconds": seconds(other.stops_after),
            "outageSurvivedBelowSeconds": seconds(other.always_survived),
            "afterReleaseSeconds": seconds(other.release),
            "afterCrashWorstSeconds": seconds(other.crash_worst),
            "requestsPerSecond": rate(figures.of_client_go()),
        },
    })
}

/// To the millisecond, without zeros at the end.
fn seconds(duration: Duration) -> String {
    let text = format!("{:.3}", duration.as_secs_f64());
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Two digits that say something.
fn rate(rate: f64) -> String {
    match rate {
        1.0.. => format!("{rate:.1}"),
        0.1.. => format!("{rate:.2}"),
        _ => format!("{rate:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// To the millisecond, in the order of the fields.
    fn figures(timing: &Timing) -> ([u64; 7], [u128; 2], [f64; 2]) {
        let figures = Figures::of(timing, 3);
        let durations = [
            figures.always_survived,
            figures.survived_at_best,
            figures.never_survived,
            figures.release_polling,
            figures.crash_best,
            figures.crash_worst,
            figures.crash_worst_polling,
        ];
        let durations = durations.map(|duration| (duration.as_secs_f64() * 1000.0).round() as u64);
        let rates = [figures.leader, figures.each_polling];
        let tries = [figures.tries_if_refused, figures.tries_if_unanswered];
        (durations, tries, rates.map(|rate| (rate * 10_000.0).round() / 10_000.0))
    }

    /// By hand, from the formulas of docs/timing.md.
    #[test]
    fn the_figures_of_the_presets_are_those_of_the_documentation() {
        // R 1.5, gap 0.75: 3 - 1.5 - 0.75, 3 - 0.75, 3; 1.2 x 0.5; 5 - 1.5, 5 + 0.1, 5 + 0.6 + 0.1.
        let durations = [750, 2_250, 3_000, 600, 3_500, 5_100, 5_700];
        assert_eq!(figures(&Timing::fast()), (durations, [3, 2], [0.7018, 1.8182]));
        // R 5, gap 2.5: 10 - 5 - 2.5, 10 - 2.5, 10; 1.2 x 2; 15 - 5, 15 + 0.1, 15 + 2.4 + 0.1.
        let durations = [2_500, 7_500, 10_000, 2_400, 10_000, 15_100, 17_500];
        assert_eq!(figures(&Timing::standard()), (durations, [3, 2], [0.2105, 0.4545]));
        // R 45.667, gap 1.2 x 26 = 31.2, more than the time-out of 30.667.
        let durations = [30_133, 75_800, 107_000, 31_200, 91_333, 137_100, 168_300];
        assert_eq!(figures(&Timing::patient()), (durations, [2, 2], [0.0231, 0.035]));
        // R 90, gap 75, more than 1.2 x 60 = 72.
        let durations = [75_000, 165_000, 240_000, 72_000, 180_000, 270_100, 342_100];
        assert_eq!(figures(&Timing::single_node()), (durations, [3, 2], [0.0117, 0.0152]));
    }

    #[test]
    fn client_go_stops_later_and_polls() {
        let of = |timing: &Timing| {
            let ClientGo { stops_after, always_survived, release, crash_worst, .. } =
                ClientGo::of(timing);
            [stops_after, always_survived, release, crash_worst]
        };
        assert_eq!(of(&Timing::standard()), [ms(12_000), ms(8_000), ms(4_400), ms(23_800)]);
        assert_eq!(of(&Timing::fast()), [ms(3_500), ms(2_500), ms(1_100), ms(7_200)]);
        assert_eq!(of(&Timing::patient()), [ms(133_000), ms(81_000), ms(57_200), ms(251_400)]);
        let client_go = Figures::of(&Timing::standard(), 3).of_client_go();
        assert!((client_go - (0.5 + 2.0 / 3.2)).abs() < 1e-9, "{client_go}");
        let text = client_go_of(&Timing::single_node());
        assert!(text.contains("30 s AFTER others may lead"), "{text}");
    }

    fn client_go_of(timing: &Timing) -> String {
        client_go(timing, &Figures::of(timing, 3))
    }

    #[test]
    fn what_cannot_be_promised_is_left_out() {
        // R 7.5 and the gap of 2.5 leave nothing: an outage at the wrong moment costs the leadership.
        let timing = Timing::standard().with_renew_interval(ms(7_500)).unwrap();
        let figures = Figures::of(&timing, 1);
        assert_eq!((figures.always_survived, figures.tries_if_unanswered), (Duration::ZERO, 1));
        assert!(!outages(&figures).contains("the leader continues"), "{}", outages(&figures));
        assert!(figures.polling() == figures.leader, "nobody waits");
    }

    #[test]
    fn eighty_columns_are_enough() {
        for timing in [Timing::fast(), Timing::standard(), Timing::patient(), Timing::single_node()]
        {
            let text = to_text(&timing, &Figures::of(&timing, 1_000));
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }
}
