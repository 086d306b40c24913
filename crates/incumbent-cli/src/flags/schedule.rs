//! A schedule on the command line.

use incumbent::{Error, InvalidSetting, Lock};

use crate::flags::group;
use crate::model::schedule_row::{DEFAULT_CONFIG_MAP, target};

/// Which schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScheduleName {
    pub(crate) config_map: String,
    pub(crate) name: String,
}

impl ScheduleName {
    /// Reads `schedule/NAME`, whose record is in the ConfigMap `schedules`, or `schedule/CONFIGMAP/NAME`. `None` if the
    /// text is about something else.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("schedule/").or_else(|| text.strip_prefix("schedules/"))?;
        let (config_map, name) = rest.split_once('/').unwrap_or((DEFAULT_CONFIG_MAP, rest));
        Some(Self { config_map: config_map.to_owned(), name: name.to_owned() })
    }

    /// As it is typed.
    pub(crate) fn text(&self) -> String {
        target(&self.config_map, &self.name)
    }

    /// The ConfigMap, as the lock that names it.
    pub(crate) fn lock(&self, namespace: &str) -> Lock {
        Lock::config_map(namespace, &*self.config_map)
    }
}

/// The text of a schedule.
pub(crate) fn schedule_text(text: &str) -> Result<ScheduleName, Error> {
    let named = ScheduleName::of(text).filter(is_good);
    named.ok_or_else(|| {
        Error::Invalid(InvalidSetting::Program {
            what: format!("{text:?} is not a schedule"),
            hint: "write it as schedule/NAME, or as schedule/CONFIGMAP/NAME".to_owned(),
        })
    })
}

/// The text of a lock, a group or a schedule.
pub(crate) fn target_text(text: &str) -> Result<String, Error> {
    match ScheduleName::of(text) {
        Some(_) => schedule_text(text).map(|named| named.text()),
        None => group::target_text(text),
    }
}

fn is_good(named: &ScheduleName) -> bool {
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(is_key);
    is_word(&named.config_map) && is_word(&named.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_has_its_kind_and_perhaps_its_config_map() {
        let named = |config_map: &str, name: &str| {
            Some(ScheduleName { config_map: config_map.to_owned(), name: name.to_owned() })
        };
        assert_eq!(ScheduleName::of("schedule/report"), named("schedules", "report"));
        assert_eq!(ScheduleName::of("schedule/jobs/report"), named("jobs", "report"));
        assert_eq!(ScheduleName::of("configmap/schedule"), None);
        for text in ["schedule/report", "schedule/jobs/report"] {
            assert_eq!(schedule_text(text).unwrap().text(), text);
        }
        for text in
            ["schedule/", "schedule//a", "schedule/a/", "schedule/a/b/c", "schedule/a b", "report"]
        {
            assert!(schedule_text(text).is_err(), "{text}");
        }
    }
}
