//! Questions that are answered and not stored: who am I, may I, a token please.

use crate::schema::{Field, ListMerge, Shape};

use super::{METADATA, NAMES};

/// A kind that one can only create.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) schema: &'static [Field],
}

/// The review under this path, if there is one.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Review> {
    let wanted = |review: &&Review| review.group == group && review.plural == plural;
    REVIEWS.iter().find(wanted).filter(|_| version == "v1")
}

pub(crate) const REVIEWS: &[Review] = &[
    Review {
        group: "authentication.k8s.io",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        schema: &[METADATA],
    },
    Review {
        group: "authentication.k8s.io",
        kind: "TokenReview",
        plural: "tokenreviews",
        singular: "tokenreview",
        schema: &[METADATA, Field::always(2, "spec", Shape::Object(TOKEN_REVIEW_SPEC))],
    },
    Review {
        group: "authorization.k8s.io",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        schema: &[METADATA, Field::always(2, "spec", Shape::Object(SELF_ACCESS_SPEC))],
    },
    Review {
        group: "authorization.k8s.io",
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        schema: &[
            METADATA,
            Field::always(2, "spec", Shape::Object(&[Field::string(1, "namespace")])),
        ],
    },
    Review {
        group: "authorization.k8s.io",
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        schema: &[METADATA, Field::always(2, "spec", Shape::Object(ACCESS_SPEC))],
    },
];

pub(crate) const TOKEN_REQUEST: &[Field] =
    &[METADATA, Field::always(2, "spec", Shape::Object(TOKEN_REQUEST_SPEC))];

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
