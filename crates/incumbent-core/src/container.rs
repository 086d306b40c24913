//! Which container a process runs in, and what proves that this start of it has ended.
//!
//! Nothing here reads `/proc` or asks an API server: callers pass what those say as plain data. Each
//! rule names the deployment that would otherwise break it.

use std::fmt;

/// The container in which a process runs: one start of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Container {
    /// The uid of its Pod, as the kubelet on its node knows it.
    pub pod_uid: String,
    /// Its name in the Pod.
    pub name: String,
    /// Which start of it. `None` where the process cannot show that process 1 is the container's own:
    /// then nothing can prove the end of this start.
    pub start: Option<ContainerStart>,
    /// Where the kubelet reports the end of this start. `None` where it cannot.
    pub report: Option<ContainerReport>,
}

/// One start of a container, as its node distinguishes it from all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerStart {
    /// The kernel's name for its own start: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The Pod's sandbox: the inode of the IPC namespace that all containers of the Pod share.
    pub sandbox: u64,
    /// The file for the termination message. The kubelet makes a new one for each start.
    pub file: String,
    /// Clock ticks from the start of the kernel to that of process 1: field 22 of `/proc/1/stat`.
    pub ticks: u64,
}

/// Where the kubelet reports the end of one start of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerReport {
    /// The namespace of the Pod.
    pub namespace: String,
    /// The name of the Pod.
    pub pod: String,
    /// What this start has written into its termination message.
    pub mark: Mark,
}

/// A random number that one start of a container leaves in its file for the termination message.
///
/// The kubelet reads that file when the container has terminated, and only then. So a report that
/// shows the mark is about this very start: no clock, name or id has to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark(pub u128);

/// What the kernel shows to a process of where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Surroundings {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The inode of the process's IPC namespace.
    pub ipc_namespace: u64,
    /// The kubelet's files for termination messages among the process's mounts.
    pub own_files: Vec<MessageFile>,
    /// Those among the mounts of process 1. Empty where they cannot be read.
    pub first_files: Vec<MessageFile>,
    /// When process 1 started: field 22 of `/proc/1/stat`.
    pub first_ticks: u64,
}

/// A kubelet's file for the termination message of one start of a container, by its path
/// `.../pods/UID/containers/NAME/FILE`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MessageFile {
    /// The uid of the Pod.
    pub pod_uid: String,
    /// The name of the container.
    pub container: String,
    /// The file; each start has another.
    pub file: String,
}

/// The termination of a container, as the status of a Pod states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Termination<'a> {
    /// The uid of the Pod in the API.
    pub pod_uid: &'a str,
    /// Whether the Pod mirrors a static one, whose uid the API server did not assign.
    pub is_mirror: bool,
    /// The name of the container.
    pub container: &'a str,
    /// Why it has ended.
    pub reason: &'a str,
    /// The termination message.
    pub message: &'a str,
}

impl Container {
    /// The container that a process runs in. `None` where the kernel shows none, or more than one.
    pub fn seen(surroundings: Surroundings) -> Option<Self> {
        let start = surroundings.start();
        let MessageFile { pod_uid, container: name, .. } = only(surroundings.own_files)?;
        Some(Self { pod_uid, name, start, report: None })
    }

    /// Whether this is a later start of the same container: then the earlier one has ended, with all
    /// processes in it, because the kubelet starts a container again only after it has ended, and the kernel
    /// ends all processes of a PID namespace together with its first.
    pub fn succeeds(&self, earlier: &Self) -> bool {
        let (Some(own), Some(before)) = (&self.start, &earlier.start) else { return false };
        if self.pod_uid != earlier.pod_uid {
            return false;
        }
        // The containers of one Pod live side by side.
        if self.name != earlier.name {
            return false;
        }
        // A static Pod can have one uid on several nodes; and a node may have been replaced while the old
        // machine still runs.
        if own.boot_id != before.boot_id {
            return false;
        }
        // Two kubelets can share a kernel; and a container runtime that has lost its state starts all
        // containers again, beside those that still run.
        if own.sandbox != before.sandbox {
            return false;
        }
        // Two processes of one start, also where each has made a PID namespace of its own.
        if own.file == before.file {
            return false;
        }
        own.ticks > before.ticks
    }

    /// Whether a status proves that this start has ended, with all processes in it.
    ///
    /// It stays true for ever, so that an old copy of the status cannot mislead.
    pub fn has_ended(&self, told: &Termination<'_>) -> bool {
        let Some(report) = &self.report else { return false };
        // Processes of this container may outlive it.
        if self.start.is_none() {
            return false;
        }
        // It is another Pod of that name.
        if told.pod_uid != self.pod_uid {
            return false;
        }
        // The uid is one that a file on some node gives to a static Pod.
        if told.is_mirror {
            return false;
        }
        if told.container != self.name {
            return false;
        }
        // The kubelet has lost sight of the container, which may run.
        if told.reason == "ContainerStatusUnknown" {
            return false;
        }
        told.message.contains(&report.mark.to_string())
    }
}

impl Surroundings {
    /// Which start of its container the process is in.
    fn start(&self) -> Option<ContainerStart> {
        let own = only(self.own_files.clone())?;
        // With `shareProcessNamespace` process 1 is the Pod's pause process, with `hostPID` the node's init,
        // in an ephemeral container with a target it is the target's. They and others may outlive the
        // container.
        if only(self.first_files.clone()).as_ref() != Some(&own) {
            return None;
        }
        // `hostIPC`: it names no sandbox.
        if self.ipc_namespace == NODES_IPC_NAMESPACE {
            return None;
        }
        let boot_id = Some(&self.boot_id).filter(|id| !id.is_empty())?.clone();
        let (sandbox, ticks) = (self.ipc_namespace, self.first_ticks);
        Some(ContainerStart { boot_id, sandbox, file: own.file, ticks })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "incumbent.dev/start={:032x}", self.0)
    }
}

fn only(files: Vec<MessageFile>) -> Option<MessageFile> {
    let mut files = files.into_iter();
    let first = files.next()?;
    files.all(|file| file == first).then_some(first)
}

/// `PROC_IPC_INIT_INO` of Linux, on every machine.
const NODES_IPC_NAMESPACE: u64 = 0xEFFF_FFFF;
