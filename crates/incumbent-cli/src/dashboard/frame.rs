//! What all pages have: a frame around them, ages that grow, and whether what they show is up to date.

use std::time::Duration;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::Setting;
use super::board::Board;
use crate::model::diagnosis::Concern;
use crate::model::format;

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

pub(crate) fn what(concern: &Concern, ages: Ages) -> Markup {
    html! { (concern.what) @if let Some(since) = concern.since { " · for " (ages.since(since)) } }
}
