//! What `incumbent manifests` prints, and what of it is in `deploy/`.
//!
//! `UPDATE_MANIFESTS=1 cargo test -p incumbent-cli --test manifests` writes the files anew.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::{Outcome, incumbent};

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

/// All files below this folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    let mut files: Vec<_> = entries.flat_map(below).collect();
    files.sort();
    files
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
            let env = containers.flat_map(|container| container["env"].as_array()).flatten();
            let names: Vec<_> = env.map(|env| env["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["POD_NAME", "POD_UID", "POD_NAMESPACE", "POD_IP"]);
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
        ("--lock lease/a -- sh", "without --image"),
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
