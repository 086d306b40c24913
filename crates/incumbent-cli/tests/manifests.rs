//! What `incumbent manifests` prints, and what of it is in `deploy/`.
//!
//! `UPDATE_MANIFESTS=1 cargo test -p incumbent-cli --test manifests` writes the files anew.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use incumbent::{Error, Group, LockKind, Resource};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::kubectl::Kubectl;
use support::peers::{self, Peer};
use support::{Outcome, files, incumbent};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn run(arguments: &str) -> Outcome {
    Outcome::of(incumbent(arguments).output().unwrap())
}

fn printed(arguments: &str) -> String {
    let outcome = run(&format!("manifests {arguments}"));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.stdout
}

fn objects(yaml: &str) -> Vec<Value> {
    yaml.split("---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

fn is_update() -> bool {
    std::env::var_os("UPDATE_MANIFESTS").is_some()
}

#[test]
fn each_plain_file_is_what_its_first_line_prints() {
    let files = files(&deploy().join("plain"));
    assert!(files.len() >= 12, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (command, _) = text.split_once('\n').unwrap();
        let arguments = command.strip_prefix("# incumbent manifests ").unwrap();
        let text_now = format!("{command}\n{}", printed(arguments));
        if is_update() {
            fs::write(&file, &text_now).unwrap();
            continue;
        }
        assert_eq!(text, text_now, "{}", file.display());
    }
}

#[test]
fn the_component_and_the_chart_are_made_from_the_same_source() {
    let made = tempfile::tempdir().unwrap();
    printed(&format!("--write-deploy {}", made.path().display()));
    let made_files = files(made.path());
    assert!(made_files.len() >= 11, "{made_files:?}");
    for file in &made_files {
        let in_repository = deploy().join(file.strip_prefix(made.path()).unwrap());
        let (now, before) = (fs::read(file).unwrap(), fs::read(&in_repository).unwrap_or_default());
        if is_update() {
            fs::write(&in_repository, &now).unwrap();
            continue;
        }
        assert!(now == before, "{} is not up to date", in_repository.display());
    }
    // Nothing is left over of what is no longer made.
    let templates = "helm/incumbent/templates";
    let names = |folder: &Path| {
        let names = files(folder).into_iter().map(|file| file.file_name().unwrap().to_owned());
        names.filter(|name| name != "NOTES.txt").collect::<Vec<_>>()
    };
    assert_eq!(names(&made.path().join(templates)), names(&deploy().join(templates)));
}

/// Reads the object as Kubernetes' type for it, and writes it again: what the type does not know is gone
/// then, so a field that is misspelt, misplaced or of another type is found.
fn in_its_type(object: &Value) -> Result<Value, String> {
    fn of<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
        let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(typed).unwrap())
    }
    match object["kind"].as_str().unwrap_or_default() {
        "ConfigMap" => of::<ConfigMap>(object),
        "Deployment" => of::<Deployment>(object),
        "FlowSchema" => of::<FlowSchema>(object),
        "Lease" => of::<Lease>(object),
        "NetworkPolicy" => of::<NetworkPolicy>(object),
        "PodDisruptionBudget" => of::<PodDisruptionBudget>(object),
        "PriorityLevelConfiguration" => of::<PriorityLevelConfiguration>(object),
        "Role" => of::<Role>(object),
        "RoleBinding" => of::<RoleBinding>(object),
        "ServiceAccount" => of::<ServiceAccount>(object),
        other => Err(format!("no type for {other:?}")),
    }
}

fn check(object: &Value) -> Result<(), String> {
    let typed = in_its_type(object)?;
    match typed == *object {
        true => Ok(()),
        false => Err(format!("written {object:#}\nunderstood {typed:#}")),
    }
}

#[test]
fn every_field_is_one_that_kubernetes_knows() {
    for file in files(&deploy().join("plain")) {
        for object in objects(&fs::read_to_string(&file).unwrap()) {
            check(&object).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
}

#[test]
fn what_the_page_shows_is_printed_and_known_to_kubernetes() {
    let page = deploy().join("../docs/kubernetes.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = |language: &str| {
        let rest: Vec<_> = page.split(&format!("```{language}\n")).skip(1).collect();
        rest.into_iter().map(|rest| rest.split("```").next().unwrap().to_owned())
    };
    let yaml: Vec<_> = blocks("yaml").flat_map(|block| objects(&block)).collect();
    assert_eq!(yaml.len(), 3);
    yaml.iter().for_each(|object| check(object).unwrap());
    // The labels are those that are printed.
    let printed_labels = json!({ "app.kubernetes.io/name": "scanner" });
    assert_eq!(yaml[1]["spec"]["selector"]["matchLabels"], printed_labels);
    assert_eq!(yaml[2]["spec"]["podSelector"]["matchLabels"], printed_labels);
    let console = blocks("console").next().unwrap();
    let command = console.lines().next().unwrap().strip_prefix("$ incumbent manifests ").unwrap();
    let shown = objects(&printed(command.split(" >").next().unwrap()));
    assert_eq!(shown.last().unwrap()["spec"]["template"]["metadata"]["labels"], printed_labels);
    assert!(
        page.contains(&format!("incumbent:{} /incumbent", env!("CARGO_PKG_VERSION"))),
        "the image's version"
    );
}

#[test]
fn the_role_in_the_documentation_is_the_one_that_is_printed() {
    let page = fs::read_to_string(deploy().join("../docs/kubernetes.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let shown: Vec<_> = blocks.flat_map(objects).collect();
    let printed = objects(&printed("--lock lease/scanner --namespace prod"));
    let role = printed.iter().find(|object| object["kind"] == "Role").unwrap();
    assert!(shown.contains(role), "{shown:#?}");
}

/// The Role of these objects.
fn role(objects: &[Value]) -> &Value {
    objects.iter().find(|object| object["kind"] == "Role").unwrap()
}

#[test]
fn members_of_a_group_get_the_rights_that_the_library_names_and_no_others() {
    let wanted = objects(&printed("--group indexers --namespace prod"));
    let rules = role(&wanted)["rules"].as_array().unwrap();
    assert_eq!(
        *rules,
        serde_json::to_value(Group::policy_rules()).unwrap().as_array().unwrap()[..]
    );
    let resource = Resource::Group {
        kind: LockKind::Lease,
        namespace: "prod".to_owned(),
        group: "indexers".to_owned(),
    };
    let error = Error::Forbidden { resource, verb: "get", message: String::new() };
    let hint = error.hint();
    let named: Value = serde_saphyr::from_str(hint.split_once(":\n").unwrap().1).unwrap();
    assert_eq!(*rules, named.as_array().unwrap()[..], "{hint}");
    let more = objects(&printed("--group indexers --namespace prod --events --kubelet-reports"));
    let more = &role(&more)["rules"].as_array().unwrap()[rules.len()..];
    let of = |rule: &Value| (rule["resources"][0].clone(), rule["verbs"].clone());
    let expected = [(json!("events"), json!(["create"])), (json!("pods"), json!(["watch"]))];
    assert_eq!(more.iter().map(of).collect::<Vec<_>>(), expected);
}

#[test]
fn the_objects_of_a_group_fit_together() {
    let printed = printed(
        "--group indexers -n prod --image app:1 --replicas 3 --flow-schema -- /app --config x",
    );
    let objects = objects(&printed);
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    let rights = ["ServiceAccount", "Role", "RoleBinding"];
    let others = ["PriorityLevelConfiguration", "FlowSchema", "Deployment"];
    assert_eq!(kinds, [rights, others].concat());
    assert!(objects.iter().all(|object| !object["metadata"]["name"].is_null()));
    let names: Vec<_> = objects.iter().map(|object| &object["metadata"]["name"]).collect();
    assert_eq!((names[0], names[1], names[5]), (names[2], names[2], &json!("indexers")));
    objects.iter().for_each(|object| check(object).unwrap());
    let deployment = &objects[5]["spec"];
    assert_eq!(deployment["replicas"], 3);
    assert_eq!(deployment["strategy"]["rollingUpdate"], json!({ "maxUnavailable": 0 }));
    let container = &deployment["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["/app", "--config", "x"]));
    let flows = objects[4]["spec"]["rules"][0]["resourceRules"].as_array().unwrap();
    let verbs: Vec<_> = flows.iter().map(|flow| &flow["verbs"]).collect();
    let granted = role(&objects)["rules"].as_array().unwrap().iter();
    assert_eq!(verbs, granted.map(|rule| &rule["verbs"]).collect::<Vec<_>>());
}

#[test]
fn a_sidecar_of_a_group_and_its_application_share_a_secret() {
    let printed = printed("--group indexers -n prod --for sidecar --tasks eu,us --image app:1");
    let objects = objects(&printed);
    objects.iter().for_each(|object| check(object).unwrap());
    let pod = &objects[3]["spec"]["template"]["spec"];
    let (sidecar, app) = (&pod["initContainers"][0], &pod["containers"][0]);
    let volume = &pod["volumes"][0];
    assert_eq!(volume["secret"]["secretName"], "indexers-sidecar");
    let mount =
        json!([{ "name": volume["name"], "mountPath": "/run/incumbent", "readOnly": true }]);
    assert_eq!((&sidecar["volumeMounts"], &app["volumeMounts"]), (&mount, &mount));
    let file = "/run/incumbent/secret";
    assert_eq!(sidecar["args"][3], format!("--token-file={file}"));
    assert_eq!(app["env"][1], json!({ "name": "INCUMBENT_SECRET_FILE", "value": file }));
}

#[test]
fn the_role_of_a_group_in_the_documentation_is_the_one_that_is_printed() {
    let page = fs::read_to_string(deploy().join("../docs/groups.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let shown: Vec<_> = blocks.flat_map(objects).collect();
    let printed = objects(&printed("--group indexers"));
    assert!(shown.contains(role(&printed)), "{shown:#?}");
}

#[test]
fn a_misspelt_field_is_found() {
    let sidecar = printed("--lock lease/scanner --for sidecar --image app:1 --flow-schema");
    let spoil: [(&str, &str); 6] = [
        ("restartPolicy: Always", "restartpolicy: Always"),
        ("    runAsNonRoot:", "    runAsNonroot:"),
        ("resourceNames", "resourceName"),
        ("handSize: 4", "handSize: four"),
        ("automountServiceAccountToken: false", "automountServiceAccounttoken: false"),
        ("roleRef", "roleref"),
    ];
    for (right, wrong) in spoil {
        assert!(sidecar.contains(right), "{right}");
        let spoilt = objects(&sidecar.replace(right, wrong));
        assert!(spoilt.iter().any(|object| check(object).is_err()), "{wrong}");
    }
}

#[test]
fn all_containers_run_without_any_privilege_and_know_which_pod_they_are() {
    for file in files(&deploy().join("plain")) {
        let objects = objects(&fs::read_to_string(&file).unwrap());
        for object in objects.iter().filter(|object| object["kind"] == "Deployment") {
            let pod = &object["spec"]["template"]["spec"];
            let expected =
                json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
            assert_eq!(pod["securityContext"], expected);
            let lists = [&pod["initContainers"], &pod["containers"]];
            let containers = lists.into_iter().filter_map(Value::as_array).flatten();
            for container in containers.clone() {
                let expected = json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                });
                assert_eq!(container["securityContext"], expected, "{}", file.display());
                assert_eq!(container["readinessProbe"], Value::Null, "never by leadership");
            }
            let has_sidecar = pod["initContainers"].is_array();
            let env = containers.flat_map(|container| container["env"].as_array()).flatten();
            let names: Vec<_> = env.map(|env| env["name"].as_str().unwrap()).collect();
            let of_pod = ["POD_NAME", "POD_UID", "POD_NAMESPACE", "POD_IP"];
            assert_eq!(names[..4], of_pod, "{}", file.display());
            // An application asks its sidecar, and has to know where.
            let of_group = pod["volumes"].is_array();
            let asks: &[&str] = match (has_sidecar, of_group) {
                (false, _) => &[],
                (true, false) => &["INCUMBENT_URL"],
                (true, true) => &["INCUMBENT_URL", "INCUMBENT_SECRET_FILE"],
            };
            assert_eq!(names[4..], *asks, "{}", file.display());
        }
    }
}

#[test]
fn all_names_fit_together() {
    let printed = printed(
        "--lock cm/board:second --name web -n prod --service-account here \
        --for run --image app:1 --replicas 3 --flow-schema -- sh -c true",
    );
    let objects = objects(&printed);
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    let expected =
        ["Role", "RoleBinding", "PriorityLevelConfiguration", "FlowSchema", "Deployment"];
    assert_eq!(kinds, expected, "the account is there already");
    let [role, binding, level, flow, deployment] = &objects[..] else { unreachable!() };
    assert_eq!(role["rules"][0]["resourceNames"], json!(["board"]));
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    let account = json!([{ "kind": "ServiceAccount", "name": "here", "namespace": "prod" }]);
    assert_eq!(binding["subjects"], account);
    let name = &level["metadata"]["name"];
    assert_eq!((name, name), (&flow["metadata"]["name"], &json!("prod-web")));
    assert_eq!(&flow["spec"]["priorityLevelConfiguration"]["name"], name);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "here");
    let command = &pod["containers"][0]["command"];
    let expected = ["incumbent", "run", "--lock=configmap/board:second", "--", "sh", "-c", "true"];
    assert_eq!(*command, json!(expected));
    assert_eq!(deployment["spec"]["replicas"], 3);
}

#[test]
fn what_cannot_be_a_name_or_makes_no_sense_is_refused() {
    for (arguments, says) in [
        ("--lock scanner/x", "names no lock"),
        ("--lock lease/Scanner", "Scanner"),
        ("--lock lease/a --name a_b", "no name for --name"),
        ("--lock lease/a --endpoint-slice Web", "no name for --endpoint-slice"),
        ("--lock lease/a --namespace a/b", "a/b"),
        ("--lock lease/a --for run --image app:1", "needs a command"),
        ("--group Indexers", "cannot be the name of a group"),
        ("--group a.b", "cannot be the name of a group"),
        ("--group a --lock lease/a", "cannot be used with"),
        ("--group a --for run", "--for work"),
        ("--lock lease/a --for work", "--group"),
        ("--lock lease/a --slots 4", "cannot be used with"),
        ("--group a --slots 4", "names its tasks itself"),
        ("--group a --for work --image app:1 -- sh", "one of --tasks"),
        ("--group a --for work --slots 4 --image app:1", "needs a command"),
        ("--group a --for sidecar --image app:1", "one of --tasks"),
        ("--group a --for sidecar --slots 4 --image app:1 --kubelet-reports", "beside it"),
        ("--group a --pre-create", "cannot be used with"),
        ("--group a --no-watch", "cannot be used with"),
        ("--group a --label", "cannot be used with"),
        ("--group a --endpoint-slice web", "cannot be used with"),
        ("--group a -- app", "without --image"),
        ("--lock lease/a -- sh", "without --image"),
        ("--lock lease/a --for run --label", "writes no label"),
        ("--lock lease/a --for sidecar --endpoint-slice web", "writes no EndpointSlice"),
        ("--lock lease/a --for sidecar --image app:1 --kubelet-reports", "beside it"),
    ] {
        let outcome = run(&format!("manifests {arguments}"));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{arguments}: {outcome:?}");
    }
    assert_eq!(run("manifests").code, 2);
}

#[test]
fn words_of_a_command_are_printed_as_they_are() {
    let mut command = incumbent("manifests --lock lease/a --for run --image app:1 --");
    let words = ["sh", "-c", "echo \"<name>\": '#' {{ x }} > \u{85}", "- a", "", "yes", "\n"];
    let outcome = Outcome::of(command.args(words).output().unwrap());
    let objects = objects(&outcome.stdout);
    let command = &objects.last().unwrap()["spec"]["template"]["spec"]["containers"][0]["command"];
    assert_eq!(command.as_array().unwrap()[4..], words.map(Value::from));
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| object["kind"].to_string());
    objects
}

#[test]
fn the_chart_says_what_the_command_prints() {
    let Some(helm) = peers::find(Peer::Helm) else { return };
    let rendered = |values: &str| {
        let chart = deploy().join("helm/incumbent");
        let mut command = Command::new(&helm);
        Outcome::of(command.arg(chart).args(["web", "prod", values]).output().unwrap())
    };
    for (values, arguments) in [
        ("{}", "--lock lease/web"),
        ("image: app:1", "--lock lease/web --image app:1"),
        (
            "{lock: {kind: configmap, name: board, key: second}, image: app:1, replicas: 3}",
            "--lock configmap/board:second --image app:1 --replicas 3",
        ),
        ("{preCreate: true, watch: false}", "--lock lease/web --pre-create --no-watch"),
        (
            "{lock: {kind: configmap}, preCreate: true, watch: false, events: true}",
            "--lock configmap/web --pre-create --no-watch --events",
        ),
        (
            "{events: true, label: true, image: 'r.example/a/b:1@sha256:0'}",
            "--lock lease/web --events --label --image r.example/a/b:1@sha256:0",
        ),
        ("{flowSchema: true, label: true}", "--lock lease/web --flow-schema --label"),
        (
            "{account: {create: false, name: here}, kubeletReports: true}",
            "--lock lease/web --service-account here --kubelet-reports",
        ),
        (
            "incumbent: {image: mine:2}\nimage: app:1",
            "--lock lease/web --image app:1 --incumbent-image mine:2",
        ),
    ] {
        let chart = rendered(values);
        assert_eq!(chart.code, 0, "{values}: {chart:?}");
        let printed = printed(&format!("--for sidecar --name web --namespace prod {arguments}"));
        let chart = objects(chart.stdout.strip_prefix("---\n").unwrap());
        assert_eq!(sorted(chart), sorted(objects(&printed)), "{values}");
    }
    let slices = objects(&rendered("endpointSlice: back").stdout[4..]);
    let printed = printed("--lock lease/web -n prod --endpoint-slice back");
    assert_eq!(sorted(slices), sorted(objects(&printed)));
    for wrong in [
        "imagee: app:1",
        "image: 'a\"b'",
        "lock: {kind: secret}",
        "lock: {name: 'a\"\\nb'}",
        "lock: {kind: lease, key: second}",
        "events: maybe",
        "replicas: two",
    ] {
        let outcome = rendered(wrong);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{wrong}");
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = fs::read_to_string(deploy().join("helm/incumbent/Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&chart).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
}

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  selector: { matchLabels: { app.kubernetes.io/name: web } }
  template:
    metadata: { labels: { app.kubernetes.io/name: web } }
    spec:
      initContainers: [{ name: migrate, image: 'app:1' }]
      containers: [{ name: app, image: 'app:1' }]
";

#[test]
fn the_component_gives_a_deployment_its_sidecar_and_names_all_after_it() {
    let Some(kubectl) = Kubectl::new("kustomize") else { return };
    let built = objects(&kubectl.with_the_component("prod", WEB));
    built.iter().for_each(|object| check(object).unwrap());
    let printed = objects(&printed("--lock lease/web -n prod --for sidecar --image app:1"));
    let (mut built, mut printed) = (sorted(built), sorted(printed));
    // The Deployment is somebody's own: of it, what the component adds.
    let (own, ours) = (built.remove(0), printed.remove(0));
    assert_eq!(built, printed);
    let (own, ours) = (&own["spec"]["template"]["spec"], &ours["spec"]["template"]["spec"]);
    assert_eq!(own["initContainers"][0], ours["initContainers"][0]);
    assert_eq!(own["initContainers"][1]["name"], "migrate", "the sidecar is first");
    assert_eq!(own["initContainers"].as_array().unwrap().len(), 2);
    assert_eq!(own["serviceAccountName"], ours["serviceAccountName"]);
}

#[test]
fn what_is_printed_can_be_applied_and_applied_again_while_somebody_leads() {
    let Some(kubectl) = Kubectl::new("manifests") else { return };
    for (lock, kind) in [("lease/scanner", "lease"), ("configmap/board", "configmap")] {
        let arguments = format!("--lock {lock} --pre-create --events -n {}", kubectl.namespace);
        kubectl.file("printed.yaml", &printed(&arguments));
        assert_eq!(kubectl.ok("apply -f printed.yaml").lines().count(), 4);
        let holder = match kind {
            "lease" => r#"{"spec":{"holderIdentity":"john"}}"#,
            _ => r#"{"data":{"leader":"john"}}"#,
        };
        kubectl.ok(&format!("patch {lock} --type=merge -p {holder}"));
        let before = kubectl.json(&format!("get {lock}"));
        let again = kubectl.ok("apply -f printed.yaml");
        assert!(again.lines().all(|line| line.ends_with(" unchanged")), "{again}");
        assert_eq!(kubectl.json(&format!("get {lock}")), before);
        let name = before["metadata"]["name"].as_str().unwrap();
        let account = format!("system:serviceaccount:{}:{name}", kubectl.namespace);
        let may = |what: &str| kubectl.run(&format!("auth can-i {what} --as {account}")).stdout;
        assert_eq!(may(&format!("update {lock}")), "yes\n");
        assert_eq!(may("create events"), "yes\n");
        assert_eq!(may(&format!("create {kind}")), "no\n");
        assert_eq!(may(&format!("delete {lock}")), "no\n");
    }
}
