//! The real kubectl applies every manifest of ours: what `incumbent manifests` prints, what is in `deploy/`, and what
//! the pages show. Against `incumbent dev-server`, or against the cluster that `INCUMBENT_TEST_KUBECONFIG` names.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::kubectl::Kubectl;
use support::peers::{self, Peer};
use support::{Outcome, files, incumbent};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn printed(arguments: &str) -> String {
    let outcome = Outcome::of(incumbent(&format!("manifests {arguments}")).output().unwrap());
    assert_eq!(outcome.code, 0, "{arguments}: {outcome:?}");
    outcome.stdout
}

fn objects(yaml: &str) -> Vec<Value> {
    yaml.split("---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

fn kinds(yaml: &str) -> Vec<String> {
    let objects = objects(yaml);
    objects.iter().filter_map(|object| object["kind"].as_str().map(str::to_owned)).collect()
}

/// The kinds on which a cluster acts and `dev-server` does not.
const ONLY_STORED: [&str; 6] = [
    "Deployment",
    "FlowSchema",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "PriorityLevelConfiguration",
    "Service",
];

/// Applies a manifest to this namespace, and returns it.
fn apply(kubectl: &Kubectl, what: &str, yaml: &str) -> String {
    let yaml = yaml.replace("namespace: default", &format!("namespace: {}", kubectl.namespace));
    kubectl.file("manifest.yaml", &yaml);
    let outcome = kubectl.run("apply -f manifest.yaml");
    assert_eq!(outcome.code, 0, "{what}: {outcome:?}");
    let kinds = kinds(&yaml);
    assert_eq!(outcome.stdout.lines().count(), kinds.len(), "{what}: {outcome:?}");
    assert!(outcome.stdout.lines().all(|line| line.ends_with(" created")), "{what}: {outcome:?}");
    if !kubectl.is_foreign() {
        let warnings = kinds.iter().filter(|kind| ONLY_STORED.contains(&kind.as_str()));
        let said =
            |kind: &String| format!("Warning: this development server only stores a {kind}: ");
        let warned = warnings.clone().all(|kind| outcome.stderr.contains(&said(kind)));
        assert!(
            warned && outcome.stderr.lines().count() == warnings.count(),
            "{what}: {outcome:?}"
        );
    }
    yaml
}

/// Does with a manifest what people do with one, from the first apply to the delete.
fn live_through(kubectl: &Kubectl, what: &str, yaml: &str) {
    let yaml = apply(kubectl, what, yaml);
    let count = kinds(&yaml).len();
    let again = kubectl.ok("apply -f manifest.yaml");
    assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{what}: {again}");
    let difference = kubectl.run("diff -f manifest.yaml");
    assert_eq!((difference.code, difference.stdout.as_str()), (0, ""), "{what}: {difference:?}");
    let got = kubectl.ok("get -f manifest.yaml -o name");
    assert_eq!(got.lines().count(), count, "{what}: {got}");
    kubectl.ok("get -f manifest.yaml -o wide");
    let described = kubectl.ok("describe -f manifest.yaml");
    assert_eq!(described.matches("Name: ").count().min(1), 1, "{what}: {described}");
    let applied = kubectl.ok("apply --server-side --force-conflicts -f manifest.yaml");
    let is_applied = |line: &str| line.ends_with(" serverside-applied");
    assert!(applied.lines().all(is_applied), "{what}: {applied}");
    let deleted = kubectl.ok("delete -f manifest.yaml");
    assert_eq!(deleted.matches(" deleted").count(), count, "{what}: {deleted}");
    assert_eq!(kubectl.ok("get -f manifest.yaml --ignore-not-found -o name"), "", "{what}");
}

#[test]
fn every_plain_file_of_deploy_is_applied_read_and_deleted() {
    let Some(kubectl) = Kubectl::new("deploy") else { return };
    let mut applied = 0;
    for file in files(&root().join("deploy")) {
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        // A chart and a component are no objects; the tests below build them.
        let is_built = name.contains("/helm/") || name.contains("/kustomize/");
        if is_built || file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        // Prometheus' rules are no object; krew's manifest is one of krew's.
        if kinds(&text).is_empty() || kinds(&text) == ["Plugin"] {
            continue;
        }
        live_through(&kubectl, &name, &text);
        applied += 1;
    }
    assert!(applied >= 12, "{applied}");
}

#[test]
fn whatever_is_printed_is_applied() {
    let Some(kubectl) = Kubectl::new("printed") else { return };
    let image = "--image example.com/app:1 --replicas 3";
    for arguments in [
        "--lock lease/a --pre-create --no-watch --events --kubelet-reports --label".to_owned(),
        "--lock configmap/a:key --pre-create --name other --service-account default".to_owned(),
        format!("--lock lease/a {image} --endpoint-slice web --flow-schema"),
        format!("--lock configmap/a {image} --for sidecar --incumbent-image example.com/i:2"),
        format!("--lock lease/a {image} --for run -- sh -c true"),
        format!("--group a {image} --for work --slots 64 -- sh -c true"),
        format!("--group a {image} --for sidecar --permits 3"),
    ] {
        let yaml = printed(&format!("-n {} {arguments}", kubectl.namespace));
        apply(&kubectl, &arguments, &yaml);
        kubectl.ok("delete -f manifest.yaml");
    }
}

#[test]
fn what_the_pages_show_is_applied() {
    let Some(kubectl) = Kubectl::new("pages") else { return };
    let mut seen = Vec::new();
    let mut pages = files(&root().join("docs"));
    pages.push(root().join("README.md"));
    for page in pages.iter().filter(|page| page.extension().is_some_and(|it| it == "md")) {
        let text = fs::read_to_string(page).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            for mut object in objects(block) {
                if object["kind"].is_null() {
                    continue;
                }
                object["metadata"].as_object_mut().unwrap().remove("namespace");
                seen.push(object["kind"].as_str().unwrap().to_owned());
                apply(&kubectl, &page.display().to_string(), &object.to_string());
                kubectl.ok("delete -f manifest.yaml");
            }
        }
    }
    for kind in ["Service", "NetworkPolicy"] {
        assert!(seen.iter().any(|seen| seen == kind), "{seen:?}");
    }
}

#[test]
fn what_the_chart_makes_is_applied_read_and_deleted() {
    let Some(helm) = peers::find(Peer::Helm) else { return };
    let Some(kubectl) = Kubectl::new("chart") else { return };
    let chart = root().join("deploy/helm/incumbent");
    let values = "{image: app:1, preCreate: true, events: true, label: true, flowSchema: true}";
    let mut command = Command::new(&helm);
    let made = command.arg(chart).args(["web", &kubectl.namespace, values]).output().unwrap();
    let made = Outcome::of(made);
    live_through(&kubectl, "the chart", made.stdout.strip_prefix("---\n").unwrap());
}

#[test]
fn what_the_component_makes_is_applied_read_and_deleted() {
    let Some(kubectl) = Kubectl::new("component") else { return };
    let made = kubectl.with_the_component(&kubectl.namespace, WEB);
    live_through(&kubectl, "the component", &made);
}

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  selector: { matchLabels: { app.kubernetes.io/name: web } }
  template:
    metadata: { labels: { app.kubernetes.io/name: web } }
    spec: { containers: [{ name: app, image: 'app:1' }] }
";

#[test]
fn a_field_that_is_misspelt_deep_inside_is_refused() {
    let Some(kubectl) = Kubectl::new("misspelt") else { return };
    let yaml = printed(&format!(
        "-n {} --lock lease/a --for sidecar --image example.com/app:1",
        kubectl.namespace
    ));
    for (right, wrong, path) in [
        ("path: \"/livez\"", "pth: \"/livez\"", "initContainers[0].livenessProbe.httpGet.pth"),
        ("drop: [", "dropp: [", "containers[0].securityContext.capabilities.dropp"),
        ("fieldPath: metadata.uid", "fieldPat: x", "env[1].valueFrom.fieldRef.fieldPat"),
        ("serviceAccountName:", "serviceAccountNam:", "template.spec.serviceAccountNam"),
    ] {
        assert!(yaml.contains(right), "{right}");
        kubectl.file("manifest.yaml", &yaml.replace(right, wrong));
        for how in ["apply", "apply --server-side"] {
            let refused = kubectl.refused(&format!("{how} -f manifest.yaml"));
            let place = path.rsplit('.').next().unwrap();
            let is_named = refused.contains(&format!("{path}\""))
                || refused.contains(&format!(".{place}: field not declared in schema"));
            assert!(is_named, "{how}: {refused}");
        }
        assert_eq!(kubectl.ok("get deployments -o name"), "", "nothing of it is stored");
    }
}

#[test]
fn a_deployment_is_stored_and_starts_no_pods() {
    let Some(kubectl) = Kubectl::new("stored") else { return };
    if kubectl.is_foreign() {
        return;
    }
    kubectl.file("web.yaml", WEB);
    kubectl.ok("apply -f web.yaml");
    let table = kubectl.ok("get deployments");
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert_eq!(rows[1][..4], ["web", "0/1", "0", "0"]);
    assert_eq!(kubectl.ok("get pods -o name"), "");
    let described = kubectl.ok("describe deployment web");
    assert!(described.contains("1 desired | 0 updated | 0 total"), "{described}");
    assert!(kubectl.ok("explain deployment.spec.template.spec.containers.image").contains("FIELD"));
    kubectl.ok("set image deployment/web app=app:2");
    let image = "get deployment web -o jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(kubectl.ok(image), "app:2");
    assert!(kubectl.ok("get all").contains("deployment.apps/web"));
}
