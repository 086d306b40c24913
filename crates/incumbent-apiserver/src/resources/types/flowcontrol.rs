//! Made by interop/kube-apiserver/schemas from Kubernetes' Go types; not edited by hand.

use crate::schema::{Field, ListMerge, Shape};

pub(crate) const EXEMPT_PRIORITY_LEVEL_CONFIGURATION: &[Field] = &[
    Field::pointer(1, "nominalConcurrencyShares", Shape::Int32),
    Field::pointer(2, "lendablePercent", Shape::Int32),
];

pub(crate) const FLOW_DISTINGUISHER_METHOD: &[Field] = &[
    Field::always(1, "type", Shape::String),
];

pub(crate) const FLOW_SCHEMA_CONDITION: &[Field] = &[
    Field::plain(1, "type", Shape::String),
    Field::plain(2, "status", Shape::String),
    Field::always(3, "lastTransitionTime", Shape::Time),
    Field::plain(4, "reason", Shape::String),
    Field::plain(5, "message", Shape::String),
];

pub(crate) const FLOW_SCHEMA_SPEC: &[Field] = &[
    Field::always(1, "priorityLevelConfiguration", Shape::Object(PRIORITY_LEVEL_CONFIGURATION_REFERENCE)),
    Field::always(2, "matchingPrecedence", Shape::Int32),
    Field::pointer(3, "distinguisherMethod", Shape::Object(FLOW_DISTINGUISHER_METHOD)),
    Field::plain(4, "rules", Shape::List(&Shape::Object(POLICY_RULES_WITH_SUBJECTS), ListMerge::Replace)),
];

pub(crate) const FLOW_SCHEMA_STATUS: &[Field] = &[
    Field::plain(1, "conditions", Shape::List(&Shape::Object(FLOW_SCHEMA_CONDITION), ListMerge::Key("type"))),
];

pub(crate) const GROUP_SUBJECT: &[Field] = &[
    Field::always(1, "name", Shape::String),
];

pub(crate) const LIMITED_PRIORITY_LEVEL_CONFIGURATION: &[Field] = &[
    Field::pointer(1, "nominalConcurrencyShares", Shape::Int32),
    Field::always(2, "limitResponse", Shape::Object(LIMIT_RESPONSE)),
    Field::pointer(3, "lendablePercent", Shape::Int32),
    Field::pointer(4, "borrowingLimitPercent", Shape::Int32),
];

pub(crate) const LIMIT_RESPONSE: &[Field] = &[
    Field::always(1, "type", Shape::String),
    Field::pointer(2, "queuing", Shape::Object(QUEUING_CONFIGURATION)),
];

pub(crate) const NON_RESOURCE_POLICY_RULE: &[Field] = &[
    Field::always(1, "verbs", Shape::List(&Shape::String, ListMerge::Set)),
    Field::always(6, "nonResourceURLs", Shape::List(&Shape::String, ListMerge::Set)),
];

pub(crate) const POLICY_RULES_WITH_SUBJECTS: &[Field] = &[
    Field::always(1, "subjects", Shape::List(&Shape::Object(SUBJECT), ListMerge::Replace)),
    Field::plain(2, "resourceRules", Shape::List(&Shape::Object(RESOURCE_POLICY_RULE), ListMerge::Replace)),
    Field::plain(3, "nonResourceRules", Shape::List(&Shape::Object(NON_RESOURCE_POLICY_RULE), ListMerge::Replace)),
];

pub(crate) const PRIORITY_LEVEL_CONFIGURATION_CONDITION: &[Field] = &[
    Field::plain(1, "type", Shape::String),
    Field::plain(2, "status", Shape::String),
    Field::always(3, "lastTransitionTime", Shape::Time),
    Field::plain(4, "reason", Shape::String),
    Field::plain(5, "message", Shape::String),
];

pub(crate) const PRIORITY_LEVEL_CONFIGURATION_REFERENCE: &[Field] = &[
    Field::always(1, "name", Shape::String),
];

pub(crate) const PRIORITY_LEVEL_CONFIGURATION_SPEC: &[Field] = &[
    Field::always(1, "type", Shape::String),
    Field::pointer(2, "limited", Shape::Object(LIMITED_PRIORITY_LEVEL_CONFIGURATION)),
    Field::pointer(3, "exempt", Shape::Object(EXEMPT_PRIORITY_LEVEL_CONFIGURATION)),
];

pub(crate) const PRIORITY_LEVEL_CONFIGURATION_STATUS: &[Field] = &[
    Field::plain(1, "conditions", Shape::List(&Shape::Object(PRIORITY_LEVEL_CONFIGURATION_CONDITION), ListMerge::Key("type"))),
];

pub(crate) const QUEUING_CONFIGURATION: &[Field] = &[
    Field::always(1, "queues", Shape::Int32),
    Field::always(2, "handSize", Shape::Int32),
    Field::always(3, "queueLengthLimit", Shape::Int32),
];

pub(crate) const RESOURCE_POLICY_RULE: &[Field] = &[
    Field::always(1, "verbs", Shape::List(&Shape::String, ListMerge::Set)),
    Field::always(2, "apiGroups", Shape::List(&Shape::String, ListMerge::Set)),
    Field::always(3, "resources", Shape::List(&Shape::String, ListMerge::Set)),
    Field::plain(4, "clusterScope", Shape::Bool),
    Field::always(5, "namespaces", Shape::List(&Shape::String, ListMerge::Set)),
];

pub(crate) const SERVICE_ACCOUNT_SUBJECT: &[Field] = &[
    Field::always(1, "namespace", Shape::String),
    Field::always(2, "name", Shape::String),
];

pub(crate) const SUBJECT: &[Field] = &[
    Field::always(1, "kind", Shape::String),
    Field::pointer(2, "user", Shape::Object(USER_SUBJECT)),
    Field::pointer(3, "group", Shape::Object(GROUP_SUBJECT)),
    Field::pointer(4, "serviceAccount", Shape::Object(SERVICE_ACCOUNT_SUBJECT)),
];

pub(crate) const USER_SUBJECT: &[Field] = &[
    Field::always(1, "name", Shape::String),
];
