//! What a survey of a group knows, as it shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use incumbent_core::Instant;
use incumbent_core::group::{PageIndex, SeatTerm, TaskName};

use super::super::view::{
    ConfigView, GroupView, HiddenSeat, PageState, PageView, SeatView, TaskView, UnownedView,
    written,
};
use super::GroupSurvey;
use super::sought::{Found, Part};
use crate::survey::ObservedLock;

impl GroupSurvey {
    /// All that is known now.
    pub fn view(&self) -> GroupView {
        let now = self.clock.instant();
        let lock = self.store.lock();
        let mut blind = self.locks.blind();
        blind.extend(
            self.unseen.iter().map(|(since, why)| (now.saturating_since(*since), why.clone())),
        );
        let (shape, config) = (self.shape(), self.config.as_ref());
        let expected = self.expected.as_ref();
        let mut seats: Vec<_> =
            self.locks.locks().filter_map(|seen| self.seat_view(seen)).collect();
        seats.sort_by(|one, other| one.member.cmp(&other.member));
        GroupView {
            namespace: self.store.namespace().to_owned(),
            name: self.store.group().to_owned(),
            allocator: self.locks.get(&lock),
            kind: shape.map(|shape| shape.kind),
            pages: self.page_views(),
            tasks: self.task_views(now),
            unowned: self.unowned_views(now),
            expected: expected.map(|tasks| tasks.iter().map(ToString::to_string).collect()),
            seats,
            hidden_seats: self.hidden_seats(),
            config: config.map(|config| ConfigView::of(config.object.clone(), self.store.group())),
            heard_age: now.saturating_since(self.heard_at),
            blind,
        }
    }

    fn page_views(&self) -> Vec<PageView> {
        let all = self.shape().map_or(0, |shape| shape.pages);
        let first = Part::Page(PageIndex::FIRST);
        let is_first_hidden = !matches!(self.found(&first), None | Some(Found::Missing));
        let first = is_first_hidden.then_some(PageIndex::FIRST);
        let indices = self.pages.keys().copied().chain((0..all).map(PageIndex)).chain(first);
        let view = |index: PageIndex| {
            let seen = self.pages.get(&index);
            let revision = match (seen, self.found(&Part::Page(index))) {
                (Some(seen), _) => seen.revision,
                (None, Some(Found::Unlabelled(revision))) => *revision,
                (None, _) => 0,
            };
            PageView {
                config_map: self.store.page_name(index),
                index: index.0,
                state: self.page_state(index),
                revision,
                written: seen.and_then(|seen| written(&seen.object)),
                object: seen.map(|seen| seen.object.clone()).unwrap_or_default(),
            }
        };
        indices.collect::<BTreeSet<_>>().into_iter().map(view).collect()
    }

    fn page_state(&self, index: PageIndex) -> PageState {
        let Some(seen) = self.pages.get(&index) else {
            return match self.found(&Part::Page(index)) {
                Some(Found::Missing) => PageState::Missing,
                Some(Found::Unlabelled(_)) => PageState::Unknown(NO_LABEL.to_owned()),
                Some(Found::Unseen(why)) => PageState::Unknown(why.clone()),
                Some(Found::Labelled) | None => PageState::Unknown("not read yet".to_owned()),
            };
        };
        let page = match &seen.page {
            Ok(page) => page,
            Err(why) => return PageState::Unreadable(why.clone()),
        };
        match self.shape() {
            None => PageState::Unknown("page 0 does not say whether it counts".to_owned()),
            Some(_) if !self.obeyed().any(|(obeyed, _)| obeyed == index) => PageState::OtherTable,
            Some(_) if page.is_open => PageState::Open,
            Some(_) => PageState::NotOpen,
        }
    }

    fn task_views(&self, now: Instant) -> Vec<TaskView> {
        let owned = self.owned();
        let since = |moment| now.saturating_since(moment);
        let addresses: BTreeMap<_, _> = self
            .obeyed()
            .flat_map(|(_, page)| page.orders.iter().map(|(term, order)| (term, &order.address)))
            .collect();
        let orders = self.obeyed().flat_map(|(_, page)| &page.orders);
        let next: BTreeMap<&TaskName, &SeatTerm> = orders
            .flat_map(|(term, order)| order.next.keys().map(move |task| (task, term)))
            .collect();
        let views = owned.iter().map(|(task, ((term, given), page))| TaskView {
            name: task.to_string(),
            page: page.0,
            owner: term.member.to_string(),
            seat: term.seat.0.clone(),
            term: term.token,
            address: addresses.get(term).and_then(|address| (*address).clone()),
            fencing_token: given.token,
            next: next.get(task).map(|term| term.member.to_string()),
            revoked: given.revoked,
            seen_for: self.counted.entries.get(task).map_or(Duration::ZERO, |(_, at)| since(*at)),
            ended_for: self.counted.ended.get(term).copied().map(since),
        });
        let mut views: Vec<_> = views.collect();
        views.sort_by_key(|view| in_order(&view.name));
        views
    }

    fn unowned_views(&self, now: Instant) -> Vec<UnownedView> {
        let view = |task: &TaskName, since: Option<Instant>| UnownedView {
            name: task.to_string(),
            page: self.page_of(task).unwrap_or(PageIndex::FIRST).0,
            is_seen: since.is_some(),
            seen_for: since.map_or(Duration::ZERO, |since| now.saturating_since(since)),
        };
        let unowned = self.counted.unowned.iter().map(|(task, since)| view(task, Some(*since)));
        let hidden = self.counted.hidden.iter().map(|task| view(task, None));
        let mut views: Vec<_> = unowned.chain(hidden).collect();
        views.sort_by_key(|view| in_order(&view.name));
        views
    }

    fn hidden_seats(&self) -> BTreeMap<String, HiddenSeat> {
        let hidden = self.sought.keys().filter_map(|part| {
            let Part::Seat(member) = part else { return None };
            let state = match self.found(part)? {
                Found::Missing => HiddenSeat::Missing,
                Found::Unlabelled(_) => HiddenSeat::Unlabelled,
                Found::Labelled | Found::Unseen(_) => return None,
            };
            Some((member.to_string(), state))
        });
        hidden.collect()
    }

    /// `None` for the allocators' Lease.
    fn seat_view(&self, seen: ObservedLock) -> Option<SeatView> {
        let (member, snapshot) = self.store.read_seat(&seen.view.object)?;
        let record = snapshot.record;
        let info = record.holder_info.seat;
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let names = |tasks: &BTreeSet<TaskName>| tasks.iter().map(ToString::to_string).collect();
        Some(SeatView {
            member: member.to_string(),
            lock: seen,
            uid: snapshot.version.uid.0,
            last_token: record.last_token,
            capacity: info.as_ref().map(|info| info.capacity),
            version: info.as_ref().and_then(|info| said(&info.version)),
            zone: info.as_ref().and_then(|info| said(&info.zone)),
            is_draining: info.as_ref().is_some_and(|info| info.is_draining),
            is_leaving: info.as_ref().is_some_and(|info| info.is_leaving),
            declined: info.as_ref().map(|info| names(&info.declined)).unwrap_or_default(),
            still_running: info
                .as_ref()
                .map(|info| names(&info.released.exceptions))
                .unwrap_or_default(),
            released: info
                .map(|info| {
                    info.released.pages.into_iter().map(|(page, at)| (page.0, at)).collect()
                })
                .unwrap_or_default(),
        })
    }
}

const NO_LABEL: &str = "it has lost the group's label, so no watch shows it";

/// Numbers by their size, names by their letters.
fn in_order(name: &str) -> (u64, String) {
    let number = name.parse().ok().filter(|number: &u64| number.to_string() == name);
    (number.unwrap_or(u64::MAX), name.to_owned())
}
