//! kubectl as people know it, told by what it prints: against `incumbent dev-server`, or against the cluster
//! that `INCUMBENT_TEST_KUBECONFIG` names, which shows that these tests ask for nothing of our own.

mod support;

use support::kubectl::{Following, Kubectl};

const LEASE: &str = r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
    "metadata": {"name": "l", "labels": {"app": "x"}},
    "spec": {"holderIdentity": "jane", "leaseDurationSeconds": 15, "leaseTransitions": 3}}"#;

fn config_map(name: &str, x: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  x: \"{x}\"\n")
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn version_and_resources_are_told() {
    let Some(kubectl) = Kubectl::new("discovery") else { return };
    assert!(kubectl.ok("version").contains("Server Version: v1.36"));
    let outcome = kubectl.run("api-resources -v=6");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lease = outcome.stdout.lines().find(|line| line.starts_with("leases")).unwrap();
    assert_eq!(words(lease), ["leases", "coordination.k8s.io/v1", "true", "Lease"]);
    // Both answers name all groups, so nothing is asked group by group.
    assert!(!outcome.stderr.contains("/apis/coordination.k8s.io"), "{}", outcome.stderr);
    assert_eq!(kubectl.ok("get --raw /readyz"), "ok");
}

#[test]
fn get_prints_leases_in_every_form() {
    let Some(kubectl) = Kubectl::new("get") else { return };
    kubectl.file("lease.json", LEASE);
    assert_eq!(kubectl.ok("create -f lease.json"), "lease.coordination.k8s.io/l created\n");
    for form in ["", "-o wide"] {
        let table = kubectl.ok(&format!("get lease {form}"));
        let mut rows: Vec<_> = table.lines().map(words).collect();
        if !kubectl.is_foreign() {
            // Ours shows two columns more.
            let added: Vec<_> = rows.iter_mut().flat_map(|row| row.drain(2..4)).collect();
            assert_eq!(added, ["RENEWED", "TRANSITIONS", "<none>", "3"]);
        }
        assert_eq!(rows[0], ["NAME", "HOLDER", "AGE"]);
        assert_eq!(rows[1][..2], ["l", "jane"]);
    }
    assert!(kubectl.ok("get lease -A").starts_with("NAMESPACE"));
    assert_eq!(kubectl.ok("get lease -l app=x -o name"), "lease.coordination.k8s.io/l\n");
    assert_eq!(kubectl.ok("get lease -l app=y -o name"), "");
    assert_eq!(kubectl.ok("get lease --field-selector metadata.name=m -o name"), "");
    let holder = kubectl.ok("get lease l -o jsonpath={.spec.holderIdentity}");
    assert_eq!(holder, "jane");
    let yaml = kubectl.ok("get lease l -o yaml");
    assert!(yaml.contains("  holderIdentity: jane\n") && !yaml.contains("managedFields"), "{yaml}");
    let yaml = kubectl.ok("get lease l -o yaml --show-managed-fields");
    assert!(yaml.contains("manager: kubectl-create"), "{yaml}");
    assert_eq!(kubectl.json("get lease l")["spec"]["leaseDurationSeconds"], 15);
    let missing = kubectl.refused("get lease m");
    let said = "Error from server (NotFound): leases.coordination.k8s.io \"m\" not found\n";
    assert_eq!(missing, said);
}

#[test]
fn get_goes_on_as_long_as_one_watches() {
    let Some(kubectl) = Kubectl::new("watch") else { return };
    kubectl.file("lease.json", LEASE);
    kubectl.ok("create -f lease.json");
    let watch = Following::start(kubectl.command("get lease -w --no-headers"));
    assert_eq!(words(&watch.line())[1], "jane");
    kubectl.ok_with("patch lease l --type merge -p", &[r#"{"spec": {"holderIdentity": "john"}}"#]);
    assert_eq!(words(&watch.line())[1], "john");
}

#[test]
fn describe_and_events_show_what_happened_to_a_lease() {
    let Some(kubectl) = Kubectl::new("events") else { return };
    kubectl.file("lease.json", LEASE);
    kubectl.ok("create -f lease.json");
    let (namespace, uid) =
        (&kubectl.namespace, kubectl.ok("get lease l -o jsonpath={.metadata.uid}"));
    let event = format!(
        "apiVersion: events.k8s.io/v1\nkind: Event\nmetadata: {{name: l.1}}\n\
         regarding: {{apiVersion: coordination.k8s.io/v1, kind: Lease, name: l, uid: {uid}, \
         namespace: {namespace}}}\nreason: LeaderElection\nnote: jane became leader\n\
         type: Normal\neventTime: 2026-01-01T00:00:00.000000Z\naction: Acquire\n\
         reportingController: incumbent\nreportingInstance: jane\n"
    );
    kubectl.file("event.yaml", &event);
    assert_eq!(kubectl.ok("create -f event.yaml"), "event.events.k8s.io/l.1 created\n");
    assert!(kubectl.ok("events --for lease/l").contains("jane became leader"));
    assert!(kubectl.ok("get events").contains("LeaderElection"));
    let described = kubectl.ok("describe lease l");
    assert!(described.contains("Holder Identity:"), "{described}");
    assert!(described.contains("jane became leader"), "{described}");
}

#[test]
fn everything_an_election_needs_can_be_created() {
    let Some(kubectl) = Kubectl::new("create") else { return };
    for (arguments, said) in [
        ("configmap blackboard --from-literal=leader=", "configmap/blackboard created\n"),
        ("serviceaccount s", "serviceaccount/s created\n"),
        (
            "role r --verb=get,update --resource=configmaps --resource-name=blackboard",
            "role.rbac.authorization.k8s.io/r created\n",
        ),
        (
            "rolebinding r --role=r --serviceaccount=default:s",
            "rolebinding.rbac.authorization.k8s.io/r created\n",
        ),
    ] {
        assert_eq!(kubectl.ok(&format!("create {arguments}")), said);
    }
    let rules = &kubectl.json("get role r")["rules"][0];
    assert_eq!(rules["resourceNames"][0], "blackboard");
    assert_eq!(rules["verbs"], serde_json::json!(["get", "update"]));
    assert_eq!(kubectl.json("get rolebinding r")["subjects"][0]["name"], "s");
    assert_eq!(kubectl.json("get configmap blackboard")["data"]["leader"], "");
    let again = kubectl.refused("create configmap blackboard");
    assert!(again.ends_with("configmaps \"blackboard\" already exists\n"), "{again}");
}

#[test]
fn a_replace_on_an_old_version_is_a_conflict() {
    let Some(kubectl) = Kubectl::new("replace") else { return };
    kubectl.file("c.yaml", &config_map("c", "1"));
    kubectl.ok("create -f c.yaml");
    kubectl.file("seen.yaml", &kubectl.ok("get configmap c -o yaml"));
    kubectl.file("c.yaml", &config_map("c", "2"));
    assert_eq!(kubectl.ok("replace -f c.yaml"), "configmap/c replaced\n");
    let refused = kubectl.refused("replace -f seen.yaml");
    assert!(refused.starts_with("Error from server (Conflict): error when replacing"), "{refused}");
    assert_eq!(kubectl.ok("get configmap c -o jsonpath={.data.x}"), "2");
}

#[test]
fn apply_sends_what_changed_and_takes_away_what_is_gone() {
    let Some(kubectl) = Kubectl::new("apply") else { return };
    kubectl.file("c.yaml", &format!("{}  z: \"1\"\n", config_map("c", "1")));
    assert_eq!(kubectl.ok("apply -f c.yaml"), "configmap/c created\n");
    assert_eq!(kubectl.ok("apply -f c.yaml"), "configmap/c unchanged\n");
    kubectl.file("c.yaml", &config_map("c", "2"));
    let difference = kubectl.run("diff -f c.yaml");
    assert_eq!(difference.code, 1, "{difference:?}");
    assert!(difference.stdout.contains("\n-  x: \"1\"\n"), "{}", difference.stdout);
    assert!(difference.stdout.contains("\n+  x: \"2\"\n"), "{}", difference.stdout);
    assert_eq!(kubectl.ok("apply -f c.yaml"), "configmap/c configured\n");
    assert_eq!(kubectl.ok("get configmap c -o jsonpath={.data}"), r#"{"x":"2"}"#);
}

#[test]
fn containers_are_applied_one_by_one_and_fields_explained() {
    let Some(kubectl) = Kubectl::new("pods") else { return };
    let pod = |image: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  \
             - {{name: a, image: {image}}}\n  - {{name: b, image: other}}\n"
        )
    };
    kubectl.file("pod.yaml", &pod("x:1"));
    assert_eq!(kubectl.ok("apply -f pod.yaml"), "pod/p created\n");
    kubectl.file("pod.yaml", &pod("x:2"));
    assert_eq!(kubectl.ok("apply -f pod.yaml"), "pod/p configured\n");
    assert_eq!(kubectl.ok("get pod p -o jsonpath={.spec.containers[*].image}"), "x:2 other");
    let explained = kubectl.ok("explain pod.spec.containers.image");
    assert!(explained.contains("FIELD: image <string>"), "{explained}");
}

#[test]
fn server_side_apply_knows_whose_field_it_is() {
    let Some(kubectl) = Kubectl::new("server-side") else { return };
    kubectl.file("c.yaml", &format!("{}  z: \"1\"\n", config_map("c", "1")));
    let apply = |more: &str| format!("apply --server-side -f c.yaml {more}");
    assert_eq!(kubectl.ok(&apply("")), "configmap/c serverside-applied\n");
    kubectl.file("c.yaml", &config_map("c", "2"));
    let refused = kubectl.refused(&apply("--field-manager other"));
    let said = "error: Apply failed with 1 conflict: conflict with \"kubectl\": .data.x\n";
    assert!(refused.starts_with(said), "{refused}");
    kubectl.ok(&apply("--field-manager other --force-conflicts"));
    assert_eq!(kubectl.ok("get configmap c -o jsonpath={.data}"), r#"{"x":"2","z":"1"}"#);
    kubectl.ok(&apply(""));
    assert_eq!(kubectl.ok("get configmap c -o jsonpath={.data}"), r#"{"x":"2"}"#);
}

#[test]
fn one_who_applied_in_the_client_may_go_over_to_the_server() {
    let Some(kubectl) = Kubectl::new("upgrade") else { return };
    kubectl.file("c.yaml", &format!("{}  z: \"1\"\n", config_map("c", "1")));
    kubectl.ok("apply -f c.yaml");
    kubectl.file("c.yaml", &config_map("c", "2"));
    kubectl.ok("apply --server-side -f c.yaml");
    assert_eq!(kubectl.ok("get configmap c -o jsonpath={.data}"), r#"{"x":"2"}"#);
}

#[test]
fn patches_of_all_kinds_annotations_labels_and_edits_change_an_object() {
    let Some(kubectl) = Kubectl::new("change") else { return };
    kubectl.ok("create configmap c --from-literal=x=1");
    for (kind, patch, x) in [
        ("merge", r#"{"data": {"x": "2"}}"#, "2"),
        ("strategic", r#"{"data": {"x": "3"}}"#, "3"),
        ("json", r#"[{"op": "replace", "path": "/data/x", "value": "4"}]"#, "4"),
    ] {
        let arguments = format!("patch configmap c --type {kind} -p");
        assert_eq!(kubectl.ok_with(&arguments, &[patch]), "configmap/c patched\n");
        assert_eq!(kubectl.ok("get configmap c -o jsonpath={.data.x}"), x);
    }
    assert_eq!(kubectl.ok("annotate configmap c note=n"), "configmap/c annotated\n");
    assert_eq!(kubectl.ok("label configmap c app=x"), "configmap/c labeled\n");
    let mut edit = kubectl.command("edit configmap c");
    let edited = edit.env("EDITOR", "sed -i 's/x: \"4\"/x: \"5\"/'").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&edited.stdout), "configmap/c edited\n");
    let object = kubectl.json("get configmap c");
    assert_eq!(object["data"]["x"], "5");
    assert_eq!(object["metadata"]["annotations"]["note"], "n");
    assert_eq!(object["metadata"]["labels"]["app"], "x");
}

#[test]
fn deletes_take_one_some_or_all_and_wait_sees_it() {
    let Some(kubectl) = Kubectl::new("delete") else { return };
    kubectl.file("lease.json", LEASE);
    kubectl.ok("create -f lease.json");
    let met = kubectl.ok("wait lease/l --for=jsonpath={.spec.holderIdentity}=jane --timeout=9s");
    assert_eq!(met, "lease.coordination.k8s.io/l condition met\n");
    let wait = Following::start(kubectl.command("wait lease/l --for=delete --timeout=9s"));
    assert!(kubectl.ok("delete lease l").contains("\"l\" deleted"));
    assert!(wait.success());
    for name in ["a", "b", "c"] {
        kubectl.ok(&format!("create configmap {name}"));
    }
    kubectl.ok("label configmap a app=x");
    assert!(kubectl.ok("delete configmap -l app=x").contains("\"a\" deleted"));
    assert_eq!(kubectl.ok("get configmap -o name"), "configmap/b\nconfigmap/c\n");
    kubectl.ok("delete configmap --all");
    assert_eq!(kubectl.ok("get configmap -o name"), "");
}

#[test]
fn rights_are_told_and_a_token_is_somebody() {
    let Some(kubectl) = Kubectl::new("auth") else { return };
    let account = format!("system:serviceaccount:{}:s", kubectl.namespace);
    kubectl.ok("create serviceaccount s");
    kubectl.ok("create role r --verb=get --resource=leases --resource-name=l");
    kubectl.ok(&format!("create rolebinding r --role=r --serviceaccount={}:s", kubectl.namespace));
    assert_eq!(kubectl.ok("auth can-i delete leases"), "yes\n");
    let can = |what: &str| kubectl.run(&format!("auth can-i {what} --as {account}"));
    assert_eq!(can("get lease/l").stdout, "yes\n");
    let refused = can("delete lease/l");
    assert_eq!((refused.code, refused.stdout.as_str()), (1, "no\n"));
    let list = can("--list").stdout;
    let leases = list.lines().find(|line| line.starts_with("leases.coordination.k8s.io"));
    assert_eq!(words(leases.unwrap()), ["leases.coordination.k8s.io", "[]", "[l]", "[get]"]);
    assert!(kubectl.ok("auth whoami").contains("system:masters"));
    let question = format!(
        r#"{{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec":
            {{"user": "{account}", "resourceAttributes": {{"verb": "get", "name": "l",
            "group": "coordination.k8s.io", "resource": "leases", "namespace": "{}"}}}}}}"#,
        kubectl.namespace
    );
    kubectl.file("question.json", &question);
    assert_eq!(kubectl.json("create -f question.json")["status"]["allowed"], true);
    let token = kubectl.ok("create token s --duration 20m");
    kubectl.file("kubeconfig", &kubectl.ok("config view --raw --minify --flatten"));
    let as_account = |arguments: &str| {
        let mut command = kubectl.command(arguments);
        command.env("KUBECONFIG", kubectl.folder().join("kubeconfig"));
        command.output().unwrap()
    };
    let user = kubectl.ok("config view --minify -o jsonpath={.users[0].name}");
    as_account(&format!("config set users.{user}.token {}", token.trim()));
    let who = as_account("auth whoami");
    assert!(String::from_utf8_lossy(&who.stdout).contains(&account), "{who:?}");
    let refused = as_account("get configmaps");
    let said = format!("User \"{account}\" cannot list resource \"configmaps\"");
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&said), "{refused:?}");
}

#[test]
fn unknown_fields_are_refused_or_warned_of_and_a_dry_run_changes_nothing() {
    let Some(kubectl) = Kubectl::new("validation") else { return };
    kubectl.file("c.yaml", &config_map("c", "1").replace("\ndata", "\ndta"));
    let refused = kubectl.refused("create -f c.yaml");
    assert!(refused.contains("strict decoding error: unknown field \"dta\""), "{refused}");
    let warned = kubectl.run("create --validate=warn -f c.yaml");
    assert_eq!((warned.code, warned.stdout.as_str()), (0, "configmap/c created\n"));
    assert_eq!(warned.stderr, "Warning: unknown field \"dta\"\n");
    let dry = kubectl.ok("create configmap d --dry-run=server");
    assert_eq!(dry, "configmap/d created (server dry run)\n");
    assert!(kubectl.refused("get configmap d").contains("NotFound"));
}
