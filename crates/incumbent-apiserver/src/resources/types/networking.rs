//! Made by interop/kube-apiserver/schemas from Kubernetes' Go types; not edited by hand.

use crate::schema::{Field, ListMerge, Shape};

pub(crate) const IP_BLOCK: &[Field] = &[
    Field::always(1, "cidr", Shape::String),
    Field::plain(2, "except", Shape::List(&Shape::String, ListMerge::Replace)),
];

pub(crate) const NETWORK_POLICY_EGRESS_RULE: &[Field] = &[
    Field::plain(1, "ports", Shape::List(&Shape::Object(NETWORK_POLICY_PORT), ListMerge::Replace)),
    Field::plain(2, "to", Shape::List(&Shape::Object(NETWORK_POLICY_PEER), ListMerge::Replace)),
];

pub(crate) const NETWORK_POLICY_INGRESS_RULE: &[Field] = &[
    Field::plain(1, "ports", Shape::List(&Shape::Object(NETWORK_POLICY_PORT), ListMerge::Replace)),
    Field::plain(2, "from", Shape::List(&Shape::Object(NETWORK_POLICY_PEER), ListMerge::Replace)),
];

pub(crate) const NETWORK_POLICY_PEER: &[Field] = &[
    Field::pointer(1, "podSelector", Shape::Whole(&Shape::Object(super::meta::LABEL_SELECTOR))),
    Field::pointer(2, "namespaceSelector", Shape::Whole(&Shape::Object(super::meta::LABEL_SELECTOR))),
    Field::pointer(3, "ipBlock", Shape::Object(IP_BLOCK)),
];

pub(crate) const NETWORK_POLICY_PORT: &[Field] = &[
    Field::pointer(1, "protocol", Shape::String),
    Field::pointer(2, "port", Shape::IntOrString),
    Field::pointer(3, "endPort", Shape::Int32),
];

pub(crate) const NETWORK_POLICY_SPEC: &[Field] = &[
    Field::always(1, "podSelector", Shape::Whole(&Shape::Object(super::meta::LABEL_SELECTOR))),
    Field::plain(2, "ingress", Shape::List(&Shape::Object(NETWORK_POLICY_INGRESS_RULE), ListMerge::Replace)),
    Field::plain(3, "egress", Shape::List(&Shape::Object(NETWORK_POLICY_EGRESS_RULE), ListMerge::Replace)),
    Field::plain(4, "policyTypes", Shape::List(&Shape::String, ListMerge::Replace)),
];
