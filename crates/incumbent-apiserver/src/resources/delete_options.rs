//! What may come in the body of a delete.

use super::NAMES;
use crate::schema::{Field, Shape};

pub(crate) const DELETE_OPTIONS: &[Field] = &[
    Field::pointer(1, "gracePeriodSeconds", Shape::Int64),
    Field::pointer(
        2,
        "preconditions",
        Shape::Object(&[
            Field::pointer(1, "uid", Shape::String),
            Field::pointer(2, "resourceVersion", Shape::String),
        ]),
    ),
    Field::plain(5, "dryRun", NAMES),
];
