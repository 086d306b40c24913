//! Reads the body of a request, with limits on its size, its duration, and all bodies together.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use tokio::time::timeout;

use crate::status::Status;

/// The bytes that all requests are reading at the moment.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    bytes: AtomicUsize,
}

/// Upstream's limit for a body, 3 MiB.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// Upstream's limit for a request, unless it is a watch.
const PATIENCE: Duration = Duration::from_secs(60);

/// The limit for all bodies that are being read, together.
const MOST_AT_ONCE: usize = 256 * 1024 * 1024;

/// A body up to this size is read however much other clients send, so that elections continue.
const SMALL: usize = 16 * 1024;

impl Intake {
    /// Reads a body to its end.
    ///
    /// # Errors
    ///
    /// The body is too long or too slow, breaks off, or exceeds the limit together with others.
    pub(crate) async fn read<B>(&self, headers: &HeaderMap, body: B) -> Result<Bytes, Status>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let announced = announced.and_then(|length| length.parse::<u64>().ok());
        if announced.is_some_and(|length| length > BODY_LIMIT as u64) {
            return Err(Status::too_large(BODY_LIMIT));
        }
        timeout(PATIENCE, self.collect(body)).await.unwrap_or_else(|_| Err(Status::too_slow()))
    }

    async fn collect<B>(&self, body: B) -> Result<Bytes, Status>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let mut body = pin!(body);
        let mut share = Share { intake: self, bytes: 0 };
        let mut whole = BytesMut::new();
        let mut first = None;
        while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
            let broken = |_| Status::bad_request("the body of the request broke off");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            share.add(data.len())?;
            // Most bodies arrive in one piece, which is not copied.
            match first.take() {
                None if whole.is_empty() => first = Some(data),
                earlier => {
                    whole.extend_from_slice(&earlier.unwrap_or_default());
                    whole.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| whole.freeze()))
    }
}

/// The share of the limit that one body uses until it is read.
struct Share<'a> {
    intake: &'a Intake,
    bytes: usize,
}

impl Share<'_> {
    fn add(&mut self, bytes: usize) -> Result<(), Status> {
        self.bytes += bytes;
        let together = self.intake.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.bytes > BODY_LIMIT {
            return Err(Status::too_large(BODY_LIMIT));
        }
        if self.bytes > SMALL && together > MOST_AT_ONCE {
            return Err(Status::too_busy());
        }
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.intake.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_bodies_are_read_however_much_others_send() {
        let intake = Intake::default();
        let share = || Share { intake: &intake, bytes: 0 };
        let (mut large, mut shares) = (share(), Vec::new());
        while large.add(BODY_LIMIT).is_ok() {
            shares.push(std::mem::replace(&mut large, share()));
        }
        assert_eq!(shares.len(), MOST_AT_ONCE / BODY_LIMIT);
        assert!(share().add(SMALL).is_ok());
        assert_eq!(share().add(SMALL + 1), Err(Status::too_busy()));
        drop((large, shares));
        assert_eq!(intake.bytes.load(Ordering::Relaxed), 0);
        assert!(share().add(SMALL + 1).is_ok());
    }
}
