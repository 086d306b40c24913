//! Made by interop/kube-apiserver/schemas from Kubernetes' Go types; not edited by hand.

use crate::schema::{Field, ListMerge, Shape};

pub(crate) const POD_DISRUPTION_BUDGET_SPEC: &[Field] = &[
    Field::pointer(1, "minAvailable", Shape::IntOrString),
    Field::pointer(2, "selector", Shape::Whole(&Shape::Object(super::meta::LABEL_SELECTOR))),
    Field::pointer(3, "maxUnavailable", Shape::IntOrString),
    Field::pointer(4, "unhealthyPodEvictionPolicy", Shape::String),
];

pub(crate) const POD_DISRUPTION_BUDGET_STATUS: &[Field] = &[
    Field::plain(1, "observedGeneration", Shape::Int64),
    Field::plain(2, "disruptedPods", Shape::Map(&Shape::Time)),
    Field::always(3, "disruptionsAllowed", Shape::Int32),
    Field::always(4, "currentHealthy", Shape::Int32),
    Field::always(5, "desiredHealthy", Shape::Int32),
    Field::always(6, "expectedPods", Shape::Int32),
    Field::plain(7, "conditions", Shape::List(&Shape::Object(super::meta::CONDITION), ListMerge::Key("type"))),
];
