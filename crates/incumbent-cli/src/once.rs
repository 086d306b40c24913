//! `incumbent once`: runs a command once, however many come to run it and whichever of them die.
//!
//! The record of it stands in a ConfigMap, under a key of its own beside the election's. Each change of it is
//! a compare-and-swap on what was read. The command runs only under a term of that election, so whoever finds
//! `running` under an older token while it leads itself, knows that the one who wrote it has died.

mod record;

use std::process::ExitCode;

use http::{Method, Request};
use incumbent::{Error, Leadership, Lock};
use serde_json::{Value, json};

use crate::args::{self, Settle};
use crate::run::{Cause, Runner, Wait};
use crate::{exit, output};
use record::{Record, State, Verdict};

pub(crate) async fn run(args: args::Once) -> ExitCode {
    match try_run(args).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => exit::report_as_wrapper(&error),
    }
}

async fn try_run(args: args::Once) -> anyhow::Result<u8> {
    let (settle, at_least_once, ttl) = (args.settle, args.at_least_once, args.ttl);
    let (client, namespace) = args.cluster.connect().await?;
    let lock = Lock::parse(&namespace, &args.key)?;
    let Some(key) = lock.key().map(|key| format!("{key}.once")) else {
        return Err(Error::Invalid {
            what: format!("{lock} has no room for a record"),
            hint: "use configmap/NAME:KEY".to_owned(),
        }
        .into());
    };
    let page = Page { client, lock, key };
    if let Some(settle) = settle {
        return page.settle(settle).await;
    }
    let judge = |record: &Option<Record>| record::judge(record.as_ref(), at_least_once, ttl);
    let seen = page.read().await?.0;
    if let Verdict::Over(code) = judge(&seen) {
        return page.tell(&seen, code);
    }
    let mut runner = match Runner::prepare(args.into_run()).await? {
        Ok(runner) => runner,
        Err(code) => return Ok(code),
    };
    let outcome = match runner.wait().await? {
        Wait::Over(code) => page.read().await.and_then(|(seen, _)| page.tell(&seen, code)),
        Wait::Leads(leadership) => {
            let outcome = lead(&mut runner, &page, &leadership, judge).await;
            leadership.release().await;
            outcome
        }
    };
    runner.leave().await;
    outcome
}

/// Nobody else leads now: what is still marked as running has died.
async fn lead(
    runner: &mut Runner,
    page: &Page,
    leadership: &Leadership,
    judge: impl Fn(&Option<Record>) -> Verdict,
) -> anyhow::Result<u8> {
    let token = leadership.fencing_token().0;
    let running = Record::running(runner.identity(), token);
    loop {
        let (seen, object) = page.read().await?;
        let next = match judge(&seen) {
            Verdict::Over(code) => return page.tell(&seen, code),
            Verdict::InDoubt(doubt) => doubt,
            Verdict::Free => running.clone(),
        };
        if page.replace(object, &next).await? {
            if next.state == State::InDoubt {
                return page.tell(&Some(next), exit::IN_DOUBT);
            }
            break;
        }
    }
    let (cause, end) = runner.run_command(leadership).await?;
    if cause == Cause::LostLeadership {
        eprintln!(
            "error: leadership was lost, and the command stopped: whether it was done is in doubt"
        );
        return Ok(exit::LOST);
    }
    // Also without a term: nobody else has touched it, or it is left alone.
    let ended = running.clone().ended(end.code());
    loop {
        let (seen, object) = page.read().await?;
        if seen.as_ref() != Some(&running) {
            eprintln!(
                "error: the command has ended, but somebody has changed its record meanwhile"
            );
            return Ok(exit::IN_DOUBT);
        }
        if page.replace(object, &ended).await? {
            return Ok(end.code());
        }
    }
}

/// Where the record stands.
struct Page {
    client: kube::Client,
    lock: Lock,
    key: String,
}

impl Page {
    async fn settle(&self, settle: Settle) -> anyhow::Result<u8> {
        loop {
            let (seen, object) = self.read().await?;
            let Some(seen) = seen else { return Ok(0) };
            if seen.state == State::Running {
                // It may run right now; who leads next finds out, and says so.
                eprintln!("error: it is marked as running: run it again to find out whether it is");
                return Ok(exit::CONFLICT);
            }
            let written = match settle {
                Settle::Done => self.replace(object, &seen.settled_as_done()).await?,
                Settle::Again => self.write(object, None).await?,
            };
            if written {
                return Ok(0);
            }
        }
    }

    /// Says what is known, and returns the code.
    fn tell(&self, seen: &Option<Record>, code: u8) -> anyhow::Result<u8> {
        if let Some(record) = seen {
            output::line(&record.to_line())?;
            if record.state == State::InDoubt {
                eprintln!(
                    "hint: look whether it was done, then: incumbent once {} --namespace {} --settle \
                     done (or --settle again)",
                    self.lock,
                    self.lock.namespace()
                );
            }
        }
        Ok(code)
    }

    /// The record, and the object to base the next write on; none where there is no such ConfigMap.
    async fn read(&self) -> anyhow::Result<(Option<Record>, Option<Value>)> {
        let object = match self.request(Method::GET, None).await {
            Ok(object) => object,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok((None, None)),
            Err(error) => return Err(error.into()),
        };
        let text = object["data"][&self.key].as_str().filter(|text| !text.is_empty());
        let record = text.map(serde_json::from_str).transpose();
        let what = || format!("{} of {} is no record of incumbent once", self.key, self.lock);
        Ok((record.map_err(|error| anyhow::anyhow!("{}: {error}", what()))?, Some(object)))
    }

    async fn replace(&self, object: Option<Value>, record: &Record) -> anyhow::Result<bool> {
        self.write(object, Some(serde_json::to_string(record)?)).await
    }

    /// Replaces exactly the version that was read. Says whether nobody else was quicker.
    async fn write(&self, object: Option<Value>, text: Option<String>) -> anyhow::Result<bool> {
        let Some(mut object) = object else {
            anyhow::bail!("{} is gone while it was led", self.lock);
        };
        match text {
            Some(text) => object["data"][&self.key] = json!(text),
            None => {
                object["data"].as_object_mut().and_then(|data| data.remove(&self.key));
            }
        }
        match self.request(Method::PUT, Some(object)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn request(&self, method: Method, body: Option<Value>) -> kube::Result<Value> {
        let (namespace, name) = (self.lock.namespace(), self.lock.name());
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/namespaces/{namespace}/configmaps/{name}"))
            .header("Content-Type", "application/json")
            .body(body.map_or_else(Vec::new, |body| body.to_string().into_bytes()))
            .map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }
}
