//! The stream of what is true.

use std::time::Duration;

use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;

use super::answers::{Answers, Asker, State};
use super::lifeline::Lifeline;
use crate::http::response::Body;

/// A stream of server-sent events: `leader` for each change, `valid` while there is none.
///
/// `known` is the id of the last event that the listener had. What it missed is not repeated, for an answer
/// of then is not valid now: it is told what is true now, if that is something else.
pub(crate) fn stream(
    answers: Answers,
    known: Option<String>,
    tick: Duration,
    lifeline: Option<Lifeline>,
) -> Body {
    let (sender, events) = Channel::new(1);
    tokio::spawn(feed(answers, known, tick, sender));
    let held = lifeline.map(|lifeline| Box::new(lifeline) as Box<dyn Send>);
    Body::stream(events, held)
}

/// Tells the listener, until it is gone.
///
/// Who reads slowly gets fewer events, not older ones: each is made when there is room for it.
async fn feed(
    answers: Answers,
    mut known: Option<String>,
    tick: Duration,
    mut sender: Sender<Bytes>,
) {
    let mut changes = answers.changes();
    loop {
        changes.borrow_and_update();
        let answer = answers.ask(Asker::Application);
        let text = if known.as_ref() != Some(&answer.change) {
            format!("id: {}\nevent: leader\ndata: {}\n\n", answer.change, answer.json())
        } else if answer.state == State::Leader {
            format!("event: valid\ndata: {}\n\n", answer.json())
        } else {
            ": still so\n\n".to_owned()
        };
        known = Some(answer.change);
        if sender.send_data(text.into()).await.is_err() {
            return;
        }
        // The candidate outlives all who listen to it.
        let _ = tokio::time::timeout(tick, changes.changed()).await;
    }
}
