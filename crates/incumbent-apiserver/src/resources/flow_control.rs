//! Priority and fairness: FlowSchema and PriorityLevelConfiguration. This server only stores them; they delay no
//! request.

use serde_json::{Value, json};

use super::pod_template::map;
use super::{Resource, STATUS, Scope, USUAL, begin, keep_other_part, types};
use crate::column::{Column, Shown, cell};
use crate::kind::Kind;
use crate::object::{at, map_mut};
use crate::schema::Fields;

pub(crate) const FLOW_SCHEMA: Resource = Resource {
    kind: Kind {
        name: "FlowSchema",
        plural: "flowschemas",
        singular: "flowschema",
        storage_hash: "GJVAJZSZBIw=",
        ..USUAL_FLOW_CONTROL.kind
    },
    table: "flowschemas",
    schema: types::flowcontrol::FLOW_SCHEMA,
    columns: &[
        Column {
            shown: Shown::Text,
            name: "PriorityLevel",
            description: "`name` is the name of the priority level configuration being referenced \
                      Required.",
            cell: |fields, _| cell(fields, "/spec/priorityLevelConfiguration/name"),
        },
        Column {
            shown: Shown::Text,
            name: "MatchingPrecedence",
            description: "`matchingPrecedence` is used to choose among the FlowSchemas that match a \
                      given request. The chosen FlowSchema is among those with the numerically \
                      lowest (which we take to be logically highest) MatchingPrecedence.  Each \
                      MatchingPrecedence value must be ranged in [1,10000]. Note that if the \
                      precedence is not specified, it will be set to 1000 as default.",
            cell: |fields, _| cell(fields, "/spec/matchingPrecedence"),
        },
        Column {
            shown: Shown::Text,
            name: "DistinguisherMethod",
            description: "`distinguisherMethod` defines how to compute the flow distinguisher for \
                      requests that match this schema. `nil` specifies that the distinguisher \
                      is disabled and thus will always be the empty string.",
            cell: |fields, _| or_none(fields, "/spec/distinguisherMethod/type"),
        },
        Column {
            shown: Shown::Last,
            name: "MissingPL",
            description: "references a broken or non-existent PriorityLevelConfiguration",
            // This server does not look for it.
            cell: |_, _| "?".into(),
        },
    ],
    default: |fields| {
        let precedence = map_mut(fields, "spec").entry("matchingPrecedence").or_insert(json!(0));
        if *precedence == 0 {
            *precedence = json!(1000);
        }
    },
    prepare_create: |fields| begin(fields, types::flowcontrol::FLOW_SCHEMA_STATUS),
    ..USUAL_FLOW_CONTROL
};

pub(crate) const PRIORITY_LEVEL: Resource = Resource {
    kind: Kind {
        name: "PriorityLevelConfiguration",
        plural: "prioritylevelconfigurations",
        singular: "prioritylevelconfiguration",
        storage_hash: "Kir5PVfvNeI=",
        ..USUAL_FLOW_CONTROL.kind
    },
    table: "prioritylevelconfigurations",
    schema: types::flowcontrol::PRIORITY_LEVEL_CONFIGURATION,
    columns: &[
        Column {
            shown: Shown::Text,
            name: "Type",
            description: "`type` indicates whether this priority level is subject to limitation on \
                      request execution.  A value of `\"Exempt\"` means that requests of this \
                      priority level are not subject to a limit (and thus are never queued) and \
                      do not detract from the capacity made available to other priority \
                      levels.  A value of `\"Limited\"` means that (a) requests of this \
                      priority level _are_ subject to limits and (b) some of the server's \
                      limited capacity is made available exclusively to this priority level. \
                      Required.",
            cell: |fields, _| cell(fields, "/spec/type"),
        },
        Column {
            shown: Shown::Text,
            name: "NominalConcurrencyShares",
            description: "`nominalConcurrencyShares` (NCS) contributes to the computation of the \
                      NominalConcurrencyLimit (NominalCL) of this level. This is the number of \
                      execution seats available at this priority level. This is used both for \
                      requests dispatched from this priority level as well as requests \
                      dispatched from other priority levels borrowing seats from this level. \
                      The server's concurrency limit (ServerCL) is divided among the Limited \
                      priority levels in proportion to their NCS values:\n\nNominalCL(i)  = \
                      ceil( ServerCL * NCS(i) / sum_ncs ) sum_ncs = sum[priority level k] \
                      NCS(k)\n\nBigger numbers mean a larger nominal concurrency limit, at the \
                      expense of every other priority level.\n\nIf not specified, this field \
                      defaults to a value of 30.\n\nSetting this field to zero supports the \
                      construction of a \"jail\" for this priority level that is used to hold \
                      some request(s)",
            cell: |fields, _| or_none(fields, "/spec/limited/nominalConcurrencyShares"),
        },
        Column {
            shown: Shown::Text,
            name: "Queues",
            description: "`queues` is the number of queues for this priority level. The queues \
                      exist independently at each apiserver. The value must be positive.  \
                      Setting it to 1 effectively precludes shufflesharding and thus makes the \
                      distinguisher method of associated flow schemas irrelevant.  This field \
                      has a default value of 64.",
            cell: |fields, _| queuing(fields, "queues"),
        },
        Column {
            shown: Shown::Text,
            name: "HandSize",
            description: "`handSize` is a small positive number that configures the shuffle \
                      sharding of requests into queues.  When enqueuing a request at this \
                      priority level the request's flow identifier (a string pair) is hashed \
                      and the hash value is used to shuffle the list of queues and deal a hand \
                      of the size specified here.  The request is put into one of the shortest \
                      queues in that hand. `handSize` must be no larger than `queues`, and \
                      should be significantly smaller (so that a few heavy flows do not \
                      saturate most of the queues).  See the user-facing documentation for more \
                      extensive guidance on setting this field.  This field has a default value \
                      of 8.",
            cell: |fields, _| queuing(fields, "handSize"),
        },
        Column {
            shown: Shown::Text,
            name: "QueueLengthLimit",
            description: "`queueLengthLimit` is the maximum number of requests allowed to be \
                      waiting in a given queue of this priority level at a time; excess \
                      requests are rejected.  This value must be positive.  If not specified, \
                      it will be defaulted to 50.",
            cell: |fields, _| queuing(fields, "queueLengthLimit"),
        },
    ],
    default: default_level,
    prepare_create: |fields| begin(fields, types::flowcontrol::PRIORITY_LEVEL_CONFIGURATION_STATUS),
    ..USUAL_FLOW_CONTROL
};

const USUAL_FLOW_CONTROL: Resource = Resource {
    kind: Kind { group: "flowcontrol.apiserver.k8s.io", ..Kind::CORE },
    scope: Scope::Cluster,
    subresources: &[STATUS],
    only_stored: "it delays no request",
    prepare_update: keep_other_part,
    ..USUAL
};

fn or_none(fields: &Fields, pointer: &str) -> Value {
    at(fields, pointer).cloned().unwrap_or_else(|| "<none>".into())
}

fn queuing(fields: &Fields, name: &str) -> Value {
    or_none(fields, &format!("/spec/limited/limitResponse/queuing/{name}"))
}

fn default_level(fields: &mut Fields) {
    let spec = map_mut(fields, "spec");
    for (kind, shares) in [("limited", 30), ("exempt", 0)] {
        if let Some(limits) = map(spec.get_mut(kind)) {
            limits.entry("nominalConcurrencyShares").or_insert_with(|| json!(shares));
            limits.entry("lendablePercent").or_insert_with(|| json!(0));
            let response = limits.get_mut("limitResponse");
            if let Some(queuing) = map(response.and_then(|response| response.get_mut("queuing"))) {
                for (name, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
                    let number = queuing.entry(name).or_insert_with(|| json!(value));
                    if *number == 0 {
                        *number = json!(value);
                    }
                }
            }
        }
    }
}
