//! Reads a page.
//!
//! A text may pass here that says the same in another way (a sign, a leading zero, another order of lines). The caller
//! writes the page again and compares.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Fault, NOT_OPEN, OPEN, PageText, Part, Unreadable, ranges};
use crate::group::table::{
    Assignment, Kind, Order, Page, PageIndex, Place, SeatTerm, Shape, TaskName,
};
use crate::identity::Identity;
use crate::record::{FencingToken, Uid};

/// The longest lease of a member.
const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// The page that `text` describes, whatever its check says.
pub(super) fn page(text: &PageText, index: PageIndex) -> Result<Page, Unreadable> {
    let page = head(&text.table, index)?;
    let orders = orders(&text.tasks, &page, index)?;
    let page = Page { orders, ..page };
    if page.replaces == 0 && page != Page::empty(page.place.clone()) {
        return Err(Fault::NotEmpty.at(Part::Table, 2));
    }
    if !page.is_open && !page.orders.is_empty() {
        return Err(Fault::NotOpen.at(Part::Tasks, 1));
    }
    Ok(page)
}

/// The page without its orders.
fn head(table: &str, index: PageIndex) -> Result<Page, Unreadable> {
    let mut lines = table.lines();
    let mut line = || lines.next().unwrap_or_default();
    let (place, is_open) = place(line(), index).map_err(|fault| fault.at(Part::Table, 1))?;
    let (token, replaces) = numbers(line()).ok_or_else(|| Fault::Unknown.at(Part::Table, 2))?;
    let highest_token = FencingToken(token);
    Ok(Page { is_open, highest_token, replaces, ..Page::empty(place) })
}

/// `page 0 of 2, named tasks, open`, or `page 1 of table UID, seen at version 7, open`.
fn place(line: &str, PageIndex(index): PageIndex) -> Result<(Place, bool), Fault> {
    let (stated, place) = split(line, "page ", " of ").ok_or(Fault::Unknown)?;
    if stated != index.to_string() {
        return Err(Fault::OtherPage);
    }
    let (place, opened) = place.rsplit_once(", ").ok_or(Fault::Unknown)?;
    let is_open = match opened {
        OPEN => true,
        NOT_OPEN => false,
        _ => return Err(Fault::Unknown),
    };
    let (place, kind) = place.rsplit_once(", ").ok_or(Fault::Unknown)?;
    let kind = self::kind(kind).ok_or(Fault::Unknown)?;
    let place = match split(place, "table ", ", seen at version ") {
        Some((table, seen)) => further(table, seen, kind, index)?,
        None => first(place, kind, index)?,
    };
    Ok((place, is_open))
}

/// `named tasks`, `4096 slots` or `3 permits`.
fn kind(text: &str) -> Option<Kind> {
    if text == "named tasks" {
        return Some(Kind::Named);
    }
    let (count, of) = text.split_once(' ')?;
    let count = count.parse().ok().filter(|count| (1..=Kind::MOST).contains(count))?;
    match of {
        "slots" => Some(Kind::Slots(count)),
        "permits" => Some(Kind::Permits(count)),
        _ => None,
    }
}

fn first(pages: &str, kind: Kind, index: u8) -> Result<Place, Fault> {
    let pages = number(pages).ok_or(Fault::Unknown)?;
    let pages = u8::try_from(pages).ok().filter(|pages| (1..=Shape::MOST_PAGES).contains(pages));
    let shape = Shape { kind, pages: pages.ok_or(Fault::Pages)? };
    if index > 0 {
        return Err(Fault::OtherPage);
    }
    Ok(Place::First(shape))
}

fn further(table: &str, seen: &str, kind: Kind, index: u8) -> Result<Place, Fault> {
    let table = uid(table).ok_or(Fault::Unknown)?;
    let seen = number(seen).ok_or(Fault::Unknown)?;
    match index {
        0 => Err(Fault::OtherPage),
        1..Shape::MOST_PAGES => Ok(Place::Further { table, seen, kind }),
        _ => Err(Fault::Pages),
    }
}

/// `highest token 4801, replaces version 4795`.
fn numbers(line: &str) -> Option<(u64, u64)> {
    let (token, replaces) = split(line, "highest token ", ", replaces version ")?;
    Some((number(token)?, number(replaces)?))
}

/// All terms and their tasks.
fn orders(
    tasks: &str,
    page: &Page,
    index: PageIndex,
) -> Result<BTreeMap<SeatTerm, Order>, Unreadable> {
    let mut orders = BTreeMap::new();
    let mut assigned = BTreeSet::new();
    let mut lines = tasks.lines().zip(1..).peekable();
    while let Some((line, number)) = lines.next() {
        let (term, mut order) = header(line).map_err(|fault| fault.at(Part::Tasks, number))?;
        while let Some((line, number)) = lines.next_if(|(line, _)| line.starts_with(' ')) {
            let at = |fault: Fault| fault.at(Part::Tasks, number);
            let (tasks, said) = said(line, page.kind()).ok_or(Fault::Unknown).map_err(at)?;
            for task in tasks {
                permitted(&task, said, page, index).map_err(at)?;
                match said {
                    Said::Prepare(since) => {
                        order.next.insert(task, since);
                    }
                    Said::Own(_) if !assigned.insert(task.clone()) => {
                        return Err(at(Fault::TwoOwners(task)));
                    }
                    Said::Own(assignment) => {
                        order.tasks.insert(task, assignment);
                    }
                }
            }
        }
        if order.tasks.is_empty() && order.next.is_empty() {
            return Err(Fault::NoTasks.at(Part::Tasks, number));
        }
        if orders.insert(term, order).is_some() {
            return Err(Fault::Unknown.at(Part::Tasks, number));
        }
    }
    Ok(orders)
}

/// Whether this page can have given this.
fn permitted(task: &TaskName, said: Said, page: &Page, index: PageIndex) -> Result<(), Fault> {
    let as_of = match said {
        Said::Prepare(since) => Some(since),
        Said::Own(Assignment { token, .. })
            if !(FencingToken(1)..=page.highest_token).contains(&token) =>
        {
            return Err(Fault::Token);
        }
        Said::Own(Assignment { revoked, .. }) => revoked,
    };
    // No member could release a version that is still to come, so the task would never be free.
    if as_of.is_some_and(|version| version > page.replaces) {
        return Err(Fault::Revoked);
    }
    match page.shape() {
        Some(shape) if shape.page_of(task) != index => Err(Fault::WrongPage(task.clone())),
        _ => Ok(()),
    }
}

/// `worker-0, seat UID, term 4711, lease 15s, at 10.0.0.7:8080:`.
fn header(line: &str) -> Result<(SeatTerm, Order), Fault> {
    let (term, lease, address) = header_parts(line).ok_or(Fault::Unknown)?;
    if term.token == FencingToken(0) {
        return Err(Fault::Token);
    }
    if !(Duration::from_millis(1)..=LONGEST_LEASE).contains(&lease) {
        return Err(Fault::Lease);
    }
    Ok((
        term,
        Order { lease_duration: lease, address, tasks: BTreeMap::new(), next: BTreeMap::new() },
    ))
}

fn header_parts(line: &str) -> Option<(SeatTerm, Duration, Option<String>)> {
    let mut parts = line.strip_suffix(':')?.split(", ");
    let member = Identity::new(decoded(parts.next()?)?)?;
    let seat = uid(parts.next()?.strip_prefix("seat ")?)?;
    let token = FencingToken(number(parts.next()?.strip_prefix("term ")?)?);
    let lease = seconds(parts.next()?.strip_prefix("lease ")?)?;
    let address = match parts.next() {
        Some(part) => Some(decoded(part.strip_prefix("at ")?)?),
        None => None,
    };
    parts.next().is_none().then_some((SeatTerm { member, seat, token }, lease, address))
}

/// What a line says of its tasks.
#[derive(Clone, Copy)]
enum Said {
    Own(Assignment),
    /// As of this version.
    Prepare(u64),
}

/// `  run eu, token 4790`, `  stop 0-7,9, token 4790, as of version 4801`, or `  prepare us, as of version 4801`.
fn said(line: &str, kind: Kind) -> Option<(Vec<TaskName>, Said)> {
    let tasks = |text: &str| match kind.count() {
        None => Some(vec![TaskName::new(text)?]),
        Some(count) => ranges::tasks(text, count),
    };
    if let Some((task, token)) = split(line, "  run ", ", token ") {
        let token = FencingToken(number(token)?);
        return Some((tasks(task)?, Said::Own(Assignment { token, revoked: None })));
    }
    if let Some((task, since)) = split(line, "  prepare ", ", as of version ") {
        return Some((tasks(task)?, Said::Prepare(number(since)?)));
    }
    let (task, rest) = split(line, "  stop ", ", token ")?;
    let (token, version) = rest.split_once(", as of version ")?;
    let token = FencingToken(number(token)?);
    Some((tasks(task)?, Said::Own(Assignment { token, revoked: Some(number(version)?) })))
}

/// What follows `prefix`, before and after `separator`.
fn split<'a>(text: &'a str, prefix: &str, separator: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(prefix)?.split_once(separator)
}

fn number(digits: &str) -> Option<u64> {
    digits.parse().ok()
}

/// `15s`, or with up to three digits more: `1.5s`.
fn seconds(text: &str) -> Option<Duration> {
    let text = text.strip_suffix('s')?;
    let (seconds, rest) = text.split_once('.').unwrap_or((text, ""));
    let millis = format!("{rest:0<3}").parse::<u16>().ok().filter(|millis| *millis < 1000)?;
    Some(Duration::new(number(seconds)?, u32::from(millis) * 1_000_000))
}

fn uid(text: &str) -> Option<Uid> {
    decoded(text).filter(|uid| !uid.is_empty()).map(Uid)
}

/// The text that was percent-encoded.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}
