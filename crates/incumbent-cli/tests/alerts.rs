//! The alerts of `deploy/prometheus`: evaluated by Prometheus' own tool, and explained by the runbook.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::Outcome;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

const RULES: &str = "deploy/prometheus/incumbent.rules.yaml";
const STORIES: &str = "deploy/prometheus/incumbent.rules.test.yaml";

fn rules() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&read(RULES)).unwrap();
    rules["groups"][0]["rules"].as_array().unwrap().clone()
}

fn alerts() -> BTreeSet<String> {
    rules().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
}

/// What `PROMTOOL` names, what `interop/build` brought, or what is on the path.
fn promtool() -> Option<Command> {
    let built = support::peers::folder().join("promtool");
    let built = built.exists().then(|| built.into_os_string());
    let program = std::env::var_os("PROMTOOL").or(built).unwrap_or_else(|| "promtool".into());
    let works = Command::new(&program).arg("--version").output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(Command::new(program));
    }
    support::peers::missing("promtool", "interop/build brings it");
    None
}

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    let Some(mut promtool) = promtool() else { return };
    let outcome =
        Outcome::of(promtool.args(["test", "rules"]).arg(file(STORIES)).output().unwrap());
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);

    // Such a test notices what is wrong: here, an alert that comes too late.
    let folder = tempfile::tempdir().unwrap();
    let late = read(RULES).replacen("for: 30s", "for: 3m", 1);
    std::fs::write(folder.path().join("incumbent.rules.yaml"), late).unwrap();
    std::fs::copy(file(STORIES), folder.path().join("stories.yaml")).unwrap();
    let mut promtool = Command::new(promtool.get_program());
    promtool.args(["test", "rules"]).arg(folder.path().join("stories.yaml"));
    assert_ne!(promtool.output().unwrap().status.code(), Some(0));
}

#[test]
fn each_alert_has_a_story_in_which_it_fires_and_one_in_which_it_does_not() {
    let stories: Value = serde_saphyr::from_str(&read(STORIES)).unwrap();
    let stories = stories["tests"].as_array().unwrap().iter();
    let moments: Vec<_> =
        stories.flat_map(|story| story["promql_expr_test"].as_array().unwrap()).collect();
    for alert in alerts() {
        let expression = format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}");
        let of_it = moments.iter().filter(|moment| moment["expr"] == expression.as_str());
        let fires: BTreeSet<_> =
            of_it.map(|moment| !moment["exp_samples"].as_array().unwrap().is_empty()).collect();
        assert_eq!(fires, [false, true].into(), "{alert}");
    }
}

/// As GitHub makes anchors of headings.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn each_alert_says_what_is_wrong_and_where_the_runbook_goes_on() {
    let page = read("docs/operating.md");
    let anchors = anchors(&page);
    for rule in rules() {
        let alert = rule["alert"].as_str().unwrap();
        let text = |name: &str| rule["annotations"][name].as_str().unwrap_or_default();
        assert!(!text("summary").is_empty() && !text("description").is_empty(), "{alert}");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        let (address, anchor) = text("runbook_url").split_once('#').unwrap();
        assert!(address.ends_with("/docs/operating.md"), "{alert}: {address}");
        assert!(anchors.contains(anchor), "{alert}: no heading for #{anchor}");
        // And back: who comes from the alert finds its name.
        assert!(page.contains(&format!("`{alert}`")), "{alert}");
    }
    let metrics = read("docs/metrics.md");
    let listed = metrics.lines().filter_map(|line| line.strip_prefix("| Incumbent"));
    let listed = listed.map(|line| format!("Incumbent{}", line.split(' ').next().unwrap()));
    assert_eq!(listed.collect::<BTreeSet<_>>(), alerts());
}

#[test]
fn the_links_within_the_page_lead_somewhere() {
    let page = read("docs/operating.md");
    let anchors = anchors(&page);
    let links = page.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap());
    let broken: Vec<_> = links.filter(|link| !anchors.contains(*link)).collect();
    assert_eq!(broken, Vec::<&str>::new());
}
