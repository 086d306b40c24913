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
        schema: &[METADATA, Field::always("spec", Shape::Object(TOKEN_REVIEW_SPEC))],
    },
    Review {
        group: "authorization.k8s.io",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        schema: &[METADATA, Field::always("spec", Shape::Object(SELF_ACCESS_SPEC))],
    },
    Review {
        group: "authorization.k8s.io",
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        schema: &[METADATA, Field::always("spec", Shape::Object(ACCESS_SPEC))],
    },
];

pub(crate) const TOKEN_REQUEST: &[Field] =
    &[METADATA, Field::always("spec", Shape::Object(TOKEN_REQUEST_SPEC))];

const TOKEN_REQUEST_SPEC: &[Field] = &[
    Field::always("audiences", NAMES),
    Field::pointer("expirationSeconds", Shape::Int64),
    Field::always("boundObjectRef", Shape::Any),
];

const TOKEN_REVIEW_SPEC: &[Field] = &[Field::string("token"), Field::plain("audiences", NAMES)];

const SELF_ACCESS_SPEC: &[Field] = &[RESOURCE_ATTRIBUTES, PATH_ATTRIBUTES];

const ACCESS_SPEC: &[Field] = &[
    RESOURCE_ATTRIBUTES,
    PATH_ATTRIBUTES,
    Field::string("user"),
    Field::plain("groups", Shape::List(&Shape::String, ListMerge::Replace)),
    Field::any("extra"),
    Field::string("uid"),
];

const RESOURCE_ATTRIBUTES: Field = Field::pointer(
    "resourceAttributes",
    Shape::Object(&[
        Field::string("namespace"),
        Field::string("verb"),
        Field::string("group"),
        Field::string("version"),
        Field::string("resource"),
        Field::string("subresource"),
        Field::string("name"),
        Field::any("fieldSelector"),
        Field::any("labelSelector"),
    ]),
);

const PATH_ATTRIBUTES: Field = Field::pointer(
    "nonResourceAttributes",
    Shape::Object(&[Field::string("path"), Field::string("verb")]),
);
