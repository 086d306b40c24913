//! A page as text, as its `ConfigMap` stores it: `kubectl get configmap -o yaml` reads as orders.
//!
//! ```text
//! table: |
//!   page 0 of 2, named tasks, open
//!   highest token 4801, replaces version 4801
//!   check 7f2b09c41de8a653
//! tasks: |
//!   worker-0, seat 6f8e2c1a, term 4711, lease 15s, at 10.0.0.7:8080:
//!     run eu, token 4790
//!     stop jp, token 4790, as of version 4801
//!     prepare us, as of version 4801
//! ```
//!
//! Slots and permits are numbers. Those that share all else are on one line: `run 0-40,55, token 4790`.
//!
//! Each page has exactly one text, and no other text can be read. If people edit a page, copy it to another name or
//! create a deleted one again, its check does not match, so it is not obeyed.

use std::fmt::{self, Write};
use std::time::Duration;

use super::table::{Assignment, Kind, Order, Page, PageIndex, Place, SeatTerm, Shape, TaskName};
use crate::record::Uid;

mod parse;
mod ranges;

/// What a page's `ConfigMap` contains: one field for each key of its data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PageText {
    /// Which page it is, and its numbers.
    pub table: String,
    /// Who is to run what. Empty where nothing is assigned.
    pub tasks: String,
}

impl PageText {
    /// The most bytes of both together, 256 KiB. A longer text is unreadable.
    pub const LONGEST: usize = 256 * 1024;

    /// What this text says, as page `index` of `group` with the uid `own`.
    ///
    /// # Errors
    ///
    /// A text is unreadable as a whole unless it is exactly what [`Page::to_text`] writes for this place and object.
    pub fn parse(&self, index: PageIndex, group: &str, own: &Uid) -> Result<Page, Unreadable> {
        if self.table.len() + self.tasks.len() > Self::LONGEST {
            return Err(Fault::TooLong.at(Part::Tasks, 1));
        }
        let page = parse::page(self, index)?;
        match page.to_text(index, group, Some(own)) == *self {
            true => Ok(page),
            false => Err(Fault::Check.at(Part::Table, 3)),
        }
    }
}

impl Page {
    /// This page as text, as page `index` of `group`.
    ///
    /// `own` is the uid of its object. A page is created without one, and is then [empty](Self::empty).
    ///
    /// A page can be read again if
    ///
    /// - the text is at most [`PageText::LONGEST`] bytes long,
    /// - it is empty if it replaces no version, and assigns nothing unless it is open,
    /// - no task is there twice, or on the wrong page, and slots and permits are numbers below their count,
    /// - no token is zero or above the highest, and no task is revoked, or to be prepared, as of a version above the one
    ///   that is replaced,
    /// - each order names tasks, and has a lease of whole milliseconds, above zero and at most 60 s (the rest of a millisecond
    ///   is rounded up), and
    /// - no uid is empty.
    pub fn to_text(&self, index: PageIndex, group: &str, own: Option<&Uid>) -> PageText {
        let mut table = self.head(index);
        let mut tasks = String::new();
        for (term, order) in &self.orders {
            tasks.push_str(&header(term, order));
            match self.kind() {
                Kind::Named => {
                    order.tasks.iter().for_each(|(task, assignment)| {
                        tasks.push_str(&line(task.as_str(), *assignment));
                    });
                    order.next.iter().for_each(|(task, since)| {
                        tasks.push_str(&preparation(task.as_str(), *since));
                    });
                }
                Kind::Slots(_) | Kind::Permits(_) => tasks.push_str(&ranges::lines(order)),
            }
        }
        // When a page was created, its uid was not known yet.
        let own = own.filter(|_| self.replaces > 0).map_or("", |own| &own.0);
        let check = checksum([group, &index.0.to_string(), own, &table, &tasks]);
        put(&mut table, format_args!("check {check:016x}\n"));
        PageText { table, tasks }
    }

    /// The text of `table`, up to the check.
    fn head(&self, PageIndex(index): PageIndex) -> String {
        let place = match &self.place {
            Place::First(shape) => format!("{}, {}", shape.pages, said(shape.kind)),
            Place::Further { table, seen, kind } => {
                format!("table {}, seen at version {seen}, {}", encoded(&table.0), said(*kind))
            }
        };
        let opened = if self.is_open { OPEN } else { NOT_OPEN };
        let (token, replaces) = (self.highest_token, self.replaces);
        format!(
            "page {index} of {place}, {opened}\nhighest token {token}, replaces version {replaces}\n"
        )
    }
}

/// `named tasks`, `4096 slots` or `3 permits`.
fn said(kind: Kind) -> String {
    match kind {
        Kind::Named => "named tasks".to_owned(),
        Kind::Slots(count) => format!("{count} slots"),
        Kind::Permits(count) => format!("{count} permits"),
    }
}

const OPEN: &str = "open";
const NOT_OPEN: &str = "not open yet";

/// The line above the tasks of one term.
fn header(term: &SeatTerm, order: &Order) -> String {
    let (member, seat) = (encoded(term.member.as_str()), encoded(&term.seat.0));
    let lease = Seconds(order.lease_duration);
    let mut line = format!("{member}, seat {seat}, term {}, lease {lease}", term.token);
    if let Some(address) = order.address.as_ref().filter(|address| !address.is_empty()) {
        put(&mut line, format_args!(", at {}", encoded(address)));
    }
    line.push_str(":\n");
    line
}

/// The line of one task, or of several numbers.
fn line(task: &str, Assignment { token, revoked }: Assignment) -> String {
    match revoked {
        None => format!("  run {task}, token {token}\n"),
        Some(version) => format!("  stop {task}, token {token}, as of version {version}\n"),
    }
}

/// The line of one task, or of several numbers, that is to be prepared.
fn preparation(task: &str, since: u64) -> String {
    format!("  prepare {task}, as of version {since}\n")
}

/// A duration in seconds and up to three digits more: `15s`, `1.5s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_nanos().div_ceil(1_000_000);
        let (seconds, rest) = (millis / 1000, format!("{:03}", millis % 1000));
        match rest.trim_end_matches('0') {
            "" => write!(f, "{seconds}s"),
            rest => write!(f, "{seconds}.{rest}s"),
        }
    }
}

/// Any text, without blanks, commas and what YAML would have to quote: such bytes become `%2C`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b',' | b'%' => put(&mut encoded, format_args!("%{byte:02X}")),
            _ if byte.is_ascii_graphic() => encoded.push(char::from(byte)),
            _ => put(&mut encoded, format_args!("%{byte:02X}")),
        }
    }
    encoded
}

fn put(text: &mut String, arguments: fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes all");
}

/// FNV-1a with 64 bits. It finds edits and copies, but is no signature: any program can compute it.
fn checksum<const PARTS: usize>(parts: [&str; PARTS]) -> u64 {
    let mix = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |sum, part| {
        // This byte is never part of UTF-8, so it shows where a part ends.
        mix(part.bytes().fold(sum, mix), 0xff)
    })
}

/// Why a page cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unreadable {
    /// Which text.
    pub part: Part,
    /// Which line of it, from 1.
    pub line: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// A key of a page's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// [`PageText::table`].
    Table,
    /// [`PageText::tasks`].
    Tasks,
}

/// What makes a page unreadable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The page is longer than [`PageText::LONGEST`].
    TooLong,
    /// The line is not one that an allocator writes.
    Unknown,
    /// The text is that of another page.
    OtherPage,
    /// The table has no pages, or more than [`Shape::MOST_PAGES`], or this is none of them.
    Pages,
    /// The page replaces no version, but is not empty.
    NotEmpty,
    /// The page is not open, but assigns a task.
    NotOpen,
    /// The lease of a term is zero, or longer than a member's may be.
    Lease,
    /// A term has no tasks.
    NoTasks,
    /// A token is zero, or above the highest that the page gave.
    Token,
    /// A task is revoked, or to be prepared, as of a version that the page has not had.
    Revoked,
    /// A task has two owners.
    TwoOwners(TaskName),
    /// A task belongs on another page.
    WrongPage(TaskName),
    /// The check does not match: the text was edited, or copied from another object.
    Check,
}

impl Fault {
    fn at(self, part: Part, line: usize) -> Unreadable {
        Unreadable { part, line, fault: self }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {} of `{}` {}; the allocator replaces the page by an empty one, so its tasks stop \
             and are assigned again",
            self.line, self.part, self.fault
        )
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Tasks => "tasks",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(f, "begins a page of more than {} KiB", PageText::LONGEST / 1024)
            }
            Self::Unknown => write!(f, "is not one that an allocator writes"),
            Self::OtherPage => write!(f, "is that of another page"),
            Self::Pages => {
                write!(f, "states a number of pages that is not 1 to {}", Shape::MOST_PAGES)
            }
            Self::NotEmpty => write!(f, "says that the page is new, but it is not empty"),
            Self::NotOpen => write!(f, "assigns a task on a page that is not open yet"),
            Self::Lease => write!(f, "states a lease that is not above zero and at most 60 s"),
            Self::NoTasks => write!(f, "names a term without tasks"),
            Self::Token => write!(f, "has a token that the page has not given"),
            Self::Revoked => write!(f, "asks for something as of a version that is still to come"),
            Self::TwoOwners(task) => write!(f, "gives task {task} a second owner"),
            Self::WrongPage(task) => write!(f, "has task {task}, which belongs on another page"),
            Self::Check => write!(
                f,
                "does not match the page, which was edited, or copied from another object"
            ),
        }
    }
}

impl std::error::Error for Unreadable {}
