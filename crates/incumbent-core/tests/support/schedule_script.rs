//! The language of the scenario files about schedules.
//!
//! The script keeps the object as a server would: `answered` applies the request that was sent. Moments of the wall
//! clock are the seconds of the script, so that tick `60s` is due at the line `60s`.

use std::fmt::Write as _;
use std::time::Duration;

use incumbent_core::schedule::{
    Asked, Calendar, CatchUp, Moment, OnDeath, Outcome, Overlap, Policies, Run, ScheduleEvent,
    ScheduleObject, ScheduleOperation, ScheduleOrders, ScheduleRecord, ScheduleReply,
    ScheduleRequest, ScheduleSettings, Scheduler, Spec, StoredSchedule, Suspension, Tick,
    Timetable, When, resumed,
};
use incumbent_core::{FencingToken, Instant, Now, Session, Term, Uid, Version, WallTime};

/// Plays one scenario.
pub(crate) struct ScheduleScript {
    scheduler: Scheduler,
    calendar: Data,
    object: ScheduleObject,
    sent: Option<ScheduleRequest>,
    /// How far the own wall clock, and that of the server, are ahead.
    own_ahead: i64,
    server_ahead: i64,
    sends_date: bool,
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

const INDENT: &str = "        ";
const OWN: Session = Session(1);
const OTHER: Session = Session(2);

/// A pattern is a number of seconds, and its ticks are the multiples of it in local time. Local time is UTC up to
/// `shift_at`, and later `shift` ahead of it.
struct Data {
    shift_at: i64,
    shift: i64,
}

impl Data {
    fn local(&self, seconds: i64) -> i64 {
        seconds + if seconds >= self.shift_at { self.shift } else { 0 }
    }
}

impl Calendar for Data {
    fn next(&self, pattern: &str, _: &str, after: Moment) -> Option<Moment> {
        let period: i64 = pattern.parse().ok()?;
        let after = after.unix_micros().div_euclid(1_000_000);
        let due = (after + 1..).find(|second| self.local(*second).rem_euclid(period) == 0)?;
        Some(moment(due))
    }

    fn civil(&self, _: &str, tick: Moment) -> Option<String> {
        Some(format!("local {}s", self.local(tick.unix_micros() / 1_000_000)))
    }
}

impl ScheduleScript {
    /// Returns the text with the answers as they are now.
    pub(crate) fn play(text: &str) -> String {
        let mut script: Option<Self> = None;
        let mut out = String::new();
        for line in text.lines().filter(|line| !line.starts_with([' ', '\t'])) {
            writeln!(out, "{line}").unwrap();
            let mut words = line.split_whitespace().peekable();
            match (words.next(), &mut script) {
                (None | Some("#"), _) => {}
                (Some("schedule"), None) => script = Some(Self::new(&mut words)),
                (Some(time), Some(script)) => {
                    out.push_str(&script.happens(seconds(time), &mut words));
                }
                (Some(other), _) => panic!("{other}?"),
            }
        }
        out
    }

    fn new(words: &mut Words<'_>) -> Self {
        let name = words.next().unwrap().to_owned();
        let spec = spec(words);
        let policies = policies(words);
        let settings = ScheduleSettings {
            name,
            spec,
            policies,
            session: OWN,
            request_timeout: Duration::from_secs(2),
        };
        let version = Version { uid: Uid("a".to_owned()), revision: 1 };
        Self {
            scheduler: Scheduler::new(settings),
            calendar: Data { shift_at: i64::MAX, shift: 0 },
            object: ScheduleObject {
                version,
                term: None,
                schedule: StoredSchedule::Missing,
                was: StoredSchedule::Missing,
            },
            sent: None,
            own_ahead: 0,
            server_ahead: 0,
            sends_date: true,
        }
    }

    fn happens(&mut self, time: f64, words: &mut Words<'_>) -> String {
        let mut out = String::new();
        match words.next().expect("what happens?") {
            "own-clock" => self.own_ahead = whole(words),
            "server-clock" => self.server_ahead = whole(words),
            "server-sends-no-date" => self.sends_date = false,
            "server-sends-date" => self.sends_date = true,
            "time-zone-data" => {
                self.calendar = Data { shift_at: whole(words), shift: whole(words) };
            }
            "others" => self.others(time, words),
            "answered" if self.sent.is_none() => out = format!("{INDENT}nothing was asked\n"),
            other => {
                let (event, has_date) = self.event(other, time, words);
                if has_date && self.sends_date {
                    let date = moment((time.floor() as i64) + self.server_ahead);
                    self.step(time, ScheduleEvent::Date(date), &mut String::new());
                }
                self.step(time, event, &mut out);
            }
        }
        out
    }

    fn step(&mut self, time: f64, event: ScheduleEvent, out: &mut String) {
        let wall = (time * 1e6) as i64 + self.own_ahead * 1_000_000;
        let now = Now {
            instant: Instant::new(Duration::from_secs_f64(time)),
            wall: WallTime::from_unix_micros(wall),
        };
        let orders = self.scheduler.step(now, event, &self.calendar);
        say(&orders, out);
        self.sent = orders.request.or_else(|| self.sent.take());
    }

    /// What happens, and whether an answer of the server has come with it.
    fn event(&mut self, word: &str, time: f64, words: &mut Words<'_>) -> (ScheduleEvent, bool) {
        match word {
            "wakes" => (ScheduleEvent::Wake, false),
            "leads" => {
                let token = FencingToken(whole(words) as u64);
                self.object.term = Some((token, OWN));
                self.object.version.revision += 1;
                (ScheduleEvent::Term(term(token, time)), true)
            }
            "renews" => {
                let (token, _) = self.object.term.unwrap();
                self.object.version.revision += 1;
                (ScheduleEvent::Term(term(token, time)), true)
            }
            "loses" => (ScheduleEvent::TermOver, false),
            "answered" => (ScheduleEvent::Reply(self.answer()), true),
            "answered-with-another-period" => (ScheduleEvent::Reply(self.altered_answer()), true),
            "applied-and-answer-lost" => {
                let _ = self.answer();
                (ScheduleEvent::Reply(ScheduleReply::Unknown), false)
            }
            "lost" => {
                self.sent = None;
                (ScheduleEvent::Reply(ScheduleReply::Unknown), false)
            }
            "refused" => {
                self.sent = None;
                (ScheduleEvent::Reply(ScheduleReply::Refused { retry_after: None }), true)
            }
            "ended" => (ScheduleEvent::Ended(outcome(words.next().unwrap())), false),
            other => panic!("{other}?"),
        }
    }

    fn answer(&mut self) -> ScheduleReply {
        match self.sent.take().expect("a request is in flight").operation {
            ScheduleOperation::Read => ScheduleReply::Found(self.object.clone()),
            ScheduleOperation::Replace { base, .. } if base != self.object.version => {
                ScheduleReply::Conflict
            }
            ScheduleOperation::Replace { record, was, .. } => {
                self.object.version.revision += 1;
                self.object.schedule = StoredSchedule::Readable(record);
                if let Some(was) = was {
                    self.object.was = StoredSchedule::Readable(was);
                }
                ScheduleReply::Written(self.object.clone())
            }
        }
    }

    /// A webhook has changed what was to be stored.
    fn altered_answer(&mut self) -> ScheduleReply {
        let answer = self.answer();
        let (ScheduleReply::Written(_), StoredSchedule::Readable(record)) =
            (&answer, &mut self.object.schedule)
        else {
            return answer;
        };
        record.spec.when =
            When::Every { period: Duration::from_secs(7), anchor: Moment::default() };
        ScheduleReply::Written(self.object.clone())
    }

    /// What other clients write.
    fn others(&mut self, time: f64, words: &mut Words<'_>) {
        let at = moment(time as i64);
        self.object.version.revision += 1;
        let word = words.next().unwrap();
        match word {
            "lead" => self.object.term = Some((FencingToken(whole(words) as u64), OTHER)),
            "delete" => self.object.schedule = StoredSchedule::Missing,
            "garble" => self.object.schedule = StoredSchedule::Unreadable,
            "garble-the-old" => self.object.was = StoredSchedule::Unreadable,
            "had" => {
                let spec = spec(words);
                let floor = moment(whole(words));
                let record = ScheduleRecord::new(spec, floor);
                self.object.was = StoredSchedule::Readable(Box::new(record));
            }
            "have" => {
                let spec = spec(words);
                let floor = moment(whole(words));
                let record = ScheduleRecord::new(spec, floor);
                self.object.schedule = StoredSchedule::Readable(Box::new(record));
            }
            _ => self.edit(word, at, words),
        }
    }

    fn edit(&mut self, word: &str, at: Moment, words: &mut Words<'_>) {
        let StoredSchedule::Readable(record) = &mut self.object.schedule else {
            panic!("no record")
        };
        match word {
            "suspend" => record.suspended = Some(Suspension { since: at, by: "jane".to_owned() }),
            "resume" => {
                let timetable =
                    Timetable { calendar: &self.calendar, name: "", jitter: Duration::ZERO };
                **record = resumed(record, at, timetable);
            }
            "ask" => record.asked = Some(Asked { id: 42, at }),
            "run" => {
                let token = FencingToken(whole(words) as u64);
                let tick = moment(whole(words));
                record.floor = tick;
                record.run = Some(Run {
                    tick: Tick::At(tick),
                    attempt: 1,
                    failures: 0,
                    token,
                    session: OTHER,
                    first: tick,
                    began: tick,
                });
            }
            "restore" => record.floor = moment(whole(words)),
            "zone" => record.floor_civil = Some(format!("local {}s", whole(words))),
            other => panic!("{other}?"),
        }
    }
}

// Reading.

fn seconds(text: &str) -> f64 {
    text.strip_suffix('s').unwrap().parse().unwrap()
}

fn whole(words: &mut Words<'_>) -> i64 {
    let word = words.next().expect("a number");
    word.trim_start_matches('+').trim_end_matches('s').parse().expect(word)
}

fn moment(seconds: i64) -> Moment {
    Moment::from_unix_micros(seconds * 1_000_000)
}

fn term(token: FencingToken, time: f64) -> Term {
    let sent = Instant::new(Duration::from_secs_f64(time));
    Term {
        token,
        valid_until: sent + Duration::from_secs(10),
        stop_by: sent + Duration::from_secs(14),
    }
}

fn spec(words: &mut Words<'_>) -> Spec {
    let when = match words.next().unwrap() {
        "every" => When::Every {
            period: Duration::from_secs(whole(words) as u64),
            anchor: Moment::default(),
        },
        "cron" => {
            When::Cron { pattern: whole(words).to_string(), zone: "Europe/Berlin".to_owned() }
        }
        other => panic!("{other}?"),
    };
    let revision = match words.next_if_eq(&"revision") {
        Some(_) => whole(words) as u64,
        None => 0,
    };
    Spec { when, revision }
}

fn policies(words: &mut Words<'_>) -> Policies {
    let mut policies = Policies::default();
    while let Some(word) = words.next() {
        match word {
            "catch-up-none" => policies.catch_up = CatchUp::None,
            "catch-up-all" => policies.catch_up = CatchUp::All(whole(words) as u32),
            "queue" => policies.overlap = Overlap::Queue,
            "replace" => policies.overlap = Overlap::Replace,
            "again" => policies.on_death = OnDeath::Again,
            "retries" => policies.retries = whole(words) as u32,
            "deadline" => policies.deadline = Duration::from_secs(whole(words) as u64),
            "jitter" => policies.jitter = Duration::from_secs(whole(words) as u64),
            other => panic!("{other}?"),
        }
    }
    policies
}

fn outcome(word: &str) -> Outcome {
    match word {
        "succeeded" => Outcome::Succeeded,
        "failed" => Outcome::Failed,
        "stopped" => Outcome::Stopped,
        "replaced" => Outcome::Replaced,
        "unstarted" => Outcome::Unstarted,
        other => panic!("{other}?"),
    }
}

// Writing.

fn say(orders: &ScheduleOrders, out: &mut String) {
    let mut line = |text: String| writeln!(out, "{INDENT}{text}").unwrap();
    if let Some(start) = &orders.start {
        let late = start.late.as_secs_f64();
        line(format!("STARTS {}, {late}s late", run_text(&start.run)));
    }
    if orders.stop {
        line("STOPS its run".to_owned());
    }
    if let Some(trouble) = &orders.trouble {
        line(format!("trouble: {}", trouble.reason()));
    }
    match orders.request.as_ref().map(|request| &request.operation) {
        Some(ScheduleOperation::Read) => line("sends read".to_owned()),
        Some(ScheduleOperation::Replace { base, record, was }) => {
            line(format!("sends replace of v{}: {}", base.revision, record_text(record)));
            if let Some(was) = was {
                line(format!("and under the old name: {}", record_text(was)));
            }
        }
        None => line(format!("wakes at {}", at(orders.wake))),
    }
}

fn at(instant: Instant) -> String {
    format!("{}s", instant.since_start().as_secs_f64())
}

fn run_text(run: &Run) -> String {
    let tick = match run.tick {
        Tick::At(tick) => tick_text(tick),
        Tick::Asked { id, .. } => format!("request {id}"),
    };
    format!("{tick} attempt {} under {}", run.attempt, run.token)
}

fn tick_text(tick: Moment) -> String {
    format!("{}s", tick.unix_micros() as f64 / 1e6)
}

fn record_text(record: &ScheduleRecord) -> String {
    let mut text = format!("floor {}", tick_text(record.floor));
    let counts = record.counts;
    for (name, count) in [
        ("ran", counts.ran),
        ("missed", counts.missed),
        ("skipped", counts.skipped),
        ("suspended", counts.suspended),
    ] {
        if count > 0 {
            write!(text, ", {name} {count}").unwrap();
        }
    }
    if let Some(run) = &record.run {
        write!(text, ", runs {}", run_text(run)).unwrap();
    }
    if let Some(past) = record.last.first() {
        write!(text, ", last {} {}", run_text(&past.run), past.outcome.reason()).unwrap();
    }
    let when = match &record.spec.when {
        When::Cron { pattern, .. } => format!("cron {pattern}"),
        When::Every { period, .. } => format!("every {period:?}"),
    };
    write!(text, ", {when}").unwrap();
    if let Some(name) = &record.moved_to {
        write!(text, ", moved to {name}").unwrap();
    }
    text
}
