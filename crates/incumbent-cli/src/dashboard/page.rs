//! The page of all elections, and the parts that each page has.

use std::time::Duration;

use incumbent::survey::State;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::Setting;
use super::board::{Board, RowView};
use super::timeline::{Timeline, Window, colour};
use super::timeline_svg;
use crate::model::diagnosis::Concern;
use crate::model::format;
use crate::model::lock_status::Evidence;
use crate::model::time_bounds::TimeBounds;

/// Whether ages are written out: in a page yes, for it may be read without a script; in what a script swaps
/// in no, so that it stays the same for as long as nothing happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ages {
    At { at: Duration, now: Timestamp },
    Scripted,
}

impl Ages {
    pub(crate) fn of(board: &Board) -> Self {
        Self::At { at: board.at, now: board.now }
    }

    /// How long ago a moment on the clock of the survey was.
    pub(crate) fn since(self, moment: Duration) -> Markup {
        let text = match self {
            Self::At { at, .. } => format::age(at.saturating_sub(moment)),
            Self::Scripted => String::new(),
        };
        html! { span .age data-at=(moment.as_millis()) { (text) } }
    }

    /// The same by the wall clock of this machine.
    pub(crate) fn since_wall(self, moment: Timestamp) -> Markup {
        let text = match self {
            Self::At { now, .. } => {
                format::age(Duration::try_from(now.duration_since(moment)).unwrap_or_default())
            }
            Self::Scripted => String::new(),
        };
        let full = format!("since {moment:.0}, by a wall clock");
        html! { span .age data-since=(moment.as_millisecond()) title=(full) { (text) } }
    }
}

/// A part that is swapped as a whole when it is another.
pub(crate) struct Part {
    pub(crate) id: &'static str,
    pub(crate) html: String,
}

/// What a page begins and ends with.
pub(crate) struct Frame<'a> {
    pub(crate) title: &'a str,
    /// Where the page's news come from.
    pub(crate) events: &'a str,
    pub(crate) setting: &'a Setting,
    pub(crate) board: &'a Board,
}

impl Frame<'_> {
    pub(crate) fn around(&self, main: &Markup) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    link rel="icon" href="/icon.svg" type="image/svg+xml";
                    link rel="stylesheet" href="/style.css";
                    script src="/script.js" defer {}
                    noscript { meta http-equiv="refresh" content="5"; }
                }
                body data-live="0" data-events=(self.events) data-now=(self.board.at.as_millis())
                    data-wall=(self.board.now.as_millisecond()) {
                    a .skip href="#main" { "To the content" }
                    header .top {
                        a .brand href="/" {
                            img src="/icon.svg" alt="" width="22" height="22";
                            "incumbent"
                        }
                        span .place { (self.setting.place) " · " (self.setting.server) }
                        span .live role="status" aria-live="polite" data-testid="live" {
                            noscript { "no script: a new page every 5 s" }
                        }
                    }
                    main id="main" { (main) }
                    footer {
                        "Bars and ages count on this machine's clock, from when a sign of life came in at \
                         the dashboard; terms and times of day by wall clocks, in UTC. "
                        code { "~" } " rests on the holder's wall clock: a hint."
                    }
                }
            }
        };
        page.into_string()
    }
}

/// The page of all elections.
pub(crate) fn front(setting: &Setting, board: &Board, window: Window, filter: &str) -> String {
    let ages = Ages::of(board);
    let shown = board.rows.iter().filter(|row| row.view().is_about(filter));
    let main = html! {
        (strip(setting, board, ages))
        (attention(board, ages))
        section .elections aria-labelledby="elections" {
            div .head {
                h2 id="elections" { "Elections" }
                form .filter role="search" {
                    label { span .sr { "Filter" }
                        input type="search" name="q" placeholder="Filter by name, leader or state"
                            value=(filter) data-testid="filter" autocomplete="off"; }
                }
            }
            table {
                thead { tr {
                    th scope="col" { "Election" }
                    th scope="col" { "Leader" }
                    th scope="col" { "State" }
                    th .bar scope="col" { "Until it expires" }
                    th .more scope="col" { "Since" }
                    th .more .num scope="col" {
                        abbr title="changes of leader in the last hour, as far as is known" { "Changes" }
                    }
                    th .more .num scope="col" {
                        abbr title="candidates that the lock names" { "Cand." }
                    }
                    th .more .client scope="col" { "Client" }
                } }
                tbody id="rows" {
                    @for row in shown { (tr(row.view(), setting.has_namespaces, ages)) }
                }
            }
            p .empty id="empty" hidden[!board.rows.is_empty()] { "There are no elections here yet." }
            p .empty id="unmatched" hidden { "No election matches." }
        }
        (lanes(setting, board, window))
    };
    let events = format!("/events?window={}", window.word());
    let title = match board.needy() {
        0 => format!("{} · incumbent", setting.place),
        needy => format!("({needy}) {} · incumbent", setting.place),
    };
    Frame { title: &title, events: &events, setting, board }.around(&main)
}

/// What of it is swapped, beside the rows.
pub(crate) fn parts(setting: &Setting, board: &Board, window: Window) -> Vec<Part> {
    let part = |id, html: Markup| Part { id, html: html.into_string() };
    vec![
        part("strip", strip(setting, board, Ages::Scripted)),
        part("attention", attention(board, Ages::Scripted)),
        part("timeline", lanes(setting, board, window)),
    ]
}

/// How the dashboard itself is.
pub(crate) fn strip(setting: &Setting, board: &Board, ages: Ages) -> Markup {
    let needy = board.needy();
    html! {
        section .strip id="strip" aria-label="Overview" {
            dl {
                div { dt { "Elections" } dd data-testid="count" { (board.rows.len()) } }
                div { dt { "Need attention" } dd .alarm[needy > 0] data-testid="needy" { (needy) } }
                div .health { (watch(board, ages)) }
                @if board.left_over > 0 {
                    div { dt { "Not shown" } dd {
                        (board.left_over) " "
                        small { "vacant, and not used in the last hour: see --all" }
                    } }
                }
                div { dt { "Looking for" } dd { (ages.since_wall(setting.started)) } }
            }
        }
    }
}

/// Whether what is shown is up to date; if not, since when, and why.
pub(crate) fn watch(board: &Board, ages: Ages) -> Markup {
    html! {
        dt { "Watch" }
        dd data-testid="watch" data-ok=(board.blind.is_empty()) {
            @match board.blind.first() {
                None if !board.has_looked => "first look…",
                None => span .fine { "up to date" },
                Some((since, why)) => {
                    span .cut { "cut" } " for " (ages.since(*since)) " " small { (why) }
                }
            }
        }
    }
}

fn attention(board: &Board, ages: Ages) -> Markup {
    let needs = board
        .rows
        .iter()
        .flat_map(|row| row.view().concerns.iter().map(move |concern| (row.view(), concern)));
    let count = needs.clone().count();
    let unseen = board.rows.iter().filter(|row| row.view().unseen_at.is_some()).count();
    html! {
        section .attention id="attention" aria-labelledby="attention-head" {
            h2 id="attention-head" { "Needs attention" }
            @if count == 0 && board.blind.is_empty() { p .calm { "Nothing." } }
            ul aria-live="polite" {
                @for (since, why) in &board.blind {
                    li .bad data-testid="concern" data-kind="unseen" {
                        span .mark { "unseen" }
                        div {
                            p {
                                strong { (unseen_elections(unseen)) }
                                " cannot be seen for " (ages.since(*since))
                            }
                            p .todo { (why) }
                        }
                    }
                }
                @for (row_view, concern) in needs.take(MOST_CONCERNS) { (item(row_view, concern, ages)) }
            }
            @if count > MOST_CONCERNS {
                p .rest { "and " (count - MOST_CONCERNS) " more, marked in the table" }
            }
        }
    }
}

fn unseen_elections(count: usize) -> String {
    match count {
        0 => "Some elections".to_owned(),
        1 => "One election".to_owned(),
        count => format!("{count} elections"),
    }
}

fn item(row_view: &RowView, concern: &Concern, ages: Ages) -> Markup {
    html! {
        li class=(concern.weight.word()) data-testid="concern" data-kind=(concern.kind) {
            span .mark { (concern.weight.word()) }
            div {
                p { a href=(row_view.path()) { (row_view.lock.name()) } " " (what(concern, ages)) }
                p .todo { (concern.to_do) }
            }
        }
    }
}

pub(crate) fn what(concern: &Concern, ages: Ages) -> Markup {
    html! { (concern.what) @if let Some(since) = concern.since { " · for " (ages.since(since)) } }
}

/// A row of the table.
pub(crate) fn tr(row_view: &RowView, has_namespaces: bool, ages: Ages) -> Markup {
    let namespace = has_namespaces.then(|| row_view.lock.namespace());
    let kind = row_view.lock.key().map(|_| "configmap");
    let place: Vec<_> = namespace.into_iter().chain(kind).collect();
    html! {
        tr id=(row_view.id) data-testid="election" data-lock=(row_view.lock)
            data-namespace=(row_view.lock.namespace())
            data-holder=(row_view.holder.as_deref().unwrap_or("")) data-state=(format!("{:?}", row_view.state))
            data-rank=(row_view.rank()) {
            th scope="row" {
                a href=(row_view.path()) { (row_view.lock.name()) @if let Some(key) = key(row_view) { ":" (key) } }
                @if !place.is_empty() { " " small { (place.join(" · ")) } }
            }
            td .holder { (holder(row_view)) }
            td .state { (badge(row_view, ages)) }
            td .bar { (bar(row_view, ages)) }
            td .more { @if let Some(since) = row_view.since { (began(since, ages)) } }
            td .more .num { (row_view.changes) }
            td .more .num { (row_view.candidates) }
            td .more .client { (row_view.client) }
        }
    }
}

fn key(row_view: &RowView) -> Option<&str> {
    row_view.lock.key().filter(|_| row_view.lock.to_string().contains(':'))
}

/// How long a term still lasts, where that is known.
fn began(since: TimeBounds, ages: Ages) -> Markup {
    match since.earliest {
        Some(since) => ages.since_wall(since),
        None => html! { span title=(since.text()) { "unknown" } },
    }
}

/// The holder. A name that is not known to lead is not shown as a leader.
pub(crate) fn holder(row_view: &RowView) -> Markup {
    let is_past = matches!(row_view.state, State::Expired | State::Vacant | State::Unknown);
    html! {
        @match &row_view.holder {
            Some(holder) => {
                i class=(format!("dot c{}", colour(holder))) aria-hidden="true" {}
                span .past[is_past] title=(holder) { (format::short(holder)) }
                @if row_view.state == State::Unknown { " " small { "by the record" } }
            }
            None if row_view.state == State::Unknown => span .none { "unknown" },
            None => span .none { "no leader" },
        }
    }
}

pub(crate) fn badge(row_view: &RowView, ages: Ages) -> Markup {
    let state = format!("{:?}", row_view.state);
    let mark = if row_view.evidence == Evidence::Clocks { "~" } else { "" };
    html! {
        span .badge title=(row_view.evidence.basis()) { (state) (mark) }
        @if let Some(since) = row_view.unseen_at { " " small { "for " (ages.since(since)) } }
    }
}

/// What is left of the term, if no renewal comes in.
pub(crate) fn bar(row_view: &RowView, ages: Ages) -> Markup {
    let (Some(expiry), Some(lease)) = (row_view.expires_at, row_view.lease) else {
        return html! {};
    };
    if !row_view.may_lead() {
        return html! {};
    }
    let left = match ages {
        Ages::At { at, .. } => expiry.saturating_sub(at),
        Ages::Scripted => lease,
    };
    html! {
        progress max=(lease.as_millis()) value=(left.min(lease).as_millis())
            aria-label="left of the term" data-expires=(expiry.as_millis()) {}
        span .left { @if let Ages::At { .. } = ages { (format!("{:.0}s", left.as_secs_f64())) } }
    }
}

fn lanes(setting: &Setting, board: &Board, window: Window) -> Markup {
    let drawn = Timeline::of(board, window, setting.started);
    html! {
        section .timeline id="timeline" aria-labelledby="timeline-head" {
            div .head {
                h2 id="timeline-head" { "Terms" }
                (windows(window, ""))
            }
            @if drawn.lanes.is_empty() { p .calm { "None yet." } }
            @else { (timeline_svg::draw(&drawn, true)) }
            @if drawn.left_out > 0 {
                p .rest { "and " (drawn.left_out) " with less to tell, each on its own page" }
            }
            p .legend {
                "A colour for each holder; " span .key-gap { "no leader" } ", "
                span .key-unseen { "not seen" }
                ". Point at a bar for its times."
            }
        }
    }
}

/// Where to choose how far back one looks.
pub(crate) fn windows(window: Window, path: &str) -> Markup {
    html! {
        nav .windows aria-label="How far back" {
            @for other in Window::ALL {
                a href=(format!("{path}?window={}", other.word()))
                    aria-current=[(other == window).then_some("true")] {
                    (other.label())
                }
            }
        }
    }
}

impl RowView {
    /// Whether somebody who looks for this text means it.
    pub(crate) fn is_about(&self, text: &str) -> bool {
        let state = format!("{:?}", self.state);
        let texts = [self.id.as_str(), self.holder.as_deref().unwrap_or(""), &state, &self.client];
        let text = text.to_lowercase();
        texts.iter().any(|known| known.to_lowercase().contains(&text))
    }
}

/// More than these nobody reads; the table begins with the same.
const MOST_CONCERNS: usize = 25;
