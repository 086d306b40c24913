//! The blackboard, word for word, with the real kubectl and the real curl.
//!
//! Against `incumbent dev-server`, or any cluster that `INCUMBENT_TEST_KUBECONFIG` names.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::kubectl::Kubectl;

/// First come, first served: two act on what both have read.
#[test]
fn of_john_and_jane_who_read_the_same_only_the_first_to_replace_leads() {
    let Some(kubectl) = Kubectl::new("blackboard") else { return };
    let created = kubectl.ok("create configmap blackboard --from-literal=leader=");
    assert_eq!(created, "configmap/blackboard created\n");
    let read = |file: &str| {
        let yaml = kubectl.ok("get configmap blackboard -o yaml");
        kubectl.file(file, &yaml);
        yaml
    };
    let (john, jane) = (read("john1.yaml"), read("jane1.yaml"));
    assert!(john.contains("\n  leader: \"\"\n"), "{john}");
    let before = version(&john);
    assert_eq!(before, version(&jane));

    let claim = |yaml: &str, name: &str| yaml.replace("leader: \"\"", &format!("leader: {name}"));
    kubectl.file("jane1.yaml", &claim(&jane, "jane"));
    assert_eq!(kubectl.ok("replace -f jane1.yaml"), "configmap/blackboard replaced\n");

    kubectl.file("john1.yaml", &claim(&john, "john"));
    assert_eq!(
        kubectl.refused("replace -f john1.yaml"),
        "Error from server (Conflict): error when replacing \"john1.yaml\": Operation cannot be \
         fulfilled on configmaps \"blackboard\": the object has been modified; please apply your \
         changes to the latest version and try again\n"
    );
    let john = read("john2.yaml");
    assert!(john.contains("\n  leader: jane\n"), "{john}");
    assert!(version(&john) > before, "{john}");
}

/// The same as from inside of a Pod, which may get and update this one ConfigMap and nothing else.
#[test]
fn from_a_pod_the_blackboard_can_be_read_and_replaced_and_nothing_else() {
    let Some(kubectl) = Kubectl::new("blackboard-pod") else { return };
    if Command::new("curl").arg("--version").output().is_err() {
        return support::peers::missing("curl", "was not found");
    }
    kubectl.ok("create configmap blackboard");
    kubectl.file("rbac.yaml", &RBAC.replace("$NAMESPACE", &kubectl.namespace));
    assert_eq!(
        kubectl.ok("apply -f rbac.yaml"),
        "serviceaccount/blackboard created\n\
         role.rbac.authorization.k8s.io/blackboard created\n\
         rolebinding.rbac.authorization.k8s.io/blackboard created\n"
    );
    kubectl.file("pod.yaml", POD);
    assert_eq!(kubectl.ok("apply -f pod.yaml"), "pod/blackboard-test created\n");
    let inside = Inside::new(&kubectl);
    let path = format!("/api/v1/namespaces/{}/configmaps/blackboard", inside.namespace());

    let (code, before) = inside.curl("GET", &path, None);
    assert_eq!(code, 200, "{before}");
    assert_eq!(before.get("data"), None);
    let claim = |name: &str| {
        let mut claim = before.clone();
        claim["data"] = json!({"leader": name});
        claim
    };
    let (code, replaced) = inside.curl("PUT", &path, Some(&claim("jane")));
    assert_eq!((code, &replaced["data"]["leader"]), (200, &json!("jane")), "{replaced}");
    let (code, status) = inside.curl("PUT", &path, Some(&claim("john")));
    assert_eq!(code, 409);
    assert_eq!(
        status,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Operation cannot be fulfilled on configmaps \"blackboard\": the object \
                        has been modified; please apply your changes to the latest version and \
                        try again",
            "reason": "Conflict", "details": {"name": "blackboard", "kind": "configmaps"},
            "code": 409,
        })
    );
    let (_, now) = inside.curl("GET", &path, None);
    assert_eq!(now["data"]["leader"], "jane");

    let all = format!("/api/v1/namespaces/{}/configmaps", inside.namespace());
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}});
    for (method, path, body) in [
        ("GET", all.clone(), None),
        ("POST", all.clone(), Some(&other)),
        ("DELETE", path.clone(), None),
        ("GET", format!("{all}/other"), None),
        ("PUT", format!("{all}/other"), Some(&other)),
        ("GET", path.replace("configmaps/blackboard", "pods"), None),
    ] {
        let (code, status) = inside.curl(method, &path, body);
        assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")), "{method} {path}");
    }
}

const RBAC: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: blackboard
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: blackboard
rules:
- apiGroups: [\"\"]
  resources: [\"configmaps\"]
  resourceNames: [\"blackboard\"]
  verbs: [\"get\", \"update\"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: blackboard
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: blackboard
subjects:
- kind: ServiceAccount
  name: blackboard
  namespace: $NAMESPACE
";

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: blackboard-test
spec:
  serviceAccountName: blackboard
  containers:
  - name: blackboard-test
    image: docker.io/ubuntu:latest
    command: [\"sleep\", \"infinity\"]
";

fn version(yaml: &str) -> u64 {
    let line = yaml.lines().find_map(|line| line.trim().strip_prefix("resourceVersion: "));
    line.unwrap().trim_matches('"').parse().unwrap()
}

/// What a Pod has: the address, and the files of its service account.
struct Inside {
    server: String,
    folder: PathBuf,
}

impl Inside {
    fn new(kubectl: &Kubectl) -> Self {
        let cluster = |field: &str| {
            let template =
                format!("go-template={{{{with index .clusters 0}}}}{{{{{field}}}}}{{{{end}}}}");
            kubectl.ok_with("config view --raw --minify --flatten -o", &[&template])
        };
        let ca = cluster("index .cluster \"certificate-authority-data\" | base64decode");
        kubectl.file("ca.crt", &ca);
        kubectl.file("token", kubectl.ok("create token blackboard").trim());
        kubectl.file("namespace", &kubectl.namespace);
        Self { server: cluster(".cluster.server"), folder: kubectl.folder().to_owned() }
    }

    fn namespace(&self) -> String {
        read(&self.folder.join("namespace"))
    }

    /// The HTTP status code and the body of the answer.
    fn curl(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let token = read(&self.folder.join("token"));
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--request", method])
            .arg("--cacert")
            .arg(self.folder.join("ca.crt"))
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(["--write-out", "\n%{http_code}"]);
        if let Some(body) = body {
            curl.args(["--header", "Content-Type: application/json"]);
            curl.args(["--data", &body.to_string()]);
        }
        let output = curl.arg(format!("{}{path}", self.server)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, code) = text.rsplit_once('\n').unwrap();
        (code.parse().unwrap(), serde_json::from_str(body).unwrap())
    }
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}
