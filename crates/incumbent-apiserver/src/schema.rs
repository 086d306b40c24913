//! The fields of a kind. Unknown fields are dropped, and values of the wrong type are refused.
//!
//! The tables follow the Go structs, because those decide which fields an answer contains: a Go pointer if it was
//! given, an `omitempty` value if it is not empty, and all others always.

mod conform;
mod go;

use serde_json::{Map, Value};

pub(crate) use conform::{Conformed, ErrorStyle, conform, conform_in};
pub(crate) use go::{found, illegal_base64};

/// The members of a JSON object.
pub(crate) type Fields = Map<String, Value>;

/// The type of a value.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Any value.
    Any,
    Bool,
    Int32,
    Int64,
    String,
    /// Base64 text.
    Bytes,
    /// Seconds, RFC 3339.
    Time,
    /// RFC 3339 with exactly six digits after the point.
    MicroTime,
    Map(&'static Self),
    List(&'static Self, ListMerge),
    Object(&'static Struct),
    /// A value that server-side apply treats as one field.
    Atomic(&'static Self),
    /// An amount such as `500m`, as a string or a number; kept as a string.
    Quantity,
    /// A number, or a string such as `25%` or the name of a port.
    IntOrString,
}

/// How a strategic merge patch treats a list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ListMerge {
    /// The patch's list replaces the old one.
    Replace,
    /// Values are added.
    Set,
    /// Entries with the same value of this member are merged.
    Key(&'static str),
    /// The same, but server-side apply also uses a second member, which has a default.
    Keys(&'static str, (&'static str, &'static str)),
}

/// The fields of a Go struct.
#[derive(Debug)]
pub(crate) struct Struct {
    /// The name of the Go type, as error messages show it.
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
}

impl Struct {
    /// The field with this name in JSON.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name && !field.is_embedded())
    }
}

/// One member of an object.
#[derive(Debug)]
pub(crate) struct Field {
    /// The number in upstream's `generated.proto`; 0 for fields that are ignored in protobuf.
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    presence: Presence,
}

#[derive(Clone, Copy, Debug)]
enum Presence {
    WhenGiven,
    WhenNotEmpty,
    Always,
    /// Only in protobuf; in JSON its members belong to the object around it.
    Embedded,
}

impl Field {
    /// A Go pointer: kept if it is given, even if it is empty.
    pub(crate) const fn pointer(number: u32, name: &'static str, shape: Shape) -> Self {
        Self { number, name, shape, presence: Presence::WhenGiven }
    }

    /// A Go value with `omitempty`.
    pub(crate) const fn plain(number: u32, name: &'static str, shape: Shape) -> Self {
        Self { number, name, shape, presence: Presence::WhenNotEmpty }
    }

    /// A Go value that is always written.
    pub(crate) const fn always(number: u32, name: &'static str, shape: Shape) -> Self {
        Self { number, name, shape, presence: Presence::Always }
    }

    pub(crate) const fn string(number: u32, name: &'static str) -> Self {
        Self::plain(number, name, Shape::String)
    }

    /// An embedded Go struct.
    pub(crate) const fn embedded(number: u32, of: &'static Struct) -> Self {
        Self { number, name: "", shape: Shape::Object(of), presence: Presence::Embedded }
    }

    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.presence, Presence::Embedded)
    }
}

impl Shape {
    /// The member by which a patch identifies the entries of a list.
    pub(crate) fn entry_key(&self) -> Option<&'static str> {
        match self {
            Self::List(_, ListMerge::Key(key) | ListMerge::Keys(key, _)) => Some(key),
            Self::Atomic(inner) => inner.entry_key(),
            _ => None,
        }
    }

    /// Go's zero value, as JSON.
    pub(crate) fn zero(&self) -> Value {
        match self {
            Self::Bool => Value::Bool(false),
            Self::Int32 | Self::Int64 | Self::IntOrString => 0.into(),
            Self::String => "".into(),
            Self::Quantity => "0".into(),
            Self::Object(of) => {
                let always =
                    of.fields.iter().filter(|field| matches!(field.presence, Presence::Always));
                always
                    .map(|field| (field.name.to_owned(), field.shape.zero()))
                    .collect::<Fields>()
                    .into()
            }
            Self::Any | Self::Bytes | Self::Time | Self::MicroTime => Value::Null,
            Self::Map(_) | Self::List(..) => Value::Null,
            Self::Atomic(inner) => inner.zero(),
        }
    }
}
