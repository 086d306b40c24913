//! What lists and watches show to a member.

use incumbent_core::group::{Event, Happening, PageIndex, PageVersion};
use incumbent_core::{Identity, Observation};
use serde_json::Value;

use super::super::note::{Note, Shown};
use super::super::store::Named;
use super::super::watching::{Pace, Selection, follow};
use super::Driver;
use crate::lock::{GROUP_LABEL, LockKind};
use crate::stored::Stored;

impl Driver {
    pub(super) fn watch(&self, kind: LockKind) {
        let selection = Selection::of_group(kind, self.store.namespace(), self.store.group());
        let (requests, clock) = (self.store.requests().clone(), self.clock);
        let notes = self.sender.downgrade();
        let lease = self.timing.lease_duration();
        let patience = match kind {
            // Seats are renewed three times a lease, one's own among them.
            LockKind::Lease => lease,
            LockKind::ConfigMap => lease * QUIET_LEASES,
        };
        let pace = Pace { retry_period: self.timing.retry_period(), patience };
        let note = move |shown| Note::Shown(kind, Box::new(shown));
        tokio::spawn(follow(requests, clock, selection, pace, notes, note));
    }

    /// The allocator, and the next ones, know all seats, and all objects that are tasks.
    pub(super) fn watch_seats(&mut self) {
        if !std::mem::replace(&mut self.state.watches_seats, true) {
            self.watch(LockKind::Lease);
            self.watch_objects();
        }
    }

    /// What both watches have in common. Returns what is left to do.
    pub(super) fn on_shown(&mut self, kind: LockKind, shown: Shown) {
        let worked = match &shown {
            Shown::Listed(..) => Some("list"),
            Shown::Opened => Some("watch"),
            _ => None,
        };
        if let Some(verb) = worked {
            self.forget_trouble((kind, verb));
        }
        match (kind, shown) {
            (_, Shown::Refused(verb, failure)) => {
                if !failure.passes() {
                    self.on_trouble(self.store.trouble((kind, verb), failure));
                }
            }
            (LockKind::ConfigMap, shown) => {
                let now = self.clock.instant();
                self.board.send_if_modified(|board| {
                    board.hear(now);
                    false
                });
                self.on_table(shown);
            }
            (LockKind::Lease, shown) => self.on_seats(shown),
        }
    }

    fn on_table(&mut self, shown: Shown) {
        match shown {
            Shown::Listed(revision, objects) => {
                let mut pages = Vec::new();
                for object in objects {
                    pages.extend(self.on_config_map(object));
                }
                if self.source.is_unread() {
                    self.look_for_config();
                }
                self.work(Event::Listed { revision, pages: pages.clone() });
                self.allocate(Happening::PagesListed { revision, pages });
            }
            Shown::Present(object) => {
                if let Some((index, page)) = self.on_config_map(object) {
                    self.work(Event::Page(index, page.clone()));
                    self.allocate(Happening::Page(index, page));
                }
            }
            Shown::Gone(object, revision) => {
                if let Named::Page(index) = self.store.named(name_of(&object)) {
                    let now = self.clock.instant();
                    self.board.send_modify(|board| board.show(now, index, None));
                    self.work(Event::PageGone(index, revision));
                    self.allocate(Happening::PageGone(index, revision));
                }
            }
            Shown::Alive | Shown::Opened | Shown::Refused(..) => {}
        }
    }

    fn on_config_map(&mut self, object: Value) -> Option<(PageIndex, PageVersion)> {
        match self.store.named(name_of(&object)) {
            Named::Page(index) => {
                let (page, why) = self.store.read_page(index, &object)?;
                if let Some(why) = why {
                    tracing::warn!(group = self.store.group(), page = index.0, error = %why, "a page cannot be read");
                }
                self.show_page(index, &page);
                self.keep(index, Stored::new(object)?);
                Some((index, page))
            }
            Named::Config => {
                self.on_config(&object);
                None
            }
            Named::Other => None,
        }
    }

    fn on_config(&mut self, object: &Value) {
        let group = self.store.group().to_owned();
        match self.source.configure(object) {
            Ok(true) => {
                self.board.send_modify(|board| {
                    board.tell_of_list(None);
                });
                self.want();
            }
            Ok(false) => {}
            Err(error) => {
                let error = error.to_string();
                let shown = format!("configmap/{group}.config stays as it was: {error}");
                if self.board.send_if_modified(|board| board.tell_of_list(Some(shown))) {
                    tracing::warn!(group, error, "the configuration stays as it was");
                }
            }
        }
    }

    /// A list without the label is easily taken for one that is read.
    fn look_for_config(&self) {
        let (store, notes) = (self.store.clone(), self.sender.downgrade());
        tokio::spawn(async move {
            let note = match store.has_hidden_config().await {
                Ok(false) => return,
                Ok(true) => Note::HiddenConfig,
                Err(trouble) => Note::Trouble(Box::new(trouble)),
            };
            if let Some(notes) = notes.upgrade() {
                let _ = notes.send(note);
            }
        });
    }

    pub(super) fn on_hidden_config(&mut self) {
        if !self.source.is_unread() {
            return;
        }
        let (group, namespace) = (self.store.group(), self.store.namespace());
        let error = format!("configmap/{group}.config has no label {GROUP_LABEL}={group}");
        let hint = format!(
            "kubectl label --namespace {namespace} configmap {group}.config {GROUP_LABEL}={group}"
        );
        let shown = format!("the list of tasks is not read: {error}; {hint}");
        if self.board.send_if_modified(|board| board.tell_of_list(Some(shown))) {
            tracing::warn!(group, error, hint, "the list of tasks is not read");
        }
    }

    pub(super) fn keep(&mut self, index: PageIndex, stored: Stored) {
        let known = self.state.pages.get(&index).map_or(0, |known| known.version().revision);
        if stored.version().revision > known {
            self.state.pages.insert(index, stored);
        }
    }

    pub(super) fn show_page(&self, index: PageIndex, page: &PageVersion) {
        let (now, revision) = (self.clock.instant(), page.version.revision);
        let page = page.page.clone().map(|page| (revision, page));
        let mut news = None;
        self.board.send_modify(|board| {
            let known = board.difference();
            board.show(now, index, page);
            news = board.difference().filter(|difference| known.as_ref() != Some(difference));
        });
        if let Some(difference) = news {
            let group = self.store.group();
            tracing::warn!(
                group,
                difference,
                "the table is not the one that this program asks for"
            );
        }
    }

    fn on_seats(&mut self, shown: Shown) {
        match shown {
            Shown::Listed(revision, objects) => {
                let seats = objects.iter().filter_map(|object| self.store.read_seat(object));
                let seats: Vec<_> = seats.collect();
                self.allocate(Happening::SeatsListed((revision, seats.clone())));
                for (member, seat) in &seats {
                    self.suspect(member, seat);
                }
            }
            Shown::Present(object) => {
                if let Some((member, snapshot)) = self.store.read_seat(&object) {
                    let seen = Observation::Present(snapshot.clone());
                    self.allocate(Happening::Seat(member.clone(), seen));
                    self.suspect(&member, &snapshot);
                }
            }
            Shown::Gone(object, revision) => {
                let member = name_of(&object).strip_prefix(self.store.group());
                let member = member.and_then(|rest| rest.strip_prefix('.'));
                if let Some(member) = member.and_then(Identity::new) {
                    self.allocate(Happening::Seat(member, Observation::Gone { revision }));
                }
            }
            Shown::Alive | Shown::Opened | Shown::Refused(..) => {}
        }
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// For how many leases a watch of the table may show nothing. A table changes rarely, but servers send a bookmark about
/// once a minute: with the usual lease, only a watch that is dead is opened again.
const QUIET_LEASES: u32 = 5;
