//! Answers, and their bodies.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use http_body_util::channel::Channel;
use hyper::body::Bytes;

/// What an answer says: at once, or for as long as somebody listens.
pub(crate) enum Body {
    Full(Full<Bytes>),
    Stream {
        events: Channel<Bytes>,
        /// What ends with the connection.
        _held: Option<Box<dyn Send>>,
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

impl Body {
    /// What is sent piece by piece; what is held goes when the connection does.
    pub(crate) fn stream(events: Channel<Bytes>, held: Option<Box<dyn Send>>) -> Self {
        Self::Stream { events, _held: held }
    }
}

pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    of_type(status, "text/plain; charset=utf-8", text.to_owned())
}

pub(crate) fn of_type(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Full(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Server-sent events, which nothing in between may keep back.
pub(crate) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// No cache may repeat it, and no browser guess what it is.
pub(crate) fn guard(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

pub(crate) const JSON: &str = "application/json";
