//! What the records of schedules say, to people who look from outside.

use incumbent_core::schedule::{Moment, ScheduleRecord, Timetable};
use jiff::Timestamp;
use serde_json::Value;

use super::calendar::CronCalendar;
use super::{codec, page};
use crate::answer::Why;
use crate::error::Error;
use crate::lock::{Lock, LockKind, Resource};
use crate::requests::Requests;
use crate::survey::encoded;

/// What the record of one schedule says. Whether a replica is there to run it is not in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduleView {
    /// The namespace.
    pub namespace: String,
    /// The ConfigMap that holds the record.
    pub config_map: String,
    /// The name of the schedule.
    pub name: String,
    /// The record. `None` if it cannot be read: then nothing runs, and nothing is written over it.
    pub record: Option<ScheduleRecord>,
    /// The record as it is stored.
    pub text: String,
}

impl ScheduleView {
    /// The schedules of this namespace, or of all: by namespace, ConfigMap and name.
    ///
    /// # Errors
    /// If ConfigMaps cannot be listed.
    pub async fn list(client: kube::Client, namespace: Option<&str>) -> Result<Vec<Self>, Error> {
        let requests = Requests::new(client);
        let collection = LockKind::ConfigMap.collection_path(namespace);
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("{collection}?limit={LIMIT}{after}");
            let list = requests.list(&path).await.map_err(|failure| {
                let namespace = namespace.map(str::to_owned);
                failure.into_error(Resource::All { kind: LockKind::ConfigMap, namespace }, "list")
            })?;
            let objects = list["items"].as_array().into_iter().flatten();
            found.extend(objects.flat_map(Self::all_of));
            match list["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => after = format!("&continue={}", encoded(token)),
                None => break,
            }
        }
        found.sort_by(|one, other| one.key().cmp(&other.key()));
        Ok(found)
    }

    /// The schedule `name` whose record is in this ConfigMap.
    ///
    /// # Errors
    /// If it does not exist, or the ConfigMap cannot be read.
    pub async fn read(
        client: kube::Client,
        namespace: &str,
        config_map: &str,
        name: &str,
    ) -> Result<Self, Error> {
        let lock = Lock::config_map(namespace, config_map).checked()?;
        let object = match Requests::new(client).read(&lock.path()).await {
            Ok(object) => object,
            Err(failure) if failure.why == Why::Gone => return Err(missing(&lock, name)),
            Err(failure) => return Err(failure.into_error(&lock, "get")),
        };
        let text = object["data"][page::key(name)].as_str();
        text.map(|text| Self::of(&lock, name, text)).ok_or_else(|| missing(&lock, name))
    }

    /// All records in a ConfigMap. A key of that form may belong to another program, so of those that cannot be read only
    /// the ones beside an election are taken for schedules.
    fn all_of(object: &Value) -> Vec<Self> {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let lock = Lock::config_map(text("namespace"), text("name"));
        let has_election = object["metadata"]["annotations"]
            .as_object()
            .is_some_and(|known| known.keys().any(|key| key.starts_with("incumbent.dev/")));
        let data = object["data"].as_object().into_iter().flatten();
        let views = data.filter_map(|(key, text)| {
            let name = key.strip_suffix(&page::key("")).filter(|name| !name.is_empty())?;
            Some(Self::of(&lock, name, text.as_str()?))
        });
        views.filter(|view| view.record.is_some() || has_election).collect()
    }

    fn of(lock: &Lock, name: &str, text: &str) -> Self {
        Self {
            namespace: lock.namespace().to_owned(),
            config_map: lock.name().to_owned(),
            name: name.to_owned(),
            record: codec::decode(text),
            text: text.to_owned(),
        }
    }

    fn key(&self) -> (&str, &str, &str) {
        (&self.namespace, &self.config_map, &self.name)
    }

    /// The first tick that is not decided yet, without its jitter. It has passed if no replica has decided it. `None` if
    /// the record cannot be read, if nothing is due because the schedule is suspended or was renamed, or if the pattern
    /// or the time zone is unknown to this version.
    pub fn next(&self) -> Option<Timestamp> {
        let record = self.record.as_ref()?;
        if record.suspended.is_some() || record.moved_to.is_some() {
            return None;
        }
        let calendar = CronCalendar::default();
        let jitter = std::time::Duration::ZERO;
        let timetable = Timetable { calendar: &calendar, name: &self.name, jitter };
        timetable.next(&record.spec, record.floor).and_then(time)
    }
}

/// The moment as a time of the calendar. `None` if it is beyond the year 9999.
pub fn time(moment: Moment) -> Option<Timestamp> {
    Timestamp::from_microsecond(moment.unix_micros()).ok()
}

fn missing(lock: &Lock, name: &str) -> Error {
    Error::Missing {
        what: format!("schedule {name} of {lock} in namespace {}", lock.namespace()),
        hint:
            "to list the schedules: incumbent get --schedules; the first leader creates the record"
                .to_owned(),
    }
}

/// A ConfigMap may have a megabyte.
const LIMIT: usize = 50;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(annotations: Value, data: Value) -> Value {
        json!({ "metadata": { "namespace": "prod", "name": "jobs", "annotations": annotations }, "data": data })
    }

    const RECORD: &str = r#"{"spec":{"cron":"0 7 * * *","tz":"Europe/Berlin","revision":0},"floor":"2026-11-28T06:00:00Z"}"#;

    #[test]
    fn a_config_map_has_the_schedules_whose_records_it_holds() {
        let data = json!({ "report.schedule": RECORD, "leader": "x", ".schedule": RECORD, "a.once": "{}" });
        let views = ScheduleView::all_of(&object(json!({}), data));
        assert_eq!(
            views.iter().map(ScheduleView::key).collect::<Vec<_>>(),
            [("prod", "jobs", "report")]
        );
        assert_eq!(views[0].next(), Some("2026-11-29T06:00:00Z".parse().unwrap()));
    }

    #[test]
    fn another_programs_key_is_no_schedule_and_a_record_with_a_mistake_is_one() {
        let data = json!({ "bus.schedule": "8:15, 9:15" });
        assert_eq!(ScheduleView::all_of(&object(json!({}), data.clone())), []);
        let views = ScheduleView::all_of(&object(json!({ "incumbent.dev/term": "{}" }), data));
        assert_eq!(views.iter().map(|view| &view.record).collect::<Vec<_>>(), [&None]);
        assert_eq!(views[0].next(), None);
    }

    #[test]
    fn what_is_suspended_or_renamed_has_no_next_tick() {
        let of = |more: Value| {
            let mut record: Value = serde_json::from_str(RECORD).unwrap();
            record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ScheduleView::of(&Lock::config_map("prod", "jobs"), "report", &record.to_string())
                .next()
        };
        assert!(of(json!({})).is_some());
        let since = json!({ "since": "2026-11-28T06:00:00Z", "by": "jane" });
        assert_eq!(of(json!({ "suspended": since })), None);
        assert_eq!(of(json!({ "movedTo": "daily" })), None);
    }
}
