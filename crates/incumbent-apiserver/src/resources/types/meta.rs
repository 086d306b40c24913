//! Made by interop/kube-apiserver/schemas from Kubernetes' Go types; not edited by hand.

use crate::schema::{Field, ListMerge, Shape};

pub(crate) const CONDITION: &[Field] = &[
    Field::always(1, "type", Shape::String),
    Field::always(2, "status", Shape::String),
    Field::plain(3, "observedGeneration", Shape::Int64),
    Field::always(4, "lastTransitionTime", Shape::Time),
    Field::always(5, "reason", Shape::String),
    Field::always(6, "message", Shape::String),
];

pub(crate) const LABEL_SELECTOR: &[Field] = &[
    Field::plain(1, "matchLabels", Shape::Map(&Shape::String)),
    Field::plain(2, "matchExpressions", Shape::List(&Shape::Object(LABEL_SELECTOR_REQUIREMENT), ListMerge::Replace)),
];

pub(crate) const LABEL_SELECTOR_REQUIREMENT: &[Field] = &[
    Field::always(1, "key", Shape::String),
    Field::always(2, "operator", Shape::String),
    Field::plain(3, "values", Shape::List(&Shape::String, ListMerge::Replace)),
];
