//! What the page may ask of an election, and which requests it accepts.
//!
//! A browser sends what another site's page tells it to. So an action needs a number that only our own pages have, and
//! comes from them; and where other machines can reach the page, a secret that people know.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use incumbent::survey::{LockView, Registration, State};
use incumbent::{ElectionControl, Error, HandOver, Identity};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::board::Row;
use crate::http::access::Refusal;

/// Steering as this process allows it.
#[derive(Debug)]
pub(crate) struct Steering {
    /// What only the pages of this process have.
    pub(crate) mark: String,
    pub(crate) needs_secret: bool,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    HandOver(HandOver),
    Stay,
    Pause,
    Resume,
}

/// A form of the page, as it was sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ActionForm {
    pub(crate) action: String,
    pub(crate) to: String,
    /// Who led when the page was written.
    pub(crate) holder: String,
    pub(crate) mark: String,
    pub(crate) secret: String,
}

impl Steering {
    pub(crate) fn new(needs_secret: bool) -> Self {
        let mut number = [0_u8; 32];
        getrandom::fill(&mut number).expect("the system has randomness");
        let mark = number.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { mark, needs_secret }
    }

    /// Refuses a form that none of our pages sent.
    pub(crate) fn check(&self, headers: &HeaderMap, form: &ActionForm) -> Result<(), Refusal> {
        let refused = |why| Err((StatusCode::FORBIDDEN, why));
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        // Old browsers do not send it; those that do cannot be made to lie.
        if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
            return refused("this was sent by another site's page\n");
        }
        let host = text(header::HOST.as_str());
        let origin = text(header::ORIGIN.as_str()).map(|origin| origin.split_once("://"));
        if origin.is_some_and(|origin| origin.map(|(_, from)| from) != host) {
            return refused("this was sent by another site's page\n");
        }
        match bool::from(self.mark.as_bytes().ct_eq(form.mark.as_bytes())) {
            true => Ok(()),
            false => refused("the page is from an earlier run: reload it\n"),
        }
    }
}

impl ActionForm {
    /// What it asks for, if that is still what the page showed and can be asked.
    pub(crate) fn action(&self, row: &Row) -> Result<Action, Refusal> {
        let view = &*row.sighted.view;
        let action = match self.action.as_str() {
            "hand-over" if self.to.is_empty() => Action::HandOver(HandOver::ToNext),
            "hand-over" => {
                match view.waitlist.iter().find(|waiter| waiter.identity.as_str() == self.to) {
                    Some(waiter) => Action::HandOver(HandOver::To(waiter.identity.clone())),
                    None => {
                        return Err((StatusCode::CONFLICT, "it is no longer in the waitlist\n"));
                    }
                }
            }
            "stay" => Action::Stay,
            "pause" => Action::Pause,
            "resume" => Action::Resume,
            _ => return Err((StatusCode::BAD_REQUEST, "nothing of that name can be asked\n")),
        };
        if let Some(why) = action.why_not(row) {
            return Err((StatusCode::CONFLICT, why));
        }
        let is_same = view.holder.as_deref().unwrap_or("") == self.holder;
        if matches!(action, Action::HandOver(_)) && !is_same {
            return Err((StatusCode::CONFLICT, "another candidate leads by now: look again\n"));
        }
        Ok(action)
    }
}

impl Action {
    /// Why it is not offered.
    pub(crate) fn why_not(&self, row: &Row) -> Option<&'static str> {
        let (view, state) = (&*row.sighted.view, row.view().state);
        if state == State::Unknown {
            return Some("The lock cannot be seen now, so it is unknown which candidate leads.\n");
        }
        if state == State::Claimed {
            return Some("A claim is not an election: its name stays until it is removed.\n");
        }
        let is_foreign = view.registration == Registration::Foreign;
        match self {
            Self::HandOver(_) | Self::Pause if is_foreign => Some(
                "A candidate of another program holds it. It ignores requests, and taking the lock away from it \
                    could let two lead: end its process instead.\n",
            ),
            Self::HandOver(_) if !row.view().may_lead() => {
                Some("There is no leader that could hand over.\n")
            }
            Self::HandOver(HandOver::ToNext) if view.waitlist.is_empty() => {
                Some("The waitlist is empty: the same candidate would lead again.\n")
            }
            Self::Stay if view.hand_over.is_none() => Some("There is no such request.\n"),
            Self::Pause if is_paused(view) => Some("It is paused already.\n"),
            Self::Resume if !is_paused(view) => Some("It is not paused.\n"),
            _ => None,
        }
    }

    pub(crate) async fn ask(&self, client: kube::Client, view: &LockView) -> Result<(), String> {
        let everybody = || Identity::new("*").into_iter().collect::<Vec<_>>();
        let work = async {
            let control = ElectionControl::new(client, view.lock.clone())?;
            match self {
                Self::HandOver(to) => control.hand_over(to).await,
                Self::Stay => control.cancel_hand_over().await,
                Self::Pause => control.pause(&everybody()).await,
                Self::Resume => control.resume(&everybody()).await,
            }
        };
        let outcome: Result<Result<LockView, Error>, _> =
            tokio::time::timeout(PATIENCE, work).await;
        match outcome {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{error}. {}", error.hint())),
            Err(_) => {
                Err("The API server does not answer; it may have been asked all the same."
                    .to_owned())
            }
        }
    }
}

pub(crate) fn is_paused(view: &LockView) -> bool {
    view.is_paused("*")
}

/// Somebody looks at the page and waits.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use axum::extract::FromRequest;
    use http::HeaderValue;

    use super::*;

    async fn read(body: &'static str) -> Option<ActionForm> {
        let request = http::Request::post("/lock/default/lease/a")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.into());
        axum::Form::from_request(request.unwrap(), &()).await.ok().map(|axum::Form(form)| form)
    }

    #[tokio::test]
    async fn a_form_is_read_as_a_browser_writes_it() {
        let form = read("action=hand-over&to=a%2Bb+c%E2%82%AC&mark=x&secret=").await.unwrap();
        assert_eq!((form.action.as_str(), form.to.as_str()), ("hand-over", "a+b c\u{20ac}"));
        for wrong in ["other=1", "to=a&to=b", "nonsense"] {
            assert!(read(wrong).await.is_none(), "{wrong:?}");
        }
        assert_eq!(read("to=%f").await.unwrap().to, "%f", "what is no code stays as it is");
        assert_eq!(read("to=%ff").await.unwrap().to, "\u{fffd}");
    }

    #[test]
    fn a_form_of_another_page_is_refused() {
        let steering = Steering::new(false);
        let form = ActionForm { mark: steering.mark.clone(), ..ActionForm::default() };
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("127.0.0.1:8088"));
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            headers
        };
        let ours = [("origin", "http://127.0.0.1:8088"), ("sec-fetch-site", "same-origin")];
        for good in [&[][..], &ours[..1], &ours] {
            assert!(steering.check(&headers(good), &form).is_ok(), "{good:?}");
        }
        for bad in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:9999"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(steering.check(&headers(&[bad]), &form).is_err(), "{bad:?}");
        }
        let other = ActionForm { mark: Steering::new(false).mark, ..ActionForm::default() };
        assert!(steering.check(&headers(&ours), &other).is_err());
        assert!(steering.check(&headers(&ours), &ActionForm::default()).is_err());
    }
}
