//! ServiceAccount: whom a Pod's token stands for.

use super::{Deletion, METADATA, Resource, Subresource, USUAL};
use crate::schema::{Field, ListMerge, Shape};

pub(crate) const SERVICE_ACCOUNT: Resource = Resource {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    storage_hash: "pbx9ZvyFpBE=",
    subresources: &[Subresource {
        name: "token",
        shows: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        verbs: &["create"],
    }],
    table: "serviceaccounts",
    schema: &[
        METADATA,
        Field::plain("secrets", Shape::List(&Shape::Any, ListMerge::Key("name"))),
        Field::plain(
            "imagePullSecrets",
            Shape::Whole(&Shape::List(&Shape::Any, ListMerge::Key("name"))),
        ),
        Field::pointer("automountServiceAccountToken", Shape::Bool),
    ],
    deletion: Deletion::AtOnceShown,
    ..USUAL
};
