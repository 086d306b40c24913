//! How a record is written into the lock's object, and read from it.
//!
//! Objects are edited as JSON and never rebuilt from types: whatever else is in them, now or in
//! versions of Kubernetes to come, stays as it is.

use std::str::FromStr;
use std::time::Duration;

use incumbent_core::{
    FencingToken, HolderInfo, Identity, Record, Session, Snapshot, Stamp, Uid, Version, Waitlist,
    WallTime,
};
use serde_json::{Map, Value, json};
use thiserror::Error as ThisError;

use super::{DEFAULT_KEY, GROUP_LABEL, Kind, Lock, container, seat};

/// The annotation that says whose term it is, with its token. It counts only beside the holder and the
/// renew time that it names, so that a foreign program, which leaves it as it is, is not taken for us.
pub(crate) const TERM_ANNOTATION: &str = "incumbent.dev/term";

/// Where client-go's ConfigMap lock kept its record, and the Python, Java and C# clients still do.
pub(crate) const RECORD_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

/// The record of an election under another key than `leader`, of which the foreign clients know nothing:
/// each key has an election of its own.
pub(crate) const KEYED_RECORD_ANNOTATION: &str = "incumbent.dev/record";

/// Why an object is none of Kubernetes'.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub(crate) enum NoObject {
    #[error("the object has no uid")]
    NoUid,
    #[error("the object has no resourceVersion")]
    NoVersion,
    #[error("resourceVersion {0:?} is no number")]
    VersionIsNoNumber(String),
}

impl Lock {
    /// A new object that says `record`.
    pub(crate) fn create(&self, record: &Record) -> Value {
        let (api_version, kind) = match self.kind {
            Kind::Lease | Kind::Seat => ("coordination.k8s.io/v1", "Lease"),
            Kind::ConfigMap { .. } => ("v1", "ConfigMap"),
        };
        let metadata = json!({ "name": self.name(), "namespace": self.namespace() });
        let mut object = json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata });
        // Also a vacant record is written, and with it the label of a seat.
        self.write_record(&mut object, record);
        self.write_waitlist(&mut object, &Record::default(), record);
        object
    }

    /// The object, edited so that it says `record`, with all else as it was: uid and resourceVersion
    /// among it, which make the write of it a replace of exactly that version.
    ///
    /// Who joins or leaves the line writes nothing but the line. What somebody else's program wrote in its
    /// own way stays as it is, to the letter.
    pub(crate) fn edit(&self, object: &Value, record: &Record) -> Value {
        let before = self.decode(object).map(|known| known.record).unwrap_or_default();
        let mut edited = object.clone();
        if !is_edit_of_the_waitlist(&before, record) {
            self.write_record(&mut edited, record);
        }
        self.write_waitlist(&mut edited, &before, record);
        edited
    }

    fn write_record(&self, object: &mut Value, record: &Record) {
        match &self.kind {
            Kind::Lease | Kind::Seat => {
                write_times(member(object, "spec"), record, "leaseTransitions")
            }
            Kind::ConfigMap { key } => {
                let holder = record.holder.as_ref().map_or("", Identity::as_str);
                member(object, "data").insert(key.clone(), holder.into());
                let mut old = text_annotation(object, &self.record_annotation());
                write_times(as_map(&mut old), record, "leaderTransitions");
                annotate(object, &self.record_annotation(), &old);
            }
        }
        let mut term = text_annotation(object, &self.term_annotation());
        write_term(as_map(&mut term), record);
        annotate(object, &self.term_annotation(), &term);
        if let Some(group) = self.group() {
            let labels = member(object, "metadata").entry("labels").or_insert_with(|| json!({}));
            as_map(labels).insert(GROUP_LABEL.to_owned(), group.into());
        }
    }

    pub(super) fn term_annotation(&self) -> String {
        self.annotation(TERM_ANNOTATION, TERM_ANNOTATION)
    }

    pub(super) fn record_annotation(&self) -> String {
        self.annotation(RECORD_ANNOTATION, KEYED_RECORD_ANNOTATION)
    }

    /// The annotation of the default key, or that of another.
    pub(crate) fn annotation(&self, usual: &str, keyed: &str) -> String {
        match self.key() {
            None | Some(DEFAULT_KEY) => usual.to_owned(),
            Some(key) => format!("{keyed}.{key}"),
        }
    }

    /// Reads an object. Fields of foreign programs may be missing, null, empty or absurd; what cannot
    /// be understood counts as not said.
    ///
    /// # Errors
    /// Where the object has no uid or no numeric resourceVersion: then it is none of Kubernetes'.
    pub(crate) fn decode(&self, object: &Value) -> Result<Snapshot, NoObject> {
        let version = version(object)?;
        // It says nothing of a member, whatever it says.
        if self.is_foreign(object) {
            return Ok(Snapshot { version, record: Record::default() });
        }
        let term = Term::read(&text_annotation(object, &self.term_annotation()));
        let mut record = match &self.kind {
            Kind::Lease | Kind::Seat => read_times(&object["spec"], "leaseTransitions"),
            Kind::ConfigMap { key } => {
                let written = text_annotation(object, &self.record_annotation());
                let record = match written.is_object() {
                    true => read_times(&written, "leaderTransitions"),
                    false => {
                        unreadable(&object["metadata"]["annotations"][self.record_annotation()])
                    }
                };
                match claim(object, key, &record, &term) {
                    Some(claimed) => claimed,
                    None => record,
                }
            }
        };
        record.session = term.session_of(&record);
        record.last_token = term.token;
        record.table = term.table;
        if record.session.is_some() {
            record.holder_info = term.holder_info;
        }
        self.read_waitlist(object, &mut record);
        Ok(Snapshot { version, record })
    }

    /// Whether this is the name of a seat, and the object is none: it has neither the group's label nor a term of a member.
    /// The record decides, because a label is easily lost.
    pub(crate) fn is_foreign(&self, object: &Value) -> bool {
        let Some(group) = self.group() else { return false };
        let has_label = object["metadata"]["labels"][GROUP_LABEL] == group;
        !has_label && !text_annotation(object, &self.term_annotation())["seat"].is_object()
    }
}

const DURATION: &str = "leaseDurationSeconds";

/// fabric8's name for the duration in a ConfigMap's record. It reads no record that has the usual name, and
/// none that lacks its own.
const FABRIC8_DURATION: &str = "leaseDuration";

/// A token above this is none of ours. The rest of the range is left to rise in, so that an absurd number
/// in an annotation cannot end the line of tokens.
const HIGHEST_TOKEN: u64 = 1 << 62;

/// What an operator may ask for: it leaves room for more tokens than will ever be given.
pub(crate) const HIGHEST_FLOOR: FencingToken = FencingToken(HIGHEST_TOKEN / 2);

// Reading.

pub(crate) fn version(object: &Value) -> Result<Version, NoObject> {
    let metadata = &object["metadata"];
    let uid = metadata["uid"].as_str().ok_or(NoObject::NoUid)?;
    let text = metadata["resourceVersion"].as_str().ok_or(NoObject::NoVersion)?;
    let revision = u64::from_str(text).map_err(|_| NoObject::VersionIsNoNumber(text.to_owned()))?;
    Ok(Version { uid: Uid(uid.to_owned()), revision })
}

fn read_times(from: &Value, transitions: &str) -> Record {
    Record {
        holder: from["holderIdentity"].as_str().and_then(Identity::new),
        lease_duration: whole_seconds(&from[DURATION])
            .or_else(|| iso_duration(&from[FABRIC8_DURATION])),
        acquired: stamp(&from["acquireTime"]),
        renewed: stamp(&from["renewTime"]),
        transitions: number(&from[transitions])
            .map_or(0, |count| count.clamp(0, i32::MAX.into()).unsigned_abs() as u32),
        ..Record::default()
    }
}

/// A record that cannot be understood may still have a holder: it is waited out, and each change of it is
/// a sign of life. No record at all, or an empty one, has no holder.
fn unreadable(annotation: &Value) -> Record {
    match annotation.as_str().map(str::trim) {
        None | Some("" | "null") => Record::default(),
        Some(text) => Record {
            holder: Identity::new("<unreadable record>"),
            renewed: Some(Stamp::Text(text.to_owned())),
            ..Record::default()
        },
    }
}

/// A name that another client wrote into the key without a record of ours or of a foreign elector: it was
/// claimed as on a blackboard, which has no expiry, so it is never taken over.
fn claim(object: &Value, key: &str, record: &Record, term: &Term) -> Option<Record> {
    let name = object["data"][key].as_str().filter(|name| !name.is_empty())?;
    let is_left_over = term.identity.as_deref() == Some(name);
    let is_holder = record.holder.as_ref().is_some_and(|holder| holder.as_str() == name);
    (!is_left_over && !is_holder).then(|| Record {
        holder: Identity::new(name),
        lease_duration: Some(Duration::MAX),
        ..Record::default()
    })
}

/// Some programs write the number as text (Python's client does).
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn whole_seconds(value: &Value) -> Option<Duration> {
    let seconds = number(value).filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds.cast_unsigned()))
}

/// `PT15S`, rounded up: followers wait at least as long as the record says.
fn iso_duration(value: &Value) -> Option<Duration> {
    let duration: jiff::SignedDuration = value.as_str()?.parse().ok()?;
    let duration = Duration::try_from(duration).ok().filter(|duration| !duration.is_zero())?;
    Some(Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0)))
}

fn stamp(value: &Value) -> Option<Stamp> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    Some(match text.parse::<jiff::Timestamp>() {
        Ok(time) => Stamp::At(WallTime::from_unix_micros(time.as_microsecond())),
        Err(_) => Stamp::Text(text.to_owned()),
    })
}

/// What the term annotation says.
#[derive(Default)]
struct Term {
    identity: Option<String>,
    session: Option<Session>,
    renewed: Option<Stamp>,
    token: FencingToken,
    table: Option<Uid>,
    holder_info: HolderInfo,
}

impl Term {
    fn read(from: &Value) -> Self {
        let session = from["session"].as_str().and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let token = from["token"].as_u64().filter(|token| *token <= HIGHEST_TOKEN);
        Self {
            identity: from["identity"].as_str().map(str::to_owned),
            session: session.map(Session),
            renewed: stamp(&from["renewTime"]),
            token: FencingToken(token.unwrap_or(0)),
            table: from["table"].as_str().map(|uid| Uid(uid.to_owned())),
            holder_info: HolderInfo {
                address: from["address"].as_str().map(str::to_owned),
                container: container::read(&from["container"]),
                seat: seat::read(&from["seat"]),
            },
        }
    }

    /// The session of the term that `record` shows: one whose holder is named, or was taken out of the
    /// record without being released.
    fn session_of(&self, record: &Record) -> Option<Session> {
        let holder = record.holder.as_ref().map(Identity::as_str);
        let same_holder = holder.is_none() || holder == self.identity.as_deref();
        self.session.filter(|_| same_holder && self.renewed == record.renewed)
    }
}

// Writing.

/// Whether `record` is `before` but for who waits.
fn is_edit_of_the_waitlist(before: &Record, record: &Record) -> bool {
    let without_line = |record: &Record| Record { waitlist: Waitlist::default(), ..record.clone() };
    without_line(before) == without_line(record)
}

fn write_times(into: &mut Map<String, Value>, record: &Record, transitions: &str) {
    let holder = record.holder.as_ref().map_or("", Identity::as_str);
    into.insert("holderIdentity".to_owned(), holder.into());
    let seconds = record.lease_duration.map(|duration| duration.as_secs());
    // A record that fabric8 made stays one that fabric8 can read.
    let is_fabric8s = into.contains_key(FABRIC8_DURATION) && !into.contains_key(DURATION);
    let duration = match is_fabric8s {
        true => (FABRIC8_DURATION, seconds.map(|seconds| format!("PT{seconds}S").into())),
        false => (DURATION, seconds.map(Value::from)),
    };
    for (field, value) in [
        duration,
        ("acquireTime", record.acquired.as_ref().map(stamp_text)),
        ("renewTime", record.renewed.as_ref().map(stamp_text)),
    ] {
        match value {
            Some(value) => into.insert(field.to_owned(), value),
            None => into.remove(field),
        };
    }
    into.insert(transitions.to_owned(), record.transitions.min(i32::MAX as u32).into());
}

fn write_term(into: &mut Map<String, Value>, record: &Record) {
    into.insert("token".to_owned(), record.last_token.0.into());
    if let Some(Uid(table)) = &record.table {
        into.insert("table".to_owned(), table.as_str().into());
    }
    match (&record.holder, record.session) {
        (Some(holder), Some(Session(session))) => {
            into.insert("identity".to_owned(), holder.as_str().into());
            into.insert("session".to_owned(), format!("{session:032x}").into());
            let renewed = record.renewed.as_ref().map_or(Value::Null, stamp_text);
            into.insert("renewTime".to_owned(), renewed);
            write_holder_info(into, &record.holder_info);
        }
        _ => {
            for field in ["identity", "session", "renewTime", "address", "container", "seat"] {
                into.remove(field);
            }
        }
    }
}

fn write_holder_info(into: &mut Map<String, Value>, holder_info: &HolderInfo) {
    let address = holder_info.address.as_deref().map(Value::from);
    let container = holder_info.container.as_ref().map(container::written);
    let seat = holder_info.seat.as_ref().map(seat::written);
    for (field, value) in [("address", address), ("container", container), ("seat", seat)] {
        match value {
            Some(value) => into.insert(field.to_owned(), value),
            None => into.remove(field),
        };
    }
}

fn stamp_text(stamp: &Stamp) -> Value {
    match stamp {
        Stamp::Text(text) => text.as_str().into(),
        Stamp::At(time) => time_text(*time).into(),
    }
}

/// Exactly six digits, as Kubernetes' MicroTime wants them.
fn time_text(time: WallTime) -> String {
    match jiff::Timestamp::from_microsecond(time.unix_micros()) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => "1970-01-01T00:00:00.000000Z".to_owned(),
    }
}

// JSON.

/// The JSON that an annotation holds as text; null where there is none that can be understood.
pub(super) fn text_annotation(object: &Value, name: &str) -> Value {
    object["metadata"]["annotations"][name]
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or(Value::Null)
}

pub(super) fn annotate(object: &mut Value, name: &str, content: &Value) {
    let metadata = member(object, "metadata");
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    as_map(annotations).insert(name.to_owned(), content.to_string().into());
}

fn member<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    as_map(as_map(object).entry(name).or_insert_with(|| json!({})))
}

/// The value as an object. What is none (null, as some programs write for "empty") becomes an empty one.
fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object above"),
    }
}

#[cfg(test)]
mod tests;
