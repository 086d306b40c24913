//! What a listener was told of each task, and what it has to be told next. Pure.

use std::collections::BTreeMap;

use super::book::{Book, Held, State};

/// What a listener knows.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<String, Fact>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fact {
    number: Option<u16>,
    token: u64,
    state: State,
}

/// What has happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The application may work on it.
    Assigned,
    /// The work has to stop, and the application has to say so.
    Revoked,
    /// It is no longer this member's, and the application has not said that the work has stopped.
    Lost,
}

impl News {
    /// The name of the event.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Revoked => "revoked",
            Self::Lost => "lost",
        }
    }
}

impl Known {
    /// The listener is told of this task.
    pub(crate) fn learn(&mut self, name: &str, number: Option<u16>, token: u64, state: State) {
        self.0.insert(name.to_owned(), Fact { number, token, state });
    }

    /// The tasks on which it may work, as far as it knows.
    pub(crate) fn running(&self) -> impl Iterator<Item = &str> {
        let running = self.0.iter().filter(|(_, fact)| fact.state == State::Running);
        running.map(|(name, _)| name.as_str())
    }

    /// The next news, with the task's name, number and token. First what ends, then what begins.
    pub(crate) fn next<H: Held>(
        &mut self,
        book: &mut Book<H>,
        shows_running: bool,
    ) -> Option<(News, String, Option<u16>, u64)> {
        while let Some((name, before, now)) = self.difference(book, shows_running) {
            match now {
                Some(now) => drop(self.0.insert(name.clone(), now)),
                None => drop(self.0.remove(&name)),
            }
            let news = match (before, now) {
                (Some(before), now) if now.is_none_or(|now| now.token != before.token) => {
                    // What replaces it is told next.
                    self.0.remove(&name);
                    let is_told = matches!(before.state, State::Lost | State::Done);
                    let is_over = is_told || book.was_stopped(&name, before.token);
                    (!is_over).then_some((News::Lost, before))
                }
                (_, Some(now)) => match now.state {
                    State::Running => Some((News::Assigned, now)),
                    State::Revoked => before.map(|_| (News::Revoked, now)),
                    State::Lost => before.map(|_| (News::Lost, now)),
                    State::Done => None,
                },
                (_, None) => None,
            };
            if let Some((news, fact)) = news {
                return Some((news, name, fact.number, fact.token));
            }
        }
        None
    }

    /// One task of which the listener knows something else than what is so: what it knows, and what is so.
    fn difference<H: Held>(
        &self,
        book: &mut Book<H>,
        shows_running: bool,
    ) -> Option<(String, Option<Fact>, Option<Fact>)> {
        let fact = |book: &Book<H>, name: &str| {
            let entry = book.get(name)?;
            let (number, token, state) = (entry.number, entry.token, entry.state);
            (state != State::Running || shows_running).then_some(Fact { number, token, state })
        };
        let ended = self.0.iter().find_map(|(name, before)| {
            book.look(name);
            let now = fact(book, name);
            (now != Some(*before)).then(|| (name.clone(), Some(*before), now))
        });
        ended.or_else(|| {
            let fresh = book.entries().find(|(name, entry)| {
                let is_shown = entry.state != State::Running || shows_running;
                is_shown && !self.0.contains_key(*name)
            });
            let name = fresh?.0.to_owned();
            book.look(&name);
            let now = fact(book, &name);
            Some((name, None, now))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A task that is valid or revoked.
    struct Fake(bool);

    impl Held for Fake {
        fn valid_for(&self) -> Duration {
            Duration::from_secs(self.0.into())
        }

        fn is_lost(&self) -> bool {
            false
        }

        fn stop_within(&self) -> Duration {
            Duration::from_secs(1)
        }
    }

    fn book(tasks: &[(&str, u64, bool)]) -> Book<Fake> {
        let mut book = Book::default();
        for (name, token, is_valid) in tasks {
            book.assign(name, None, *token, Fake(*is_valid));
        }
        book
    }

    /// All that the listener is told.
    fn told(known: &mut Known, book: &mut Book<Fake>) -> Vec<(&'static str, String, u64)> {
        let next = || known.next(book, true);
        let told = std::iter::from_fn(next);
        told.map(|(news, name, _, token)| (news.word(), name, token)).collect()
    }

    fn event(word: &'static str, name: &str, token: u64) -> (&'static str, String, u64) {
        (word, name.to_owned(), token)
    }

    #[test]
    fn a_listener_is_told_each_thing_once_and_first_what_ends() {
        let mut known = Known::default();
        let before = &mut book(&[("a", 1, true), ("b", 1, true), ("c", 1, true)]);
        let all = ["a", "b", "c"].map(|name| event("assigned", name, 1));
        assert_eq!(told(&mut known, before), all);
        assert_eq!(told(&mut known, before), []);
        assert_eq!(known.running().collect::<Vec<_>>(), ["a", "b", "c"]);
        let after = &mut book(&[("0", 2, true), ("a", 1, false), ("b", 2, true)]);
        let news = [
            event("revoked", "a", 1),
            event("lost", "b", 1),
            event("lost", "c", 1),
            event("assigned", "0", 2),
            event("assigned", "b", 2),
        ];
        assert_eq!(told(&mut known, after), news);
        assert_eq!(known.running().collect::<Vec<_>>(), ["0", "b"]);
    }

    #[test]
    fn nobody_is_told_of_the_end_of_what_it_has_stopped_or_never_knew() {
        let mut known = Known::default();
        let book = &mut book(&[("a", 1, true), ("b", 1, false)]);
        assert_eq!(told(&mut known, book), [event("assigned", "a", 1)]);
        assert!(book.stopped("a", 1).is_ok());
        assert!(book.stopped("b", 1).is_ok());
        assert_eq!(told(&mut known, book), []);
        assert_eq!(known.running().count(), 0);
    }

    #[test]
    fn where_nothing_may_be_shown_to_run_what_runs_is_over() {
        let mut known = Known::default();
        let book = &mut book(&[("a", 1, true)]);
        assert!(known.next(book, false).is_none());
        assert_eq!(told(&mut known, book), [event("assigned", "a", 1)]);
        let over = known.next(book, false).map(|(news, ..)| news);
        assert_eq!(over, Some(News::Lost));
        assert!(known.next(book, false).is_none());
    }
}
