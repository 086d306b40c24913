//! Reads bodies in Kubernetes' protobuf encoding, which kubectl and Go programs send by default.
//!
//! The tables of `schema` contain the number of each field.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::resources::registry::find_kind;
use crate::resources::review;
use crate::resources::types::meta::DELETE_OPTIONS;
use crate::schema::{Field, Fields, Shape, Struct};
use crate::time;

/// The content type of such a body.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Reads an object in its envelope.
///
/// # Errors
///
/// Why the body is invalid.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, String> {
    let unknown = bytes
        .strip_prefix(MAGIC)
        .ok_or("provided data does not appear to be a protobuf message")?;
    let mut envelope = object(ENVELOPE, unknown)?;
    let text = |pointer: &str| crate::object::text_at(&envelope, pointer).to_owned();
    let (api_version, kind) = (text("/typeMeta/apiVersion"), text("/typeMeta/kind"));
    let schema = schema(&api_version, &kind)
        .ok_or_else(|| format!("no kind {kind:?} is registered for version {api_version:?}"))?;
    let raw = envelope.remove("raw");
    let raw = raw.as_ref().and_then(Value::as_str).unwrap_or_default();
    let raw = STANDARD.decode(raw).map_err(|error| error.to_string())?;
    let mut fields = object(schema, &raw)?;
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.into());
    Ok(fields.into())
}

const MAGIC: &[u8] = b"k8s\0";

/// Upstream's `runtime.Unknown`.
const ENVELOPE: &Struct = &Struct {
    name: "Unknown",
    fields: &[
        Field::pointer(
            1,
            "typeMeta",
            Shape::Object(&Struct {
                name: "TypeMeta",
                fields: &[Field::string(1, "apiVersion"), Field::string(2, "kind")],
            }),
        ),
        Field::pointer(2, "raw", Shape::Bytes),
    ],
};

fn schema(api_version: &str, kind: &str) -> Option<&'static Struct> {
    match kind {
        "DeleteOptions" => Some(DELETE_OPTIONS),
        "TokenRequest" => Some(review::TOKEN_REQUEST.schema),
        kind => find_kind(api_version, kind).map(|resource| resource.schema).or_else(|| {
            let is_wanted = |review: &&review::Review| {
                review.kind.name == kind && review.kind.api_version() == api_version
            };
            review::REVIEWS.iter().find(is_wanted).map(|review| review.schema)
        }),
    }
}

fn object(schema: &'static Struct, bytes: &[u8]) -> Result<Fields, String> {
    let mut fields = Fields::new();
    for part in Parts(bytes) {
        let (number, wire) = part?;
        let Some(field) = schema.fields.iter().find(|field| field.number == number) else {
            continue;
        };
        if let (true, Shape::Object(inner)) = (field.is_embedded(), &field.shape) {
            fields.extend(object(inner, wire.bytes()?)?);
            continue;
        }
        put(fields.entry(field.name).or_insert(Value::Null), &field.shape, wire)
            .map_err(|why| format!("{}: {why}", field.name))?;
    }
    Ok(fields)
}

/// Adds a value to a field; lists and maps arrive one entry at a time.
fn put(field: &mut Value, shape: &'static Shape, wire: Wire<'_>) -> Result<(), String> {
    match shape {
        Shape::Atomic(inner) => put(field, inner, wire),
        Shape::List(item, _) => {
            let value = value(item, wire)?;
            match field {
                Value::Array(list) => list.push(value),
                field => *field = json!([value]),
            }
            Ok(())
        }
        Shape::Map(item) => {
            let (key, value) = map_entry(item, wire.bytes()?)?;
            match field {
                Value::Object(map) => drop(map.insert(key, value)),
                field => *field = Value::Object(Fields::from_iter([(key, value)])),
            }
            Ok(())
        }
        shape => {
            *field = value(shape, wire)?;
            Ok(())
        }
    }
}

fn value(shape: &'static Shape, wire: Wire<'_>) -> Result<Value, String> {
    match shape {
        Shape::Bool => Ok(json!(wire.number()? != 0)),
        Shape::Int32 | Shape::Int64 => Ok(json!(wire.number()?)),
        Shape::String => wire.text().map(Value::from),
        Shape::Bytes => Ok(STANDARD.encode(wire.bytes()?).into()),
        Shape::Time => timestamp(wire.bytes()?, time::seconds_since_1970),
        Shape::MicroTime => timestamp(wire.bytes()?, time::micros_since_1970),
        Shape::Object(of) => object(of, wire.bytes()?).map(Value::from),
        Shape::Atomic(inner) => value(inner, wire),
        Shape::Quantity => quantity(wire.bytes()?),
        Shape::IntOrString => int_or_string(wire.bytes()?),
        // A list or map in another one is a separate message.
        Shape::Any | Shape::Map(_) | Shape::List(..) => {
            Err("this server reads such a field as JSON only".to_owned())
        }
    }
}

fn map_entry(item: &'static Shape, bytes: &[u8]) -> Result<(String, Value), String> {
    let (mut key, mut entry) = (String::new(), item.zero());
    for part in Parts(bytes) {
        match part? {
            (1, wire) => key = wire.text()?,
            (2, wire) => entry = value(item, wire)?,
            _ => {}
        }
    }
    Ok((key, entry))
}

fn quantity(bytes: &[u8]) -> Result<Value, String> {
    let mut text = String::new();
    for part in Parts(bytes) {
        if let (1, wire) = part? {
            text = wire.text()?;
        }
    }
    Ok(text.into())
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for part in Parts(bytes) {
        match part? {
            (1, wire) => is_text = wire.number()? == 1,
            (2, wire) => number = wire.number()?,
            (3, wire) => text = wire.text()?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// Null for the zero time, which is encoded as an empty message.
fn timestamp(bytes: &[u8], write: fn(i64, i32) -> Option<String>) -> Result<Value, String> {
    let (mut seconds, mut nanos) = (0, 0);
    for part in Parts(bytes) {
        match part? {
            (1, wire) => seconds = wire.number()?,
            (2, wire) => {
                nanos = i32::try_from(wire.number()?).map_err(|error| error.to_string())?;
            }
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    write(seconds, nanos).map(Value::from).ok_or_else(|| "no time is so far away".to_owned())
}

#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err("proto: wrong wireType = 0".to_owned()),
        }
    }

    fn text(self) -> Result<String, String> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map(str::to_owned).map_err(|error| error.to_string())
    }

    fn number(self) -> Result<i64, String> {
        match self {
            // Negative numbers are sent as their two's complement.
            Self::Number(number) => Ok(number.cast_signed()),
            Self::Bytes(_) => Err("proto: wrong wireType = 2".to_owned()),
        }
    }
}

/// The fields of a message, in the order in which they were sent.
struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(u32, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let part = self.part();
        if part.is_none() {
            self.0 = &[];
        }
        Some(part.ok_or_else(|| "unexpected EOF".to_owned()))
    }
}

impl<'a> Parts<'a> {
    fn part(&mut self) -> Option<(u32, Wire<'a>)> {
        let tag = self.number()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.number()?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let length = self.number()?;
                Wire::Bytes(self.take(usize::try_from(length).ok()?)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((u32::try_from(tag >> 3).ok()?, wire))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of a message whose value is shorter than 128 bytes.
    fn part(number: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        [&[number << 3 | 2, length], value].concat()
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [part(1, api_version.as_bytes()), part(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), part(1, &meta), part(2, raw), part(3, b""), part(4, b"")].concat()
    }

    #[test]
    fn a_config_map_is_read_by_its_numbers() {
        let metadata = [part(1, b"c"), part(8, b""), part(3, b"n")].concat();
        let entry = [part(1, b"leader"), part(2, b"jane")].concat();
        let blob = [part(1, b"b"), part(2, &[0xff])].concat();
        let raw = [part(1, &metadata), part(2, &entry), part(3, &blob), vec![4 << 3, 1]].concat();
        assert_eq!(
            read(&body("v1", "ConfigMap", &raw)),
            Ok(json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "c", "namespace": "n", "creationTimestamp": null},
                "data": {"leader": "jane"}, "binaryData": {"b": "/w=="}, "immutable": true}))
        );
    }

    #[test]
    fn times_of_a_lease_keep_their_microseconds() {
        let time = [&[1 << 3][..], &[0x80, 0xf2, 0xd6, 0xca, 0x06], &[2 << 3, 0xe8, 0x07]].concat();
        let spec = [part(1, b"a"), vec![2 << 3, 15], part(4, &time)].concat();
        let raw = part(2, &spec);
        assert_eq!(
            read(&body("coordination.k8s.io/v1", "Lease", &raw)).unwrap()["spec"],
            json!({"holderIdentity": "a", "leaseDurationSeconds": 15,
                "renewTime": "2026-01-01T00:00:00.000001Z"})
        );
    }

    #[test]
    fn what_is_cut_short_or_unknown_is_refused() {
        let whole = body("v1", "ConfigMap", &part(1, &part(1, b"c")));
        for end in [0, 3, 5, 7, 20, whole.len() - 5, whole.len() - 1] {
            assert!(read(&whole[..end]).is_err(), "{end}");
        }
        assert!(read(&body("v1", "Secret", &[])).unwrap_err().contains("no kind \"Secret\""));
        let extra = [part(1, b"scopes"), part(2, &part(1, b"x"))].concat();
        let spec = part(2, &part(5, &extra));
        let review = body("authorization.k8s.io/v1", "SubjectAccessReview", &spec);
        assert!(read(&review).unwrap_err().contains("as JSON only"));
    }

    #[test]
    fn a_pod_is_read_with_its_volumes_probes_and_amounts() {
        let empty_dir = [part(1, b"v"), part(2, &part(2, b""))].concat();
        let port = [&[1 << 3, 1][..], &part(3, b"http")].concat();
        let get = [part(1, b"/x"), part(2, &port)].concat();
        let probe = [part(1, &part(2, &get)), vec![2 << 3, 7]].concat();
        let memory = [part(1, b"memory"), part(2, &part(1, b"64Mi"))].concat();
        let container = [part(1, b"c"), part(8, &part(1, &memory)), part(10, &probe)].concat();
        let raw = part(2, &[part(1, &empty_dir), part(2, &container)].concat());
        assert_eq!(
            read(&body("v1", "Pod", &raw)).unwrap()["spec"],
            json!({
                "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{
                    "name": "c", "resources": {"limits": {"memory": "64Mi"}},
                    "livenessProbe": {
                        "httpGet": {"path": "/x", "port": "http"}, "initialDelaySeconds": 7,
                    },
                }],
            })
        );
    }
}
