//! A group's objects behind the API server.

use http::Method;
use incumbent_core::group::{
    Answer, Ask, HeldSeat, Page, PageIndex, PageText, PageVersion, SeatList, SeatTerm, Unreadable,
};
use incumbent_core::{Identity, Record, Snapshot, Version};
use serde_json::{Value, json};

use super::board::FullPage;
use super::troubles::{Asked, Trouble};
use crate::answer::{Failure, Why};
use crate::error::Error;
use crate::lock::{GROUP_LABEL, Lock, LockKind, Resource, version};
use crate::requests::Requests;
use crate::stored::Stored;

#[cfg(test)]
mod tests;

/// Where a group's objects are.
#[derive(Clone, Debug)]
pub(super) struct Store {
    requests: Requests,
    namespace: String,
    group: String,
}

/// What came of a request.
pub(super) struct Done {
    pub(super) answer: Answer,
    /// The page that the answer speaks of, to base the next write on.
    pub(super) page: Option<(PageIndex, Stored)>,
    /// What was asked.
    pub(super) asked: Asked,
    /// Why it did not do what it should.
    pub(super) trouble: Option<Trouble>,
}

/// An object by its name.
pub(super) enum Named {
    Page(PageIndex),
    Config,
    Other,
}

impl Store {
    pub(super) fn new(requests: Requests, namespace: String, group: String) -> Self {
        Self { requests, namespace, group }
    }

    pub(super) fn requests(&self) -> &Requests {
        &self.requests
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// The Lease that allocators compete for. It does not carry the group's label.
    pub(super) fn lock(&self) -> Lock {
        Lock::lease(&self.namespace, &self.group)
    }

    /// The seat of a member.
    pub(super) fn seat(&self, member: &str) -> Lock {
        Lock::seat(&self.namespace, &self.group, member)
    }

    /// Which of the group's ConfigMaps has this name.
    pub(super) fn named(&self, name: &str) -> Named {
        let rest = name.strip_prefix(&self.group).and_then(|rest| rest.strip_prefix('.'));
        match rest {
            Some("config") => Named::Config,
            Some("tasks") => Named::Page(PageIndex::FIRST),
            Some(rest) => {
                let index = rest.strip_prefix("tasks-").and_then(|index| index.parse().ok());
                let is_further = |index: &u8| *index > 0 && format!("tasks-{index}") == rest;
                match index.filter(is_further) {
                    Some(index) => Named::Page(PageIndex(index)),
                    None => Named::Other,
                }
            }
            None => Named::Other,
        }
    }

    /// The ConfigMap that a page is.
    pub(super) fn page_name(&self, PageIndex(index): PageIndex) -> String {
        match index {
            0 => format!("{}.tasks", self.group),
            index => format!("{}.tasks-{index}", self.group),
        }
    }

    /// The ConfigMap that says what people ask for.
    pub(super) fn config_name(&self) -> String {
        format!("{}.config", self.group)
    }

    fn page_path(&self, index: PageIndex) -> String {
        let collection = LockKind::ConfigMap.collection_path(Some(&self.namespace));
        format!("{collection}/{}", self.page_name(index))
    }

    /// What a page's object says. The error says why it cannot be read.
    pub(super) fn read_page(
        &self,
        index: PageIndex,
        object: &Value,
    ) -> Option<(PageVersion, Option<Unreadable>)> {
        let version = version(object).ok()?;
        let text = |key: &str| object["data"][key].as_str().unwrap_or_default().to_owned();
        let text = PageText { table: text("table"), tasks: text("tasks") };
        let (page, why) = match text.parse(index, &self.group, &version.uid) {
            Ok(page) => (Some(page), None),
            Err(why) => (None, Some(why)),
        };
        Some((PageVersion { version, page }, why))
    }

    /// The seat that a Lease is: whose, and what it says.
    pub(super) fn read_seat(&self, object: &Value) -> Option<(Identity, Snapshot)> {
        let name = object["metadata"]["name"].as_str()?;
        let member = name.strip_prefix(&self.group)?.strip_prefix('.')?;
        Some((Identity::new(member)?, self.seat(member).decode(object).ok()?))
    }

    /// Does what an allocator asks for. `current` is the newest known object of the page that is to be replaced.
    pub(super) async fn send(&self, ask: Ask, current: Option<Stored>) -> Done {
        match ask {
            Ask::CreatePage(index, page) => {
                let object = self.with_text(self.new_page(index), index, &page, None);
                let path = LockKind::ConfigMap.collection_path(Some(&self.namespace));
                self.on_page(index, Method::POST, &path, Some(&object)).await
            }
            Ask::ReplacePage { index, base, page } => {
                // Not the version that was judged: read it again.
                let Some(current) = current.filter(|current| *current.version() == base) else {
                    return Done::plain((LockKind::ConfigMap, "update"), Answer::Conflict);
                };
                let object = self.with_text(current.object(), index, &page, Some(&base.uid));
                self.on_page(index, Method::PUT, &self.page_path(index), Some(&object)).await
            }
            Ask::DeletePage { index, base } => {
                self.delete(LockKind::ConfigMap, &self.page_path(index), &base).await
            }
            Ask::ReadPage(index) => {
                self.on_page(index, Method::GET, &self.page_path(index), None).await
            }
            Ask::CreateSeat(member) => {
                let seat = self.seat(member.as_str());
                let object = seat.create(&Record::default());
                self.on_seat(&seat, Method::POST, &seat.collection_path(), Some(&object)).await
            }
            Ask::ReadSeat(member) => {
                let seat = self.seat(member.as_str());
                self.on_seat(&seat, Method::GET, &seat.path(), None).await
            }
            Ask::VacateSeat { member, base, record } => self.vacate(&member, &base, &record).await,
            Ask::DeleteSeat { member, base } => {
                self.delete(LockKind::Lease, &self.seat(member.as_str()).path(), &base).await
            }
            Ask::ListSeats => self.list_seats().await,
        }
    }

    async fn vacate(&self, member: &Identity, base: &Version, record: &Record) -> Done {
        let seat = self.seat(member.as_str());
        let found = self.requests.exchange(Method::GET, &seat.path(), None).await;
        match found.outcome {
            Ok(object) if version(&object).is_ok_and(|found| found == *base) => {
                let vacant = seat.edit(&object, record);
                self.on_seat(&seat, Method::PUT, &seat.path(), Some(&vacant)).await
            }
            Ok(_) => Done::plain((LockKind::Lease, "update"), Answer::Conflict),
            Err(failure) => self.failed((LockKind::Lease, "get"), failure),
        }
    }

    /// Deletes exactly this version.
    async fn delete(&self, kind: LockKind, path: &str, base: &Version) -> Done {
        let only = json!({ "uid": base.uid.0, "resourceVersion": base.revision.to_string() });
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": only,
        });
        let asked = (kind, "delete");
        match self.requests.exchange(Method::DELETE, path, Some(&options)).await.outcome {
            Ok(_) => Done::plain(asked, Answer::Deleted),
            Err(failure) => self.failed(asked, failure),
        }
    }

    /// Whether `GROUP.config` exists without the group's label, so that no watch shows it.
    pub(super) async fn has_hidden_config(&self) -> Result<bool, Trouble> {
        let collection = LockKind::ConfigMap.collection_path(Some(&self.namespace));
        let path = format!("{collection}/{}", self.config_name());
        match self.requests.read(&path).await {
            Ok(object) => Ok(!self.has_label(&object)),
            Err(failure) if failure.why == Why::Gone => Ok(false),
            Err(failure) => Err(self.trouble((LockKind::ConfigMap, "get"), failure)),
        }
    }

    /// Where a member finds the seats of all.
    pub(super) async fn seats(&self) -> Result<Vec<Value>, Error> {
        let collection = LockKind::Lease.collection_path(Some(&self.namespace));
        let path =
            format!("{collection}?labelSelector={GROUP_LABEL}%3D{}&resourceVersion=0", self.group);
        let list = self.requests.list(&path).await;
        let mut list =
            list.map_err(|failure| self.trouble((LockKind::Lease, "list"), failure).error)?;
        match list["items"].take() {
            Value::Array(seats) => Ok(seats),
            _ => Ok(Vec::new()),
        }
    }

    pub(super) fn resource(&self, kind: LockKind) -> Resource {
        Resource::Group { kind, namespace: self.namespace.clone(), group: self.group.clone() }
    }

    pub(super) fn trouble(&self, asked: Asked, failure: Failure) -> Trouble {
        let (kind, verb) = asked;
        let lasts = !failure.passes();
        let error = match failure.why {
            Why::TooLarge => Error::Full {
                what: format!(
                    "a page of the table of group {} is too long for the API server: {}",
                    self.group, failure.message
                ),
                hint: self.hint_of_full(),
            },
            _ => failure.into_error(self.resource(kind), verb),
        };
        Trouble { asked, error, lasts }
    }

    /// What is wrong if these pages have no room for all of their tasks. It has no number, which would be news all the time.
    pub(super) fn full(&self, pages: &[FullPage]) -> Option<Error> {
        let names: Vec<&str> =
            pages.iter().take(MOST_NAMED).map(|page| page.config_map.as_str()).collect();
        let more = match pages.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more pages"),
        };
        let what = format!(
            "the table has no room for more tasks in configmap/{}{more}: some listed tasks have no owner",
            names.join(", configmap/")
        );
        (!pages.is_empty()).then(|| Error::Full { what, hint: self.hint_of_full() })
    }

    fn hint_of_full(&self) -> String {
        format!(
            "list fewer tasks, or shorter names; for a table with more pages, delete configmap/{}.tasks, which stops \
             all tasks for about a minute",
            self.group
        )
    }

    fn foreign(&self, index: PageIndex) -> Trouble {
        let (name, group) = (self.page_name(index), &self.group);
        let error = Error::Foreign {
            what: format!("configmap/{name} exists, and is no page of the table of group {group}"),
            hint: format!(
                "if another program uses it, give the group another name; if nothing does: kubectl delete --namespace \
                 {} configmap {name}",
                self.namespace
            ),
        };
        Trouble { asked: (LockKind::ConfigMap, "get"), error, lasts: true }
    }

    fn new_page(&self, index: PageIndex) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": self.page_name(index), "namespace": self.namespace },
        })
    }

    fn with_text(
        &self,
        mut object: Value,
        index: PageIndex,
        page: &Page,
        own: Option<&incumbent_core::Uid>,
    ) -> Value {
        let PageText { table, tasks } = page.to_text(index, &self.group, own);
        object["data"] = json!({ "table": table, "tasks": tasks });
        object["metadata"]["labels"][GROUP_LABEL] = self.group.as_str().into();
        object
    }

    async fn on_page(
        &self,
        index: PageIndex,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Done {
        let asked = (LockKind::ConfigMap, verb_of(&method));
        let object = match self.requests.exchange(method, path, body).await.outcome {
            Ok(object) => object,
            Err(failure) => return self.failed(asked, failure),
        };
        match self.read_page(index, &object) {
            // It is read again, because an operator may delete it. Nothing is written to it.
            Some((_, Some(_))) if !self.has_label(&object) => {
                let answer = Answer::Refused { retry_after: None };
                Done { trouble: Some(self.foreign(index)), ..Done::plain(asked, answer) }
            }
            Some((page, _)) => Done {
                page: Stored::new(object).map(|stored| (index, stored)),
                ..Done::plain(asked, Answer::Page(page))
            },
            None => self.failed(asked, Failure::nonsense(200, "it shows no ConfigMap")),
        }
    }

    /// Whether the object carries the group's label.
    pub(super) fn has_label(&self, object: &Value) -> bool {
        object["metadata"]["labels"][GROUP_LABEL] == *self.group
    }

    async fn on_seat(&self, seat: &Lock, method: Method, path: &str, body: Option<&Value>) -> Done {
        let asked = (LockKind::Lease, verb_of(&method));
        match self.requests.exchange(method, path, body).await.outcome {
            Ok(object) => match seat.decode(&object) {
                Ok(snapshot) => Done::plain(asked, Answer::Seat(snapshot)),
                Err(error) => self.failed(asked, Failure::nonsense(200, error.to_string())),
            },
            Err(failure) => self.failed(asked, failure),
        }
    }

    /// All Leases of the namespace, from the store itself: no selector, and no version.
    async fn list_seats(&self) -> Done {
        let path = LockKind::Lease.collection_path(Some(&self.namespace));
        let asked = (LockKind::Lease, "list");
        let list = match self.requests.exchange(Method::GET, &path, None).await.outcome {
            Ok(list) if list["items"].is_array() => list,
            Ok(_) => return self.failed(asked, Failure::nonsense(200, "it is no list")),
            Err(failure) => return self.failed(asked, failure),
        };
        let leases = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let lock = leases.iter().find(|lease| lease["metadata"]["name"] == *self.group);
        let lock = lock.and_then(|lease| self.lock().decode(lease).ok());
        let held = leases.iter().filter_map(|lease| {
            let (member, Snapshot { version, record }) = self.read_seat(lease)?;
            record.holder_info.seat.as_ref()?;
            let term = SeatTerm { member, seat: version.uid, token: record.token()? };
            Some(HeldSeat { term, lease_duration: record.lease_duration? })
        });
        let list = SeatList {
            held: held.collect(),
            is_before_any_table: lock.is_some_and(|lock| lock.record.table.is_none()),
        };
        Done::plain(asked, Answer::Seats(list))
    }

    /// No answer came in time.
    pub(super) fn late(&self, asked: Asked) -> Done {
        self.failed(asked, Failure::late())
    }

    fn failed(&self, asked: Asked, failure: Failure) -> Done {
        let is_write = !matches!(asked.1, "get" | "list");
        let answer = match failure.why {
            Why::Gone => Answer::Missing,
            Why::Conflict if is_write => Answer::Conflict,
            Why::NoAnswer => Answer::Unknown,
            _ if is_write && failure.may_be_applied() => Answer::Unknown,
            _ => Answer::Refused { retry_after: failure.retry_after },
        };
        let is_trouble = !matches!(answer, Answer::Missing | Answer::Conflict);
        let trouble = is_trouble.then(|| self.trouble(asked, failure));
        Done { answer, page: None, asked, trouble }
    }
}

impl Done {
    fn plain(asked: Asked, answer: Answer) -> Self {
        Self { answer, page: None, asked, trouble: None }
    }
}

/// What a request is about.
pub(super) fn asked(ask: &Ask) -> Asked {
    match ask {
        Ask::CreatePage(..) => (LockKind::ConfigMap, "create"),
        Ask::ReplacePage { .. } => (LockKind::ConfigMap, "update"),
        Ask::DeletePage { .. } => (LockKind::ConfigMap, "delete"),
        Ask::ReadPage(_) => (LockKind::ConfigMap, "get"),
        Ask::CreateSeat(_) => (LockKind::Lease, "create"),
        Ask::ReadSeat(_) => (LockKind::Lease, "get"),
        Ask::VacateSeat { .. } => (LockKind::Lease, "update"),
        Ask::DeleteSeat { .. } => (LockKind::Lease, "delete"),
        Ask::ListSeats => (LockKind::Lease, "list"),
    }
}

/// The most pages that one error names.
const MOST_NAMED: usize = 5;

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        _ => "get",
    }
}
