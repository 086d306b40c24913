//! The page of all elections.

use incumbent::survey::State;
use maud::{Markup, html};

use super::Setting;
use super::board::{Board, Row, RowView};
use super::frame::{Ages, Frame, Part, watch, what};
use super::timeline::{Timeline, Window, colour};
use super::{group_page, timeline_svg};
use crate::model::diagnosis::Concern;
use crate::model::format;
use crate::model::lock_status::Evidence;
use crate::model::time_bounds::TimeBounds;

/// The page of all elections.
pub(crate) fn front(setting: &Setting, board: &Board, window: Window, filter: &str) -> String {
    let ages = Ages::of(board);
    let shown = board.rows.iter().filter(|row| row.view().is_about(filter));
    let main = html! {
        (strip(setting, board, ages))
        (attention(board, ages))
        (group_page::overview(board, setting.has_namespaces, ages))
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
        part("groups", group_page::overview(board, setting.has_namespaces, Ages::Scripted)),
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
                @if !board.groups.is_empty() { div { dt { "Groups" } dd { (board.groups.len()) } } }
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

fn attention(board: &Board, ages: Ages) -> Markup {
    let needs = needs(board);
    let count = needs.len();
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
                @for need in needs.iter().take(MOST_CONCERNS) { (item(need, ages)) }
            }
            @if count > MOST_CONCERNS {
                p .rest { "and " (count - MOST_CONCERNS) " more, marked in the table" }
            }
        }
    }
}

/// Something that needs attention, and the page that tells more.
struct Need<'a> {
    path: String,
    name: &'a str,
    concern: &'a Concern,
}

/// The most important first.
fn needs(board: &Board) -> Vec<Need<'_>> {
    let elections = board.rows.iter().map(Row::view).flat_map(|row_view| {
        let need = |concern| Need { path: row_view.path(), name: row_view.lock.name(), concern };
        row_view.concerns.iter().map(need)
    });
    let groups = board.groups.iter().flat_map(|group| {
        let need = |concern| Need { path: group.name.path(), name: &group.name.name, concern };
        group.concerns.iter().map(need)
    });
    let mut needs: Vec<_> = elections.chain(groups).collect();
    needs.sort_by_key(|need| std::cmp::Reverse(need.concern.weight));
    needs
}

fn unseen_elections(count: usize) -> String {
    match count {
        0 => "Some elections".to_owned(),
        1 => "One election".to_owned(),
        count => format!("{count} elections"),
    }
}

fn item(need: &Need<'_>, ages: Ages) -> Markup {
    let Need { path, name, concern } = need;
    html! {
        li class=(concern.weight.word()) data-testid="concern" data-kind=(concern.kind) {
            span .mark { (concern.weight.word()) }
            div {
                p { a href=(path) { (name) } " " (what(concern, ages)) }
                p .todo { (concern.to_do) }
            }
        }
    }
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
