//! What is shown at one moment: a function of what is known then. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use incumbent::Lock;
use incumbent::survey::{ObservedLock, State};
use jiff::Timestamp;

use super::group_board::{GroupBoard, GroupName};
use crate::model::diagnosis::{Circumstances, Concern, Weight, concerns};
use crate::model::format::name;
use crate::model::format::printable;
use crate::model::lock_row;
use crate::model::lock_status::{Evidence, LockStatus, expires};
use crate::model::term_history::TermHistory;
use crate::model::time_bounds::TimeBounds;

/// What is known at one moment.
pub(crate) struct Known<'a> {
    /// The moment on the clock of the survey, by which spans are measured.
    pub(crate) at: Duration,
    /// The same on the wall clock of this machine, for people.
    pub(crate) now: Timestamp,
    pub(crate) sighted: Vec<ObservedLock>,
    /// How many locks are not shown, because they seem to be unused.
    pub(crate) left_over: usize,
    pub(crate) blind: Vec<(Duration, String)>,
    pub(crate) groups: Vec<Arc<GroupBoard>>,
    /// How many groups are not looked at.
    pub(crate) groups_left_out: usize,
    pub(crate) term_history: &'a TermHistory,
    /// Since when each request to hand over stands.
    pub(crate) asked: &'a BTreeMap<Lock, Duration>,
}

/// What is shown.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) at: Duration,
    pub(crate) now: Timestamp,
    /// Whether there was a first look.
    pub(crate) has_looked: bool,
    /// What cannot be seen, and since when on the clock of the survey.
    pub(crate) blind: Vec<(Duration, String)>,
    /// How many locks are not shown, because they seem to be unused.
    pub(crate) left_over: usize,
    /// What needs attention most comes first.
    pub(crate) rows: Vec<Row>,
    /// In the same order.
    pub(crate) groups: Vec<Arc<GroupBoard>>,
    /// How many groups are not looked at, because there are so many.
    pub(crate) groups_left_out: usize,
    pub(crate) term_history: TermHistory,
}

/// One election.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) shown: Arc<Shown>,
    pub(crate) sighted: ObservedLock,
}

/// A row and its HTML, shared for as long as it stays the same.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) row_view: RowView,
    pub(crate) html: OnceLock<Arc<str>>,
}

/// What a row of the table shows: moments, not spans, so that it changes only when something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowView {
    /// Its row has this, and the table is in this order.
    pub(crate) id: String,
    pub(crate) lock: Lock,
    /// Whom the lock names, for people: without tricks, and not too long.
    pub(crate) holder: Option<String>,
    pub(crate) state: State,
    pub(crate) evidence: Evidence,
    pub(crate) beat_at: Option<Duration>,
    pub(crate) expires_at: Option<Duration>,
    pub(crate) lease: Option<Duration>,
    /// Since when it cannot be seen.
    pub(crate) unseen_at: Option<Duration>,
    /// Since when the term continues, by a wall clock.
    pub(crate) since: Option<TimeBounds>,
    pub(crate) changes: usize,
    /// How many take part, as far as the lock tells.
    pub(crate) candidates: String,
    pub(crate) client: String,
    pub(crate) concerns: Vec<Concern>,
}

impl Board {
    /// What `known` comes to. What is the same as on the board before, is shared with it.
    pub(crate) fn of(known: Known<'_>, before: &Self) -> Self {
        let old: BTreeMap<_, _> =
            before.rows.iter().map(|row| (&row.shown.row_view.lock, &row.shown)).collect();
        let shown = |row_view: RowView| match old.get(&row_view.lock) {
            Some(shown) if shown.row_view == row_view => Arc::clone(shown),
            _ => Arc::new(Shown { row_view, html: OnceLock::new() }),
        };
        let Known { at, now, term_history, asked, left_over, mut groups, groups_left_out, .. } =
            known;
        let row = |sighted: ObservedLock| {
            let row_view = row_view(&sighted, now, term_history, asked);
            Row { shown: shown(row_view), sighted }
        };
        let mut rows: Vec<_> = known.sighted.into_iter().map(row).collect();
        rows.sort_by_cached_key(|row| (Reverse(row.view().rank()), row.view().id.clone()));
        groups.sort_by_cached_key(|group| (Reverse(group.rank()), group.name.clone()));
        // Leases and ConfigMaps are watched apart; what cuts off one mostly cuts off both.
        let mut blind: Vec<(Duration, String)> = Vec::new();
        for (span, why) in known.blind {
            let (since, why) = (at.saturating_sub(span), printable(&why));
            match blind.iter_mut().find(|(_, known)| *known == why) {
                Some((known, _)) => *known = since.min(*known),
                None => blind.push((since, why)),
            }
        }
        let term_history = term_history.clone();
        let has_looked = true;
        Self { at, now, has_looked, blind, left_over, rows, groups, groups_left_out, term_history }
    }

    /// How many elections and groups need attention.
    pub(crate) fn needy(&self) -> usize {
        let elections = self.rows.iter().map(|row| row.view().rank());
        let groups = self.groups.iter().map(|group| group.rank());
        elections.chain(groups).filter(|rank| *rank > 0).count()
    }

    pub(crate) fn row(&self, lock: &Lock) -> Option<&Row> {
        self.rows.iter().find(|row| row.view().lock == *lock)
    }

    pub(crate) fn group(&self, name: &GroupName) -> Option<&GroupBoard> {
        self.groups.iter().find(|group| group.name == *name).map(|group| &**group)
    }

    /// When the next term is over, unless it is renewed: then this board says too much.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        let running = self.rows.iter().filter(|row| row.view().may_lead());
        running.filter_map(|row| row.view().expires_at).min()
    }
}

impl Row {
    pub(crate) fn view(&self) -> &RowView {
        &self.shown.row_view
    }

    /// The same at a later moment, for programs.
    pub(crate) fn aged(&self, at: Duration) -> ObservedLock {
        let span = at.saturating_sub(self.sighted.at.since_start());
        let mut sighted = self.sighted.clone();
        for age in [&mut sighted.beat_age, &mut sighted.unseen_for] {
            *age = age.map(|age| age + span);
        }
        sighted.looked_for += span;
        sighted.expires_in = sighted.expires_in.map(|left| left.saturating_sub(span));
        sighted.heard_age += span;
        let is_over = sighted.expires_in == Some(Duration::ZERO);
        if is_over && matches!(sighted.state, State::Held | State::Late) {
            (sighted.state, sighted.is_certain) = (State::Unknown, false);
        }
        sighted
    }
}

impl RowView {
    /// How much it needs attention.
    pub(crate) fn rank(&self) -> u8 {
        match self.concerns.first().map(|concern| concern.weight) {
            Some(Weight::Bad) => 3,
            _ if self.state == State::Unknown => 2,
            Some(Weight::Warning) => 2,
            Some(Weight::Note) => 1,
            None => 0,
        }
    }

    /// Whether a candidate may lead, for all that is known.
    pub(crate) fn may_lead(&self) -> bool {
        matches!(self.state, State::Held | State::Late)
    }

    /// The same, or a name is there that does not expire.
    pub(crate) fn is_led(&self) -> bool {
        self.may_lead() || self.state == State::Claimed
    }

    /// The path of its page.
    pub(crate) fn path(&self) -> String {
        format!("/lock/{}", self.id)
    }
}

fn row_view(
    sighted: &ObservedLock,
    now: Timestamp,
    term_history: &TermHistory,
    asked: &BTreeMap<Lock, Duration>,
) -> RowView {
    let (view, at) = (&*sighted.view, sighted.at.since_start());
    let lock = &view.lock;
    let lock_status = LockStatus::of(sighted, now);
    let since = term_history.terms(lock).next_back().filter(|term| term.end.is_none());
    let hours_ago = |hours: f64| {
        now.checked_sub(Duration::from_secs_f64(hours * 3600.0)).unwrap_or(Timestamp::MIN)
    };
    let seen = Circumstances {
        sighted,
        now,
        recent_changes: term_history.changes(lock, hours_ago(1.0 / 6.0)),
        asked_since: asked.get(lock).copied(),
    };
    RowView {
        id: format!("{}/{lock}", lock.namespace()),
        lock: lock.clone(),
        state: lock_status.state,
        evidence: lock_status.evidence,
        beat_at: sighted.beat_age.map(|age| at.saturating_sub(age)),
        expires_at: expires_at(sighted).filter(|_| expires(view)),
        lease: view.lease_duration,
        unseen_at: sighted.unseen_for.map(|span| at.saturating_sub(span)),
        since: since.filter(|_| lock_status.is_led()).map(|term| term.began),
        holder: lock_status.holder,
        changes: term_history.changes(lock, hours_ago(1.0)),
        candidates: lock_row::candidates(view),
        client: if view.holder.is_some() { name(&lock_row::client(view)) } else { String::new() },
        concerns: concerns(&seen),
    }
}

/// When the term is over unless it is renewed. What was only read counts from the first look: no renewal
/// can have come in before.
fn expires_at(sighted: &ObservedLock) -> Option<Duration> {
    let at = sighted.at.since_start();
    let over_at = sighted.over_for.map(|span| at.saturating_sub(span));
    over_at.or_else(|| Some(at + sighted.expires_in?))
}

#[cfg(test)]
mod tests;
