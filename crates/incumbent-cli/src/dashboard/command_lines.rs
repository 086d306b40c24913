//! Commands to copy that an election heeds. What would be refused, or do nothing, is left out.

use incumbent::survey::{LockView, Registration};
use maud::{Markup, html};

use super::actions::Action;
use super::board::Row;
use crate::model::format;

type Command = (&'static str, String);

pub(crate) fn commands(row: &Row) -> Markup {
    html! {
        section .commands id="commands" aria-labelledby="commands-head" {
            h2 id="commands-head" { "Commands" }
            ul {
                @for (label, command) in heeded(row) {
                    li { span { (label) } code { (command) } }
                }
            }
        }
    }
}

fn heeded(row: &Row) -> Vec<Command> {
    let view = &*row.sighted.view;
    let mut commands = vec![("Look", format!("{} -o yaml", kubectl("get", view)))];
    match view.registration {
        Registration::Foreign if row.view().may_lead() => {
            commands.push(("End its Pod", ours("step-down", view) + " --via evict-pod"));
        }
        Registration::Term if row.view().may_lead() => commands.extend(hand_over(view)),
        Registration::Claim => commands.extend(take_off(view)),
        _ => {}
    }
    if Action::Pause.why_not(row).is_none() {
        commands.push(("Pause", ours("pause", view)));
    }
    if Action::Resume.why_not(row).is_none() {
        let pause = annotation("cordon", view);
        commands.push(("Resume", ours("resume", view)));
        commands.push(("Resume by kubectl", format!("{} {pause}-", kubectl("annotate", view))));
    }
    commands
}

fn hand_over(view: &LockView) -> Vec<Command> {
    let step_down = ours("step-down", view);
    let other = view.waitlist.get(1).or_else(|| view.waitlist.first());
    let other = other.and_then(|waiter| format::quoted(waiter.identity.as_str()));
    let (kubectl, request) = (kubectl("annotate", view), annotation("hand-over-to", view));
    let to_next = ("Hand over to the next", step_down.clone());
    let to_other = other
        .map(|other| ("Hand over to another in the waitlist", format!("{step_down} --to {other}")));
    let by_kubectl = ("The same by kubectl", format!("{kubectl} --overwrite {request}='*'"));
    [Some(to_next), to_other, Some(by_kubectl)].into_iter().flatten().collect()
}

fn take_off(view: &LockView) -> Option<Command> {
    let holder = format::quoted(view.holder.as_deref()?)?;
    let claim = ours("claim", view);
    Some(("Remove the name", format!("{claim} --identity {holder} --release")))
}

fn ours(command: &str, view: &LockView) -> String {
    format!("incumbent {command} -n {} {}", view.lock.namespace(), view.lock)
}

fn kubectl(verb: &str, view: &LockView) -> String {
    let kind = if view.lock.key().is_some() { "configmap" } else { "lease" };
    format!("kubectl {verb} -n {} {kind} {}", view.lock.namespace(), view.lock.name())
}

/// Another key than the usual one has its name behind a dot.
fn annotation(name: &str, view: &LockView) -> String {
    match view.lock.to_string().split_once(':') {
        Some((_, key)) => format!("incumbent.dev/{name}.{key}"),
        None => format!("incumbent.dev/{name}"),
    }
}
