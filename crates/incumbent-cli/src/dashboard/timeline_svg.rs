//! The timeline as SVG. Its parts are placed in percent: it fits whatever width there is, and text stays text.

use maud::{Markup, html};

use super::timeline::{Kind, Lane, Piece, Timeline};

/// The lanes and the axis below.
pub(crate) fn draw(timeline: &Timeline, has_names: bool) -> Markup {
    html! {
        div .lanes {
            @for lane in &timeline.lanes {
                div .lane {
                    @if has_names { a .lane-name href=(lane.path) { (lane.lock.name()) } }
                    (drawn(lane))
                }
            }
            div .lane .axis aria-hidden="true" {
                @if has_names { span .lane-name {} }
                svg width="100%" height="16" {
                    @for (place, text) in &timeline.ticks {
                        @let anchor = anchor(*place);
                        text x=(percent(*place)) y="12" text-anchor=(anchor) { (text) }
                    }
                }
            }
        }
    }
}

fn drawn(lane: &Lane) -> Markup {
    html! {
        svg .track width="100%" height="20" role="img" aria-label=(told(lane)) data-testid="lane" {
            rect .floor width="100%" height="20" {}
            @for piece in &lane.pieces { (bar(piece)) }
        }
    }
}

fn bar(piece: &Piece) -> Markup {
    let class = match piece.kind {
        Kind::Term(colour) => format!("term c{colour}"),
        Kind::Gap => "gap".to_owned(),
        Kind::Unseen => "unseen".to_owned(),
    };
    // How much text there is room for, on a phone and on a desk.
    let room = if piece.width > 28.0 {
        "wide"
    } else if piece.width > 8.0 {
        "some"
    } else {
        "none"
    };
    html! {
        svg x=(percent(piece.left)) width=(percent(piece.width)) height="20" class=(class) {
            title { (piece.title) }
            rect width="100%" height="20" {}
            @if room != "none" { text class=(room) x="5" y="14" { (piece.text) } }
        }
    }
}

/// The same for who cannot see it.
fn told(lane: &Lane) -> String {
    let count =
        |wanted: fn(&Kind) -> bool| lane.pieces.iter().filter(|piece| wanted(&piece.kind)).count();
    let terms = count(|kind| matches!(kind, Kind::Term(_)));
    let gaps = count(|kind| *kind == Kind::Gap);
    let last = lane.pieces.iter().rev().find(|piece| matches!(piece.kind, Kind::Term(_)));
    let last = last.map(|piece| format!("; last: {}", piece.title)).unwrap_or_default();
    format!("{}: {terms} terms, {gaps} gaps{last}", lane.lock)
}

/// The text at an end stays within.
fn anchor(place: f64) -> &'static str {
    match place {
        ..3.0 => "start",
        97.0.. => "end",
        _ => "middle",
    }
}

fn percent(number: f64) -> String {
    format!("{number:.2}%")
}
