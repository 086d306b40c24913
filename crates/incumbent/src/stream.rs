//! What a watch sends: one JSON object a line, for each change.

use std::borrow::Cow;
use std::str::FromStr;

use futures_util::Stream;
use futures_util::stream::unfold;
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error as ThisError;

use crate::error::root_cause;

/// What a watch shows.
pub(crate) enum Seen {
    Present(Shown),
    /// What was deleted, as it was last.
    Gone(Shown),
    /// Nothing before this resourceVersion is still to come.
    Bookmark(String),
    /// The watch cannot continue from where it was.
    Expired,
}

/// An object that a watch shows. It is not read further than to tell whether a listener wants to know: in a
/// process with a thousand elections, most of what it sees is what it has just written itself.
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) revision: u64,
    text: Box<RawValue>,
}

impl Shown {
    pub(crate) fn object(&self) -> Result<Value, WatchError> {
        Ok(serde_json::from_str(self.text.get())?)
    }
}

/// Why a watch shows nothing more.
#[derive(Debug, ThisError)]
pub(crate) enum WatchError {
    #[error(transparent)]
    NoEvent(#[from] serde_json::Error),
    #[error("a watch event of kind {0:?}")]
    UnknownKind(String),
    #[error("resourceVersion {0:?} is no number")]
    VersionIsNoNumber(String),
    #[error("a line without an end")]
    LineTooLong,
    /// The server says so.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Broken(String),
}

/// Reads a line of a watch.
pub(crate) fn seen(line: &[u8]) -> Result<Seen, WatchError> {
    let event: Event<'_> = serde_json::from_slice(line)?;
    match &*event.kind {
        "ADDED" | "MODIFIED" => Ok(Seen::Present(shown(event.object)?)),
        "DELETED" => Ok(Seen::Gone(shown(event.object)?)),
        "BOOKMARK" => Ok(Seen::Bookmark(head(event.object)?.resource_version.into_owned())),
        "ERROR" => {
            let status: Value = serde_json::from_str(event.object.get()).unwrap_or_default();
            match status["code"].as_i64() {
                Some(410) => Ok(Seen::Expired),
                _ => {
                    let message = status["message"].as_str().unwrap_or("the watch failed");
                    Err(WatchError::Refused(message.to_owned()))
                }
            }
        }
        kind => Err(WatchError::UnknownKind(kind.to_owned())),
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Head<'a>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "resourceVersion")]
    resource_version: Cow<'a, str>,
}

fn head(object: &RawValue) -> Result<Head<'_>, WatchError> {
    let object: Object<'_> = serde_json::from_str(object.get())?;
    Ok(object.metadata)
}

fn shown(object: &RawValue) -> Result<Shown, WatchError> {
    let head = head(object)?;
    let version = &*head.resource_version;
    let revision =
        u64::from_str(version).map_err(|_| WatchError::VersionIsNoNumber(version.to_owned()))?;
    Ok(Shown { name: head.name.into_owned(), revision, text: object.to_owned() })
}

/// The lines of a body, without empty ones.
pub(crate) fn lines(body: Body) -> impl Stream<Item = Result<Vec<u8>, WatchError>> {
    let state = (Box::pin(body), Vec::new());
    unfold(state, |(mut body, mut read): (_, Vec<u8>)| async move {
        let mut searched = 0;
        loop {
            if let Some(length) = read[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = read.split_off(searched + length + 1);
                let line = std::mem::replace(&mut read, rest);
                searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Some((Ok(line), (body, read)));
            }
            searched = read.len();
            if searched > LONGEST_LINE {
                return Some((Err(WatchError::LineTooLong), (body, Vec::new())));
            }
            match body.frame().await? {
                Ok(frame) => read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Err(error) => {
                    let error = WatchError::Broken(root_cause(&error));
                    return Some((Err(error), (body, Vec::new())));
                }
            }
        }
    })
}

/// Many times what an object may be (1 MiB and a half), so that no line can fill the memory.
const LONGEST_LINE: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    async fn lines_of(text: &str) -> Vec<Result<Vec<u8>, WatchError>> {
        lines(Body::from(text.as_bytes().to_vec())).collect().await
    }

    #[tokio::test]
    async fn a_body_is_read_line_by_line_and_what_is_cut_off_is_left_out() {
        let lines = lines_of("{\"a\":1}\n\n{\"b\":2}\n{\"c\"").await;
        let lines: Vec<_> = lines.into_iter().map(|line| line.unwrap()).collect();
        assert_eq!(lines, [b"{\"a\":1}\n".to_vec(), b"{\"b\":2}\n".to_vec()]);
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_an_error_before_it_fills_the_memory() {
        let lines = lines_of(&"x".repeat(LONGEST_LINE + 1)).await;
        assert!(matches!(&lines[..], [Err(WatchError::LineTooLong)]));
    }

    #[test]
    fn an_event_says_which_object_at_which_revision() {
        let line = br#"{"type":"MODIFIED","object":{"metadata":{"name":"a\u002db","resourceVersion":"7"},"x":[{}]}}"#;
        let Ok(Seen::Present(shown)) = seen(line) else { panic!("it is there") };
        assert_eq!((shown.name.as_str(), shown.revision), ("a-b", 7));
        assert_eq!(shown.object().unwrap()["x"], serde_json::json!([{}]));
    }

    #[test]
    fn what_makes_no_sense_is_an_error_and_410_is_the_end() {
        for line in ["", "{}", r#"{"type":"ADDED","object":{"metadata":{"resourceVersion":"x"}}}"#]
        {
            assert!(seen(line.as_bytes()).is_err(), "{line}");
        }
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
        assert!(matches!(seen(gone), Ok(Seen::Expired)));
        let other = br#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"oh"}}"#;
        assert!(matches!(seen(other), Err(error) if error.to_string() == "oh"));
        let bookmark =
            br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","name":""}}}"#;
        assert!(matches!(seen(bookmark), Ok(Seen::Bookmark(version)) if version == "9"));
    }
}
