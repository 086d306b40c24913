//! Made by interop/kube-apiserver/schemas from Kubernetes' Go types; not edited by hand.

use crate::schema::{Field, ListMerge, Shape};

pub(crate) const DEPLOYMENT_CONDITION: &[Field] = &[
    Field::always(1, "type", Shape::String),
    Field::always(2, "status", Shape::String),
    Field::always(6, "lastUpdateTime", Shape::Time),
    Field::always(7, "lastTransitionTime", Shape::Time),
    Field::plain(4, "reason", Shape::String),
    Field::plain(5, "message", Shape::String),
];

pub(crate) const DEPLOYMENT_SPEC: &[Field] = &[
    Field::pointer(1, "replicas", Shape::Int32),
    Field::pointer(2, "selector", Shape::Whole(&Shape::Object(super::meta::LABEL_SELECTOR))),
    Field::always(3, "template", Shape::Object(super::core::POD_TEMPLATE_SPEC)),
    Field::always(4, "strategy", Shape::Object(DEPLOYMENT_STRATEGY)),
    Field::plain(5, "minReadySeconds", Shape::Int32),
    Field::pointer(6, "revisionHistoryLimit", Shape::Int32),
    Field::plain(7, "paused", Shape::Bool),
    Field::pointer(9, "progressDeadlineSeconds", Shape::Int32),
];

pub(crate) const DEPLOYMENT_STATUS: &[Field] = &[
    Field::plain(1, "observedGeneration", Shape::Int64),
    Field::plain(2, "replicas", Shape::Int32),
    Field::plain(3, "updatedReplicas", Shape::Int32),
    Field::plain(7, "readyReplicas", Shape::Int32),
    Field::plain(4, "availableReplicas", Shape::Int32),
    Field::plain(5, "unavailableReplicas", Shape::Int32),
    Field::pointer(9, "terminatingReplicas", Shape::Int32),
    Field::plain(6, "conditions", Shape::List(&Shape::Object(DEPLOYMENT_CONDITION), ListMerge::Key("type"))),
    Field::pointer(8, "collisionCount", Shape::Int32),
];

pub(crate) const DEPLOYMENT_STRATEGY: &[Field] = &[
    Field::plain(1, "type", Shape::String),
    Field::pointer(2, "rollingUpdate", Shape::Object(ROLLING_UPDATE_DEPLOYMENT)),
];

pub(crate) const ROLLING_UPDATE_DEPLOYMENT: &[Field] = &[
    Field::pointer(1, "maxUnavailable", Shape::IntOrString),
    Field::pointer(2, "maxSurge", Shape::IntOrString),
];
