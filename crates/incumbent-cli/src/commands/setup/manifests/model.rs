//! What a workload needs in the cluster: one source for plain YAML, the kustomize component and the chart.

use super::yaml::{Node, Part, Switch, item, list, map, part, text, texts};

/// One object, and the file that it is in where each has a separate file.
pub(super) struct Document {
    pub(super) file: &'static str,
    pub(super) only: Option<Switch>,
    pub(super) object: Node,
}

/// How the workload takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Usage {
    /// It is written in Rust, and uses the library
    Library,
    /// `incumbent run` starts its command while it leads; its image has the binary `incumbent`
    Run,
    /// `incumbent work` starts its command for each task of a group that its Pod owns; its image has the binary `incumbent`
    Work,
    /// `incumbent sidecar` runs beside it, and answers over HTTP who leads, or who owns which task
    Sidecar,
}

/// What the workload takes part in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Contest<'a> {
    /// The election of a leader.
    Lock,
    /// A group, with the flag that says what its tasks are.
    Group(&'a str),
}

/// All objects of the candidates for a lock, in the order in which to create them.
pub(super) fn documents(usage: Usage, command: &[String]) -> Vec<Document> {
    let of = |file, only, object| Document { file, only, object };
    vec![
        of("account", Some(Switch::Account), account()),
        of("role", None, role(lock_rules())),
        of("role-binding", None, role_binding()),
        of("lock", Some(Switch::PreCreate), lock()),
        of("priority-level", Some(Switch::FlowSchema), priority_level()),
        of("flow-schema", Some(Switch::FlowSchema), flow_schema(lock_flows())),
        of(
            "deployment",
            Some(Switch::Workload),
            deployment(None, pod(usage, Contest::Lock, command)),
        ),
    ]
}

fn object<const N: usize>(version: &str, kind: &str, metadata: Node, rest: [Part; N]) -> Node {
    let head = [part("apiVersion", text(version)), part("kind", text(kind))];
    let parts = head.into_iter().chain([part("metadata", metadata)]).chain(rest);
    Node::Map(parts.collect())
}

fn named(name: &str) -> Node {
    map([part("name", text(name)), namespace()])
}

fn namespace() -> Part {
    part("namespace", text("<namespace>")).only(Switch::Namespace)
}

pub(super) fn account() -> Node {
    let token = part("automountServiceAccountToken", Node::Bool(false))
        .note("A Pod that needs the token asks for it, as those of the Deployment do.");
    object("v1", "ServiceAccount", named("<account>"), [token])
}

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn role(rules: Vec<Part>) -> Node {
    let rules = part("rules", Node::List(rules));
    object("rbac.authorization.k8s.io/v1", "Role", named("<name>"), [rules])
}

fn lock_rules() -> Vec<Part> {
    vec![
        lock_rule(LEASES).only(Switch::Lease),
        create_rule(LEASES).only(Switch::CreateLease),
        lock_rule(CONFIG_MAPS).only(Switch::ConfigMap),
        create_rule(CONFIG_MAPS).only(Switch::CreateConfigMap),
        events_rule("Events on the lock, when a term begins and ends."),
        pods_rule(),
        slice_rule(),
        create_slice_rule(),
    ]
}

/// Group and resource.
pub(super) type Resource<'a> = (&'a str, &'a str);
const LEASES: Resource<'_> = ("coordination.k8s.io", "leases");
const CONFIG_MAPS: Resource<'_> = ("", "configmaps");
pub(super) const PODS: Resource<'_> = ("", "pods");

pub(super) fn rule((group, resource): Resource<'_>, names: &[&str], verbs: Node) -> Part {
    let mut parts = vec![part("apiGroups", texts([group])), part("resources", texts([resource]))];
    if !names.is_empty() {
        parts.push(part("resourceNames", texts(names.iter().copied())));
    }
    parts.push(part("verbs", verbs));
    item(Node::Map(parts))
}

fn lock_rule(resource: Resource<'_>) -> Part {
    let watch = item(text("watch")).only(Switch::Watch);
    let verbs = list([item(text("get")), item(text("update")), watch]);
    rule(resource, &["<lock>"], verbs).note(
        "The lock: to read, acquire and renew it. With a watch, waiting candidates do not poll.",
    )
}

fn create_rule(resource: Resource<'_>) -> Part {
    rule(resource, &[], texts(["create"])).note(
        "RBAC cannot limit create to a name. Without this rule, create the lock beforehand\n\
         (incumbent manifests --pre-create).",
    )
}

pub(super) fn events_rule(note: &'static str) -> Part {
    rule(("", "events"), &[], texts(["create"])).only(Switch::Events).note(note)
}

fn pods_rule() -> Part {
    let verbs = list([
        item(text("get")).only(Switch::Label),
        item(text("list")).only(Switch::Label),
        item(text("patch")).only(Switch::Label),
        item(text("watch")).only(Switch::KubeletReports),
    ]);
    rule(PODS, &[], verbs).only(Switch::Pods).note(
        "The Pods of the candidates: watch for what the kubelet reports of a dead leader,\n\
         get, list and patch for the leader's label. RBAC cannot limit patch to labels.",
    )
}

const SLICES: Resource<'_> = ("discovery.k8s.io", "endpointslices");

fn slice_rule() -> Part {
    rule(SLICES, &["<service>-leader"], texts(["get", "update"]))
        .only(Switch::EndpointSlice)
        .note("The leader's address, behind the Service.")
}

fn create_slice_rule() -> Part {
    rule(SLICES, &[], texts(["create"])).only(Switch::EndpointSlice)
}

pub(super) fn role_binding() -> Node {
    let subject =
        map([part("kind", text("ServiceAccount")), part("name", text("<account>")), namespace()]);
    let role = map([
        part("apiGroup", text(RBAC)),
        part("kind", text("Role")),
        part("name", text("<name>")),
    ]);
    let rest = [part("roleRef", role), part("subjects", list([item(subject)]))];
    object("rbac.authorization.k8s.io/v1", "RoleBinding", named("<name>"), rest)
}

fn lock() -> Node {
    let metadata = part("metadata", named("<lock>"));
    map([
        part("apiVersion", text("coordination.k8s.io/v1")).only(Switch::Lease),
        part("kind", text("Lease")).only(Switch::Lease),
        part("apiVersion", text("v1")).only(Switch::ConfigMap),
        part("kind", text("ConfigMap")).only(Switch::ConfigMap),
        metadata.note("Vacant. Applying it again changes nothing that the lock contains by then."),
    ])
}

const FLOW: &str = "flowcontrol.apiserver.k8s.io/v1";

pub(super) fn priority_level() -> Node {
    let queuing = map([
        part("queues", Node::Raw("16")),
        part("handSize", Node::Raw("4")),
        part("queueLengthLimit", Node::Raw("50")),
    ]);
    let response = map([part("type", text("Queue")), part("queuing", queuing)]);
    let limited = map([
        part("nominalConcurrencyShares", Node::Raw("10")).note(
            "As many as Kubernetes gives its own elections; half are lent while they are unused.",
        ),
        part("lendablePercent", Node::Raw("50")),
        part("limitResponse", response),
    ]);
    let spec = map([part("type", text("Limited")), part("limited", limited)]);
    let name = map([part("name", text("<flow>"))]);
    object(FLOW, "PriorityLevelConfiguration", name, [part("spec", spec)])
}

/// `flows` are the requests that it is for.
pub(super) fn flow_schema(flows: Vec<Part>) -> Node {
    let account = map([part("name", text("<account>")), part("namespace", text("<namespace>"))]);
    let subject = map([part("kind", text("ServiceAccount")), part("serviceAccount", account)]);
    let subjects = part("subjects", list([item(subject)]));
    let rules = map([subjects, part("resourceRules", Node::List(flows))]);
    let spec = map([
        part("priorityLevelConfiguration", map([part("name", text("<flow>"))])),
        part("matchingPrecedence", Node::Raw("1000"))
            .note("Before service-accounts, which is at 9000 and for all of them."),
        part("distinguisherMethod", map([part("type", text("ByUser"))])),
        part("rules", list([item(rules)])),
    ]);
    let name = map([part("name", text("<flow>"))]);
    object(FLOW, "FlowSchema", name, [part("spec", spec)])
}

fn lock_flows() -> Vec<Part> {
    let verbs = || texts(["create", "get", "update", "watch"]);
    vec![
        flow_rule(LEASES, verbs()).only(Switch::Lease),
        flow_rule(CONFIG_MAPS, verbs()).only(Switch::ConfigMap),
    ]
}

pub(super) fn flow_rule((group, resource): Resource<'_>, verbs: Node) -> Part {
    item(map([
        part("apiGroups", texts([group])),
        part("resources", texts([resource])),
        part("namespaces", texts(["<namespace>"])),
        part("verbs", verbs),
    ]))
}

/// With Kubernetes' own strategy for updates, if no other one is given.
pub(super) fn deployment(strategy: Option<Part>, pod: Node) -> Node {
    let label = || map([part("app.kubernetes.io/name", text("<name>"))]);
    let template = map([part("metadata", map([part("labels", label())])), part("spec", pod)]);
    let mut spec = vec![part("replicas", Node::Raw("<replicas>"))];
    spec.extend(strategy);
    spec.push(part("selector", map([part("matchLabels", label())])));
    spec.push(part("template", template));
    let metadata = map([part("name", text("<name>")), namespace(), part("labels", label())]);
    object("apps/v1", "Deployment", metadata, [part("spec", Node::Map(spec))])
}

pub(super) fn pod(usage: Usage, contest: Contest<'_>, command: &[String]) -> Node {
    let security = map([
        part("runAsNonRoot", Node::Bool(true)),
        part("seccompProfile", map([part("type", text("RuntimeDefault"))])),
    ]);
    let mut parts = vec![
        part("serviceAccountName", text("<account>")),
        part("automountServiceAccountToken", Node::Bool(true)),
        part("securityContext", security),
    ];
    if usage == Usage::Sidecar {
        parts.push(part("initContainers", list([item(sidecar(contest))])));
    }
    parts.push(part("containers", list([item(application(usage, contest, command))])));
    if needs_secret(usage, contest) {
        parts.push(secret_volume());
    }
    Node::Map(parts)
}

/// The container that stands beside the application: started before it, and ended after it.
fn sidecar(contest: Contest<'_>) -> Node {
    let memory = |size| map([part("memory", text(size))]);
    let requests = map([part("cpu", text("10m")), part("memory", text("16Mi"))]);
    let resources = map([part("requests", requests), part("limits", memory("64Mi"))]);
    let mut own = arguments("sidecar", contest);
    own.push(item(text("--label")).only(Switch::Label));
    own.push(item(text(format!("--probe-addr=0.0.0.0:{PROBES}"))));
    let port = map([part("name", text("probes")), part("containerPort", Node::Raw(PROBES))]);
    let patience =
        [part("periodSeconds", Node::Raw("1")), part("failureThreshold", Node::Raw("60"))];
    let rarely = [part("periodSeconds", Node::Raw("10")), part("failureThreshold", Node::Raw("6"))];
    let ends = match contest {
        Contest::Lock => {
            "A native sidecar: it stops after the application, and then releases the lock."
        }
        Contest::Group(_) => {
            "A native sidecar: it stops after the application, and then releases its tasks."
        }
    };
    let mut parts = vec![
        part("name", text("incumbent")),
        part("image", text("<incumbent>")),
        part("restartPolicy", text("Always")).note(ends),
        part("args", Node::List(own)),
        part("env", downward()),
        part("ports", list([item(port)])),
        part("startupProbe", probe("/startupz", patience))
            .note("The application starts when the sidecar has reached the API server."),
        part("livenessProbe", probe("/livez", rarely)),
        part("resources", resources),
        part("securityContext", security()),
    ];
    if needs_secret(Usage::Sidecar, contest) {
        parts.push(secret_mount());
    }
    Node::Map(parts)
}

/// Over TCP, an application that says that its work has stopped has to prove that it is this one.
fn needs_secret(usage: Usage, contest: Contest<'_>) -> bool {
    usage == Usage::Sidecar && matches!(contest, Contest::Group(_))
}

fn secret_volume() -> Part {
    let secret = map([part("secretName", text("<name>-sidecar"))]);
    let volume = map([part("name", text("sidecar")), part("secret", secret)]);
    part("volumes", list([item(volume)])).note(
        "What the application shows to the sidecar. Create it before: its key is `secret`, its value\n\
         at least 16 random characters.",
    )
}

fn secret_mount() -> Part {
    let mount = map([
        part("name", text("sidecar")),
        part("mountPath", text(SECRET_FOLDER)),
        part("readOnly", Node::Bool(true)),
    ]);
    part("volumeMounts", list([item(mount)]))
}

const SECRET_FOLDER: &str = "/run/incumbent";

/// The arguments that `run`, `work` and `sidecar` begin with.
fn arguments(command: &str, contest: Contest<'_>) -> Vec<Part> {
    let events = item(text("--events")).only(Switch::Events);
    let own = match contest {
        Contest::Lock => vec![item(text("--lock=<kind>/<lock><key>"))],
        Contest::Group(tasks) if command == "work" => {
            vec![item(text("<lock>")), item(Node::Exact(tasks.to_owned()))]
        }
        Contest::Group(tasks) => vec![
            item(text("--group=<lock>")),
            item(Node::Exact(tasks.to_owned())),
            item(text(format!("--token-file={SECRET_FOLDER}/secret"))),
        ],
    };
    std::iter::once(item(text(command))).chain(own).chain([events]).collect()
}

/// The kubelet asks from outside, where the application's port is not to be reached.
const PROBES: &str = "4041";

fn probe(path: &str, more: [Part; 2]) -> Node {
    let get = map([part("path", text(path)), part("port", text("probes"))]);
    Node::Map([part("httpGet", get)].into_iter().chain(more).collect())
}

fn application(usage: Usage, contest: Contest<'_>, command: &[String]) -> Node {
    let mut parts = vec![part("name", text("app")), part("image", text("<image>"))];
    let exact = |word: &String| item(Node::Exact(word.clone()));
    match usage {
        Usage::Run | Usage::Work => {
            let name = if usage == Usage::Run { "run" } else { "work" };
            let own = std::iter::once(item(text("incumbent"))).chain(arguments(name, contest));
            let reports = item(text("--kubelet-reports")).only(Switch::KubeletReports);
            let words = own.chain([reports, item(text("--"))]).chain(command.iter().map(exact));
            parts.push(part("command", Node::List(words.collect())));
        }
        Usage::Library | Usage::Sidecar if !command.is_empty() => {
            parts.push(part("command", Node::List(command.iter().map(exact).collect())));
        }
        Usage::Library | Usage::Sidecar => {}
    }
    let has_secret = needs_secret(usage, contest);
    parts.push(part(
        "env",
        match usage {
            Usage::Sidecar => Node::List(sidecar_env(has_secret)),
            _ => downward(),
        },
    ));
    parts.push(part("securityContext", security()));
    if has_secret {
        parts.push(secret_mount());
    }
    Node::Map(parts)
}

/// Where the application asks its sidecar, which is the sidecar's default address, and what it shows there.
fn sidecar_env(has_secret: bool) -> Vec<Part> {
    let of =
        |name, value: String| item(map([part("name", text(name)), part("value", text(value))]));
    let url = of("INCUMBENT_URL", "http://127.0.0.1:4040".to_owned());
    let secret = || of("INCUMBENT_SECRET_FILE", format!("{SECRET_FOLDER}/secret"));
    std::iter::once(url).chain(has_secret.then(secret)).collect()
}

/// Who this Pod is: for identities, labels and addresses.
fn downward() -> Node {
    let of = |name: &str, path: &str| {
        let field = map([part("fieldPath", text(path))]);
        let from = map([part("fieldRef", field)]);
        item(map([part("name", text(name)), part("valueFrom", from)]))
    };
    list([
        of("POD_NAME", "metadata.name"),
        of("POD_UID", "metadata.uid"),
        of("POD_NAMESPACE", "metadata.namespace"),
        of("POD_IP", "status.podIP"),
    ])
}

fn security() -> Node {
    map([
        part("allowPrivilegeEscalation", Node::Bool(false)),
        part("readOnlyRootFilesystem", Node::Bool(true)),
        part("capabilities", map([part("drop", texts(["ALL"]))])),
    ])
}

/// A patch for any Deployment: the sidecar, and the account whose rights it has.
pub(super) fn pod_with_sidecar() -> Node {
    let pod = map([
        part("serviceAccountName", text("<account>")),
        part("automountServiceAccountToken", Node::Bool(true)),
        part("initContainers", list([item(sidecar(Contest::Lock))])),
    ]);
    let spec = map([part("template", map([part("spec", pod)]))]);
    object("apps/v1", "Deployment", map([part("name", text("any"))]), [part("spec", spec)])
}
