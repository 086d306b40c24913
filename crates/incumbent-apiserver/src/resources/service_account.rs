//! ServiceAccount: whom a Pod's token stands for.

use super::event::REFERENCE;
use super::{Deletion, METADATA, Resource, Subresource, USUAL};
use crate::kind::Kind;
use crate::schema::{Field, ListMerge, Shape};

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
    schema: &[
        METADATA,
        Field::plain(
            2,
            "secrets",
            Shape::List(&Shape::Whole(&Shape::Object(REFERENCE)), ListMerge::Key("name")),
        ),
        Field::plain(
            3,
            "imagePullSecrets",
            Shape::Whole(&Shape::List(
                &Shape::Object(&[Field::string(1, "name")]),
                ListMerge::Key("name"),
            )),
        ),
        Field::pointer(4, "automountServiceAccountToken", Shape::Bool),
    ],
    deletion: Deletion::AtOnceShown,
    ..USUAL
};
