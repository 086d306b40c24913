//! Questions that are answered and not stored: who am I, may I, a token please.

use super::{METADATA, NAMES};
use crate::kind::Kind;
use crate::schema::{Field, ListMerge, Shape};

/// A kind that one can only create.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) kind: Kind,
    pub(crate) schema: &'static [Field],
}

/// The review under this path, if there is one.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Review> {
    let is_wanted = |review: &&Review| {
        let kind = &review.kind;
        kind.group == group && kind.version == version && kind.plural == plural
    };
    REVIEWS.iter().find(is_wanted)
}

pub(crate) const REVIEWS: &[Review] = &[
    Review {
        kind: Kind {
            group: "authentication.k8s.io",
            name: "SelfSubjectReview",
            plural: "selfsubjectreviews",
            singular: "selfsubjectreview",
            ..Kind::CORE
        },
        schema: &[METADATA],
    },
    Review {
        kind: Kind {
            group: "authentication.k8s.io",
            name: "TokenReview",
            plural: "tokenreviews",
            singular: "tokenreview",
            ..Kind::CORE
        },
        schema: &[METADATA, Field::always(2, "spec", Shape::Object(TOKEN_REVIEW_SPEC))],
    },
    Review {
        kind: Kind {
            group: "authorization.k8s.io",
            name: "SelfSubjectAccessReview",
            plural: "selfsubjectaccessreviews",
            singular: "selfsubjectaccessreview",
            ..Kind::CORE
        },
        schema: &[METADATA, Field::always(2, "spec", Shape::Object(SELF_ACCESS_SPEC))],
    },
    Review {
        kind: Kind {
            group: "authorization.k8s.io",
            name: "SelfSubjectRulesReview",
            plural: "selfsubjectrulesreviews",
            singular: "selfsubjectrulesreview",
            ..Kind::CORE
        },
        schema: &[
            METADATA,
            Field::always(2, "spec", Shape::Object(&[Field::string(1, "namespace")])),
        ],
    },
    Review {
        kind: Kind {
            group: "authorization.k8s.io",
            name: "SubjectAccessReview",
            plural: "subjectaccessreviews",
            singular: "subjectaccessreview",
            ..Kind::CORE
        },
        schema: &[METADATA, Field::always(2, "spec", Shape::Object(ACCESS_SPEC))],
    },
];

/// Asked for below a service account, and so not found by its plural.
pub(crate) const TOKEN_REQUEST: Review = Review {
    kind: Kind { group: "authentication.k8s.io", name: "TokenRequest", ..Kind::CORE },
    schema: &[METADATA, Field::always(2, "spec", Shape::Object(TOKEN_REQUEST_SPEC))],
};

const TOKEN_REQUEST_SPEC: &[Field] = &[
    Field::always(1, "audiences", NAMES),
    Field::pointer(4, "expirationSeconds", Shape::Int64),
    Field::pointer(
        3,
        "boundObjectRef",
        Shape::Object(&[
            Field::string(1, "kind"),
            Field::string(2, "apiVersion"),
            Field::string(3, "name"),
            Field::string(4, "uid"),
        ]),
    ),
];

const TOKEN_REVIEW_SPEC: &[Field] =
    &[Field::string(1, "token"), Field::plain(2, "audiences", NAMES)];

const SELF_ACCESS_SPEC: &[Field] = &[RESOURCE_ATTRIBUTES, PATH_ATTRIBUTES];

const ACCESS_SPEC: &[Field] = &[
    RESOURCE_ATTRIBUTES,
    PATH_ATTRIBUTES,
    Field::string(3, "user"),
    Field::plain(4, "groups", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::any(5, "extra"),
    Field::string(6, "uid"),
];

const RESOURCE_ATTRIBUTES: Field = Field::pointer(
    1,
    "resourceAttributes",
    Shape::Object(&[
        Field::string(1, "namespace"),
        Field::string(2, "verb"),
        Field::string(3, "group"),
        Field::string(4, "version"),
        Field::string(5, "resource"),
        Field::string(6, "subresource"),
        Field::string(7, "name"),
        Field::any(8, "fieldSelector"),
        Field::any(9, "labelSelector"),
    ]),
);

const PATH_ATTRIBUTES: Field = Field::pointer(
    2,
    "nonResourceAttributes",
    Shape::Object(&[Field::string(1, "path"), Field::string(2, "verb")]),
);
