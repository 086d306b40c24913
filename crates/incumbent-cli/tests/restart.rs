//! Containers whose program leads, crashes, and is started again: with the kernel's own namespaces, and
//! mounts as the kubelet makes them.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Candidate, Cluster, peers};

/// With a lease of ten minutes, no test waits for its end.
const ELECT: &str = "elect --lock lease/scanner --lease-duration 600s --identity";

/// A Pod as its node sees it: the kubelet's folder, and the pause process that holds the namespaces.
struct Pod {
    uid: String,
    folder: tempfile::TempDir,
    pause: Child,
}

/// Which process is the first in the PID namespace of a container.
#[derive(Clone, Copy)]
enum Pid1 {
    ItsOwn,
    /// `shareProcessNamespace`
    ThePauseProcess,
    /// `hostPID`
    TheNodesInit,
}

/// What the kubelet does for each container but to start its process.
const MOUNT: &str = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";

impl Pod {
    /// `None` where this may not be made.
    fn start(uid: &str) -> Option<Self> {
        let namespaces = ["--ipc", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"];
        let unshare = |command: &str| {
            let mut pause = Command::new("unshare");
            pause.args(namespaces).args(["sh", "-c", command]).stdin(Stdio::null());
            pause
        };
        let is_allowed = unshare("true").output();
        if !is_allowed.is_ok_and(|output| output.status.success()) {
            peers::missing("a PID namespace", "making one needs root and util-linux");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let pause = format!("touch {}; while :; do sleep 3600; done", ready.display());
        let pause = unshare(&pause).spawn().unwrap();
        until("the sandbox is there", || ready.exists().then_some(()));
        Some(Self { uid: uid.to_owned(), folder, pause })
    }

    /// The kubelet's file for the termination message of this start of a container.
    fn message_file(&self, container: &str, start: &str) -> PathBuf {
        let (folder, uid) = (self.folder.path().display(), &self.uid);
        format!("{folder}/pods/{uid}/containers/{container}/{start}").into()
    }

    /// The command as a process of this start of the container `app`.
    fn app(&self, start: &str, first: Pid1, command: Command) -> Candidate {
        self.container("app", start, first, command)
    }

    fn container(&self, name: &str, start: &str, first: Pid1, command: Command) -> Candidate {
        let (file, point) = (self.message_file(name, start), self.folder.path().join("message"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::OpenOptions::new().create(true).append(true).open(&file).unwrap();
        std::fs::write(&point, "").unwrap();
        // `unshare` is the first process of its new IPC namespace, and not of its new PID namespace.
        let pause = self.pause.id().to_string();
        let sandbox = format!("--ipc=/proc/{pause}/ns/ipc");
        let shared = format!("--pid=/proc/{pause}/ns/pid_for_children");
        let mut inside = Command::new("nsenter");
        inside.arg(sandbox);
        let own: &[&str] = match first {
            Pid1::ItsOwn => &["--pid", "--fork", "--kill-child", "--mount", "--mount-proc"],
            Pid1::ThePauseProcess => &["--mount", "--mount-proc"],
            Pid1::TheNodesInit => &["--mount"],
        };
        if let Pid1::ThePauseProcess = first {
            inside.arg(shared);
        }
        inside.arg("unshare").args(own).args(["sh", "-c", MOUNT, "sh"]);
        inside.arg(file).arg(point).arg(command.get_program()).args(command.get_args());
        inside.stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        Candidate::start(inside)
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.pause.kill();
        let _ = self.pause.wait();
    }
}

fn until<T>(what: &str, is_so: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(40);
    while Instant::now() < deadline {
        if let Some(found) = is_so() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within 40 s: {what}");
}

fn elect(cluster: &Cluster, identity: &str) -> Command {
    cluster.command(&format!("{ELECT} {identity}"))
}

/// Somebody at the API: the test, and in it the kubelet.
struct Api {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
}

impl Api {
    fn of(cluster: &Cluster) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connect = incumbent::Connect::default().kubeconfig(cluster.kubeconfig());
        let client = runtime.block_on(connect.client()).unwrap();
        Self { runtime, client }
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Value {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("Content-Type", "application/merge-patch+json");
        let request = request.body(body.to_string().into_bytes()).unwrap();
        self.runtime.block_on(self.client.request(request)).unwrap()
    }

    fn lock(&self) -> Value {
        let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/scanner";
        self.request("GET", path, &Value::Null)
    }

    /// What the leader says of its container.
    fn container(&self) -> Value {
        let term = self.lock()["metadata"]["annotations"]["incumbent.dev/term"].clone();
        let term: Value = serde_json::from_str(term.as_str().unwrap()).unwrap();
        term["container"].clone()
    }

    fn waits(&self, identity: &str) -> bool {
        let line = self.lock()["metadata"]["annotations"]["incumbent.dev/waitlist"].clone();
        line.as_str().is_some_and(|line| line.contains(identity))
    }
}

#[test]
fn a_container_that_is_started_again_takes_over_from_itself_long_before_the_lease_ends() {
    let cluster = Cluster::start();
    let Some(pod) = Pod::start("0b2f-uid") else { return };
    let mut first = pod.app("6f1c9d02", Pid1::ItsOwn, elect(&cluster, "app-0"));
    let before = first.event("leading");
    first.kill();
    let mut second = pod.app("77aa0011", Pid1::ItsOwn, elect(&cluster, "app-0"));
    let after = second.event("leading");
    assert!(after["token"].as_u64() > before["token"].as_u64());
}

#[test]
fn where_process_1_is_not_the_containers_own_a_leader_names_no_start() {
    for first in [Pid1::ThePauseProcess, Pid1::TheNodesInit] {
        let cluster = Cluster::start();
        let Some(pod) = Pod::start("0b2f-uid") else { return };
        let mut command = elect(&cluster, "app-0");
        command.arg("--kubelet-reports").env("POD_NAME", "app-0");
        pod.app("6f1c9d02", first, command).event("leading");
        let container = Api::of(&cluster).container();
        assert_eq!(container["name"], "app", "{container}");
        assert_eq!((&container["start"], &container["report"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn two_pid_namespaces_in_one_container_are_one_start_and_two_sandboxes_are_two() {
    let start_in = |pod: &Pod, start| {
        let cluster = Cluster::start();
        pod.app(start, Pid1::ItsOwn, elect(&cluster, "app-0")).event("leading");
        Api::of(&cluster).container()["start"].clone()
    };
    let Some(pod) = Pod::start("0b2f-uid") else { return };
    let (first, second) = (start_in(&pod, "6f1c9d02"), start_in(&pod, "6f1c9d02"));
    assert!(second["ticks"].as_u64() > first["ticks"].as_u64(), "{first} {second}");
    assert_eq!((&first["file"], &first["sandbox"]), (&second["file"], &second["sandbox"]));
    // Both Pods live, so that the kernel cannot give one number to both.
    let after_its_runtime_was_wiped = Pod::start("0b2f-uid").unwrap();
    let third = start_in(&after_its_runtime_was_wiped, "77aa0011");
    assert_eq!(first["bootId"], third["bootId"]);
    assert_ne!(first["sandbox"], third["sandbox"]);
}

#[test]
fn the_mark_of_a_leader_that_crashed_lets_another_take_over_by_the_kubelets_report() {
    let cluster = Cluster::start();
    let created = cluster.server.create(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "app-0", "namespace": "default" },
        "spec": { "containers": [{ "name": "app", "image": "app" }] },
    }));
    let created = created.unwrap();
    let Some(pod) = Pod::start(created["metadata"]["uid"].as_str().unwrap()) else { return };
    // John says what he knows by his next renewal at the latest: in 25 s. Without a proof, nobody leads
    // for 50 s after his end, and nothing here waits for as long.
    let elect = |identity: &str| {
        let elect = "elect --lock lease/scanner --lease-duration 75s --kubelet-reports --identity";
        cluster.command(&format!("{elect} {identity}"))
    };
    let mut command = elect("john");
    command.env("POD_NAME", "app-0").env("POD_NAMESPACE", "default");
    let mut john = pod.app("6f1c9d02", Pid1::ItsOwn, command);
    john.event("leading");
    let api = Api::of(&cluster);
    let mark = until("john leaves his mark", || message_of(&pod));
    let mut jane = Candidate::start(elect("jane"));
    until("jane waits", || api.waits("jane").then_some(()));
    until("john says so", || (!api.container()["report"].is_null()).then_some(()));
    john.kill();
    let over = json!({ "exitCode": 137, "reason": "Error", "message": mark });
    let status = json!({ "containerStatuses": [{
        "name": "app", "image": "app", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "terminated": over },
    }] });
    let path = "/api/v1/namespaces/default/pods/app-0/status";
    api.request("PATCH", path, &json!({ "status": status }));
    jane.event("leading");
}

fn message_of(pod: &Pod) -> Option<String> {
    let message = std::fs::read_to_string(pod.message_file("app", "6f1c9d02")).unwrap();
    (!message.is_empty()).then_some(message)
}

#[test]
fn a_sidecar_says_nothing_of_its_container_because_the_application_is_in_another() {
    let cluster = Cluster::start();
    let Some(pod) = Pod::start("0b2f-uid") else { return };
    let mut command = cluster.command("sidecar --lock lease/scanner --identity app-0 --listen");
    command.arg(format!("unix:{}", path(&pod, "socket").display()));
    let _sidecar = pod.container("incumbent", "6f1c9d02", Pid1::ItsOwn, command);
    let api = Api::of(&cluster);
    let leads = || cluster.run("get lease/scanner -o json").stdout.contains("app-0");
    until("it leads", || leads().then_some(()));
    assert_eq!(api.container(), Value::Null);
}

/// Otherwise the member would take its seat back, and start its tasks again, while the application still runs them.
#[test]
fn a_sidecar_of_a_group_says_nothing_of_its_container_either() {
    let cluster = Cluster::start();
    let Some(pod) = Pod::start("0b2f-uid") else { return };
    let mut command = cluster.command("sidecar --group jobs --tasks a --member app-0 --listen");
    command.arg(format!("unix:{}", path(&pod, "socket").display()));
    let _sidecar = pod.container("incumbent", "6f1c9d02", Pid1::ItsOwn, command);
    for lease in ["jobs.app-0", "jobs"] {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/default/leases/{lease}");
        let term = until("it holds the lease", || {
            let lease = cluster.stored(&path)?;
            let term = lease["metadata"]["annotations"]["incumbent.dev/term"].as_str()?.to_owned();
            Some(term).filter(|term| term.contains("app-0"))
        });
        assert!(!term.contains("6f1c9d02") && !term.contains("container"), "{term}");
    }
}

fn path(pod: &Pod, name: &str) -> PathBuf {
    Path::new(pod.folder.path()).join(name)
}
