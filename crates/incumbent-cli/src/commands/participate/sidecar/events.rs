//! The stream of what is true.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream;
use tokio::sync::watch;

use super::answers::{Answers, Asker, Change, State};
use super::lifeline::Lifeline;
use crate::http::response;

/// One connection that listens.
struct Listener {
    answers: Answers,
    changes: watch::Receiver<Change>,
    tick: Duration,
    /// The number of the change that it knows.
    known: Option<String>,
    has_begun: bool,
    /// Ends with the connection.
    _lifeline: Option<Lifeline>,
}

/// A stream of server-sent events: `leader` for each change, `valid` while there is none.
///
/// `known` is the id of the last event that the listener had. Events that it missed are not repeated, because an answer
/// of then is not valid now. The stream begins with what is true now, if that is something else.
pub(crate) fn stream(
    answers: Answers,
    known: Option<String>,
    tick: Duration,
    lifeline: Option<Lifeline>,
) -> Response {
    let changes = answers.changes();
    let listener =
        Listener { answers, changes, tick, known, has_begun: false, _lifeline: lifeline };
    response::events(stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await;
        Some((Ok::<_, Infallible>(event), listener))
    }))
}

impl Listener {
    async fn next(&mut self) -> Event {
        if self.has_begun {
            // The candidate outlives all listeners.
            let _ = tokio::time::timeout(self.tick, self.changes.changed()).await;
        }
        self.has_begun = true;
        self.changes.borrow_and_update();
        let answer = self.answers.ask(Asker::Application);
        let event = match self.known.as_ref() {
            Some(known) if *known == answer.change => match answer.state {
                State::Leader => Event::default().event("valid").data(answer.json()),
                _ => Event::default().comment("no change"),
            },
            _ => Event::default().id(&answer.change).event("leader").data(answer.json()),
        };
        self.known = Some(answer.change);
        event
    }
}
