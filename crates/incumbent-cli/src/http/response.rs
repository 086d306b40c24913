//! What requests and responses have in common.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};

use super::access::Refusal;

pub(crate) const JSON: &str = "application/json";

/// A text of this type.
pub(crate) fn of_type(kind: &'static str, text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

/// Server-sent events, which nothing in between may keep back. Each is made when there is room for it, so that
/// a slow reader gets fewer events, not older ones.
pub(crate) fn events(
    events: impl Stream<Item = Result<Event, std::convert::Infallible>> + Send + 'static,
) -> Response {
    let mut response = Sse::new(events).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// No cache may repeat it, and no browser guess what it is.
pub(crate) fn guard(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

pub(crate) async fn wrong_method() -> Refusal {
    (StatusCode::METHOD_NOT_ALLOWED, "not by this method\n")
}

/// As a layer: reads the body before the request is looked at, if it has at most so many bytes and comes soon.
pub(crate) async fn short_body(
    State(most): State<usize>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, most)).await;
    let Ok(Ok(body)) = body else {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "send a short body, and soon\n"));
    };
    Ok(next.run(Request::from_parts(head, body.into())).await)
}

/// A body of some lines takes no time at all.
const PATIENCE: Duration = Duration::from_secs(5);
