//! The page of one election.

use incumbent::survey::{LockView, Registration};
use incumbent::{HandOver, Lock};
use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::actions::{Action, Steering, is_paused};
use super::board::{Board, Row};
use super::command_lines::commands;
use super::frame::{Ages, Frame, Part, watch, what};
use super::page::{badge, bar, holder, windows};
use super::timeline::{Timeline, Window, clock, colour};
use super::{Setting, timeline_svg};
use crate::model::event;
use crate::model::format::printable_json;
use crate::model::format::{self, name};
use crate::model::term_history::Term;
use crate::model::time_bounds::TimeBounds;

/// What Events there are on it, or why they are not available.
pub(crate) type Events = anyhow::Result<Vec<Value>>;

pub(crate) fn page(
    setting: &Setting,
    board: &Board,
    row: &Row,
    window: Window,
    told: &Events,
) -> String {
    let (row_view, ages) = (row.view(), Ages::of(board));
    let main = html! {
        nav .crumbs { a href="/" { "All elections" } }
        h1 { (row_view.lock) " " small { (row_view.lock.namespace()) } }
        (now(board, row, ages))
        div .columns {
            (line(setting, row))
            (commands(row))
        }
        (terms(setting, board, row, window, ages))
        section .events aria-labelledby="events-head" {
            h2 id="events-head" { "Events" }
            (events_told(told, board.now))
        }
        (record(&row.sighted.view))
    };
    let source = format!("/events?window={}&lock={}", window.word(), row_view.id);
    let title = format!("{} · incumbent", row_view.lock);
    Frame { title: &title, events: &source, setting, board }.around(&main)
}

/// What of it is swapped. Where the lock is gone, the page says so.
pub(crate) fn parts(setting: &Setting, board: &Board, lock: &Lock, window: Window) -> Vec<Part> {
    let part = |id, html: Markup| Part { id, html: html.into_string() };
    let ages = Ages::Scripted;
    let mut parts = Vec::new();
    let Some(row) = board.row(lock) else {
        if board.has_looked {
            let gone =
                html! { section .now id="now" data-state="gone" { p { "The lock is gone." } } };
            parts.push(part("now", gone));
        }
        return parts;
    };
    parts.extend([
        part("now", now(board, row, ages)),
        part("line", line(setting, row)),
        part("commands", commands(row)),
        part("terms", terms(setting, board, row, window, ages)),
        part("record", record(&row.sighted.view)),
    ]);
    parts
}

fn now(board: &Board, row: &Row, ages: Ages) -> Markup {
    let (row_view, view) = (row.view(), &*row.sighted.view);
    let time = |time: Option<Timestamp>| time.map(|time| format!("{time:.0}"));
    let changes =
        format!("{} by the record, {} seen in the last hour", view.transitions, row_view.changes);
    html! {
        section .now id="now" aria-label="Now" data-testid="now"
            data-state=(format!("{:?}", row_view.state))
            data-holder=(row_view.holder.as_deref().unwrap_or("")) {
            dl .facts {
                div .who { dt { "Leader" } dd { (holder(row_view)) } }
                div .state { dt { "State" } dd { (badge(row_view, ages)) } }
                div .bar { dt { "Until it expires" } dd {
                    @if row_view.may_lead() { (bar(row_view, ages)) } @else { "–" }
                } }
                div { (watch(board, ages)) }
                div { dt { "Last sign of life" } dd { @match row_view.beat_at {
                    Some(at) => { (ages.since(at)) " ago" }
                    None => "none seen yet",
                } } }
                div { dt { "Since" } dd { @match row_view.since {
                    Some(TimeBounds { earliest: Some(since), .. }) => {
                        (clock(since)) " UTC, " (ages.since_wall(since))
                    }
                    Some(since) => { (since.words(clock)) " UTC" }
                    None => "–",
                } } }
                (fact("Fencing token", view.token.map(|token| token.to_string())))
                (fact("Address", view.address.as_deref().map(name)))
                (fact("Lease duration", view.lease_duration.map(format::age)))
                (fact("Changes of leader", Some(changes)))
                (fact("Client", Some(row_view.client.clone())))
                (fact("Renewed, by its own clock", time(view.renewed)))
                (fact("Lock made", time(view.created)))
            }
            @if !row_view.concerns.is_empty() {
                ul .concerns {
                    @for concern in &row_view.concerns {
                        li class=(concern.weight.word()) data-testid="concern"
                            data-kind=(concern.kind) {
                            span .mark { (concern.weight.word()) }
                            div { p { (what(concern, ages)) } p .todo { (concern.to_do) } }
                        }
                    }
                }
            }
        }
    }
}

fn fact(label: &str, value: Option<String>) -> Markup {
    html! { div { dt { (label) } dd { (value.unwrap_or_else(|| "–".to_owned())) } } }
}

/// Who waits, what was asked for, and what can be.
fn line(setting: &Setting, row: &Row) -> Markup {
    let view = &*row.sighted.view;
    html! {
        section .line id="line" aria-labelledby="line-head" {
            h2 id="line-head" { "Waitlist" }
            @if view.waitlist.is_empty() { p .calm { (nobody_waits(view)) } }
            ol {
                @for waiter in &view.waitlist {
                    @let full = name(waiter.identity.as_str());
                    @let is_paused_by_name = view.is_paused(waiter.identity.as_str());
                    li data-testid="waiter" {
                        span title=(full) { (format::short(&full)) }
                        @if waiter.priority != 0 { " " small { "priority " (waiter.priority) } }
                        @if is_paused_by_name { " " small .cut { "paused" } }
                    }
                }
            }
            @if !view.paused.is_empty() {
                p .asked { strong { "Paused: " }
                    @if is_paused(view) { "all candidates. The election is paused." }
                    @else { (listed(view)) }
                }
            }
            @if let Some(request) = &view.hand_over {
                p .asked { strong { "Asked to hand over " }
                    @match request {
                        HandOver::ToNext => "to the next in the waitlist",
                        HandOver::To(to) => { "to " (name(to.as_str())) }
                    }
                }
            }
            (steering(setting, row))
        }
    }
}

fn listed(view: &LockView) -> String {
    let names: Vec<_> = view.paused.iter().map(|paused| name(paused.as_str())).collect();
    names.join(", ")
}

fn nobody_waits(view: &LockView) -> &'static str {
    match view.registration {
        Registration::Foreign => {
            "Candidates of other programs are not in the waitlist, so it is unknown which of them wait."
        }
        _ => "It is empty.",
    }
}

fn steering(setting: &Setting, row: &Row) -> Markup {
    let view = &*row.sighted.view;
    let Some(steering) = &setting.steering else {
        return html! {
            p .readonly { "This page changes nothing (" code { "--allow-steer" } " would let it)." }
        };
    };
    let next = view.waitlist.iter().find(|waiter| !view.is_paused(waiter.identity.as_str()));
    let leader =
        view.holder.as_deref().map(|holder| format::short(&name(holder))).unwrap_or_default();
    let asks = format!("Asks {leader} to stop its work and hand over.");
    let button = |action: &Action, to: &str, label: &str, effect: String| {
        offer(steering, row, action, to, label, &effect)
    };
    html! {
        div .steer data-testid="steer" {
            @if let Some(why) = Action::HandOver(HandOver::ToNext).why_not(row) { p .readonly { (why) } }
            @else if let Some(next) = next {
                @let next_name = format::short(&name(next.identity.as_str()));
                @let effect = format!("{asks} {next_name} is next.");
                (button(&Action::HandOver(HandOver::ToNext), "", "Hand over to the next", effect))
            }
            @for waiter in view.waitlist.iter().skip(1) {
                @let to = waiter.identity.as_str();
                @let shown = format::short(&name(to));
                @let action = Action::HandOver(HandOver::To(waiter.identity.clone()));
                @let effect = format!("{asks} {shown} goes to the head of the waitlist.");
                (button(&action, to, &format!("Hand over to {shown}"), effect))
            }
            (button(&Action::Stay, "", "Cancel the request", format!("{leader} continues to lead.")))
            (button(&Action::Pause, "", "Pause", PAUSES.to_owned()))
            (button(&Action::Resume, "", "Resume", "The first in the waitlist leads at once.".to_owned()))
        }
    }
}

/// Says what it will do before it can be pressed. What would not work is not offered.
fn offer(
    steering: &Steering,
    row: &Row,
    action: &Action,
    to: &str,
    label: &str,
    effect: &str,
) -> Markup {
    if action.why_not(row).is_some() {
        return html! {};
    }
    let (action, view) = (action.word(), &*row.sighted.view);
    html! {
        details data-testid=(action) {
            summary { (label) "…" }
            form method="post" action=(row.view().path()) {
                p { (effect) }
                input type="hidden" name="action" value=(action);
                input type="hidden" name="to" value=(to);
                input type="hidden" name="holder" value=(view.holder.as_deref().unwrap_or(""));
                input type="hidden" name="mark" value=(steering.mark);
                @if steering.needs_secret {
                    label { "Secret "
                        input type="password" name="secret" required autocomplete="current-password"; }
                }
                button type="submit" { (label) }
            }
        }
    }
}

fn terms(setting: &Setting, board: &Board, row: &Row, window: Window, ages: Ages) -> Markup {
    let drawn = Timeline::of_one(board, row, window, setting.started);
    let terms: Vec<_> = board.term_history.terms(&row.view().lock).rev().take(MOST_TERMS).collect();
    html! {
        section .timeline id="terms" aria-labelledby="terms-head" {
            div .head { h2 id="terms-head" { "Terms" } (windows(window, &row.view().path())) }
            (timeline_svg::draw(&drawn, false))
            table .plain {
                thead { tr {
                    th scope="col" { "Leader" }
                    th scope="col" { "From (UTC)" }
                    th scope="col" { "To" }
                    th .num scope="col" { "Lasted" }
                    th .more .num scope="col" { "Token" }
                    th .more scope="col" { "Ended by" }
                } }
                tbody {
                    @for term in &terms { (tr(term, board.now, row.view().is_led(), ages)) }
                }
            }
            @if terms.is_empty() { p .calm { "None known." } }
            p .legend {
                "Seen since " (clock(setting.started)) " UTC; earlier terms come from Events, as far as they are \
                    kept."
            }
        }
    }
}

fn tr(term: &Term, now: Timestamp, is_led: bool, ages: Ages) -> Markup {
    let token = term.token.map(|token| token.to_string());
    html! {
        tr data-testid="term" {
            td .holder {
                i class=(format!("dot c{}", colour(&term.holder))) {}
                (format::short(&name(&term.holder)))
            }
            td { (term.began.words(clock)) }
            @match (term.end, is_led, term.began.earliest) {
                (Some(end), ..) => {
                    td { (end.when.words(clock)) }
                    td .num { (term.lasted(now, is_led).text()) }
                }
                (None, true, Some(began)) => {
                    td { "now" }
                    td .num { (ages.since_wall(began)) }
                }
                (None, ..) => {
                    td { (if is_led { "now" } else { "unknown" }) }
                    td .num { "unknown" }
                }
            }
            td .more .num { (token.as_deref().unwrap_or("–")) }
            td .more { (term.end.map_or("", |end| end.how.word())) }
        }
    }
}

fn events_told(told: &Events, now: Timestamp) -> Markup {
    html! {
        @match told {
            Err(why) => p .calm { "They cannot be read: " (name(&format!("{why:#}"))) },
            Ok(events) if events.is_empty() => p .calm { "None on this object." },
            Ok(events) => ul .log { @for event in events.iter().rev().take(MOST_EVENTS) {
                li {
                    time { (event::at(event).map(|at| at.words(clock)).unwrap_or_default()) }
                    span { (name(event["message"].as_str().unwrap_or_default())) }
                    small { (name(event["reason"].as_str().unwrap_or_default())) }
                }
            } },
        }
        p .legend { "As of " (clock(now)) " UTC." }
    }
}

fn record(view: &LockView) -> Markup {
    let object = serde_json::to_string_pretty(&view.object).unwrap_or_default();
    let object = printable_json(&object).replace("\\u000a", "\n");
    let mut object: String = object;
    if object.len() > LONGEST_RECORD {
        let end = (0..=LONGEST_RECORD).rev().find(|end| object.is_char_boundary(*end));
        object.truncate(end.unwrap_or(0));
        object.push_str("\n… and more");
    }
    html! {
        section .record id="record" aria-labelledby="record-head" {
            h2 id="record-head" { "Record" }
            pre tabindex="0" { (object) }
        }
    }
}

impl Action {
    fn word(&self) -> &'static str {
        match self {
            Self::HandOver(_) => "hand-over",
            Self::Stay => "stay",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

const PAUSES: &str = "No candidate leads any more: the leader stops its work and hands over, and no other \
    candidate acquires the lock until the election is resumed.";

const MOST_TERMS: usize = 50;
const MOST_EVENTS: usize = 30;
/// A ConfigMap may have a megabyte, and is sent again at each renewal.
const LONGEST_RECORD: usize = 20_000;
