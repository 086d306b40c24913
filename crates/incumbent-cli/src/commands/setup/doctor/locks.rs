//! What the locks of a namespace show: names that are used twice, and what was left behind. Sends no request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use incumbent::HandOver;
use incumbent::once_parts::Capacity;
use incumbent::survey::{LockView, Registration};

use super::Finding;
use super::facts::{Facts, LockFacts, Rehearsal};
use crate::model::format::printable;
use crate::model::format::{duration, name, quoted};
use crate::model::lock_status::is_left_over;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let locks = match &facts.locks {
        Ok(locks) => locks,
        Err(why) => {
            let message = format!("the locks of the namespace cannot be seen: {}", printable(why));
            return vec![Finding::skip("locks", message).hint("name them: --lock lease/NAME")];
        }
    };
    let mut findings: Vec<_> = facts.missing.iter().map(missing).collect();
    let views = locks.iter().map(|lock| &lock.view).chain(&facts.beside);
    findings.extend(same_names(views));
    findings.extend(rooms(locks.iter().map(|lock| &lock.view)));
    findings.extend(left_over(facts, locks));
    for lock in locks {
        let all = [
            deletion(lock),
            writes(lock),
            duplicates(lock),
            strangers(lock),
            request(facts, lock),
            pause(facts, lock),
            orphan(facts, lock),
            claim(lock),
            long_lease(lock),
            waited_for(facts, lock),
        ];
        findings.extend(all.into_iter().flatten().map(|finding| finding.of(&lock.view.lock)));
    }
    if findings.is_empty() {
        let message = match locks.len() {
            0 => format!("none in namespace {}", facts.namespace),
            1 => "1 looked at; nothing is wrong with it".to_owned(),
            count => format!("{count} looked at; nothing is wrong with them"),
        };
        findings.push(Finding::ok("locks", message));
    }
    findings
}

/// ConfigMaps that are filled up by the records of tasks that are done once.
fn rooms<'a>(views: impl Iterator<Item = &'a LockView>) -> Vec<Finding> {
    let views = views.filter(|view| view.lock.key().is_some());
    let by_name: BTreeMap<_, _> = views.map(|view| (view.lock.name(), view)).collect();
    let rooms = by_name.into_iter().map(|(name, view)| (name, view, Capacity::of(&view.object)));
    let full = rooms.filter(|(.., room)| room.records > 0 && room.percent() >= NEARLY_FULL);
    full.map(|(name, view, room)| {
        let message = format!(
            "configmap/{name} holds {} records of incumbent once, and {} % of the room is taken: when it is \
             full, no other task can be begun in it",
            room.records,
            room.percent()
        );
        let hint = format!(
            "use another ConfigMap for new tasks, and delete this one when its tasks are no longer needed:\n{}",
            delete(view)
        );
        Finding::warn("room", message).hint(hint)
    })
    .collect()
}

/// What `once` and workers that have ended leave behind.
fn left_over(facts: &Facts, locks: &[LockFacts]) -> Option<Finding> {
    let is_one = |lock: &&LockFacts| is_left_over(&lock.view, facts.now);
    let views: Vec<_> = locks.iter().filter(is_one).map(|lock| &lock.view).collect();
    let first: Vec<_> = views.iter().take(FEW).map(|view| view.lock.to_string()).collect();
    let (leases, keys): (Vec<&LockView>, Vec<&LockView>) =
        views.iter().partition(|view| view.lock.key().is_none());
    let more = match views.len().saturating_sub(FEW) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "{} vacant and not used in the last hour: {}{more}",
        if views.len() == 1 { "a lock is" } else { "some locks are" },
        first.join(", ")
    );
    let delete = leases.first().map(|view| {
        let names: Vec<_> = leases.iter().take(FEW).map(|view| view.lock.name()).collect();
        format!("kubectl -n {} delete lease {}", view.lock.namespace(), names.join(" "))
    });
    let swept = (!keys.is_empty()).then(|| {
        "the next run of incumbent once in a ConfigMap removes what earlier runs have left there".to_owned()
    });
    let hint: Vec<_> = delete.into_iter().chain(swept).collect();
    let hint = format!("if no candidate needs them any more:\n{}", hint.join("\n"));
    (!views.is_empty()).then(|| Finding::warn("left-over", message).hint(hint))
}

const FEW: usize = 8;

/// In percent. What is left is enough for hundreds of records.
const NEARLY_FULL: usize = 80;

fn missing(lock: &incumbent::Lock) -> Finding {
    let message = "it does not exist: a candidate creates it, if it has the permission";
    Finding::warn("locks", message)
        .hint("print one to apply: incumbent manifests --pre-create")
        .of(lock)
}

/// A Lease and a ConfigMap of one name are two elections: some candidates may use the one, some the
/// other.
fn same_names<'a>(views: impl Iterator<Item = &'a LockView>) -> Vec<Finding> {
    let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for view in views.filter(|view| had_election(view)) {
        by_name.entry(view.lock.name()).or_default().push(&view.lock);
    }
    let twice = by_name.values().filter(|locks| {
        locks.iter().any(|lock| lock.key().is_none())
            && locks.iter().any(|lock| lock.key().is_some())
    });
    let finding = |locks: &Vec<&incumbent::Lock>| {
        let names: Vec<_> = locks.iter().map(ToString::to_string).collect();
        let message = format!(
            "{} are separate elections: if some candidates use one and some the other, each has a leader",
            names.join(" and ")
        );
        let hint = "let all candidates use one, and delete the other when it is no longer renewed";
        Finding::warn("collision", message).hint(hint)
    };
    twice.map(finding).collect()
}

/// Kubernetes still stores each write of it, and removes it with the last finalizer, whoever holds it.
fn deletion(lock: &LockFacts) -> Option<Finding> {
    let metadata = &lock.view.object["metadata"];
    let since = metadata["deletionTimestamp"].as_str()?;
    let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
    let finalizers: Vec<_> = finalizers.filter_map(|name| name.as_str()).map(printable).collect();
    let message = format!(
        "its deletion began at {}, and waits for: {}. The election continues until then; at that moment the \
            leader loses the lock, and a candidate creates another",
        printable(since),
        finalizers.join(", ")
    );
    let hint = format!(
        "let the program that set the finalizers finish; or, if that program no longer exists:\nkubectl -n {} \
            patch {} --type merge \
         -p '{{\"metadata\":{{\"finalizers\":null}}}}'",
        lock.view.lock.namespace(),
        object(&lock.view)
    );
    Some(Finding::warn("deletion", message).hint(hint))
}

/// What the API server makes of a candidate's write.
fn writes(lock: &LockFacts) -> Option<Finding> {
    match &lock.rehearsal {
        Rehearsal::Untried | Rehearsal::Stored => None,
        Rehearsal::Altered { field, wrote, stored } => {
            let message = format!(
                "the API server would change a candidate's write of it: {field} is written as {}, and stored as \
                    {}. No candidate can lead with such a write",
                printable(wrote),
                printable(stored)
            );
            let hint = match stored == "token 0" {
                true => {
                    "its token is at the end of the range: write a lower one into the annotation, above every \
                        token that your stores have seen"
                }
                false => {
                    "find out what changes it, and exempt this object:\nkubectl get \
                          mutatingwebhookconfigurations,mutatingadmissionpolicies"
                }
            };
            Some(Finding::fail("writes", message).hint(hint))
        }
        Rehearsal::Refused { why, hint } => {
            let message = format!(
                "a candidate's write of it, tried by this account, would be refused: {}",
                printable(why)
            );
            Some(Finding::warn("writes", message).hint(hint))
        }
    }
}

/// One name, two processes.
fn duplicates(lock: &LockFacts) -> Option<Finding> {
    let view = &lock.view;
    let holder = view.holder.as_deref().zip(view.session);
    let waiting =
        view.waitlist.iter().filter_map(|waiter| Some((waiter.identity.as_str(), waiter.session?)));
    let mut sessions: BTreeMap<&str, BTreeSet<u128>> = BTreeMap::new();
    for (identity, session) in holder.into_iter().chain(waiting) {
        sessions.entry(identity).or_default().insert(session.0);
    }
    let twice = sessions.iter().filter(|(_, sessions)| sessions.len() > 1);
    let names: Vec<_> = twice.map(|(identity, _)| name(identity)).collect();
    (!names.is_empty()).then(|| {
        let message = format!(
            "{} takes part under two sessions: one process that has just restarted, or two that share a name, of \
                which one cannot lead",
            names.join(", ")
        );
        Finding::warn("identity", message)
            .hint("if that is still true after a lease, give each its own --identity, or none")
    })
}

/// Candidates of Pods of different workloads: two applications that chose the same name.
fn strangers(lock: &LockFacts) -> Option<Finding> {
    let view = &lock.view;
    let identities = view.holder.as_deref().into_iter();
    let identities = identities.chain(view.waitlist.iter().map(|waiter| waiter.identity.as_str()));
    let identities = identities.chain(lock.led_earlier.iter().map(String::as_str));
    let workloads: BTreeSet<_> = identities.filter_map(workload).collect();
    (workloads.len() > 1).then(|| {
        let names: Vec<_> = workloads.into_iter().map(name).collect();
        let message = format!(
            "Pods of different workloads compete for it: {}. If they do different work, only one of \
             them gets it done",
            names.join(", ")
        );
        Finding::warn("collision", message).hint("give each workload its own lock")
    })
}

/// The workload of a Pod whose name is in the identity, where it looks like one.
fn workload(identity: &str) -> Option<&str> {
    let pod = pod_of(identity);
    let (rest, last) = pod.rsplit_once('-')?;
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(rest); // Of a StatefulSet.
    }
    if last.len() != 5 || !last.bytes().all(is_suffix) {
        return None;
    }
    match rest.rsplit_once('-') {
        Some((name, hash)) if (6..=10).contains(&hash.len()) && hash.bytes().all(is_suffix) => {
            Some(name) // Of a Deployment.
        }
        _ => Some(rest), // Of a DaemonSet or a Job.
    }
}

/// The letters and digits that Kubernetes makes names of: no vowels, and nothing that looks like one.
fn is_suffix(byte: u8) -> bool {
    b"bcdfghjklmnpqrstvwxz2456789".contains(&byte)
}

fn pod_of(identity: &str) -> &str {
    identity.split_once('_').map_or(identity, |(pod, _)| pod)
}

/// A request to hand over that stands for longer than a lease.
fn request(facts: &Facts, lock: &LockFacts) -> Option<Finding> {
    let view = &lock.view;
    let to = match view.hand_over.as_ref()? {
        HandOver::ToNext => "the next in the waitlist".to_owned(),
        HandOver::To(identity) => name(identity.as_str()),
    };
    let age = lock.asked_at.map(|asked| facts.now.duration_since(asked));
    let age = age.map(|age| Duration::try_from(age).unwrap_or_default());
    let lease = view.lease_duration.unwrap_or_else(|| facts.timing.lease_duration());
    if age.is_some_and(|age| age <= lease) {
        return None;
    }
    let since = age.map(|age| format!(" for {}", duration(age))).unwrap_or_default();
    let why = match view.registration {
        Registration::Foreign => {
            "its holder is another program's candidate, which does not know of requests"
        }
        Registration::Vacant => "the lock has no holder that could meet it",
        _ => "its holder's work does not stop, or its holder does not notice",
    };
    let message = format!("a request to hand over to {to} was not met{since}: {why}");
    let hint = format!(
        "end the holder's process, or cancel the request:\n{} incumbent.dev/hand-over-to{}-",
        annotate(view),
        key_suffix(view)
    );
    Some(Finding::warn("request", message).hint(hint))
}

fn pause(facts: &Facts, lock: &LockFacts) -> Option<Finding> {
    let view = &lock.view;
    if view.paused.is_empty() {
        return None;
    }
    let hint = format!(
        "let them lead again:\n{} incumbent.dev/cordon{}-",
        annotate(view),
        key_suffix(view)
    );
    if view.paused.iter().any(|name| name.as_str() == "*") {
        let message = "the election is paused: no candidate may lead";
        return Some(Finding::warn("pause", message).hint(hint));
    }
    let takes_part = |name: &str| {
        view.holder.as_deref() == Some(name)
            || view.waitlist.iter().any(|waiter| waiter.identity.as_str() == name)
    };
    let runs = |name: &str| facts.pods.as_ref().is_some_and(|pods| pods.contains_key(pod_of(name)));
    let names = view.paused.iter().map(|name| name.as_str());
    let unknown: Vec<_> = names.filter(|name| !takes_part(name) && !runs(name)).map(name).collect();
    let meaning = match facts.pods {
        Some(_) => "no Pod of that name runs, and no candidate has that name",
        None => "no candidate of that name is seen; but a paused candidate is never seen",
    };
    (!unknown.is_empty()).then(|| {
        let message = format!("{} is paused; {meaning}", unknown.join(", "));
        Finding::warn("pause", message).hint(hint)
    })
}

/// A term that has been over for so long that nobody seems to want the lock.
fn orphan(facts: &Facts, lock: &LockFacts) -> Option<Finding> {
    let view = &lock.view;
    let (holder, renewed) = (view.holder.as_deref()?, view.renewed?);
    let lease = view.lease_duration?;
    let age = Duration::try_from(facts.now.duration_since(renewed)).ok()?;
    (age > lease.saturating_mul(LONG_EXPIRED)).then(|| {
        let message = format!(
            "{} has not renewed for {}, by the clocks, and no candidate has taken over: none runs",
            name(holder),
            duration(age)
        );
        let hint =
            format!("start a candidate; or, if the lock is no longer needed:\n{}", delete(view));
        Finding::warn("orphan", message).hint(hint)
    })
}

/// Nothing proves the end of a candidate in such a Pod before its lease has ended.
fn waited_for(facts: &Facts, lock: &LockFacts) -> Option<Finding> {
    let holder = lock.view.holder.as_deref()?;
    let field = facts.pods.as_ref()?.get(pod_of(holder))?.shares?;
    let message = format!(
        "the Pod of {} has {field}: after a crash, others wait for the lease, also with \
         --kubelet-reports",
        name(holder)
    );
    let hint = format!("leave {field} out, if the application can do without");
    Some(Finding::skip("early", message).hint(hint))
}

/// A name on the blackboard does not expire, so no election continues beside it.
fn claim(lock: &LockFacts) -> Option<Finding> {
    let view = &lock.view;
    let is_claim =
        view.registration == Registration::Claim && (lock.is_named || had_election(view));
    is_claim.then(|| {
        let holder = name(view.holder.as_deref().unwrap_or_default());
        let message = format!(
            "{holder} has claimed it, and a claim does not expire, so no candidate can be \
            elected"
        );
        let hint = format!(
            "if that is a mistake: incumbent claim {} --identity {} --release -n {}",
            view.lock,
            quoted(view.holder.as_deref().unwrap_or_default()).unwrap_or_else(|| "NAME".to_owned()),
            view.lock.namespace()
        );
        Finding::warn("claim", message).hint(hint)
    })
}

/// A Lease is for nothing else; a ConfigMap shows it by its record.
fn had_election(view: &LockView) -> bool {
    let record = match key_suffix(view) {
        _ if view.lock.key().is_none() => return true,
        suffix if suffix.is_empty() => "control-plane.alpha.kubernetes.io/leader".to_owned(),
        suffix => format!("incumbent.dev/record{suffix}"),
    };
    view.object["metadata"]["annotations"][record].is_string()
}

fn long_lease(lock: &LockFacts) -> Option<Finding> {
    let view = &lock.view;
    view.holder.as_ref()?;
    let lease = view.lease_duration?;
    let holder = name(view.holder.as_deref()?);
    let message = format!(
        "{holder} asks others to wait for {}: after a crash, there is no leader for that long",
        duration(lease)
    );
    if lease >= ABSURD_LEASE {
        let hint = format!(
            "see which program wrote that; once {holder} is certain to have ended:\n{}",
            delete(view)
        );
        return Some(Finding::fail("lease", message).hint(hint));
    }
    let warn = || Finding::warn("lease", message).hint("a shorter one: see incumbent timings");
    (lease > LONG_LEASE).then(warn)
}

/// So many lease durations without a renewal are no bad luck.
const LONG_EXPIRED: u32 = 10;

/// The longest that is in common use is 270 s.
const LONG_LEASE: Duration = Duration::from_secs(300);

/// Nobody means to be without a leader for a day.
const ABSURD_LEASE: Duration = Duration::from_secs(86_400);

fn annotate(view: &LockView) -> String {
    format!("kubectl -n {} annotate {}", view.lock.namespace(), object(view))
}

fn delete(view: &LockView) -> String {
    format!("kubectl -n {} delete {}", view.lock.namespace(), object(view))
}

fn object(view: &LockView) -> String {
    let kind = if view.lock.key().is_some() { "configmap" } else { "lease" };
    format!("{kind} {}", view.lock.name())
}

/// What stands behind the name of an annotation for another key than the usual one.
fn key_suffix(view: &LockView) -> String {
    let key = view.lock.key().filter(|key| *key != "leader");
    key.map(|key| format!(".{key}")).unwrap_or_default()
}
