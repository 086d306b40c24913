//! The language of the scenario files.

use std::fmt::Write as _;
use std::time::Duration;

use incumbent_core::{
    Change, Config, Elector, FencingToken, Follow, HandOver, HolderInfo, Identity, Input, Instant,
    Now, Observation, Operation, Output, Record, Reply, Session, Snapshot, Stamp, Timing, Uid,
    Version, Waiter, Waitlist, WallTime,
};

/// Plays one scenario.
pub(crate) struct Script {
    elector: Elector,
    /// What the last create or replace would store.
    sent: Record,
    /// What the one before would have stored.
    sent_before: Record,
    uid: String,
    wall: Wall,
    /// Who waits in the records to come, unless they say so themselves.
    waitlist: Waitlist,
}

enum Wall {
    /// Runs along with the boot-time clock, this many microseconds ahead.
    Ahead(i64),
    Frozen(i64),
}

impl Script {
    /// Returns the text with the candidate's answers as they are now.
    pub(crate) fn play(text: &str) -> String {
        let mut script = None;
        let mut out = String::new();
        for line in text.lines().filter(|line| !line.starts_with([' ', '\t'])) {
            writeln!(out, "{line}").unwrap();
            let mut words = line.split_whitespace().peekable();
            match words.next() {
                None | Some("#") => {}
                Some("candidate") => script = Some(Self::new(&mut words)),
                Some("wall") => {
                    script.as_mut().expect("a candidate first").set_wall(&mut words);
                }
                Some("line") => {
                    script.as_mut().expect("a candidate first").waitlist = line_of(&mut words);
                }
                Some(time) => {
                    let script = script.as_mut().expect("a candidate first");
                    out.push_str(&script.happens(duration(time), &mut words));
                }
            }
        }
        out
    }

    fn new<'a>(words: &mut Words<'a, impl Iterator<Item = &'a str>>) -> Self {
        let identity = words.next().expect("candidate NAME");
        let mut timing = Timing::default();
        let mut token_floor = FencingToken(0);
        let mut priority = 0;
        while let Some(word) = words.next() {
            match word {
                "fast" => timing = Timing::fast(),
                "priority" => priority = words.next().unwrap().parse().unwrap(),
                "floor" => token_floor = FencingToken(words.next().unwrap().parse().unwrap()),
                other => panic!("candidate … {other}?"),
            }
        }
        Self {
            elector: Elector::new(Config {
                timing,
                identity: Identity::new(identity).unwrap(),
                session: Session(1),
                token_floor,
                priority,
                holder_info: HolderInfo::default(),
            }),
            sent: Record::default(),
            sent_before: Record::default(),
            uid: "a".to_owned(),
            wall: Wall::Ahead(0),
            waitlist: Waitlist::default(),
        }
    }

    fn set_wall<'a>(&mut self, words: &mut Words<'a, impl Iterator<Item = &'a str>>) {
        self.wall = match words.next() {
            Some("frozen") => Wall::Frozen(micros(duration(words.next().unwrap()))),
            Some("behind") => Wall::Ahead(-micros(duration(words.next().unwrap()))),
            other => panic!("wall {other:?}?"),
        };
    }

    fn happens<'a>(
        &mut self,
        time: Duration,
        words: &mut Words<'a, impl Iterator<Item = &'a str>>,
    ) -> String {
        let wall = match self.wall {
            Wall::Ahead(by) => micros(time) + by,
            Wall::Frozen(at) => at,
        };
        let now = Now { instant: Instant::new(time), wall: WallTime::from_unix_micros(wall) };
        let input = self.input(words);
        let asked = self.elector.asked_to_hand_over();
        let had_namesake = self.elector.has_namesake();
        let output = self.elector.step(now, input);
        if let Some(request) = &output.request {
            match &request.operation {
                Operation::Create(record) | Operation::Replace { record, .. } => {
                    self.sent_before = std::mem::replace(&mut self.sent, record.clone());
                }
                Operation::Read => {}
            }
        }
        let mut answer = describe(&output);
        if let Some(now_asked) = self.elector.asked_to_hand_over().filter(|_| asked.is_none()) {
            writeln!(answer, "        asked to hand over: {now_asked:?}").unwrap();
        }
        if !had_namesake && self.elector.has_namesake() {
            writeln!(answer, "        reports another process of its name").unwrap();
        }
        answer
    }

    fn input<'a>(&mut self, words: &mut Words<'a, impl Iterator<Item = &'a str>>) -> Input {
        match words.next().expect("what happens?") {
            "wakes" => Input::Wake,
            "campaigns" => Input::Campaign,
            "releases" => Input::Release,
            "hands" => Input::HandOver(Identity::new(words.nth(1).unwrap()).unwrap()),
            "learns" => Input::Ended(Session(words.nth(2).unwrap().parse().unwrap())),
            "watches" => Input::Follow(Follow::Watch),
            "polls" => Input::Follow(Follow::Poll),
            "publishes" => {
                let address = words.next().map(str::to_owned);
                Input::Publish(HolderInfo { address, ..HolderInfo::default() })
            }
            "names" => Input::Name(Uid(words.next().unwrap().to_owned())),
            "sees" if words.peek() == Some(&"gone") => {
                words.next();
                Input::Observed(Observation::Gone { revision: revision(words.next().unwrap()) })
            }
            "sees" => Input::Observed(Observation::Present(self.snapshot(words))),
            "found" => Input::Reply(Reply::Found(self.snapshot(words))),
            "written" => {
                let version = self.version(words);
                Input::Reply(Reply::Written(Snapshot { version, record: self.sent.clone() }))
            }
            "altered" => Input::Reply(Reply::Written(self.altered(words))),
            "missing" => Input::Reply(Reply::Missing),
            "conflict" => Input::Reply(Reply::Conflict),
            "unknown" => Input::Reply(Reply::Unknown),
            "refused" => Input::Reply(Reply::Refused { retry_after: words.next().map(duration) }),
            other => panic!("{other}?"),
        }
    }

    fn version<'a>(&mut self, words: &mut Words<'a, impl Iterator<Item = &'a str>>) -> Version {
        let revision = revision(words.next().expect("v1"));
        if words.peek() == Some(&"uid") {
            words.next();
            self.uid = words.next().unwrap().to_owned();
        }
        Version { uid: Uid(self.uid.clone()), revision }
    }

    fn snapshot<'a>(&mut self, words: &mut Words<'a, impl Iterator<Item = &'a str>>) -> Snapshot {
        let record = Record {
            lease_duration: Some(Duration::from_secs(15)),
            waitlist: self.waitlist.clone(),
            ..<_>::default()
        };
        self.snapshot_from(record, words)
    }

    /// What is stored of the last write, where something changes it on its way.
    fn altered<'a>(&mut self, words: &mut Words<'a, impl Iterator<Item = &'a str>>) -> Snapshot {
        self.snapshot_from(self.sent.clone(), words)
    }

    fn snapshot_from<'a>(
        &mut self,
        mut record: Record,
        words: &mut Words<'a, impl Iterator<Item = &'a str>>,
    ) -> Snapshot {
        let version = self.version(words);
        while let Some(word) = words.next() {
            match word {
                "vacant" => record.holder = None,
                "unlined" => record.waitlist = Waitlist::default(),
                "stripped" => record.session = None,
                "ours" => record = self.sent.clone(),
                "ours-before" => record = self.sent_before.clone(),
                "cleared" => record.holder = None,
                "held" => record.holder = Identity::new(words.next().unwrap()),
                "session" => {
                    record.session = Some(Session(words.next().unwrap().parse().unwrap()));
                }
                "token" => {
                    record.last_token = FencingToken(words.next().unwrap().parse().unwrap());
                }
                "for" => record.lease_duration = Some(duration(words.next().unwrap())),
                "line" => record.waitlist = line_of(words),
                "asked" => record.hand_over = Some(asked(words.next().unwrap())),
                "cordon" => record.paused = vec![Identity::new(words.next().unwrap()).unwrap()],
                "unstated" => record.lease_duration = None,
                "acquired" => {
                    record.acquired = Some(Stamp::Text(words.next().unwrap().to_owned()));
                }
                "beat" => record.renewed = Some(Stamp::Text(words.next().unwrap().to_owned())),
                other => panic!("{other}?"),
            }
        }
        Snapshot { version, record }
    }
}

fn line_of<'a>(words: &mut impl Iterator<Item = &'a str>) -> Waitlist {
    Waitlist::new(words.next().unwrap().split(',').map(waiter))
}

/// `jane=2`, `jane=2^5` with priority 5, or `jane` for whoever bears the name.
fn waiter(text: &str) -> Waiter {
    let (text, priority) = text.split_once('^').unwrap_or((text, "0"));
    let (name, session) = match text.split_once('=') {
        Some((name, session)) => (name, Some(Session(session.parse().unwrap()))),
        None => (text, None),
    };
    let identity = Identity::new(name).unwrap();
    Waiter { identity, session, priority: priority.parse().unwrap() }
}

fn asked(text: &str) -> HandOver {
    match text {
        "anybody" => HandOver::ToNext,
        name => HandOver::To(Identity::new(name).unwrap()),
    }
}

type Words<'a, I> = std::iter::Peekable<I>;

fn describe(output: &Output) -> String {
    let mut out = String::new();
    let indent = "        ";
    if let Some(change) = &output.change {
        let text = match change {
            Change::Started(term) => format!(
                "LEADS with token {} until {}, stopped by {}",
                term.token,
                seconds(term.valid_until),
                seconds(term.stop_by)
            ),
            Change::Renewed(term) => format!(
                "leads on until {}, stopped by {}",
                seconds(term.valid_until),
                seconds(term.stop_by)
            ),
            Change::Lost(loss) => format!("LOST: {loss:?}"),
            Change::Released(release) => format!("released: {release:?}"),
        };
        writeln!(out, "{indent}{text}").unwrap();
    }
    if let Some(request) = &output.request {
        let text = match &request.operation {
            Operation::Read => "sends read".to_owned(),
            Operation::Create(record) => format!("sends create: {}", line(record)),
            Operation::Replace { base, record } => {
                format!("sends replace of v{}: {}", base.revision, line(record))
            }
        };
        writeln!(out, "{indent}{text}; gives up at {}", seconds(request.deadline)).unwrap();
    }
    if let Some(wake) = output.wake {
        let [earliest, latest] = [wake.earliest, wake.latest].map(seconds);
        match earliest == latest {
            true => writeln!(out, "{indent}wakes at {earliest}").unwrap(),
            false => writeln!(out, "{indent}wakes at {earliest} to {latest}").unwrap(),
        }
    }
    if out.is_empty() {
        writeln!(out, "{indent}does nothing").unwrap();
    }
    out
}

fn line(record: &Record) -> String {
    let stamp = |stamp: &Option<Stamp>| match stamp {
        Some(Stamp::At(time)) => format!("{}s", time.unix_micros() as f64 / 1e6),
        Some(Stamp::Text(text)) => text.clone(),
        None => "never".to_owned(),
    };
    let said = match &record.holder {
        None => format!("vacant, last token {}", record.last_token),
        Some(holder) => format!(
            "held by {holder} with token {} for {:?}, acquired {}, renewed {}, transitions {}",
            record.last_token,
            record.lease_duration.unwrap_or_default(),
            stamp(&record.acquired),
            stamp(&record.renewed),
            record.transitions
        ),
    };
    let waiters: Vec<&str> =
        record.waitlist.waiters().iter().map(|waiter| waiter.identity.as_str()).collect();
    let said = match waiters.is_empty() {
        true => said,
        false => format!("{said}, line {}", waiters.join(",")),
    };
    let part = |what: &str, value: Option<&str>| {
        value.map_or(String::new(), |value| format!(", {what} {value}"))
    };
    let address = part("at", record.holder_info.address.as_deref());
    said + &address + &part("table", record.table.as_ref().map(|table| table.0.as_str()))
}

fn seconds(instant: Instant) -> String {
    format!("{}s", instant.since_start().as_secs_f64())
}

fn micros(duration: Duration) -> i64 {
    duration.as_micros() as i64
}

fn revision(word: &str) -> u64 {
    word.strip_prefix('v').and_then(|digits| digits.parse().ok()).expect("a version like v7")
}

fn duration(word: &str) -> Duration {
    let seconds = word.strip_suffix('s').and_then(|digits| digits.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or_else(|| panic!("{word}: a time like 1.5s")))
}
