//! From facts to findings: the server, the rights, the latency and the clock. Sends no request.

use std::time::Duration;

use super::Finding;
use super::facts::{Checked, Facts};
use super::groups;
use super::locks;
use super::rights::{self, Need, Right};
use crate::model::format::duration;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![server(facts)];
    findings.extend(rights(facts));
    findings.push(latency(facts));
    findings.push(clock(facts));
    findings.extend(reach(facts));
    findings.extend(locks::findings(facts));
    findings.extend(groups::findings(facts));
    findings
}

fn server(facts: &Facts) -> Finding {
    let version = facts.version.as_ref().map(|version| format!(" (Kubernetes {version})"));
    let user = facts.user.as_ref().map(|user| format!("; it knows this account as {user}"));
    let (version, user) = (version.unwrap_or_default(), user.unwrap_or_default());
    Finding::ok("server", format!("the API server answers{version}{user}"))
}

/// One finding for each kind of need that is not met, with all the rules that are missing.
fn rights(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let unknown = facts.rights.iter().filter(|checked| checked.is_allowed.is_none()).count();
    if unknown > 0 {
        let message = format!("the API server does not say whether {unknown} rights are granted");
        findings.push(Finding::skip("rights", message));
    }
    for (need, judge) in [
        (Need::Always, Finding::fail as fn(&'static str, String) -> Finding),
        (Need::ToMake, to_make(facts)),
        (Need::Better, Finding::warn),
        (Need::Optional, Finding::skip),
    ] {
        let refused: Vec<_> = refused(&facts.rights, need).collect();
        findings.extend(refusal(facts, &refused, need, judge));
    }
    if findings.is_empty() {
        let count = facts.rights.len();
        findings.push(Finding::ok("rights", format!("all {count} rights are granted")));
    } else if facts.rights.iter().any(|checked| checked.right.need == Need::Always)
        && refused(&facts.rights, Need::Always).next().is_none()
        && unknown == 0
    {
        findings.insert(0, Finding::ok("rights", "what taking part needs is granted"));
    }
    findings
}

fn refused(rights: &[Checked], need: Need) -> impl Iterator<Item = &Right> {
    let is_refused =
        move |checked: &&Checked| checked.right.need == need && checked.is_allowed == Some(false);
    rights.iter().filter(is_refused).map(|checked| &checked.right)
}

/// Only who has to make a lock needs the right to.
fn to_make(facts: &Facts) -> fn(&'static str, String) -> Finding {
    if facts.missing.is_empty() { Finding::skip } else { Finding::fail }
}

fn refusal(
    facts: &Facts,
    refused: &[&Right],
    need: Need,
    judge: fn(&'static str, String) -> Finding,
) -> Option<Finding> {
    let first = refused.first()?;
    let words: Vec<_> = refused.iter().map(|right| right.words()).collect();
    let purposes = match need {
        Need::Always | Need::Better => first.purpose.to_owned(),
        Need::ToMake => format!("needed only {}", first.purpose),
        Need::Optional => {
            let mut purposes: Vec<_> = refused.iter().map(|right| right.purpose).collect();
            purposes.dedup();
            format!("needed only {}", purposes.join(", "))
        }
    };
    let message = format!("not allowed to {}: {purposes}", words.join(", "));
    let rules = rights::rules(refused);
    let rules = format!("this is missing in a Role of namespace {}:\n{rules}", facts.namespace);
    Some(judge("rights", message).hint(rules))
}

fn latency(facts: &Facts) -> Finding {
    let latency = &facts.latency;
    let (count, unanswered) = (latency.answered.len() + latency.unanswered, latency.unanswered);
    let (Some(median), Some(worst)) =
        (latency.answered.get(latency.answered.len() / 2), latency.answered.last())
    else {
        let message = format!("none of {count} reads of {} was answered in time", latency.what);
        return Finding::fail("latency", message).hint(SLOW);
    };
    let (timeout, deadline) = (facts.timing.request_timeout(), facts.timing.renew_deadline());
    let measured = format!(
        "{count} reads of {}: median {}, slowest {}; a request is given up after {}, and the renew \
         deadline is {}",
        latency.what,
        duration(*median),
        duration(*worst),
        duration(timeout),
        duration(deadline),
    );
    let meaning = match () {
        () if *median >= timeout => "; half of all renewals would be given up",
        () if unanswered * 4 > count => "; too many were not answered in time",
        () if unanswered > 0 => "; some were not answered in time",
        () if *worst >= timeout => "; the slowest would have been given up",
        () if *worst * 2 > timeout => "; the slowest took more than half of the time there is",
        () => return Finding::ok("latency", measured),
    };
    let message = measured + meaning;
    let is_hopeless = *median >= timeout || unanswered * 4 > count;
    let judge = if is_hopeless { Finding::fail } else { Finding::warn };
    judge("latency", message).hint(SLOW)
}

const SLOW: &str = "see what the API server is busy with, or take a longer lease: incumbent timings \
                    shows what it tolerates";

fn clock(facts: &Facts) -> Finding {
    let Some(reading) = facts.clock else {
        return Finding::skip("clock", "the API server does not state its time");
    };
    let ahead = Duration::from_millis(reading.ahead_ms.unsigned_abs());
    let (off, error) = (duration(ahead), duration(reading.error));
    if ahead.saturating_sub(reading.error) <= CLOCK_TOLERANCE {
        return Finding::ok(
            "clock",
            format!("{off} or less off the API server's, give or take {error}"),
        );
    }
    let direction = if reading.ahead_ms > 0 { "behind" } else { "ahead of" };
    let message = format!(
        "this machine's clock is {off} {direction} the API server's, give or take {error}. No \
         election here compares clocks, so nothing is unsafe; but the times in records, logs and \
         Events mislead people, and candidates of fabric8 do compare"
    );
    Finding::warn("clock", message).hint("keep the clocks in step: chronyc tracking, timedatectl")
}

/// What `incumbent run` can kill, where it would run here.
fn reach(facts: &Facts) -> Vec<Finding> {
    match facts.out_of_reach.as_deref() {
        None => vec![Finding::skip("run", "incumbent run is for Linux")],
        Some([]) => {
            let message = "started here by this user, it can kill all processes of its command";
            vec![Finding::ok("run", message)]
        }
        Some(gaps) => {
            gaps.iter().map(|(what, hint)| Finding::warn("run", *what).hint(*hint)).collect()
        }
    }
}

/// Less than that misleads nobody.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);
