//! The language of the scenario files about groups.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use incumbent_core::group::{
    Allocator, Answer, Ask, Assignment, Event, Happening, HeldSeat, Kind, Member, Order, Orders,
    Page, PageIndex, PageVersion, Place, SeatInfo, SeatList, SeatTerm, Settings, Shape, Sought,
    TaskName, Wishes,
};
use incumbent_core::{
    FencingToken, HolderInfo, Identity, Instant, Now, Observation, Record, Session, Snapshot,
    Stamp, Uid, Version, WallTime,
};

/// Plays one scenario: of a member, or of an allocator.
pub(crate) struct GroupScript {
    machine: Machine,
    /// The request of the allocator that waits for an answer.
    sent: Option<Ask>,
}

#[expect(clippy::large_enum_variant, reason = "there is one of them")]
enum Machine {
    Member(Member),
    Allocator(Allocator),
}

/// The words of one line.
type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

const INDENT: &str = "        ";

impl GroupScript {
    /// Returns the text with the answers as they are now.
    pub(crate) fn play(text: &str) -> String {
        let mut script: Option<Self> = None;
        let mut out = String::new();
        for line in text.lines().filter(|line| !line.starts_with([' ', '\t'])) {
            writeln!(out, "{line}").unwrap();
            let mut words = line.split_whitespace().peekable();
            match (words.next(), &mut script) {
                (None | Some("#"), _) => {}
                (Some("member"), None) => script = Some(Self::member(&mut words)),
                (Some("allocator"), None) => script = Some(Self::allocator()),
                (Some(time), Some(script)) => {
                    out.push_str(&script.happens(duration(time), &mut words));
                }
                (Some(other), _) => panic!("{other}?"),
            }
        }
        out
    }

    /// `NAME [prepares 5s]`
    fn member(words: &mut Words<'_>) -> Self {
        let name = identity(words.next().unwrap());
        let prepares_within = words.next().map(|_| duration(words.next().unwrap()));
        let member = Member::new(name, SeatInfo { prepares_within, ..SeatInfo::default() });
        Self { machine: Machine::Member(member), sent: None }
    }

    fn allocator() -> Self {
        let allocator = Allocator::new(Settings {
            request_timeout: Duration::from_secs(5),
            retry_period: Duration::from_secs(2),
            longest_lease: Duration::from_secs(60),
        });
        Self { machine: Machine::Allocator(allocator), sent: None }
    }

    fn happens(&mut self, time: Duration, words: &mut Words<'_>) -> String {
        let instant = Instant::new(time);
        match &mut self.machine {
            Machine::Member(member) => {
                let orders = member.step(instant, event(words));
                say_orders(&orders)
            }
            Machine::Allocator(allocator) => {
                let wall = WallTime::from_unix_micros(time.as_micros() as i64);
                let happening = happening(words, &mut self.sent);
                let sought = allocator.step(Now { instant, wall }, happening);
                let said = say_sought(&sought);
                self.sent = sought.ask.or_else(|| self.sent.take());
                said
            }
        }
    }
}

// What happens.

fn event(words: &mut Words<'_>) -> Event {
    match words.next().expect("what happens?") {
        "wakes" => Event::Wake,
        "sees" => {
            let (index, page) = page(words);
            Event::Page(index, page)
        }
        "misses" => {
            let index = index(words);
            Event::PageGone(index, revision(words))
        }
        "lists" => Event::Listed { revision: revision(words), pages: pages(words) },
        "term" => Event::Started { seat: uid(words), token: token(words.next().unwrap()) },
        "over" => Event::Over,
        "stopped" => Event::Stopped(task(words.next().unwrap())),
        "prepared" => Event::Prepared(task(words.next().unwrap())),
        "leaves" => Event::Leave,
        "drains" => Event::Drain(words.next() != Some("no-more")),
        other => panic!("{other}?"),
    }
}

fn happening(words: &mut Words<'_>, sent: &mut Option<Ask>) -> Happening {
    match words.next().expect("what happens?") {
        "wakes" => Happening::Wake,
        "leads" => Happening::Active(true),
        "rests" => Happening::Active(false),
        "wants" => Happening::Wishes(wishes(words)),
        "names" => Happening::Lease { table: words.next().map(|uid| Uid(uid.to_owned())) },
        "ended" => Happening::Ended(
            identity(words.next().unwrap()),
            Session(words.next().unwrap().parse().unwrap()),
        ),
        "sees" if words.peek() == Some(&"seat") => {
            let (member, seat) = seat(words);
            Happening::Seat(member, Observation::Present(seat))
        }
        "sees" => {
            let (index, page) = page(words);
            Happening::Page(index, page)
        }
        "misses" if words.peek() == Some(&"seat") => {
            words.next();
            let member = identity(words.next().unwrap());
            Happening::Seat(member, Observation::Gone { revision: revision(words) })
        }
        "misses" => {
            let index = index(words);
            Happening::PageGone(index, revision(words))
        }
        "lists" => match words.next() {
            Some("pages") => {
                Happening::PagesListed { revision: revision(words), pages: pages(words) }
            }
            Some("seats") => Happening::SeatsListed((revision(words), seats(words))),
            other => panic!("lists {other:?}?"),
        },
        "answer" => Happening::Answer(answer(words, sent.take())),
        other => panic!("{other}?"),
    }
}

/// The tasks; `frozen`; and `drains=MEMBER` for each member that is to have none.
fn wishes(words: &mut Words<'_>) -> Wishes {
    let mut wishes = Wishes { kind: kind(words), ..Wishes::default() };
    wishes.may_grow = words.next_if_eq(&"growing").is_some();
    for word in words {
        match word.split_once('=') {
            Some(("drains", member)) => drop(wishes.drained.insert(identity(member))),
            _ if word == "frozen" => wishes.is_frozen = true,
            _ => drop(wishes.tasks.insert(task(word), Default::default())),
        }
    }
    wishes
}

fn answer(words: &mut Words<'_>, sent: Option<Ask>) -> Answer {
    match *words.peek().expect("which answer?") {
        "missing" => Answer::Missing,
        "conflict" => Answer::Conflict,
        "refused" => Answer::Refused { retry_after: None },
        "unknown" => Answer::Unknown,
        "deleted" => Answer::Deleted,
        "page" => Answer::Page(page(words).1),
        "seat" => Answer::Seat(seat(words).1),
        "stored" => {
            words.next();
            stored(words, sent.expect("something was sent"))
        }
        "seats" => {
            words.next();
            let is_before_any_table = words.next_if_eq(&"before-any-table").is_some();
            let held = seats(words).into_iter().map(|(member, seat)| HeldSeat {
                term: SeatTerm {
                    member,
                    seat: seat.version.uid.clone(),
                    token: seat.record.token().unwrap(),
                },
                lease_duration: seat.record.lease_duration.unwrap(),
            });
            Answer::Seats(SeatList { held: held.collect(), is_before_any_table })
        }
        other => panic!("answer {other}?"),
    }
}

/// The object that was sent, as of `vVERSION`, and of a uid where it is created.
fn stored(words: &mut Words<'_>, sent: Ask) -> Answer {
    let revision = revision(words);
    let mut version = |base: Option<Version>| Version {
        uid: base.map_or_else(|| uid(words), |base| base.uid),
        revision,
    };
    match sent {
        Ask::CreatePage(_, page) => {
            Answer::Page(PageVersion { version: version(None), page: Some(page) })
        }
        Ask::ReplacePage { base, page, .. } => {
            Answer::Page(PageVersion { version: version(Some(base)), page: Some(page) })
        }
        Ask::CreateSeat(_) => {
            Answer::Seat(Snapshot { version: version(None), record: Record::default() })
        }
        Ask::VacateSeat { base, record, .. } => {
            Answer::Seat(Snapshot { version: version(Some(base)), record })
        }
        other => panic!("{other:?} stores nothing"),
    }
}

// Objects.

/// `0 vVERSION UID [of N [slots N | permits N] | table UID seen N] [closed] [created] [replaces N] [TASK=MEMBER/SEAT/TOKEN#TOKEN[!VERSION]]…`
fn page(words: &mut Words<'_>) -> (PageIndex, PageVersion) {
    let index = index(words);
    let revision = revision(words);
    let version = Version { uid: uid(words), revision };
    let mut page = Page {
        is_open: true,
        replaces: revision - 1,
        ..Page::empty(Place::First(Shape { kind: Kind::Named, pages: 1 }))
    };
    while let Some(word) = words.next_if(|word| *word != "|") {
        match word {
            "nonsense" => return (index, PageVersion { version, page: None }),
            "of" => {
                let pages = number(words) as u8;
                page.place = Place::First(Shape { kind: kind(words), pages })
            }
            "table" => {
                page.place = Place::Further { table: uid(words), seen: 0, kind: Kind::Named }
            }
            "seen" => {
                let seen = number(words);
                if let Place::Further { seen: known, .. } = &mut page.place {
                    *known = seen;
                }
            }
            "closed" => page.is_open = false,
            "created" => page = Page { is_open: false, replaces: 0, ..page },
            "replaces" => page.replaces = number(words),
            entry => enter(&mut page, entry),
        }
    }
    (index, PageVersion { version, page: Some(page) })
}

/// `[slots N | permits N]`
fn kind(words: &mut Words<'_>) -> Kind {
    match words.next_if(|word| matches!(*word, "slots" | "permits")) {
        None => Kind::Named,
        Some(word) => {
            let count = number(words) as u16;
            if word == "slots" { Kind::Slots(count) } else { Kind::Permits(count) }
        }
    }
}

/// `TASK=TERM#TOKEN[!VERSION]`, or where it is to be prepared, `TASK>TERM@VERSION`.
fn enter(page: &mut Page, entry: &str) {
    if let Some((name, next)) = entry.split_once('>') {
        let (term, since) = next.split_once('@').expect("TERM@VERSION");
        let since = since.parse().unwrap();
        order_of(page, term).next.insert(task(name), since);
        return;
    }
    let (name, given) = entry.split_once('=').unwrap_or_else(|| panic!("{entry}?"));
    let (term, given) = given.split_once('#').expect("TERM#TOKEN");
    let (given, revoked) = match given.split_once('!') {
        Some((given, revoked)) => (given, Some(revoked.parse().unwrap())),
        None => (given, None),
    };
    page.highest_token = page.highest_token.max(token(given));
    let given = Assignment { token: token(given), revoked };
    order_of(page, term).tasks.insert(task(name), given);
}

fn order_of<'a>(page: &'a mut Page, term: &str) -> &'a mut Order {
    let mut parts = term.split('/');
    let mut part = || parts.next().expect("MEMBER/SEAT/TOKEN");
    let term =
        SeatTerm { member: identity(part()), seat: Uid(part().to_owned()), token: token(part()) };
    page.orders.entry(term).or_insert_with(|| Order {
        lease_duration: Duration::from_secs(15),
        address: None,
        tasks: Default::default(),
        next: Default::default(),
    })
}

fn pages(words: &mut Words<'_>) -> Vec<(PageIndex, PageVersion)> {
    let mut all = Vec::new();
    while words.peek().is_some() {
        all.push(page(words));
        words.next();
    }
    all
}

fn seats(words: &mut Words<'_>) -> Vec<(Identity, Snapshot)> {
    let mut all = Vec::new();
    while words.peek().is_some() {
        all.push(seat(words));
        words.next();
    }
    all
}

/// `seat MEMBER vVERSION UID [vacant [since TIME] | emptied] token N [session N] [for 15s] [released 0:7,1:9] [but TASK,TASK] [prepares 5s]
/// [prepared 0:7] [leaving] [draining]`
fn seat(words: &mut Words<'_>) -> (Identity, Snapshot) {
    assert_eq!(words.next(), Some("seat"));
    let member = identity(words.next().unwrap());
    let revision = revision(words);
    let version = Version { uid: uid(words), revision };
    let mut info = SeatInfo::default();
    let mut record = Record {
        holder: Some(member.clone()),
        session: Some(Session(1)),
        lease_duration: Some(Duration::from_secs(15)),
        renewed: Some(Stamp::At(WallTime::from_unix_micros(revision as i64))),
        ..Record::default()
    };
    while let Some(word) = words.next_if(|word| *word != "|") {
        match word {
            "vacant" => (record.holder, record.session) = (None, None),
            "emptied" => record = Record::default(),
            "since" => {
                let since = duration(words.next().unwrap());
                let time = WallTime::from_unix_micros(since.as_micros() as i64);
                record.renewed = Some(Stamp::At(time));
            }
            "token" => record.last_token = token(words.next().unwrap()),
            "session" => record.session = Some(Session(u128::from(number(words)))),
            "for" => record.lease_duration = Some(duration(words.next().unwrap())),
            "leaving" => info.is_leaving = true,
            "draining" => info.is_draining = true,
            "released" => info.released.pages.extend(versions(words)),
            "prepares" => info.prepares_within = Some(duration(words.next().unwrap())),
            "prepared" => info.prepared.extend(versions(words)),
            "but" => {
                info.released.exceptions = words.next().unwrap().split(',').map(task).collect();
            }
            other => panic!("seat … {other}?"),
        }
    }
    if record.holder.is_some() {
        record.holder_info = HolderInfo { seat: Some(info), ..HolderInfo::default() };
    }
    (member, Snapshot { version, record })
}

/// `0:7,1:9`
fn versions(words: &mut Words<'_>) -> Vec<(PageIndex, u64)> {
    let versions = words.next().unwrap().split(',').map(|version| {
        let (index, revision) = version.split_once(':').unwrap();
        (PageIndex(index.parse().unwrap()), revision.parse().unwrap())
    });
    versions.collect()
}

// What it does.

fn say_orders(orders: &Orders) -> String {
    let mut out = String::new();
    for task in &orders.stop {
        writeln!(out, "{INDENT}STOPS {task}").unwrap();
    }
    for task in &orders.end_preparing {
        writeln!(out, "{INDENT}ends the preparation of {task}").unwrap();
    }
    for (task, token) in &orders.start {
        writeln!(out, "{INDENT}STARTS {task} with token {token}").unwrap();
    }
    for task in &orders.prepare {
        writeln!(out, "{INDENT}prepares {task}").unwrap();
    }
    if let Some(info) = &orders.publish {
        let mut said = format!("{INDENT}says released {}", say_versions(&info.released.pages));
        let but: Vec<&str> = info.released.exceptions.iter().map(TaskName::as_str).collect();
        if !but.is_empty() {
            write!(said, " but {}", but.join(",")).unwrap();
        }
        if !info.prepared.is_empty() {
            write!(said, " prepared {}", say_versions(&info.prepared)).unwrap();
        }
        said.push_str(if info.is_leaving { " leaving" } else { "" });
        said.push_str(if info.is_draining { " draining" } else { "" });
        writeln!(out, "{said}").unwrap();
    }
    end(out, orders.wake)
}

fn say_versions(versions: &BTreeMap<PageIndex, u64>) -> String {
    let versions = versions.iter().map(|(index, version)| format!("{}:{version}", index.0));
    versions.collect::<Vec<_>>().join(",")
}

fn say_sought(sought: &Sought) -> String {
    let mut out = String::new();
    if let Some(ask) = &sought.ask {
        writeln!(out, "{INDENT}{}", say_ask(ask)).unwrap();
    }
    if let Some(table) = &sought.table {
        writeln!(out, "{INDENT}wants the Lease to name {}", table.0).unwrap();
    }
    end(out, sought.wake)
}

fn end(mut out: String, wake: Option<Instant>) -> String {
    if let Some(wake) = wake {
        writeln!(out, "{INDENT}wakes at {}s", wake.since_start().as_secs_f64()).unwrap();
    }
    if out.is_empty() {
        writeln!(out, "{INDENT}does nothing").unwrap();
    }
    out
}

fn say_ask(ask: &Ask) -> String {
    match ask {
        Ask::CreatePage(index, page) => format!("creates page {}: {}", index.0, say_page(page)),
        Ask::ReplacePage { index, base, page } => {
            format!(
                "replaces page {} v{} {}: {}",
                index.0,
                base.revision,
                base.uid.0,
                say_page(page)
            )
        }
        Ask::DeletePage { index, base } => {
            format!("deletes page {} v{} {}", index.0, base.revision, base.uid.0)
        }
        Ask::ReadPage(index) => format!("reads page {}", index.0),
        Ask::CreateSeat(member) => format!("creates the seat of {member}, vacant"),
        Ask::ReadSeat(member) => format!("reads the seat of {member}"),
        Ask::VacateSeat { member, base, record } => {
            let token = record.last_token;
            format!("vacates the seat of {member} v{} with token {token}", base.revision)
        }
        Ask::DeleteSeat { member, base } => {
            format!("deletes the seat of {member} v{}", base.revision)
        }
        Ask::ListSeats => "lists all Leases".to_owned(),
    }
}

fn say_page(page: &Page) -> String {
    let mut said = match &page.place {
        Place::First(shape) => format!("of {}", shape.pages),
        Place::Further { table, seen, .. } => format!("table {} seen {seen}", table.0),
    };
    said.push_str(if page.is_open { "" } else { " closed" });
    for (term, _, task, given) in page.entries() {
        let SeatTerm { member, seat, token } = term;
        write!(said, " {task}={member}/{}/{token}#{}", seat.0, given.token).unwrap();
        if let Some(revoked) = given.revoked {
            write!(said, "!{revoked}").unwrap();
        }
    }
    for (SeatTerm { member, seat, token }, task, since) in page.preparations() {
        write!(said, " {task}>{member}/{}/{token}@{since}", seat.0).unwrap();
    }
    said
}

// Words.

fn identity(name: &str) -> Identity {
    Identity::new(name).unwrap()
}

fn task(name: &str) -> TaskName {
    TaskName::new(name).unwrap()
}

fn token(word: &str) -> FencingToken {
    FencingToken(word.parse().unwrap_or_else(|_| panic!("{word}: a token")))
}

fn uid(words: &mut Words<'_>) -> Uid {
    Uid(words.next().expect("a uid").to_owned())
}

fn number(words: &mut Words<'_>) -> u64 {
    words.next().and_then(|word| word.parse().ok()).expect("a number")
}

fn revision(words: &mut Words<'_>) -> u64 {
    let word = words.next().expect("a version");
    word.strip_prefix('v').and_then(|digits| digits.parse().ok()).expect("a version like v7")
}

fn index(words: &mut Words<'_>) -> PageIndex {
    assert_eq!(words.next(), Some("page"));
    PageIndex(number(words) as u8)
}

fn duration(word: &str) -> Duration {
    let seconds = word.strip_suffix('s').and_then(|digits| digits.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or_else(|| panic!("{word}: a time like 1.5s")))
}
