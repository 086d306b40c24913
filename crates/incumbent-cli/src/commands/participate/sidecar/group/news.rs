//! What a listener knows of each task, and what it has to learn next. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::book::{Book, Held, State};

/// What a listener knows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    facts: BTreeMap<String, Fact>,
    /// Tasks of which the latest scan has found something else than what the listener knows.
    pending: VecDeque<String>,
}

/// What has happened to which task.
pub(crate) type Event = (News, String, Option<u16>, u64);

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
    /// The listener has been sent this task.
    pub(crate) fn learn(&mut self, name: &str, number: Option<u16>, token: u64, state: State) {
        self.facts.insert(name.to_owned(), Fact { number, token, state });
    }

    /// The tasks on which it may work, as far as it knows.
    pub(crate) fn running(&self) -> impl Iterator<Item = &str> {
        let running = self.facts.iter().filter(|(_, fact)| fact.state == State::Running);
        running.map(|(name, _)| name.as_str())
    }

    /// The next news. First what ends, then what begins.
    ///
    /// One scan finds all tasks that differ, so that many changes do not cost a scan each.
    pub(crate) fn next<H: Held>(
        &mut self,
        book: &mut Book<H>,
        shows_running: bool,
    ) -> Option<Event> {
        loop {
            if self.pending.is_empty() {
                self.scan(book, shows_running);
            }
            // It may have changed again since the scan.
            let name = self.pending.pop_front()?;
            if let Some(news) = self.news_of(&name, book, shows_running) {
                return Some(news);
            }
        }
    }

    /// What the listener has to learn of this task, which it then knows.
    fn news_of<H: Held>(
        &mut self,
        name: &str,
        book: &mut Book<H>,
        shows_running: bool,
    ) -> Option<Event> {
        book.look(name);
        let (before, now) = (self.facts.get(name).copied(), Fact::of(book, name, shows_running));
        let is_replaced = before.zip(now).is_some_and(|(before, now)| before.token != now.token);
        let kept = if is_replaced { None } else { now };
        match kept {
            Some(fact) => drop(self.facts.insert(name.to_owned(), fact)),
            None => drop(self.facts.remove(name)),
        }
        if is_replaced {
            // What replaces it comes after all that ends.
            self.pending.push_back(name.to_owned());
        }
        // Of work that has stopped, the listener need not hear again.
        let may_work = |fact: &Fact| matches!(fact.state, State::Running | State::Revoked);
        let worked_on = before.filter(may_work);
        let (news, fact) = match kept {
            None => {
                let over = worked_on.filter(|over| !book.was_stopped(name, over.token));
                (News::Lost, over?)
            }
            Some(now) => match now.state {
                State::Running if before != kept => (News::Assigned, now),
                State::Revoked if worked_on.is_some() && before != kept => (News::Revoked, now),
                State::Lost if worked_on.is_some() => (News::Lost, now),
                _ => return None,
            },
        };
        Some((news, name.to_owned(), fact.number, fact.token))
    }

    /// Finds the tasks of which the listener does not know the present state.
    fn scan<H: Held>(&mut self, book: &mut Book<H>, shows_running: bool) {
        let differs = |name: &&String| {
            book.look(name);
            self.facts.get(*name).copied() != Fact::of(book, name, shows_running)
        };
        self.pending.extend(self.facts.keys().filter(differs).cloned());
        let fresh = book.entries().filter(|(name, entry)| {
            let is_shown = entry.state != State::Running || shows_running;
            is_shown && !self.facts.contains_key(*name)
        });
        self.pending.extend(fresh.map(|(name, _)| name.to_owned()));
    }
}

impl Fact {
    /// What a listener may know of this task.
    fn of<H: Held>(book: &Book<H>, name: &str, shows_running: bool) -> Option<Self> {
        let entry = book.get(name)?;
        let (number, token, state) = (entry.number, entry.token, entry.state);
        (state != State::Running || shows_running).then_some(Self { number, token, state })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;

    /// A task that is valid or revoked, and counts how often it is asked.
    #[derive(Clone, Default)]
    struct Fake {
        is_valid: Rc<Cell<bool>>,
        asked: Rc<Cell<u32>>,
    }

    impl Held for Fake {
        fn valid_for(&self) -> Duration {
            self.asked.set(self.asked.get() + 1);
            Duration::from_secs(self.is_valid.get().into())
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
            let is_valid = Rc::new(Cell::new(*is_valid));
            book.assign(name, None, *token, Fake { is_valid, ..Fake::default() });
        }
        book
    }

    /// All news that the listener gets.
    fn told(known: &mut Known, book: &mut Book<Fake>) -> Vec<(&'static str, String, u64)> {
        let next = || known.next(book, true);
        let told = std::iter::from_fn(next);
        told.map(|(news, name, _, token)| (news.word(), name, token)).collect()
    }

    fn event(word: &'static str, name: &str, token: u64) -> (&'static str, String, u64) {
        (word, name.to_owned(), token)
    }

    #[test]
    fn a_listener_gets_each_news_once_and_first_what_ends() {
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
    fn a_listener_hears_nothing_of_the_end_of_what_it_has_stopped_or_never_knew() {
        let mut known = Known::default();
        let book = &mut book(&[("a", 1, true), ("b", 1, false)]);
        assert_eq!(told(&mut known, book), [event("assigned", "a", 1)]);
        assert!(book.stopped("a", 1).is_ok());
        assert!(book.stopped("b", 1).is_ok());
        assert_eq!(told(&mut known, book), []);
        assert_eq!(known.running().count(), 0);
    }

    #[test]
    fn a_listener_hears_no_more_of_a_task_whose_work_it_has_stopped() {
        let (mut known, mut book) = (Known::default(), Book::default());
        let task = Fake { is_valid: Rc::new(Cell::new(true)), ..Fake::default() };
        book.assign("a", None, 1, task.clone());
        assert_eq!(told(&mut known, &mut book), [event("assigned", "a", 1)]);
        assert!(book.stopped("a", 1).is_ok());
        assert_eq!(told(&mut known, &mut book), []);
        task.is_valid.set(false);
        assert_eq!(told(&mut known, &mut book), [], "it is revoked, and nothing runs");
        assert_eq!(book.due(Duration::ZERO, false).0.len(), 1);
        assert_eq!(told(&mut known, &mut book), []);
        book.assign("a", None, 2, Fake { is_valid: Rc::new(Cell::new(true)), ..Fake::default() });
        assert_eq!(told(&mut known, &mut book), [event("assigned", "a", 2)]);
    }

    #[test]
    fn many_changes_do_not_cost_a_scan_each() {
        const SLOTS: u32 = 16_384;
        let (mut known, mut book) = (Known::default(), Book::default());
        let all = Fake { is_valid: Rc::new(Cell::new(true)), ..Fake::default() };
        for slot in 0..SLOTS {
            book.assign(&slot.to_string(), None, 1, all.clone());
        }
        for word in ["assigned", "revoked"] {
            let news = told(&mut known, &mut book);
            assert_eq!(news.len(), SLOTS as usize);
            assert!(news.iter().all(|(told, ..)| *told == word));
            assert!(all.asked.take() <= 4 * SLOTS, "each is asked a few times");
            all.is_valid.set(false);
        }
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
