//! A lock on the command line.

use incumbent::{Error, Lock};

/// Reads a lock; a bare name is a Lease.
pub(crate) fn parse(namespace: &str, text: &str) -> Result<Lock, Error> {
    match text.contains('/') {
        true => Lock::parse(namespace, text).map_err(Error::from),
        false => Lock::parse(namespace, &format!("lease/{text}")).map_err(Error::from),
    }
}

/// The text of a lock that can be read as one: what cannot is a mistake on the command line.
pub(crate) fn lock_text(text: &str) -> Result<String, Error> {
    if text.starts_with("group/") || text.starts_with("groups/") {
        return Err(Error::Invalid(incumbent::InvalidSetting::Program {
            what: format!("{text:?} is a group, and this is only for a lock"),
            hint: "use lease/NAME or configmap/NAME[:KEY]; for groups, there are get, status, watch, wait, pause, move \
                   and freeze"
                .to_owned(),
        }));
    }
    parse("default", text).map(|_| text.to_owned())
}

/// The same, where it has to be a ConfigMap.
pub(crate) fn blackboard_text(text: &str) -> Result<String, Error> {
    match Lock::parse("default", text)?.key() {
        Some(_) => Ok(text.to_owned()),
        None => Err(Error::Invalid(incumbent::InvalidSetting::Program {
            what: "a Lease cannot be a blackboard".to_owned(),
            hint: "use configmap/NAME[:KEY]".to_owned(),
        })),
    }
}
