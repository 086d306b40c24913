//! Go's error messages for values that do not fit a type.

use base64::DecodeError;
use serde_json::Value;

use super::Shape;

impl Shape {
    pub(super) fn go_name(&self) -> String {
        match self {
            Self::Any => "interface {}".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Int32 => "int32".to_owned(),
            Self::Int64 => "int64".to_owned(),
            Self::String => "string".to_owned(),
            Self::Bytes => "[]uint8".to_owned(),
            Self::Time => "v1.Time".to_owned(),
            Self::MicroTime => "v1.MicroTime".to_owned(),
            Self::Map(item) => format!("map[string]{}", item.go_name()),
            Self::List(item, _) => format!("[]{}", item.go_name()),
            Self::Object(of) => format!("v1.{}", of.name),
            Self::Quantity => "resource.Quantity".to_owned(),
            Self::IntOrString => "intstr.IntOrString".to_owned(),
            Self::Atomic(inner) => inner.go_name(),
        }
    }

    /// The name of the type in Go's reflection.
    fn go_kind(&self) -> String {
        match self {
            Self::Map(_) => "map".to_owned(),
            Self::List(..) | Self::Bytes => "slice".to_owned(),
            Self::Object(_) => "struct".to_owned(),
            Self::Atomic(inner) => inner.go_kind(),
            plain => plain.go_name(),
        }
    }
}

/// The name of a value in Go's JSON decoder.
pub(crate) fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The error of upstream's converter for values in memory.
pub(super) fn unrestorable(shape: &Shape, value: &Value) -> String {
    let wanted = shape.go_kind();
    let found = match value {
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
        Value::String(_) => "string",
        Value::Bool(_) | Value::Null => "bool",
    };
    match (shape, found) {
        (Shape::Map(_), found) => format!("cannot restore map from {found}"),
        (Shape::Object(_), found) => format!("cannot restore struct from: {found}"),
        (Shape::List(..), found) => format!("cannot restore slice from {found}"),
        (Shape::Bool | Shape::Int32 | Shape::Int64, "string" | "bool" | "slice" | "map") => {
            format!("unrecognized type: {wanted}")
        }
        (_, found) => format!("cannot convert {found} to {wanted}"),
    }
}

/// Go's message, which counts from the start of the invalid part.
pub(crate) fn illegal_base64(error: &DecodeError) -> String {
    let at = match error {
        DecodeError::InvalidByte(at, _) => *at,
        DecodeError::InvalidLastSymbol { offset, .. } => *offset,
        DecodeError::InvalidLength(length) => length - length % 4,
        DecodeError::InvalidPadding => 0,
    };
    format!("illegal base64 data at input byte {at}")
}
