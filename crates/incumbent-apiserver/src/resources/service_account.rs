//! ServiceAccount: the user of a Pod.

use super::{Deletion, Resource, Subresource, USUAL, types};
use crate::kind::Kind;

pub(crate) const SERVICE_ACCOUNT: Resource = Resource {
    kind: Kind {
        name: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        storage_hash: "pbx9ZvyFpBE=",
        ..Kind::CORE
    },
    subresources: &[Subresource {
        name: "token",
        shows: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        verbs: &["create"],
    }],
    table: "serviceaccounts",
    schema: types::core::SERVICE_ACCOUNT,
    deletion: Deletion::AtOnceShown,
    ..USUAL
};
