//! Groups on the dashboard, with real members.

use serde_json::{Value, json};

use crate::pages::dashboard;
use crate::support::browser::Browser;
use crate::support::dashboard::Dashboard;
use crate::support::sidecar::until;
use crate::support::{Candidate, Cluster};

/// A member of the group, which runs a command for each task.
fn member(cluster: &Cluster, name: &str, tasks: &str) -> Candidate {
    let flags = "--lease-duration 3s --renew-deadline 2s --retry-period 500ms";
    let mut command = cluster.command(&format!("work jobs --member {name} {tasks} {flags} --"));
    let script = r#"echo "{\"event\":\"up\",\"task\":\"$INCUMBENT_TASK\"}"; exec sleep 1000"#;
    command.args(["sh", "-c", script]);
    Candidate::start(command)
}

/// What the dashboard tells programs of the group, once this is so.
fn group(dashboard: &Dashboard, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let reply = dashboard.get("/api/group/default/jobs");
        let group: Value = serde_json::from_str(&reply.body).ok()?;
        (reply.status == 200 && is_so(&group)).then_some(group)
    })
}

fn is_settled(group: &Value, members: usize) -> bool {
    let led = group["members"].as_array().map_or(0, |members| {
        members.iter().filter(|member| member["tasks"].as_u64() > Some(0)).count()
    });
    group["state"] == "settled" && led == members
}

#[test]
fn a_group_is_shown_to_programs_and_its_seats_are_no_elections() {
    let cluster = Cluster::start();
    let dashboard = dashboard(&cluster, "");
    let john = member(&cluster, "john", "--tasks eu,us,ap,za");
    let jane = member(&cluster, "jane", "--tasks eu,us,ap,za");
    let group = group(&dashboard, "both work", |group| is_settled(group, 2));
    assert_eq!(group["tasks"].as_array().unwrap().len(), 4);
    assert_eq!(group["page"], "/group/default/jobs");
    let state: Value = serde_json::from_str(&dashboard.get("/api/state").body).unwrap();
    assert_eq!(state["elections"], json!([]), "seats and the allocators' Lease are in the group");
    assert_eq!(state["groups"][0]["group"], "jobs");
    assert_eq!(state["groups"][0]["members"], 2);
    let page = dashboard.get("/group/default/jobs");
    assert_eq!(page.status, 200);
    // Who starts first may keep one task more than half.
    for member in group["members"].as_array().unwrap() {
        let (name, tasks) = (member["name"].as_str().unwrap(), &member["tasks"]);
        let row = format!("data-member=\"{name}\" data-tasks=\"{tasks}\"");
        assert!(page.body.contains(&row), "{row}: {}", page.body);
    }
    let filtered = dashboard.get("/group/default/jobs?q=eu").body;
    assert_eq!(filtered.matches("data-testid=\"task\"").count(), 1, "{filtered}");
    for path in ["/group/default/other", "/api/group/default/other", "/group/x/%3Cb%3E"] {
        let missing = dashboard.get(path);
        assert_eq!(missing.status, 404, "{path}");
        assert!(!missing.body.contains("<b>"), "{path}");
    }
    drop((john, jane));
}

#[test]
fn the_death_of_a_member_is_seen_and_who_takes_its_tasks() {
    let Some(browser) = Browser::start() else { return };
    let cluster = Cluster::start();
    let dashboard = dashboard(&cluster, "");
    let mut john = member(&cluster, "john", "--slots 64");
    let mut jane = member(&cluster, "jane", "--slots 64");
    group(&dashboard, "both work", |group| is_settled(group, 2));
    browser.open(&dashboard.url);
    browser.until(
        "document.querySelector('[data-testid=group][data-group=jobs][data-state=Settled]')",
    );
    browser.picture("groups");
    browser.open(&format!("{}/group/default/jobs", dashboard.url));
    browser.until("document.body.dataset.live === '1'");
    let row = |more: &str| format!("document.querySelector('[data-testid=member]{more}')");
    browser.until(&row("[data-member=jane]:not([data-tasks=\"0\"])"));
    browser.picture("group");
    // The filter is a form, and what is typed stays while the table under it changes.
    browser.write("[data-testid=task-filter]", "john");
    jane.kill();
    browser.until(&row("[data-member=john][data-tasks=\"64\"]"));
    browser.until("document.querySelector('[data-testid=now][data-state=Settled]')");
    let typed = browser.js("return document.querySelector('[data-testid=task-filter]').value");
    assert_eq!(typed, "john");
    browser.js("document.querySelector('.filter').submit()");
    browser.until("location.search === '?q=john' && document.querySelector('[data-testid=task]')");
    browser.screen(360, 780);
    let width = browser.js("return document.documentElement.scrollWidth");
    assert_eq!(width, 360, "nothing sticks out");
    browser.picture("group-phone");
    // Without members, each task waits, and the page says for how long.
    john.kill();
    browser.until(
        "document.querySelector('[data-testid=waiting][data-state=Lost][data-task=\"0-63\"]')",
    );
    browser.until("document.querySelector('[data-kind=no-members]')");
    browser.screen(1200, 900);
    browser.picture("group-lost");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn five_thousand_tasks_are_shown_and_found() {
    let Some(browser) = Browser::start() else { return };
    let cluster = Cluster::start();
    let tasks: Vec<_> = (0..5000).map(|number| format!("customer-{number:04}")).collect();
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "jobs.config", "namespace": "default", "labels": { "incumbent.dev/group": "jobs" } },
        "data": { "tasks": tasks.join("\n") },
    });
    cluster.server.create(config).unwrap();
    // Its only seat is vacant: nothing has an owner, and the page says so.
    let seat = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "jobs.john", "namespace": "default", "labels": { "incumbent.dev/group": "jobs" } },
        "spec": {},
    });
    cluster.server.create(seat).unwrap();
    let dashboard = dashboard(&cluster, "");
    group(&dashboard, "it is seen", |group| {
        group["tasks"].as_array().is_some_and(|tasks| tasks.len() == 5000)
    });
    browser.open(&format!("{}/group/default/jobs", dashboard.url));
    browser.until("document.body.dataset.live === '1'");
    browser.until("document.querySelectorAll('[data-testid=task]').length === 200");
    browser.picture("group-five-thousand");
    browser.open(&format!("{}/group/default/jobs?q=customer-432", dashboard.url));
    browser.until("document.querySelectorAll('[data-testid=task]').length === 10");
    assert_eq!(browser.complaints(), [""; 0]);
}
