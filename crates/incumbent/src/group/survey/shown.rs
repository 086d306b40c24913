//! What a survey of a group knows, as it shows it.

use std::collections::{BTreeMap, BTreeSet};

use incumbent_core::Instant;
use incumbent_core::group::{PageIndex, TaskName};

use super::super::view::{
    ConfigView, GroupView, PageState, PageView, SeatView, TaskView, UnownedView, written,
};
use super::GroupSurvey;
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
        GroupView {
            namespace: self.store.namespace().to_owned(),
            name: self.store.group().to_owned(),
            allocator: self.locks.get(&lock),
            kind: shape.map(|shape| shape.kind),
            pages: self.page_views(),
            tasks: self.task_views(now),
            unowned: self.unowned_views(now),
            seats: self.locks.locks().filter_map(|seen| self.seat_view(seen)).collect(),
            config: config.map(|config| ConfigView::of(config.object.clone(), self.store.group())),
            heard_age: now.saturating_since(self.heard_at),
            blind,
        }
    }

    fn page_views(&self) -> Vec<PageView> {
        let table = self.pages.get(&PageIndex::FIRST).map(|first| &first.uid);
        let all = self.shape().map_or(0, |shape| shape.pages);
        let indices: BTreeSet<_> =
            self.pages.keys().copied().chain((0..all).map(PageIndex)).collect();
        let view = |index: PageIndex| {
            let seen = self.pages.get(&index);
            let state = match seen.map(|seen| (&seen.page, seen)) {
                None => PageState::Missing,
                Some((Err(why), _)) => PageState::Unreadable(why.clone()),
                Some((Ok(page), seen)) => match table {
                    Some(table) if page.is_of(&seen.uid, table) && page.is_open => PageState::Open,
                    Some(table) if page.is_of(&seen.uid, table) => PageState::NotOpen,
                    _ => PageState::OtherTable,
                },
            };
            PageView {
                config_map: self.store.page_name(index),
                index: index.0,
                state,
                revision: seen.map_or(0, |seen| seen.revision),
                written: seen.and_then(|seen| written(&seen.object)),
                object: seen.map(|seen| seen.object.clone()).unwrap_or_default(),
            }
        };
        indices.into_iter().map(view).collect()
    }

    fn task_views(&self, now: Instant) -> Vec<TaskView> {
        let owned = self.owned();
        let addresses: BTreeMap<_, _> = self
            .obeyed()
            .flat_map(|(_, page)| page.orders.iter().map(|(term, order)| (term, &order.address)))
            .collect();
        let views = owned.iter().map(|(task, ((term, given), page))| TaskView {
            name: task.to_string(),
            page: page.0,
            owner: term.member.to_string(),
            seat: term.seat.0.clone(),
            term: term.token,
            address: addresses.get(term).and_then(|address| (*address).clone()),
            fencing_token: given.token,
            revoked: given.revoked,
            seen_for: now.saturating_since(self.entries.get(task).map_or(now, |(_, since)| *since)),
        });
        let mut views: Vec<_> = views.collect();
        views.sort_by_key(|view| in_order(&view.name));
        views
    }

    fn unowned_views(&self, now: Instant) -> Vec<UnownedView> {
        let shape = self.shape();
        let views = self.unowned.iter().map(|(task, since)| UnownedView {
            name: task.to_string(),
            page: shape.map_or(0, |shape| shape.page_of(task).0),
            seen_for: now.saturating_since(*since),
        });
        let mut views: Vec<_> = views.collect();
        views.sort_by_key(|view| in_order(&view.name));
        views
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

/// Numbers by their size, names by their letters.
fn in_order(name: &str) -> (u64, String) {
    let number = name.parse().ok().filter(|number: &u64| number.to_string() == name);
    (number.unwrap_or(u64::MAX), name.to_owned())
}
