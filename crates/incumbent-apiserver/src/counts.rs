//! The number of requests, by user, verb and answer.

use std::collections::{BTreeMap, HashMap};

use crate::request::Verb;

/// The number of requests, by user, verb and the code of the answer.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    counts: HashMap<String, BTreeMap<(Verb, u16), u64>>,
}

impl Requests {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.count(|_, _| true)
    }

    /// All requests with this verb.
    pub fn of(&self, verb: Verb) -> u64 {
        self.count(|asked, _| asked == verb)
    }

    /// All requests that were answered with this code, such as 409 for a conflict.
    pub fn answered(&self, code: u16) -> u64 {
        self.count(|_, answered| answered == code)
    }

    /// The requests of one user, such as `admin` or `system:serviceaccount:default:candidate`.
    pub fn by(&self, user: &str) -> Self {
        let own = self.counts.get_key_value(user);
        let counts = own.map(|(user, counts)| (user.clone(), counts.clone()));
        Self { counts: counts.into_iter().collect() }
    }

    /// Each user, verb and code with its count, sorted by user.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Verb, u16, u64)> {
        let mut users: Vec<_> = self.counts.iter().collect();
        users.sort_unstable();
        users.into_iter().flat_map(|(user, counts)| {
            counts.iter().map(|(&(verb, code), &count)| (user.as_str(), verb, code, count))
        })
    }

    pub(crate) fn record(&mut self, user: &str, verb: Verb, code: u16) {
        /// The most users counted separately; the rest are counted together.
        const MOST_USERS: usize = 10_000;
        let is_new = !self.counts.contains_key(user);
        let user = if is_new && self.counts.len() >= MOST_USERS { "" } else { user };
        if !self.counts.contains_key(user) {
            self.counts.insert(user.to_owned(), BTreeMap::new());
        }
        if let Some(counts) = self.counts.get_mut(user) {
            *counts.entry((verb, code)).or_default() += 1;
        }
    }

    fn count(&self, is_wanted: impl Fn(Verb, u16) -> bool) -> u64 {
        let all = self.counts.values().flatten();
        all.filter(|((verb, code), _)| is_wanted(*verb, *code)).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_for_any_number_of_users_in_bounded_space() {
        let mut requests = Requests::default();
        for user in 0..30_000 {
            requests.record(&user.to_string(), Verb::Get, 200);
            requests.record("0", Verb::Update, 409);
        }
        assert!(requests.counts.len() <= 10_001);
        assert_eq!((requests.total(), requests.of(Verb::Get)), (60_000, 30_000));
        assert_eq!((requests.answered(409), requests.answered(500)), (30_000, 0));
        assert_eq!(requests.by("0").of(Verb::Update), 30_000);
    }
}
