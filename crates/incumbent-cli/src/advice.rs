//! What somebody who knows elections would say of a lock. Pure.

use std::time::Duration;

use incumbent::survey::{Registration, Sighted, State};
use jiff::Timestamp;

use crate::row::{age, asked_for};

/// What stands out, and what to do about it; a sentence each.
pub(crate) fn of(sighted: &Sighted, now: Timestamp) -> Vec<String> {
    let view = &*sighted.view;
    let lock = &view.lock;
    let is_paused = view.cordoned.iter().any(|name| name.as_str() == "*");
    let mut points = Vec::new();
    let mut say = |point: String| points.push(point);
    match sighted.state {
        State::Late => say(
            "The leader has not renewed for two thirds of its term, and may not act any more: look \
             at its log, its network and the API server's latency."
                .to_owned(),
        ),
        State::Expired if view.line.is_empty() => say(
            "The leader fell silent and nobody takes over: no candidate runs, or none reaches the \
             API server. Look at their Pods and logs."
                .to_owned(),
        ),
        State::Expired => say(
            "The leader fell silent, and those in line have not taken over: they may be gone too, \
             or cannot write. Look at their logs."
                .to_owned(),
        ),
        State::Vacant if !is_paused && view.line.is_empty() => {
            say("Nobody holds the lock and nobody waits for it: start a candidate.".to_owned());
        }
        State::Claimed => say(format!(
            "A claim does not expire: if whoever made it is gone, take it off with: incumbent claim \
             {lock} --as NAME --release"
        )),
        _ => {}
    }
    if is_paused {
        say(format!("It is paused: nobody may lead until: incumbent resume {}", name(lock)));
    } else if !view.cordoned.is_empty() {
        let count = view.cordoned.len();
        say(format!(
            "{count} may not lead until: incumbent resume {} --candidate NAME",
            name(lock)
        ));
    }
    if let Some(request) = &view.hand_over {
        let to = match asked_for(request) {
            "*" => "whoever is next",
            name => name,
        };
        say(match view.registration {
            Registration::Foreign => format!(
                "It is asked to hand over to {to}, but its holder's program does not know of such \
                 requests."
            ),
            _ => format!(
                "It is asked to hand over to {to}: its work may still be stopping. Take the request \
                 back with: incumbent step-down {} --cancel",
                name(lock)
            ),
        });
    }
    let leads = matches!(sighted.state, State::Held | State::Late);
    if leads && view.registration == Registration::Term && view.line.is_empty() {
        say("Nobody waits to take over: a crash leaves the work undone until one starts."
            .to_owned());
    }
    if leads && view.registration == Registration::Foreign {
        say(
            "Its holder's program writes no fencing token and heeds no request: to move it, end its \
             process or see: incumbent step-down --help"
                .to_owned(),
        );
    }
    if view.lease_duration.is_some_and(|lease| lease > LONG && leads) {
        let lease = age(view.lease_duration.unwrap_or_default());
        say(format!(
            "After a crash nobody leads for up to {lease}, for that is how long its term is."
        ));
    }
    let ahead = view.renewed.map(|renewed| renewed.duration_since(now));
    if let Some(ahead) = ahead.and_then(|ahead| Duration::try_from(ahead).ok())
        && ahead > SKEW
    {
        say(format!(
            "The holder's wall clock is {} ahead of this machine's: harmless to the election, but \
             times here mislead.",
            age(ahead)
        ));
    }
    points
}

fn name(lock: &incumbent::Lock) -> String {
    match lock.namespace() {
        "default" => lock.to_string(),
        namespace => format!("{lock} -n {namespace}"),
    }
}

/// Longer than the longest preset.
const LONG: Duration = Duration::from_secs(300);

/// More than clocks that are kept differ by.
const SKEW: Duration = Duration::from_secs(2);
