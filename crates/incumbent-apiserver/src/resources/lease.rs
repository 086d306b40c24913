//! Lease: a lock with a holder and a renew time. This server only stores it.

use serde_json::{Value, json};

use super::{MissingOnUpdate, Resource, USUAL, UnversionedUpdate, types};
use crate::cause::Cause;
use crate::column::{Column, Shown, age_since, cell};
use crate::kind::Kind;
use crate::object::{at, text_at};
use crate::schema::Fields;
use crate::validate::{MetadataRules, qualified_name_errors};

pub(crate) const LEASE: Resource = Resource {
    kind: Kind {
        group: "coordination.k8s.io",
        name: "Lease",
        plural: "leases",
        singular: "lease",
        storage_hash: "gqkMMb/YqFM=",
        ..Kind::CORE
    },
    table: "leases",
    schema: types::coordination::LEASE,
    metadata_rules: MetadataRules::Plain,
    missing_on_update: MissingOnUpdate::Create,
    unversioned_update: UnversionedUpdate::Refuse,
    columns: &[
        Column {
            shown: Shown::Text,
            name: "Holder",
            description: "holderIdentity contains the identity of the holder of a current lease. \
                          If Coordinated Leader Election is used, the holder identity must be \
                          equal to the elected LeaseCandidate.metadata.name field.",
            cell: |fields, _| cell(fields, "/spec/holderIdentity"),
        },
        // Upstream shows only the holder. These help users who watch an election.
        Column {
            shown: Shown::Text,
            name: "Renewed",
            description: "How long ago the holder renewed the lease, by the clock of the holder.",
            cell: |fields, now| {
                known(age_since(text_at(fields, "/spec/renewTime"), now).map(Value::from))
            },
        },
        Column {
            shown: Shown::Text,
            name: "Transitions",
            description: "How often the lease went from one holder to another.",
            cell: |fields, _| known(at(fields, "/spec/leaseTransitions").cloned()),
        },
    ],
    validate,
    ..USUAL
};

/// An unknown value as kubectl shows it.
fn known(cell: Option<Value>) -> Value {
    cell.unwrap_or_else(|| "<none>".into())
}

fn validate(fields: &Fields, _old: Option<&Fields>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let number = |pointer| at(fields, pointer).and_then(Value::as_i64);
    if let Some(seconds) = number("/spec/leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        let field = "spec.leaseDurationSeconds";
        causes.push(Cause::invalid(field, &seconds.into(), "must be greater than 0"));
    }
    if let Some(count) = number("/spec/leaseTransitions").filter(|count| *count < 0) {
        let field = "spec.leaseTransitions";
        causes.push(Cause::invalid(field, &count.into(), "must be greater than or equal to 0"));
    }
    let strategy = text_at(fields, "/spec/strategy");
    if at(fields, "/spec/strategy").is_some() {
        causes.extend(strategy_causes(strategy));
    }
    if !text_at(fields, "/spec/preferredHolder").is_empty() && strategy.is_empty() {
        let why = "may only be specified if `strategy` is defined";
        causes.push(Cause::forbidden("spec.preferredHolder", why));
    }
    causes
}

/// A strategy is one of Kubernetes' own, or `DOMAIN/NAME`.
fn strategy_causes(strategy: &str) -> Vec<Cause> {
    // Upstream repeats the name of the field.
    const FIELD: &str = "spec.strategy.strategy";
    if !strategy.contains('/') {
        let known = ["OldestEmulationVersion"];
        let is_known = known.contains(&strategy);
        let cause = || Cause::unsupported(FIELD, &json!(strategy), &known);
        return (!is_known).then(cause).into_iter().collect();
    }
    let errors = qualified_name_errors(strategy);
    errors.iter().map(|why| Cause::invalid(FIELD, &json!(strategy), why)).collect()
}
