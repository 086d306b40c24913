//! Requests that are answered and not stored: reviews of users and permissions, and token requests.

use super::types;
use crate::kind::Kind;
use crate::schema::Struct;

/// A kind that clients can only create.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) kind: Kind,
    pub(crate) schema: &'static Struct,
}

/// The review with this path. `None` if there is none.
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
        schema: types::authentication::SELF_SUBJECT_REVIEW,
    },
    Review {
        kind: Kind {
            group: "authentication.k8s.io",
            name: "TokenReview",
            plural: "tokenreviews",
            singular: "tokenreview",
            ..Kind::CORE
        },
        schema: types::authentication::TOKEN_REVIEW,
    },
    Review {
        kind: Kind {
            group: "authorization.k8s.io",
            name: "SelfSubjectAccessReview",
            plural: "selfsubjectaccessreviews",
            singular: "selfsubjectaccessreview",
            ..Kind::CORE
        },
        schema: types::authorization::SELF_SUBJECT_ACCESS_REVIEW,
    },
    Review {
        kind: Kind {
            group: "authorization.k8s.io",
            name: "SelfSubjectRulesReview",
            plural: "selfsubjectrulesreviews",
            singular: "selfsubjectrulesreview",
            ..Kind::CORE
        },
        schema: types::authorization::SELF_SUBJECT_RULES_REVIEW,
    },
    Review {
        kind: Kind {
            group: "authorization.k8s.io",
            name: "SubjectAccessReview",
            plural: "subjectaccessreviews",
            singular: "subjectaccessreview",
            ..Kind::CORE
        },
        schema: types::authorization::SUBJECT_ACCESS_REVIEW,
    },
];

/// A subresource of service accounts, which has no path of its own.
pub(crate) const TOKEN_REQUEST: Review = Review {
    kind: Kind { group: "authentication.k8s.io", name: "TokenRequest", ..Kind::CORE },
    schema: types::authentication::TOKEN_REQUEST,
};
