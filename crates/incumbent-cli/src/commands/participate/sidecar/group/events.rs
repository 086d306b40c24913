//! The stream of what happens to the tasks of this member.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::book::Asker;
use super::news::Known;
use super::own_tasks::{HeldLifeline, OwnTasks, Told, json};
use crate::http::response;

/// One connection that listens.
struct Listener {
    tasks: OwnTasks,
    changes: watch::Receiver<u64>,
    tick: Duration,
    /// When to send a new time, if nothing changes.
    due: Instant,
    /// Nothing before the first event.
    known: Option<Known>,
    /// Ends with the connection.
    lifeline: Option<HeldLifeline>,
}

/// A stream of server-sent events: first `tasks`, with all of them; then `assigned`, `revoked` and `lost` for one task
/// each, and `valid` while nothing happens.
pub(crate) fn stream(tasks: OwnTasks, tick: Duration, lifeline: Option<HeldLifeline>) -> Response {
    let changes = tasks.changes();
    let listener = Listener { tasks, changes, tick, due: Instant::now(), known: None, lifeline };
    response::events(stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await;
        Some((Ok::<_, Infallible>(event), listener))
    }))
}

impl Listener {
    async fn next(&mut self) -> Event {
        let asker = match &self.lifeline {
            Some(lifeline) => Asker::Lifeline(lifeline.number),
            None => Asker::Answer,
        };
        let Some(known) = &mut self.known else { return self.first(asker) };
        loop {
            self.changes.borrow_and_update();
            let is_due = Instant::now() >= self.due;
            match self.tasks.next(known, asker, is_due) {
                Some(Told::News(news, task)) => {
                    return Event::default().event(news.word()).data(json(&task));
                }
                Some(Told::Still(validity)) => {
                    self.due = Instant::now() + self.tick;
                    return match validity.running {
                        0 => Event::default().comment("no change"),
                        _ => Event::default().event("valid").data(json(&validity)),
                    };
                }
                // The tasks outlive all listeners.
                None => drop(tokio::time::timeout_at(self.due, self.changes.changed()).await),
            }
        }
    }

    fn first(&mut self, asker: Asker) -> Event {
        self.changes.borrow_and_update();
        self.due = Instant::now() + self.tick;
        let answer = self.tasks.ask(asker);
        let known = self.known.insert(Known::default());
        for task in &answer.tasks {
            known.learn(&task.name, task.number, task.token, task.state);
        }
        Event::default().event("tasks").data(json(&answer))
    }
}
