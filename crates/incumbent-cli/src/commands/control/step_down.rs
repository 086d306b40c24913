//! `incumbent step-down`: asks the leader to hand over.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use http::Method;
use incumbent::requests::{Failure, Requests, Why};
use incumbent::survey::{LockView, ObservedLock, Registration, State, Survey};
use incumbent::{ElectionControl, Error, HandOver, Identity};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::flags::cluster::Operator;
use crate::flags::duration::duration;
use crate::flags::lock::lock_text;
use crate::model::format;
use crate::model::lock_status::LockStatus;
use crate::model::term_history::{TermHistory, Turn};
use crate::runtime::confirm::Confirmation;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct StepDown {
    /// Which lock: NAME for a Lease, lease/NAME or configmap/NAME[:KEY]
    #[arg(value_parser = lock_text)]
    lock: String,
    /// Which candidate should lead next; it must be in the waitlist [default: the first one there]
    #[arg(long, value_name = "ID")]
    to: Option<String>,
    /// How to ask: by a request that the leader obeys, or by evicting its Pod
    #[arg(long, value_enum, default_value = "request")]
    via: Via,
    /// Cancel a request that has not been met
    #[arg(long, conflicts_with_all = ["to", "via", "wait"])]
    cancel: bool,
    /// Wait until another term has begun, and print the time without a leader
    #[arg(long)]
    wait: bool,
    /// With --wait, give up after this
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Via {
    Request,
    EvictPod,
}

const HELP: &str = "\
Examples:
  Hand over to the next candidate, and wait until it leads:
    $ incumbent step-down scanner --wait
  Hand over to a certain candidate:
    $ incumbent step-down scanner --to scanner-1

The leader finishes its work and releases the lock, and the next candidate in the waitlist leads. The lock is \
never taken away from a leader, so two never lead at the same time. Candidates of other programs do not know of such a request. Do not clear or delete their lock by hand, because the old leader would continue: end its process, or use --via evict-pod.

Exit codes:
  0  asked, or with --wait done
  1  refused, or not in time
  others as of incumbent";

pub(crate) async fn run(args: StepDown) -> anyhow::Result<ExitCode> {
    let (client, lock) = args.operator.lock(&args.lock).await?;
    let mut survey = args.operator.survey(client.clone(), lock.clone()).await?;
    let sighted = survey.get(&lock).ok_or_else(|| args.operator.missing(&lock))?;
    let control =
        ElectionControl::new(client.clone(), lock.clone())?.dry_run(args.confirmation.dry_run);
    if args.cancel {
        if args.confirmation.given(&format!("{lock}: the request to hand over is cancelled"))? {
            args.operator.within(control.cancel_hand_over()).await?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let plan = match plan(&sighted, args.to.as_deref(), args.via) {
        Ok(plan) => plan,
        Err(Refusal { why, hint }) => {
            eprintln!("error: {lock}: {why}\n  hint: {hint}");
            return Ok(ExitCode::from(exit::NO));
        }
    };
    let pod = match plan.request {
        Some(_) => None,
        None => Some(pod_of(&client, &sighted.view).await?),
    };
    let what = match &pod {
        Some(pod) => format!("{}\nPod {} will be evicted", plan.what, pod.name),
        None => plan.what,
    };
    if !args.confirmation.given(&what)? {
        return Ok(ExitCode::from(exit::NO));
    }
    match (&plan.request, &pod) {
        (Some(request), _) => drop(args.operator.within(control.hand_over(request)).await?),
        (None, Some(pod)) => {
            pod.evict(&client, lock.namespace(), args.confirmation.dry_run).await?
        }
        (None, None) => {}
    }
    match args.wait && !args.confirmation.dry_run {
        true => follow(&mut survey, &sighted, args.timeout).await,
        false => Ok(ExitCode::SUCCESS),
    }
}

/// What will be done.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    what: String,
    /// None where its Pod is evicted.
    request: Option<HandOver>,
}

/// Why nothing will.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    why: String,
    hint: String,
}

fn refuse<T>(why: String, hint: &str) -> Result<T, Refusal> {
    Err(Refusal { why, hint: hint.to_owned() })
}

fn plan(sighted: &ObservedLock, to: Option<&str>, via: Via) -> Result<Plan, Refusal> {
    let view = &*sighted.view;
    let Some(holder) = view.holder.as_deref() else {
        return refuse(
            "there is no leader".to_owned(),
            "to see which candidates wait: incumbent status LOCK",
        );
    };
    let name = format::name(holder);
    match (view.registration, sighted.state, via) {
        (Registration::Claim, ..) => {
            return refuse(
                format!("{name} has claimed it, so there is no election"),
                "remove the claim with: incumbent claim LOCK --identity NAME --release",
            );
        }
        (_, State::Expired, _) if LockStatus::of(sighted, Timestamp::now()).is_surely_free() => {
            return refuse(
                format!("the term of {name} has expired; there is no leader"),
                "a candidate that runs takes over by itself",
            );
        }
        (_, _, Via::EvictPod) => {
            let what = format!("{} led by {name}", view.lock);
            return Ok(Plan { what, request: None });
        }
        (Registration::Foreign, ..) => {
            return refuse(
                format!(
                    "{name} is a candidate of a program that does not know of requests, and clearing its lock by \
                        hand could let two lead"
                ),
                "end its process, or use --via evict-pod",
            );
        }
        _ => {}
    }
    let line: Vec<_> = view.waitlist.iter().map(|waiter| waiter.identity.as_str()).collect();
    let request = request(view, holder, &line, to)?;
    let next = match (&request, line.first()) {
        (HandOver::To(to), _) => format!("{} leads next", format::name(to.as_str())),
        (HandOver::ToNext, Some(first)) => format!("{} leads next", format::name(first)),
        (HandOver::ToNext, None) => {
            "the waitlist is empty, so the same candidate may lead again".to_owned()
        }
    };
    let what = format!("{}: {name} will be asked to hand over; {next}", view.lock);
    Ok(Plan { what, request: Some(request) })
}

/// Whom the leader is asked to hand over to.
fn request(
    view: &LockView,
    holder: &str,
    line: &[&str],
    to: Option<&str>,
) -> Result<HandOver, Refusal> {
    Ok(match to.and_then(Identity::new) {
        None => HandOver::ToNext,
        Some(to) if to.as_str() == holder => {
            let name = format::name(holder);
            return refuse(format!("{name} leads already"), "name a candidate in the waitlist");
        }
        Some(to) if !line.contains(&to.as_str()) => {
            let waiting = match line {
                [] => "the waitlist is empty".to_owned(),
                line => format!(
                    "in the waitlist: {}",
                    line.iter().map(|who| format::name(who)).collect::<Vec<_>>().join(", ")
                ),
            };
            let to = format::name(to.as_str());
            return refuse(
                format!("{to} is not in the waitlist, and would not take over"),
                &waiting,
            );
        }
        Some(to) if view.is_paused(to.as_str()) => {
            let to = format::name(to.as_str());
            return refuse(format!("{to} is paused"), "let it lead again with: incumbent resume");
        }
        Some(to) => HandOver::To(to),
    })
}

/// A Pod that a holder's name speaks of.
struct Pod {
    name: String,
    uid: Value,
}

/// The usual identities are a Pod's name, and that with a uid or a random number behind it.
async fn pod_of(client: &kube::Client, view: &LockView) -> anyhow::Result<Pod> {
    let holder = view.holder.as_deref().unwrap_or_default();
    let names = [Some(holder), holder.rsplit_once('_').map(|(pod, _)| pod)];
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    for name in names.into_iter().flatten().filter(is_name) {
        let path = format!("/api/v1/namespaces/{}/pods/{name}", view.lock.namespace());
        match Requests::new(client.clone()).read(&path).await {
            Ok(pod) => {
                return Ok(Pod { name: name.to_owned(), uid: pod["metadata"]["uid"].clone() });
            }
            Err(failure) if failure.why == Why::Gone => {}
            Err(failure) => return Err(about_pods(failure, "get", name)),
        }
    }
    anyhow::bail!(
        "no Pod in namespace {} belongs to the identity {}: nothing was done",
        view.lock.namespace(),
        format::name(holder)
    )
}

impl Pod {
    /// Evicts it, and no other of the same name; a PodDisruptionBudget may refuse.
    async fn evict(
        &self,
        client: &kube::Client,
        namespace: &str,
        dry_run: bool,
    ) -> anyhow::Result<()> {
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": self.name, "namespace": namespace },
            "deleteOptions": { "preconditions": { "uid": self.uid } },
        });
        let query = if dry_run { "?dryRun=All" } else { "" };
        let path = format!("/api/v1/namespaces/{namespace}/pods/{}/eviction{query}", self.name);
        let name = &self.name;
        let requests = Requests::new(client.clone());
        match requests.send(Method::POST, &path, Some(&eviction)).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.may_be_applied() => anyhow::bail!(
                "it is unknown whether Pod {name} was evicted; look with: kubectl -n {namespace} get \
                 pod {name}"
            ),
            Err(failure) => anyhow::bail!("Pod {name} was not evicted: {}", failure.message),
        }
    }
}

/// The error of a request about a Pod, with the exit code that belongs to it.
fn about_pods(failure: Failure, verb: &str, name: &str) -> anyhow::Error {
    match failure.passes() {
        true => {
            let Failure { code, message, .. } = failure;
            match code {
                Some(code) => Error::Unavailable { code, message }.into(),
                None => Error::Unreachable { message }.into(),
            }
        }
        false => anyhow::anyhow!("cannot {verb} Pod {name}: {}", failure.message),
    }
}

/// Waits for the next term, and says how it went.
async fn follow(
    survey: &mut Survey,
    before: &ObservedLock,
    timeout: Duration,
) -> anyhow::Result<ExitCode> {
    let lock = &before.view.lock;
    let mut term_history = TermHistory::default();
    term_history.begin(Timestamp::now(), before);
    let next = async {
        loop {
            let change = survey.next().await;
            let sighted = survey.get(lock);
            let turn = term_history.note(Timestamp::now(), &change, sighted.as_ref());
            if let Some(Turn::Leads { term, gap }) = turn {
                return (term, gap);
            }
        }
    };
    let Ok((term, gap)) = tokio::time::timeout(timeout, next).await else {
        eprintln!(
            "error: {lock}: no other term has begun within {timeout:?}\n  hint: its work may still be stopping; \
                to cancel the request, use --cancel"
        );
        return Ok(ExitCode::from(exit::NO));
    };
    let gap = gap.map(|gap| format!("; {} without a leader", gap.text())).unwrap_or_default();
    let holder = format::name(&term.holder);
    output::line(&format!("{lock}: {holder} leads{gap}"))?;
    Ok(ExitCode::SUCCESS)
}
