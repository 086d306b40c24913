//! The query parameters of requests, and upstream's refusals of invalid ones.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Call, Location};
use crate::cause::Cause;
use crate::fieldset::FieldSet;
use crate::managed::{ManagerId, Operation, Writer};
use crate::request::Query;
use crate::resources::{Part, Resource, STATUS};
use crate::schema::illegal_base64;
use crate::selector::{Selection, parse_fields, parse_labels};
use crate::status::Status;

/// Whether a write is a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DryRun {
    No,
    All,
}

/// What happens to unknown fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// The version of the data that a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadVersion {
    /// The newest version, because the request names none.
    Newest,
    /// This version or a newer one.
    NotOlderThan(u64),
    Exactly(u64),
}

/// Reads `dryRun`; `kind` is the kind of the options, such as `CreateOptions`.
pub(super) fn dry_run(query: &Query, kind: &str) -> Result<DryRun, Status> {
    match query.text("dryRun") {
        None => Ok(DryRun::No),
        Some("All") => Ok(DryRun::All),
        Some(other) => Err(Status::invalid_options(
            kind,
            Cause::unsupported("dryRun", &json!([other]), &["All"]),
        )),
    }
}

pub(super) fn field_validation(query: &Query, kind: &str) -> Result<FieldValidation, Status> {
    match query.text("fieldValidation") {
        None | Some("Warn") => Ok(FieldValidation::Warn),
        Some("Ignore") => Ok(FieldValidation::Ignore),
        Some("Strict") => Ok(FieldValidation::Strict),
        Some(other) => Err(Status::invalid_options(
            kind,
            Cause::unsupported("fieldValidation", &json!(other), &["Ignore", "Strict", "Warn"]),
        )),
    }
}

/// The writer of a request, and the manager that it writes as.
pub(super) fn writer(
    call: &Call,
    location: &Location,
    part: Part,
    kind: &str,
) -> Result<Writer, Status> {
    let resource = location.resource;
    let given = call.target.query.text("fieldManager");
    if given.is_some_and(|name| name.len() > LONGEST_MANAGER) {
        let cause = Cause::too_long("fieldManager", LONGEST_MANAGER);
        return Err(Status::invalid_options(kind, cause));
    }
    if let Some((at, char)) =
        given.and_then(|name| name.char_indices().find(|(_, c)| c.is_control()))
    {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(char));
        let cause = Cause::invalid("fieldManager", &json!(given), &why);
        return Err(Status::invalid_options(kind, cause));
    }
    let agent = call.agent.split('/').next().unwrap_or_default();
    let agent = agent.chars().filter(char::is_ascii_graphic).take(LONGEST_MANAGER).collect();
    let name = match given {
        Some(name) => name.to_owned(),
        None if call.agent.is_empty() => "unknown".to_owned(),
        None => agent,
    };
    let has_status = resource.subresource(STATUS.name).is_some();
    let id = ManagerId {
        name,
        operation: Operation::Update,
        // Fields are owned under the names of the stored form.
        api_version: resource.home().kind.api_version(),
        subresource: if part == Part::Status { STATUS.name.to_owned() } else { String::new() },
    };
    let other_parts: &[&str] = match part {
        Part::Status => &["spec"],
        Part::Main if has_status => &["status"],
        Part::Main => &[],
    };
    Ok(Writer {
        id,
        now: call.now,
        user: call.user.clone(),
        applied: None,
        force: false,
        inherited: FieldSet::default(),
        annotation: None,
        other_parts,
    })
}

/// Upstream's limit for a manager's name, in bytes.
const LONGEST_MANAGER: usize = 128;

/// The objects that a list, a watch or the delete of a collection selects.
pub(super) fn selection(
    query: &Query,
    resource: &Resource,
    namespace: &str,
) -> Result<Selection, Status> {
    let fields = query.text("fieldSelector").unwrap_or_default();
    let labels = query.text("labelSelector").unwrap_or_default();
    Ok(Selection {
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        fields: parse_fields(fields, resource).map_err(Status::bad_request)?,
        labels: parse_labels(labels).map_err(Status::bad_request)?,
    })
}

/// The `resourceVersion` in the query; zero if there is none.
pub(super) fn version(query: &Query) -> Result<u64, Status> {
    let Some(text) = query.text("resourceVersion") else { return Ok(0) };
    text.parse().map_err(|_| {
        let why = unparsable(text);
        Status::raw(format!("resourceVersion: Invalid value: {text:?}: {why}"))
    })
}

/// Reads a `resourceVersion`; zero if it is empty.
pub(super) fn parse_version(text: &str) -> Result<u64, Status> {
    match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| Status::raw(unparsable(text))),
    }
}

/// The version that a list asks for.
pub(super) fn list_version(query: &Query) -> Result<ReadVersion, Status> {
    let named = query.text("resourceVersion").is_some();
    let version = version(query).map_err(|status| {
        Status::bad_request(format!("invalid resource version: {}", status.message()))
    })?;
    Ok(match query.text("resourceVersionMatch") {
        Some("Exact") => ReadVersion::Exactly(version),
        _ if named => ReadVersion::NotOlderThan(version),
        _ => ReadVersion::Newest,
    })
}

/// Upstream's `ValidateListOptions`.
pub(super) fn check_list_options(query: &Query) -> Result<(), Status> {
    let version = query.text("resourceVersion");
    let mut causes = Vec::new();
    if let Some(wanted) = query.text("resourceVersionMatch") {
        if version.is_none() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            causes.push(Cause::forbidden(MATCH, why));
        }
        causes.extend(continued_match_cause(query));
        if !matches!(wanted, "Exact" | "NotOlderThan") {
            let known = ["Exact", "NotOlderThan", ""];
            causes.push(Cause::unsupported(MATCH, &json!(wanted), &known));
        }
        if wanted == "Exact" && version == Some("0") {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            causes.push(Cause::forbidden(MATCH, why));
        }
    }
    if query.text("sendInitialEvents").is_some() {
        let why = "sendInitialEvents is forbidden for list";
        causes.push(Cause::forbidden("sendInitialEvents", why));
    }
    refuse_options(causes)
}

/// The same rules for a watch.
pub(super) fn check_watch_options(query: &Query) -> Result<(), Status> {
    let asks = query.text("sendInitialEvents").is_some();
    let wanted = query.text("resourceVersionMatch");
    let mut causes = Vec::new();
    if asks && wanted != Some("NotOlderThan") {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        causes.push(Cause::forbidden(MATCH, why));
    }
    if let Some(wanted) = wanted {
        if !asks {
            let why =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            causes.push(Cause::forbidden(MATCH, why));
        }
        if wanted != "NotOlderThan" {
            causes.push(Cause::unsupported(MATCH, &json!(wanted), &["NotOlderThan"]));
        }
        causes.extend(continued_match_cause(query));
    }
    refuse_options(causes)
}

const MATCH: &str = "resourceVersionMatch";

fn continued_match_cause(query: &Query) -> Option<Cause> {
    query.text("continue")?;
    Some(Cause::forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"))
}

fn refuse_options(causes: Vec<Cause>) -> Result<(), Status> {
    match causes.as_slice() {
        [] => Ok(()),
        _ => Err(Status::invalid_option_set("ListOptions", causes)),
    }
}

/// The position at which a list continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Continue {
    /// The version of the first page. `None` if that version is compacted, and the newest one serves.
    pub(super) version: Option<u64>,
    /// Namespace and name of the last object shown.
    pub(super) after: (String, String),
}

impl Continue {
    pub(super) fn encode(&self) -> String {
        let start = format!("{}/{}\u{0}", self.after.0, self.after.1);
        let version = self.version.map_or_else(|| json!(-1), Value::from);
        let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": start});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    /// The same position in the newest version.
    pub(super) fn newest(&self) -> Self {
        Self { version: None, after: self.after.clone() }
    }

    /// # Errors
    ///
    /// The token was not issued by this server.
    pub(super) fn decode(token: &str) -> Result<Self, Status> {
        let invalid = |why: &str| Status::bad_request(format!("invalid continue token: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|error| {
            invalid(&format!("continue key is not valid: {}", illegal_base64(&error)))
        })?;
        let parsed: Value = serde_json::from_slice(&bytes).map_err(|_| {
            let first = bytes.first().copied().unwrap_or(b'?');
            let shown: String = if first.is_ascii_graphic() {
                char::from(first).into()
            } else {
                format!("\\u{first:04x}")
            };
            invalid(&format!(
                "continue key is not valid: invalid character '{shown}' looking for beginning of \
                 value"
            ))
        })?;
        let version = parsed.get("rv").and_then(Value::as_i64);
        let start = parsed.get("start").and_then(Value::as_str);
        let after = start.and_then(|start| start.trim_end_matches('\u{0}').split_once('/'));
        match (version, after) {
            (Some(version @ -1..), Some((namespace, name))) => {
                let version = u64::try_from(version).ok();
                Ok(Self { version, after: (namespace.to_owned(), name.to_owned()) })
            }
            _ => Err(invalid("continue key is not valid: incorrect encoded start resourceVersion")),
        }
    }
}

fn unparsable(text: &str) -> String {
    format!("strconv.ParseUint: parsing {text:?}: invalid syntax")
}
