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
            let names = book.entries().map(|(name, _)| name);
            let mut fresh = names.filter(|name| !self.0.contains_key(*name));
            fresh.find_map(|name| {
                let now = fact(book, name)?;
                Some((name.to_owned(), None, Some(now)))
            })
        })
    }
}
