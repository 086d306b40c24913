//! A group on the command line.

use incumbent::{Error, InvalidSetting};

use crate::flags::lock::lock_text;

/// What a command is about, where it knows locks and groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The text of a lock.
    Lock(String),
    /// The name of a group.
    Group(String),
}

/// Reads `group/NAME`, or a lock.
pub(crate) fn target(text: &str) -> Result<Target, Error> {
    match group_of(text) {
        Some(group) => checked(group).map(Target::Group),
        None => lock_text(text).map(Target::Lock),
    }
}

/// Reads `group/NAME`, where nothing else makes sense.
pub(crate) fn group(text: &str) -> Result<String, Error> {
    match group_of(text) {
        Some(group) => checked(group),
        None => Err(Error::Invalid(InvalidSetting::Program {
            what: format!("{text:?} is not a group"),
            hint: "write it as group/NAME".to_owned(),
        })),
    }
}

/// The text of a lock or a group that can be read as one.
pub(crate) fn target_text(text: &str) -> Result<String, Error> {
    target(text).map(|_| text.to_owned())
}

/// The name, if the text names a group.
pub(crate) fn group_of(text: &str) -> Option<&str> {
    text.strip_prefix("group/").or_else(|| text.strip_prefix("groups/"))
}

fn checked(name: &str) -> Result<String, Error> {
    match lock_text(name).is_ok() && !name.contains(['.', '/']) && name.len() <= LONGEST {
        true => Ok(name.to_owned()),
        false => Err(Error::Invalid(InvalidSetting::GroupName(name.to_owned()))),
    }
}

/// A DNS label.
const LONGEST: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_kind_and_the_name_of_one() {
        assert_eq!(target("group/a").unwrap(), Target::Group("a".to_owned()));
        assert_eq!(target("a").unwrap(), Target::Lock("a".to_owned()));
        for wrong in ["group/", "group/a.b", "group/A", "group/a/b", &format!("group/{:a<64}", "a")]
        {
            assert!(target(wrong).is_err(), "{wrong}");
        }
        assert!(group("lease/a").is_err() && group("a").is_err());
    }
}
