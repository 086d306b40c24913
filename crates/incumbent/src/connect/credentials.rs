//! The credentials of a client, checked where they enter.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use kube::client::Body;
use kube::config::AuthInfo;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::kubeconfig::{contents, decoded, unset_if_empty, unset_if_no_file};
use crate::error::{BoxError, Error};

/// What is set to nothing is not set.
pub(super) fn set(mut user: AuthInfo) -> AuthInfo {
    for file in [&mut user.token_file, &mut user.client_certificate, &mut user.client_key] {
        unset_if_no_file(file);
    }
    for text in [
        &mut user.username,
        &mut user.client_certificate_data,
        &mut user.impersonate,
        &mut user.impersonate_uid,
    ] {
        unset_if_empty(text);
    }
    for secret in [&mut user.password, &mut user.token, &mut user.client_key_data] {
        *secret = secret.take().filter(|secret| !secret.expose_secret().is_empty());
    }
    user
}

/// Refuses what could be shown to no server, and names the file that is at fault.
pub(super) fn check(user: &AuthInfo, name: &str) -> Result<(), Error> {
    let of = |field: &str| format!("{field} of the user {name:?}");
    if let Some(provider) = user.auth_provider.as_ref().filter(|one| one.name != "oidc") {
        return Err(Error::configuration(
            format!(
                "{}: kubectl and this program no longer have {:?}",
                of("auth-provider"),
                provider.name
            ),
            "use the credential plugin that took its place: gke-gcloud-auth-plugin for gcp, kubelogin for azure",
        ));
    }
    if let Some(token) = &user.token {
        bearer(token.expose_secret()).map_err(|error| error.in_place(&of("token")))?;
    }
    for (field, data, file) in [
        ("client-certificate", user.client_certificate_data.as_deref(), &user.client_certificate),
        (
            "client-key",
            user.client_key_data.as_ref().map(ExposeSecret::expose_secret),
            &user.client_key,
        ),
    ] {
        match (data, file) {
            (Some(data), _) => drop(decoded(data, &of(&format!("{field}-data")))?),
            (None, Some(file)) => drop(contents(Path::new(file), &of(field))?),
            (None, None) => {}
        }
    }
    Ok(())
}

/// Why no server takes a text as a token.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoToken {
    Empty,
    WithSpace,
}

impl NoToken {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "is empty",
            Self::WithSpace => "holds a line break or a space",
        }
    }

    /// The error about a token that is in `place`.
    pub(crate) fn in_place(self, place: &str) -> Error {
        Error::configuration(
            format!("{place} {}: no server accepts that as a token", self.as_str()),
            "write the token and nothing else: printf %s \"$TOKEN\"",
        )
    }
}

/// The header that shows this token.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, NoToken> {
    if token.is_empty() {
        return Err(NoToken::Empty);
    }
    let header = HeaderValue::try_from(format!("Bearer {token}"));
    let fits = !token.chars().any(|c| c.is_whitespace() || c.is_control());
    let mut header = header.ok().filter(|_| fits).ok_or(NoToken::WithSpace)?;
    header.set_sensitive(true);
    Ok(header)
}

/// A token that changes.
pub(crate) trait Token: Send + Sync + 'static {
    /// What a request shows now.
    fn header(self: &Arc<Self>) -> impl Future<Output = Result<HeaderValue, BoxError>> + Send;

    /// The server does not believe this one any more.
    fn distrust(&self, header: &HeaderValue);
}

/// A client whose requests show the newest token.
pub(crate) struct WithToken<T> {
    pub(crate) client: kube::Client,
    pub(crate) token: Arc<T>,
}

impl<T: Token> tower_service::Service<Request<Body>> for WithToken<T> {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (client, token) = (self.client.clone(), self.token.clone());
        Box::pin(async move {
            let header = token.header().await?;
            request.headers_mut().insert(header::AUTHORIZATION, header.clone());
            let response = client.send(request).await?;
            if response.status() == StatusCode::UNAUTHORIZED {
                token.distrust(&header);
            }
            Ok(response)
        })
    }
}

/// A token in a file that the kubelet, or another program, renews.
pub(super) struct TokenFile {
    file: PathBuf,
    read: Mutex<Read>,
}

struct Read {
    header: HeaderValue,
    /// When to look again.
    next: Instant,
}

impl TokenFile {
    /// Reads it, as client-go does: what is around the token does not count, and where the file cannot be read,
    /// another token may stand beside it.
    pub(super) fn read(file: PathBuf, otherwise: Option<&SecretString>) -> Result<Self, Error> {
        let header = match (token_in(&file), otherwise) {
            (Err(_), Some(token)) => {
                bearer(token.expose_secret()).map_err(|error| error.in_place("the token"))?
            }
            (header, _) => header?,
        };
        let read = Mutex::new(Read { header, next: Instant::now() + REREAD });
        Ok(Self { file, read })
    }
}

fn token_in(file: &Path) -> Result<HeaderValue, Error> {
    let bytes = contents(file, "tokenFile")?;
    let text = String::from_utf8_lossy(&bytes);
    let place = || format!("the token in {}", file.display());
    bearer(text.trim()).map_err(|error| error.in_place(&place()))
}

impl Token for TokenFile {
    async fn header(self: &Arc<Self>) -> Result<HeaderValue, BoxError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() >= read.next {
            // One that cannot be read now may have been shown once and then taken away: the last one counts.
            if let Ok(header) = token_in(&self.file) {
                read.header = header;
            }
            read.next = Instant::now() + REREAD;
        }
        Ok(read.header.clone())
    }

    fn distrust(&self, header: &HeaderValue) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.header == *header {
            read.next = Instant::now();
        }
    }
}

/// The kubelet renews a token when a fifth of its time is left, which is minutes at least.
const REREAD: Duration = Duration::from_secs(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_file_is_trimmed_and_read_again_after_a_minute_or_a_refusal() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "one\n").unwrap();
        let token = Arc::new(TokenFile::read(file.clone(), None).unwrap());
        assert_eq!(token.header().await.unwrap(), "Bearer one");
        std::fs::write(&file, " two\r\n").unwrap();
        assert_eq!(token.header().await.unwrap(), "Bearer one");
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(token.header().await.unwrap(), "Bearer two");
        std::fs::write(&file, "three").unwrap();
        token.distrust(&HeaderValue::from_static("Bearer one"));
        assert_eq!(token.header().await.unwrap(), "Bearer two", "another one was refused");
        token.distrust(&HeaderValue::from_static("Bearer two"));
        assert_eq!(token.header().await.unwrap(), "Bearer three");
        std::fs::remove_file(&file).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(token.header().await.unwrap(), "Bearer three", "the last one counts");
    }

    #[test]
    fn what_no_server_takes_as_a_token_is_refused_where_it_enters() {
        for wrong in ["", "a\n", "a b", "a\0", "\u{7f}"] {
            let error = bearer(wrong).unwrap_err().in_place("the token of jane");
            assert!(error.to_string().starts_with("the token of jane "), "{error}");
        }
        assert!(bearer("a.b-c_d~e+f/g=").unwrap().is_sensitive());
    }
}
