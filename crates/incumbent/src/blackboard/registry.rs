//! Who is registered, as it is on the object, and what was seen of it when. No io.
//!
//! An address is under `data` at `member.NAME`, for people and scripts to read. The annotation
//! `incumbent.dev/members` says what keeps it alive: whose it is, a number that changes with each sign of
//! life, and for how many seconds the last one counts.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use incumbent_core::Session;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::Error;
use crate::invalid::InvalidSetting;
use crate::lock::{Altered, annotation_pointer, escaped_pointer};

/// The registrations on one version of the object.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) address: String,
    /// None where it was written by hand: then it stays until it is taken off by hand.
    pub(super) sign: Option<Sign>,
}

/// A sign of life. The next one differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sign {
    session: String,
    beat: u64,
    seconds: u32,
}

impl Registry {
    pub(super) fn read(object: &Value) -> Self {
        let signs = object["metadata"]["annotations"][MEMBERS_ANNOTATION].as_str();
        let mut signs: HashMap<String, Value> =
            signs.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let data = object["data"].as_object().into_iter().flatten();
        let entries = data.filter_map(|(key, address)| {
            let name = key.strip_prefix(KEY_PREFIX)?;
            let sign = signs.remove(name).and_then(|sign| serde_json::from_value(sign).ok());
            Some((name.to_owned(), Entry { address: address.as_str()?.to_owned(), sign }))
        });
        Self { entries: entries.collect() }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(super) fn put(&mut self, name: &str, entry: Entry) {
        self.entries.insert(name.to_owned(), entry);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.entries.remove(name);
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.entries.retain(|name, _| keep(name));
    }

    /// For how long a sign of life counts with so many members.
    pub(super) fn duration_of_a_sign(&self) -> Duration {
        SHORTEST.max(FOR_EACH_MEMBER * u32::try_from(self.entries.len()).unwrap_or(u32::MAX))
    }

    /// The object with these registrations, and with all else as it was.
    ///
    /// # Errors
    /// [`Error::Full`] where there would be more than the object has room for.
    pub(super) fn write(&self, object: &Value) -> Result<Value, Error> {
        let mut edited = object.clone();
        let data = member(&mut edited, "data");
        data.retain(|key, _| !key.starts_with(KEY_PREFIX));
        let signs: BTreeMap<&str, &Sign> = self
            .entries
            .iter()
            .filter_map(|(name, entry)| Some((name.as_str(), entry.sign.as_ref()?)))
            .collect();
        for (name, entry) in &self.entries {
            data.insert(format!("{KEY_PREFIX}{name}"), entry.address.as_str().into());
        }
        let annotations = member(member_value(&mut edited, "metadata"), "annotations");
        annotations.insert(MEMBERS_ANNOTATION.to_owned(), json!(signs).to_string().into());
        let fits = self.entries.len() <= MOST_MEMBERS
            && size(&edited["data"]) <= DATA_LIMIT
            && size(&edited["metadata"]["annotations"]) <= ANNOTATIONS_LIMIT;
        match fits {
            true => Ok(edited),
            false => Err(full(object)),
        }
    }
}

/// What of the entry of `name` is stored otherwise than it was written.
pub(super) fn altered(name: &str, wrote: &Value, stored: &Value) -> Option<Altered> {
    if Registry::read(wrote).get(name) == Registry::read(stored).get(name) {
        return None;
    }
    let address = format!("/data/{}", escaped_pointer(&format!("{KEY_PREFIX}{name}")));
    let signs = annotation_pointer(MEMBERS_ANNOTATION);
    [address, signs].iter().find_map(|place| Altered::at(place, wrote, stored))
}

impl Entry {
    pub(super) fn is_of(&self, session: Session) -> bool {
        self.sign.as_ref().is_some_and(|sign| sign.session == written(session))
    }
}

impl Sign {
    pub(super) fn new(session: Session, beat: u64, lasts: Duration) -> Self {
        let seconds = u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX);
        Self { session: written(session), beat, seconds }
    }

    /// What others write may be absurd.
    pub(super) fn lasts(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds)).clamp(Duration::from_secs(1), LONGEST)
    }
}

/// What one process has seen of signs of life, by its own clock. What an entry says of time is a
/// duration; no clock of another machine is ever read.
#[derive(Clone, Debug, Default)]
pub(super) struct Witness {
    seen: HashMap<String, SeenSign>,
}

#[derive(Clone, Debug)]
struct SeenSign {
    sign: Sign,
    /// When this sign was seen first.
    since: Instant,
    has_changed: bool,
    lasts: Duration,
}

impl Witness {
    /// Takes in what was read at `now`.
    pub(super) fn note(&mut self, registry: &Registry, now: Instant) {
        self.seen.retain(|name, _| registry.get(name).is_some_and(|entry| entry.sign.is_some()));
        for (name, entry) in registry.entries() {
            let Some(sign) = &entry.sign else { continue };
            match self.seen.get_mut(name) {
                Some(seen) if seen.sign == *sign => {}
                Some(seen) => {
                    let lasts = sign.lasts().max(seen.sign.lasts());
                    *seen = SeenSign { sign: sign.clone(), since: now, has_changed: true, lasts };
                }
                None => {
                    let (sign, lasts) = (sign.clone(), sign.lasts());
                    let new = SeenSign { sign, since: now, has_changed: false, lasts };
                    self.seen.insert(name.clone(), new);
                }
            }
        }
    }

    /// Whether it has not changed for as long as it said that it counts.
    pub(super) fn is_dead(&self, name: &str, now: Instant) -> bool {
        self.dies_at(name).is_some_and(|end| now >= end)
    }

    /// When it is dead, if it does not change before.
    pub(super) fn dies_at(&self, name: &str) -> Option<Instant> {
        self.seen.get(name).map(|seen| seen.since + seen.lasts)
    }

    /// Whether it was seen to change.
    pub(super) fn is_alive(&self, name: &str) -> bool {
        self.seen.get(name).is_some_and(|seen| seen.has_changed)
    }
}

/// The name, if the object has room for it as a key.
pub(super) fn checked_name(name: &str) -> Result<(), InvalidSetting> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(fits) {
        true => Ok(()),
        false => Err(InvalidSetting::MemberName(name.to_owned())),
    }
}

fn written(session: Session) -> String {
    format!("{:032x}", session.0)
}

fn member_value<'a>(object: &'a mut Value, name: &str) -> &'a mut Value {
    if !object[name].is_object() {
        object[name] = json!({});
    }
    &mut object[name]
}

fn member<'a>(object: &'a mut Value, name: &str) -> &'a mut serde_json::Map<String, Value> {
    member_value(object, name).as_object_mut().expect("it was made one")
}

fn size(texts: &Value) -> usize {
    let texts = texts.as_object().into_iter().flatten();
    texts.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

fn full(object: &Value) -> Error {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Error::Full {
        what: format!("configmap/{name} has no room for another member"),
        hint: format!(
            "it holds {MOST_MEMBERS} members at most, and 1 MiB: register on another, or remove what \
                was written by hand"
        ),
    }
}

pub(super) const MEMBERS_ANNOTATION: &str = "incumbent.dev/members";
const KEY_PREFIX: &str = "member.";

/// With this many, a sign of life counts for more than twelve minutes: beyond, use several objects.
const MOST_MEMBERS: usize = 500;

/// Each member writes three times in the time for which its sign counts. So all of them together write
/// about twice a second, however many they are: 3 / 1.5 s.
const FOR_EACH_MEMBER: Duration = Duration::from_millis(1500);
const SHORTEST: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_secs(3600);

const LONGEST_NAME: usize = 200;
pub(super) const LONGEST_ADDRESS: usize = 256;

/// Kubernetes' own: of all values under `data`, and of all annotations.
const DATA_LIMIT: usize = 1 << 20;
const ANNOTATIONS_LIMIT: usize = 256 << 10;
