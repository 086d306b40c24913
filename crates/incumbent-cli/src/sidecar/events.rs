//! Bodies of answers, and the stream of what is true.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Frame, SizeHint};
use http_body_util::Full;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;

use super::answers::{Answers, Asker, State};
use super::lifeline::Lifeline;

/// What an answer says: at once, or for as long as somebody listens.
pub(crate) enum Body {
    Full(Full<Bytes>),
    Stream {
        events: Channel<Bytes>,
        /// Ends with the connection.
        _lifeline: Option<Lifeline>,
    },
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(context),
            Self::Stream { events, .. } => Pin::new(events).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}

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
    Body::Stream { events, _lifeline: lifeline }
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
