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

use crate::requests::root_cause;

/// What a watch shows.
pub(crate) enum Seen {
    Present(Shown),
    /// What was deleted, as it was last.
    Gone(Shown),
    /// Nothing before this resourceVersion is still to come.
    Bookmark(String),
    /// The watch cannot go on from where it was.
    Expired,
}

/// An object that a watch shows. It is not read further than to tell whether anybody wants to know: in a
/// process with a thousand elections, most of what it sees is what it has just written itself.
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) revision: u64,
    text: Box<RawValue>,
}

impl Shown {
    pub(crate) fn object(&self) -> Result<Value, String> {
        serde_json::from_str(self.text.get()).map_err(|error| error.to_string())
    }
}

/// Reads a line of a watch.
pub(crate) fn seen(line: &[u8]) -> Result<Seen, String> {
    let event: Event<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match &*event.kind {
        "ADDED" | "MODIFIED" => Ok(Seen::Present(shown(event.object)?)),
        "DELETED" => Ok(Seen::Gone(shown(event.object)?)),
        "BOOKMARK" => Ok(Seen::Bookmark(head(event.object)?.resource_version.into_owned())),
        "ERROR" => {
            let status: Value = serde_json::from_str(event.object.get()).unwrap_or_default();
            match status["code"].as_i64() {
                Some(410) => Ok(Seen::Expired),
                _ => Err(status["message"].as_str().unwrap_or("the watch failed").to_owned()),
            }
        }
        kind => Err(format!("a watch event of kind {kind:?}")),
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

fn head(object: &RawValue) -> Result<Head<'_>, String> {
    let object: Result<Object<'_>, _> = serde_json::from_str(object.get());
    object.map(|object| object.metadata).map_err(|error| error.to_string())
}

fn shown(object: &RawValue) -> Result<Shown, String> {
    let head = head(object)?;
    let version = &*head.resource_version;
    let revision =
        u64::from_str(version).map_err(|_| format!("resourceVersion {version:?} is no number"))?;
    Ok(Shown { name: head.name.into_owned(), revision, text: object.to_owned() })
}

/// The lines of a body, without empty ones.
pub(crate) fn lines(body: Body) -> impl Stream<Item = Result<Vec<u8>, String>> {
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
                return Some((Err("a line without an end".to_owned()), (body, Vec::new())));
            }
            match body.frame().await? {
                Ok(frame) => read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                Err(error) => return Some((Err(root_cause(&error)), (body, Vec::new()))),
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

    async fn lines_of(text: &str) -> Vec<Result<Vec<u8>, String>> {
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
        assert!(matches!(&lines[..], [Err(message)] if message == "a line without an end"));
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
        assert!(matches!(seen(other), Err(message) if message == "oh"));
        let bookmark =
            br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","name":""}}}"#;
        assert!(matches!(seen(bookmark), Ok(Seen::Bookmark(version)) if version == "9"));
    }
}
