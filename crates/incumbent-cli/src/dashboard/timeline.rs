//! The timeline: a lane for each election, with its terms and the gaps between them. Pure.

use std::cmp::Reverse;
use std::time::Duration;

use incumbent::Lock;
use jiff::Timestamp;

use super::board::{Board, Row};
use crate::model::format::{self, name};
use crate::model::term_history::{End, How, Span, Term, TermHistory};
use crate::model::time_bounds::TimeBounds;

/// How far back one looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    FiveMinutes,
    Hour,
    /// Since the dashboard was started.
    Start,
}

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) lanes: Vec<Lane>,
    /// Elections that have no lane here.
    pub(crate) left_out: usize,
    /// Where a time is written, in percent from the left.
    pub(crate) ticks: Vec<(f64, String)>,
}

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) lock: Lock,
    pub(crate) path: String,
    pub(crate) pieces: Vec<Piece>,
}

/// Something that lasted from then to then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) kind: Kind,
    /// In percent of the width.
    pub(crate) left: f64,
    pub(crate) width: f64,
    pub(crate) text: String,
    pub(crate) title: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A term, in the colour of its holder.
    Term(usize),
    /// There was no leader.
    Gap,
    /// Nobody could see who did.
    Unseen,
}

/// From when to when a timeline goes.
#[derive(Clone, Copy, Debug)]
struct Frame {
    from: Timestamp,
    to: Timestamp,
}

impl Window {
    pub(crate) const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Start];

    /// As it is in a query.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Start => "start",
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5 minutes",
            Self::Hour => "1 hour",
            Self::Start => "since start",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.word() == word)
    }

    /// It moves on in steps of a few pixels, so that it is not drawn again for each of them.
    fn frame(self, now: Timestamp, started: Timestamp) -> Frame {
        let span = match self {
            Self::FiveMinutes => Duration::from_secs(300),
            Self::Hour => Duration::from_secs(3600),
            Self::Start => between(started, now).max(Duration::from_secs(60)),
        };
        let step = (span.as_millis() as i64 / STEPS).max(1000);
        let to = (now.as_millisecond() + step - 1).div_euclid(step) * step;
        let from = match self {
            Self::Start => started.as_millisecond().min(to - 60_000),
            _ => to - span.as_millis() as i64,
        };
        let moment = |millis| Timestamp::from_millisecond(millis).unwrap_or(now);
        Frame { from: moment(from), to: moment(to) }
    }
}

impl Timeline {
    /// Of all elections, those with most to tell.
    pub(crate) fn of(board: &Board, window: Window, started: Timestamp) -> Self {
        let frame = window.frame(board.now, started);
        let drawn = |row: &Row| {
            let lane = lane_of(board, row, frame);
            (Reverse(row.view().rank()), Reverse(lane.pieces.len()), lane)
        };
        let mut lanes: Vec<_> = board.rows.iter().map(drawn).collect();
        lanes.sort_by(|a, b| (a.0, a.1, &a.2.lock).cmp(&(b.0, b.1, &b.2.lock)));
        let left_out = lanes.len().saturating_sub(MOST_LANES);
        lanes.truncate(MOST_LANES);
        let lanes = lanes.into_iter().map(|(_, _, lane)| lane).collect();
        Self { lanes, left_out, ticks: frame.ticks() }
    }

    /// Of one.
    pub(crate) fn of_one(board: &Board, row: &Row, window: Window, started: Timestamp) -> Self {
        let frame = window.frame(board.now, started);
        let lane = lane_of(board, row, frame);
        Self { lanes: vec![lane], left_out: 0, ticks: frame.ticks() }
    }
}

fn lane_of(board: &Board, row: &Row, frame: Frame) -> Lane {
    let row_view = row.view();
    lane(row_view.path(), &row_view.lock, &board.term_history, row_view.is_led(), frame)
}

fn lane(path: String, lock: &Lock, term_history: &TermHistory, is_led: bool, frame: Frame) -> Lane {
    let terms: Vec<_> = term_history.terms(lock).collect();
    let mut pieces: Vec<_> = terms.iter().filter_map(|term| frame.term(term, is_led)).collect();
    let nexts = terms.iter().skip(1).map(|next| Some(next.began)).chain([None]);
    for (term, next) in terms.iter().zip(nexts) {
        let Some(end) = term.end.filter(|end| end.how != How::Deleted) else { continue };
        pieces.extend(frame.silence(end, next, &term.holder));
        pieces.extend(frame.gap(end.when, next));
    }
    pieces.extend(term_history.unseen(lock).filter_map(|span| frame.unseen(*span)));
    let surplus = pieces.len().saturating_sub(MOST_PIECES);
    pieces.drain(..surplus);
    Lane { lock: lock.clone(), path, pieces }
}

impl Frame {
    /// The part of it in which it is known to have gone on; of an end that nothing tells of, up to the latest.
    fn term(&self, term: &Term, is_led: bool) -> Option<Piece> {
        let holder = name(&term.holder);
        let token = term.token.map(|token| format!(", token {token}")).unwrap_or_default();
        let from = term.began.words(clock);
        let (title, to) = match term.end {
            None if is_led => (format!("{holder}{token}, since {from}"), None),
            None => {
                let title =
                    format!("{holder}{token}, since {from}: whether it still leads is unknown");
                (title, None)
            }
            Some(End { when, how: How::Unsaid }) => {
                let to = when.words(clock);
                let title = format!("{holder}{token}, {from}, ended {to}: how is unknown");
                (title, when.latest)
            }
            Some(End { when, how }) => {
                let (to, lasted) = (when.words(clock), term.lasted(self.to, is_led).text());
                let title = format!("{holder}{token}, {from} to {to} ({lasted}): {}", how.word());
                (title, when.earliest)
            }
        };
        let span = Span { from: term.began.mostly(), to };
        self.piece(Kind::Term(colour(&term.holder)), span, format::short(&holder), title)
    }

    /// From the last that was heard of a leader until its term was over: nothing tells whether it led.
    fn silence(&self, end: End, next: Option<TimeBounds>, holder: &str) -> Option<Piece> {
        let (from, over) = (end.when.earliest?, end.when.latest?);
        let to = next.and_then(|next| next.earliest).map_or(over, |next| next.min(over));
        if end.how != How::Silent || to <= from {
            return None;
        }
        let title = format!(
            "no renewal of {} from {} to {}: whether it led is unknown",
            name(holder),
            clock(from),
            clock(to)
        );
        self.piece(Kind::Unseen, Span { from, to: Some(to) }, "silent".to_owned(), title)
    }

    /// What is known to have been without a leader.
    fn gap(&self, end: TimeBounds, next: Option<TimeBounds>) -> Option<Piece> {
        let (from, to) = (end.latest?, next.map(TimeBounds::mostly));
        let lasted = next.map(|next| end.until(next));
        if lasted.is_some_and(|lasted| lasted.least < SHORTEST_GAP) {
            return None;
        }
        let (text, title) = match lasted {
            Some(lasted) => {
                let lasted = lasted.text();
                (lasted.clone(), format!("no leader for {lasted}, from {}", clock(from)))
            }
            None => ("no leader".to_owned(), format!("no leader since {}", clock(from))),
        };
        self.piece(Kind::Gap, Span { from, to }, text, title)
    }

    fn unseen(&self, span: Span) -> Option<Piece> {
        let title = match span.to {
            Some(to) => format!("not seen from {} to {}", clock(span.from), clock(to)),
            None => format!("not seen since {}", clock(span.from)),
        };
        self.piece(Kind::Unseen, span, "not seen".to_owned(), title)
    }

    fn piece(&self, kind: Kind, span: Span, text: String, title: String) -> Option<Piece> {
        let (from, to) = (span.from.max(self.from), span.to.unwrap_or(self.to).min(self.to));
        if to < from || (to == from && span.to.is_some()) {
            return None;
        }
        let (left, right) = (self.place(from), self.place(to));
        let least = if kind == Kind::Gap { LEAST_GAP_WIDTH } else { LEAST_WIDTH };
        let width = (right - left).max(least);
        Some(Piece { kind, left: left.min(100.0 - width), width, text, title })
    }

    fn place(&self, moment: Timestamp) -> f64 {
        let whole = between(self.from, self.to).as_secs_f64();
        100.0 * between(self.from, moment).as_secs_f64() / whole.max(f64::MIN_POSITIVE)
    }

    /// Whole spans before its end.
    fn ticks(&self) -> Vec<(f64, String)> {
        let whole = between(self.from, self.to);
        let spans = [15, 60, 300, 900, 3600, 6 * 3600, 86_400, 7 * 86_400];
        let every = spans.into_iter().find(|every| whole.as_secs() / every <= MOST_TICKS);
        let every = every.unwrap_or(30 * 86_400);
        let tick = |number: u64| {
            let span = Duration::from_secs(every * number);
            let place = 100.0 * (1.0 - span.as_secs_f64() / whole.as_secs_f64());
            (place, if number == 0 { "now".to_owned() } else { format!("−{}", short(span)) })
        };
        (0..=whole.as_secs() / every).map(tick).filter(|(place, _)| *place >= 0.0).collect()
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).unsigned_abs()
}

fn short(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Which of the palette's colours a name has, here and in every other dashboard.
pub(crate) fn colour(name: &str) -> usize {
    // FNV-1a: stable, which the standard library's hash does not promise to be.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // Its upper bits know little of the last letters, in which the names of Pods differ.
    let mixed = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as usize % COLOURS
}

/// The time of day, in UTC as the logs of a cluster.
pub(crate) fn clock(moment: Timestamp) -> String {
    moment.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// As many as the style sheet has.
pub(crate) const COLOURS: usize = 7;

/// A window of a thousand pixels then moves by seven at once.
const STEPS: i64 = 150;

const MOST_LANES: usize = 30;

/// More than these in one lane are a blur.
const MOST_PIECES: usize = 120;

const MOST_TICKS: u64 = 6;

/// A handover takes some milliseconds: nobody could see it, nor needs to.
const SHORTEST_GAP: Duration = Duration::from_millis(100);

const LEAST_WIDTH: f64 = 0.15;

/// What matters is seen however short it was.
const LEAST_GAP_WIDTH: f64 = 0.4;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    /// The pieces of an election of which Events tell this: when, and what.
    fn pieces(told: &[(i64, &str)], frame: Frame) -> Vec<(Kind, i64, i64)> {
        let (mut term_history, lock) = (TermHistory::default(), Lock::lease("prod", "scanner"));
        let event = |(second, message): &(i64, &str)| json!({ "message": message, "firstTimestamp": at(*second).to_string() });
        term_history.recall(&lock, &told.iter().map(event).collect::<Vec<_>>());
        let pieces = lane(String::new(), &lock, &term_history, true, frame).pieces.into_iter();
        pieces
            .map(|piece| (piece.kind, piece.left.round() as i64, piece.width.round() as i64))
            .collect()
    }

    const TOLD: [(i64, &str); 4] = [
        (10, "john became leader"),
        (40, "john stopped leading"),
        (50, "jane became leader"),
        (80, "jane stopped leading"),
    ];

    #[test]
    fn terms_and_the_gaps_between_them_are_where_they_were() {
        let frame = Frame { from: at(0), to: at(100) };
        let (john, jane) = (Kind::Term(colour("john")), Kind::Term(colour("jane")));
        let all = [(john, 10, 30), (jane, 50, 30), (Kind::Gap, 41, 9), (Kind::Gap, 81, 19)];
        assert_eq!(pieces(&TOLD, frame), all);
    }

    #[test]
    fn what_was_before_the_window_is_cut_off() {
        let frame = Frame { from: at(60), to: at(160) };
        let jane = Kind::Term(colour("jane"));
        assert_eq!(pieces(&TOLD, frame), [(jane, 0, 20), (Kind::Gap, 21, 79)]);
        assert_eq!(pieces(&TOLD[..3], Frame { from: at(200), to: at(300) }), [(jane, 0, 100)]);
    }

    #[test]
    fn a_handover_leaves_no_mark_and_a_short_gap_is_seen() {
        let frame = Frame { from: at(0), to: at(3600) };
        let gap = |millis| {
            let next = at(7).checked_add(Duration::from_millis(millis)).unwrap();
            frame.gap(TimeBounds::at(at(7)), Some(TimeBounds::at(next)))
        };
        assert_eq!(gap(3), None);
        let short = gap(300).unwrap();
        assert_eq!((short.width, short.text.as_str()), (LEAST_GAP_WIDTH, "300.0 ms"));
        assert!(frame.gap(TimeBounds::at(at(7)), None).is_some(), "one that goes on");
        let (end, next) = (TimeBounds::in_second(at(7)), TimeBounds::in_second(at(7)));
        assert_eq!(frame.gap(end, Some(next)), None, "what is known to the second is no outage");
    }

    #[test]
    fn a_window_moves_in_steps_and_ends_no_sooner_than_now() {
        let frames = (0..3000).map(|millis| {
            let now = Timestamp::from_millisecond(1_790_000_000_000 + millis).unwrap();
            let frame = Window::FiveMinutes.frame(now, at(0));
            assert!(frame.to >= now && between(now, frame.to) <= Duration::from_secs(2));
            frame.to
        });
        let mut ends: Vec<_> = frames.collect();
        ends.dedup();
        assert!(ends.len() <= 3, "{ends:?}");
    }

    #[test]
    fn the_axis_has_few_ticks_whatever_it_spans() {
        for seconds in [60, 300, 3600, 100_000, 10_000_000] {
            let frame = Frame { from: at(0), to: at(seconds) };
            let ticks = frame.ticks();
            assert!((1..=7).contains(&ticks.len()), "{seconds}: {ticks:?}");
            assert_eq!(ticks[0], (100.0, "now".to_owned()));
        }
    }

    #[test]
    fn names_that_differ_little_have_many_colours() {
        let colours: std::collections::BTreeSet<_> =
            (0..30).map(|number| colour(&format!("scanner-{number}"))).collect();
        assert_eq!(colours.len(), COLOURS);
        assert_eq!(colour("john"), colour("john"));
    }
}
