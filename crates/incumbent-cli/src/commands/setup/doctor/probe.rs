//! Getting the facts: requests that change nothing, one after the other, each with a deadline.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::Method;
use incumbent::requests::{Requests, Why};
use incumbent::survey::{LockView, Registration, Scope, Survey, dry_run_write};
use incumbent::{Error, Lock, Timing};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::facts::{Checked, ClockReading, Facts, Latency, LockFacts, Named, PodFacts, Rehearsal};
use super::rights::{self, Right};

/// Reads to measure by: enough for a median, and few enough to be no load.
const READS: usize = 20;

/// For all of these together, however slow the server is.
const MEASURING: Duration = Duration::from_secs(30);

/// For what has no deadline of an election.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn facts(
    client: kube::Client,
    namespace: &str,
    all_named: &Named,
    timing: Timing,
) -> Result<Facts, Error> {
    // A group alone stands for its allocators' Lease.
    let named: Vec<Lock> = match (all_named.locks.as_slice(), all_named.groups.as_slice()) {
        ([], groups) => groups.iter().map(|group| Lock::lease(namespace, group)).collect(),
        (locks, _) => locks.to_vec(),
    };
    let (named, groups) = (named.as_slice(), all_named.groups.as_slice());
    let server = Server { requests: Requests::new(client.clone()) };
    let version = server.version().await?;
    let (latency, clock) = server.measure(namespace, named.first(), timing).await;
    let ahead = clock.map_or(0, |clock| clock.ahead_ms);
    let now = later(Timestamp::now(), jiff::SignedDuration::from_millis(ahead));
    let mut facts = Facts {
        namespace: namespace.to_owned(),
        timing,
        now,
        version,
        user: server.user().await,
        rights: server.rights(namespace, named, !groups.is_empty()).await,
        latency,
        clock,
        locks: Ok(Vec::new()),
        groups: super::groups_seen::groups(&client, namespace, all_named).await,
        beside: beside(&client, named).await,
        missing: Vec::new(),
        pods: server.pods(namespace).await,
        out_of_reach: out_of_reach(),
    };
    let events = server.events(namespace).await;
    let mut locks = Vec::new();
    match views(client.clone(), namespace, named, &mut facts.missing).await {
        Ok(views) => {
            for view in views {
                let led_earlier = led_earlier(&events, &view);
                let asked_at = match view.hand_over {
                    Some(_) => server.asked_at(&view).await,
                    None => None,
                };
                let is_named = !named.is_empty();
                let rehearsal = match is_named || locks.len() < MOST_REHEARSALS {
                    true => rehearsed(client.clone(), &view, timing).await,
                    false => Rehearsal::Untried,
                };
                locks.push(LockFacts { view, is_named, asked_at, led_earlier, rehearsal });
            }
            facts.locks = Ok(locks);
        }
        Err(error @ Error::Forbidden { .. }) => facts.locks = Err(error.to_string()),
        Err(error) => return Err(error),
    }
    Ok(facts)
}

/// A claim is written by no candidate.
async fn rehearsed(client: kube::Client, view: &LockView, timing: Timing) -> Rehearsal {
    if view.registration == Registration::Claim {
        return Rehearsal::Untried;
    }
    match dry_run_write(client, view.lock.clone(), timing).await {
        Ok(()) => Rehearsal::Stored,
        Err(Error::Altered { field, wrote, stored, .. }) => {
            Rehearsal::Altered { field, wrote, stored }
        }
        Err(error @ (Error::Denied { .. } | Error::Rejected { .. } | Error::Full { .. })) => {
            Rehearsal::Refused { why: error.to_string(), hint: error.hint() }
        }
        Err(_) => Rehearsal::Untried,
    }
}

/// A namespace may have hundreds of locks, and a webhook seldom changes only one.
const MOST_REHEARSALS: usize = 20;

#[cfg(target_os = "linux")]
fn out_of_reach() -> Option<Vec<(&'static str, &'static str)>> {
    let (_, gaps) = crate::commands::participate::guarded::look_at_reach(false);
    Some(gaps.into_iter().map(|gap| (gap.what, gap.hint)).collect())
}

#[cfg(not(target_os = "linux"))]
fn out_of_reach() -> Option<Vec<(&'static str, &'static str)>> {
    None
}

async fn views(
    client: kube::Client,
    namespace: &str,
    named: &[Lock],
    missing: &mut Vec<Lock>,
) -> Result<Vec<LockView>, Error> {
    if named.is_empty() {
        let survey = Survey::start(client, &Scope::namespace(namespace)).await?;
        return Ok(survey.locks().map(|sighted| (*sighted.view).clone()).collect());
    }
    let mut views = Vec::new();
    for lock in named {
        match LockView::read(client.clone(), lock.clone()).await {
            Ok(view) => views.push(view),
            Err(Error::Missing { .. }) => missing.push(lock.clone()),
            Err(error) => return Err(error),
        }
    }
    Ok(views)
}

/// The other kind of each name, where there is one that may be read.
async fn beside(client: &kube::Client, named: &[Lock]) -> Vec<LockView> {
    let mut beside = Vec::new();
    for lock in named {
        let other = match lock.key() {
            None => Lock::config_map(lock.namespace(), lock.name()),
            Some(_) => Lock::lease(lock.namespace(), lock.name()),
        };
        if !named.contains(&other) {
            beside.extend(LockView::read(client.clone(), other).await.ok());
        }
    }
    beside
}

struct Server {
    requests: Requests,
}

impl Server {
    /// Where it cannot be reached, or does not know who asks, there is nothing more to find out.
    async fn version(&self) -> Result<Option<String>, Error> {
        match self.requests.read("/version").await {
            Ok(version) => Ok(version["gitVersion"].as_str().map(str::to_owned)),
            Err(failure) if failure.passes() || failure.why == Why::Unauthorized => {
                Err(failure.into_error(&Lock::lease("default", "any"), "get"))
            }
            Err(_) => Ok(None),
        }
    }

    async fn user(&self) -> Option<String> {
        let review =
            json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let answer = self.requests.send(Method::POST, path, Some(&review)).await.ok()?;
        answer["status"]["userInfo"]["username"].as_str().map(str::to_owned)
    }

    async fn rights(&self, namespace: &str, named: &[Lock], has_group: bool) -> Vec<Checked> {
        let of_locks = match named {
            _ if has_group => rights::of_a_group(),
            [] => rights::of_all(),
            _ => named.iter().flat_map(rights::of).collect(),
        };
        let rights = of_locks.into_iter().chain(rights::of_namespace());
        let mut checked = Vec::new();
        for right in rights {
            let is_allowed = self.is_allowed(namespace, &right).await;
            checked.push(Checked { right, is_allowed });
        }
        checked
    }

    async fn is_allowed(&self, namespace: &str, right: &Right) -> Option<bool> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": namespace,
                "verb": right.verb,
                "group": right.group,
                "resource": right.resource,
                "name": right.name.as_deref().unwrap_or_default(),
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = self.requests.send(Method::POST, path, Some(&review)).await.ok()?;
        answer["status"]["allowed"].as_bool()
    }

    /// Reads the same thing again and again, and of the quickest answer takes what time it is there.
    async fn measure(
        &self,
        namespace: &str,
        lock: Option<&Lock>,
        timing: Timing,
    ) -> (Latency, Option<ClockReading>) {
        let (what, path) = match lock {
            Some(lock) => (lock.to_string(), path_of(lock)),
            None => ("a Lease".to_owned(), format!("{}?limit=1", leases(namespace))),
        };
        let mut latency = Latency { what, ..Latency::default() };
        let mut clock: Option<ClockReading> = None;
        let start = Instant::now();
        for _ in 0..READS {
            let (sent, sent_at) = (Instant::now(), Timestamp::now());
            let patience = timing.renew_deadline().min(PATIENCE);
            let answered = self.requests.ask(Method::GET, &path, None, patience).await;
            let took = sent.elapsed();
            match answered.code {
                Some(_) => {
                    latency.answered.push(took);
                    let date = answered.date.as_deref().and_then(http_date);
                    let reading = date.map(|date| reading(date, sent_at, took));
                    let is_better = |reading: &ClockReading| {
                        clock.is_none_or(|clock| reading.error < clock.error)
                    };
                    clock = reading.filter(is_better).or(clock);
                }
                None => latency.unanswered += 1,
            }
            if start.elapsed() > MEASURING {
                break;
            }
        }
        latency.answered.sort_unstable();
        (latency, clock)
    }

    async fn pods(&self, namespace: &str) -> Option<BTreeMap<String, PodFacts>> {
        let path = format!("/api/v1/namespaces/{namespace}/pods?limit=500");
        let list = self.requests.read(&path).await.ok()?;
        // Of more than a page, not all are known, and so nothing can be said of those that are missing.
        let is_all = list["metadata"]["continue"].as_str().unwrap_or_default().is_empty();
        let pods = list["items"].as_array()?.iter().filter_map(|pod| {
            let shares = ["hostPID", "shareProcessNamespace", "hostIPC"].into_iter();
            let shares = shares.into_iter().find(|field| pod["spec"][*field] == true);
            Some((pod["metadata"]["name"].as_str()?.to_owned(), PodFacts { shares }))
        });
        is_all.then(|| pods.collect())
    }

    async fn events(&self, namespace: &str) -> Vec<Value> {
        let path = format!("/api/v1/namespaces/{namespace}/events?limit=500");
        let list = self.requests.read(&path).await.unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// When the request to hand over was written, as the API server remembers it of each field.
    async fn asked_at(&self, view: &LockView) -> Option<Timestamp> {
        let object = self.requests.read(&path_of(&view.lock)).await.ok()?;
        let entries = object["metadata"]["managedFields"].as_array()?.iter();
        let asks = |entry: &&Value| {
            let annotations = entry["fieldsV1"]["f:metadata"]["f:annotations"].as_object();
            annotations.is_some_and(|names| {
                names.keys().any(|name| name.starts_with("f:incumbent.dev/hand-over-to"))
            })
        };
        let times = entries.filter(asks).filter_map(|entry| entry["time"].as_str()?.parse().ok());
        times.max()
    }
}

/// The server said its time at some moment of the exchange, and that in whole seconds: the middle of both.
pub(super) fn reading(date: Timestamp, sent_at: Timestamp, took: Duration) -> ClockReading {
    let half_second = jiff::SignedDuration::from_millis(500);
    let half_way = jiff::SignedDuration::try_from(took / 2).unwrap_or_default();
    let ahead = later(date, half_second).duration_since(later(sent_at, half_way));
    let ahead_ms = i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
    ClockReading { ahead_ms, error: Duration::from_millis(500).saturating_add(took / 2) }
}

/// What a server says may lie at the end of all times that can be written down.
fn later(time: Timestamp, by: jiff::SignedDuration) -> Timestamp {
    let end = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    time.checked_add(by).unwrap_or(end)
}

/// `Sat, 28 Nov 2026 08:00:00 GMT`
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

fn leases(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

fn path_of(lock: &Lock) -> String {
    match lock.key() {
        None => format!("{}/{}", leases(lock.namespace()), lock.name()),
        Some(_) => format!("/api/v1/namespaces/{}/configmaps/{}", lock.namespace(), lock.name()),
    }
}

/// Whom Events of this lock name as its leader, as client-go and ours write them.
fn led_earlier(events: &[Value], view: &LockView) -> Vec<String> {
    let kind = if view.lock.key().is_some() { "ConfigMap" } else { "Lease" };
    let of_it = events.iter().filter(|event| {
        let about = &event["involvedObject"];
        about["kind"] == kind && about["name"] == view.lock.name()
    });
    let messages = of_it.filter_map(|event| event["message"].as_str());
    messages.filter_map(|text| Some(text.split_once(" became leader")?.0.to_owned())).collect()
}
