//! Proofs that a holder's process has ended, in every shape in which containers are deployed: what each
//! shape shows, and why that proves a death or nothing.
//!
//! "Before" is the holder, as its record says where it runs. "After" is the candidate that looks at it.

use incumbent_core::{Container, ContainerReport, Mark, MessageFile, Surroundings, Termination};

/// What the kernel shows in a Pod of its own, in the start of the container `app` whose process 1 began
/// so many ticks after the kernel.
fn app(ticks: u64) -> Surroundings {
    let file = message_file(UID, "app", &format!("file-{ticks}"));
    Surroundings {
        boot_id: "b-1".to_owned(),
        ipc_namespace: 4_026_532_178,
        own_files: vec![file.clone()],
        first_files: vec![file],
        first_ticks: ticks,
    }
}

/// As the API server assigns them.
const UID: &str = "3f0d2c52-8f3e-4d0c-9d55-0f3c5f1b7a10";

fn message_file(pod_uid: &str, container: &str, file: &str) -> MessageFile {
    let [pod_uid, container, file] = [pod_uid, container, file].map(str::to_owned);
    MessageFile { pod_uid, container, file }
}

/// Whether `after` takes over from `before` without a report.
fn succeeds(after: Surroundings, before: Surroundings) -> bool {
    let [after, before] = [after, before].map(|shown| Container::seen(shown).unwrap());
    after.succeeds(&before)
}

fn in_container(name: &str, ticks: u64) -> Surroundings {
    let file = message_file(UID, name, &format!("{name}-{ticks}"));
    Surroundings { own_files: vec![file.clone()], first_files: vec![file], ..app(ticks) }
}

/// Process 1 belongs to something else, and is as old as that.
fn beside_another_first_process(ticks: u64, first_ticks: u64) -> Surroundings {
    Surroundings { first_files: Vec::new(), first_ticks, ..app(ticks) }
}

const MARK: Mark = Mark(0x0f8e_2a61_c4d9_4b7e_a3b5_d2c1_908f_7e6d);

/// The holder, with its mark in its termination message.
fn reported(shown: Surroundings) -> Container {
    let [namespace, pod] = ["default", "app-0"].map(str::to_owned);
    let report = Some(ContainerReport { namespace, pod, mark: MARK });
    Container { report, ..Container::seen(shown).unwrap() }
}

fn message() -> String {
    format!("\n{MARK}\n")
}

fn terminated(message: &str) -> Termination<'_> {
    Termination { pod_uid: UID, is_mirror: false, container: "app", reason: "Error", message }
}

// One container in a Pod of its own.

#[test]
fn a_later_start_of_a_container_proves_the_end_of_the_earlier() {
    assert!(succeeds(app(200), app(100)));
}

#[test]
fn a_report_with_the_mark_of_a_start_proves_its_end() {
    assert!(reported(app(100)).has_ended(&terminated(&message())));
}

#[test]
fn a_mark_is_found_beside_what_the_runtime_and_the_program_have_written() {
    let message = format!("cannot say why: half a line{}and more", message());
    assert!(reported(app(100)).has_ended(&terminated(&message)));
}

#[test]
fn an_earlier_start_or_the_same_proves_nothing() {
    assert!(!succeeds(app(100), app(200)));
    assert!(!succeeds(app(100), app(100)));
}

#[test]
fn a_report_of_the_start_before_proves_nothing_whatever_the_wall_clock_says() {
    let before = format!("\n{}\n", Mark(7));
    assert!(!reported(app(200)).has_ended(&terminated(&before)));
    assert!(!reported(app(200)).has_ended(&terminated("")));
}

#[test]
fn a_mark_that_was_cut_off_or_that_the_program_has_overwritten_proves_nothing() {
    let message = message();
    for cut in [&message[..message.len() - 2], &message[20..], "panicked at src/main.rs"] {
        assert!(!reported(app(100)).has_ended(&terminated(cut)), "{cut:?}");
    }
}

// Process 1 is not the container's own: what it shows says nothing of the container, and when the container
// has ended, the kernel has not ended all of its processes.

#[test]
fn with_a_shared_pid_namespace_nothing_is_proved() {
    let shared = |ticks| beside_another_first_process(ticks, ticks);
    assert!(!succeeds(shared(200), shared(100)));
    assert!(!succeeds(app(200), shared(100)));
    assert!(!reported(shared(100)).has_ended(&terminated(&message())));
}

#[test]
fn with_the_nodes_pid_namespace_nothing_is_proved() {
    let host = |ticks| beside_another_first_process(ticks, 1);
    assert!(!succeeds(host(200), host(100)));
    assert!(!reported(host(100)).has_ended(&terminated(&message())));
}

#[test]
fn in_an_ephemeral_container_with_a_target_nothing_is_proved() {
    let target = message_file(UID, "app", "file-100");
    let debugger = Surroundings { first_files: vec![target], ..in_container("debugger", 300) };
    let holder = reported(debugger.clone());
    let told = Termination { container: "debugger", ..terminated("") };
    assert!(!holder.has_ended(&Termination { message: &message(), ..told }));
    assert!(!succeeds(debugger, in_container("debugger", 100)));
}

#[test]
fn in_an_ephemeral_container_of_its_own_a_report_proves_the_end() {
    let holder = reported(in_container("debugger", 300));
    let message = message();
    assert!(holder.has_ended(&Termination { container: "debugger", ..terminated(&message) }));
}

// Others of the same Pod, or of its name.

#[test]
fn another_container_of_the_pod_proves_nothing() {
    assert!(!succeeds(in_container("helper", 200), in_container("app", 100)));
    let of_helper = message();
    let told = Termination { container: "helper", ..terminated(&of_helper) };
    assert!(!reported(app(100)).has_ended(&told));
}

#[test]
fn a_sidecar_that_is_an_init_container_is_a_container_like_others() {
    assert!(succeeds(in_container("init-sidecar", 200), in_container("init-sidecar", 100)));
}

#[test]
fn another_pod_of_the_same_name_proves_nothing() {
    let file = message_file("77aa", "app", "file-200");
    let next = Surroundings { own_files: vec![file.clone()], first_files: vec![file], ..app(200) };
    assert!(!succeeds(next, app(100)));
    let message = message();
    let told = Termination { pod_uid: "77aa", ..terminated(&message) };
    assert!(!reported(app(100)).has_ended(&told));
}

#[test]
fn two_candidates_in_one_container_prove_nothing_about_each_other() {
    assert!(!succeeds(app(100), app(100)));
}

#[test]
fn two_candidates_in_pid_namespaces_of_their_own_in_one_container_prove_nothing_about_each_other() {
    // Each has a process 1 of its own. The mounts of both are those of the one start.
    let inner = |ticks| Surroundings { first_ticks: ticks, ..app(100) };
    assert!(!succeeds(inner(200), inner(150)));
    // The next start of the container has ended both.
    assert!(succeeds(app(300), inner(200)));
}

// Static Pods: the API server has not assigned their uids.

#[test]
fn a_static_pod_of_the_same_uid_on_another_node_proves_nothing() {
    let elsewhere =
        Surroundings { boot_id: "b-2".to_owned(), ipc_namespace: 4_026_532_555, ..app(200) };
    assert!(!succeeds(elsewhere, app(100)));
    // Numbers of namespaces repeat from node to node.
    assert!(!succeeds(Surroundings { boot_id: "b-2".to_owned(), ..app(200) }, app(100)));
}

#[test]
fn a_static_pod_of_the_same_uid_under_a_second_kubelet_of_the_same_kernel_proves_nothing() {
    assert!(!succeeds(Surroundings { ipc_namespace: 4_026_532_555, ..app(200) }, app(100)));
}

#[test]
fn a_later_start_in_the_sandbox_of_a_static_pod_proves_the_end_of_the_earlier() {
    let at = |ticks| {
        let file = message_file("d41d8cd98f00b204e9800998ecf8427e", "app", &format!("{ticks}"));
        Surroundings { own_files: vec![file.clone()], first_files: vec![file], ..app(ticks) }
    };
    assert!(succeeds(at(200), at(100)));
}

#[test]
fn a_mirror_pod_proves_nothing() {
    let message = message();
    let told = Termination { is_mirror: true, ..terminated(&message) };
    assert!(!reported(app(100)).has_ended(&told));
    let assigned = Termination { pod_uid: "another uid", ..terminated(&message) };
    assert!(!reported(app(100)).has_ended(&assigned));
}

// Nodes and runtimes.

#[test]
fn a_node_that_was_started_again_proves_nothing() {
    // The same machine, or one that took its name and its disk while the old one still runs.
    let again = Surroundings { boot_id: "b-2".to_owned(), ..app(50) };
    assert!(!succeeds(again, app(100)));
}

#[test]
fn a_runtime_that_lost_its_state_proves_nothing() {
    // The kubelet starts everything again, in a new sandbox; the old container still runs.
    assert!(!succeeds(Surroundings { ipc_namespace: 4_026_532_555, ..app(200) }, app(100)));
    // Of the old one the kubelet says that it does not know.
    let message = message();
    let lost = Termination { reason: "ContainerStatusUnknown", ..terminated(&message) };
    assert!(!reported(app(100)).has_ended(&lost));
}

#[test]
fn an_old_container_that_a_runtime_has_lost_proves_nothing_about_the_new_one() {
    assert!(!succeeds(app(100), app(200)));
}

#[test]
fn in_the_nodes_ipc_namespace_nothing_is_proved() {
    // It is the same one in every sandbox, so that a lost runtime would not be noticed.
    let host = |ticks| Surroundings { ipc_namespace: 0xEFFF_FFFF, ..app(ticks) };
    assert!(!succeeds(host(200), host(100)));
    assert!(!reported(host(100)).has_ended(&terminated(&message())));
}

#[test]
fn with_the_message_files_of_two_containers_in_sight_nothing_is_proved() {
    // A container inside of a container, or a folder of the node that is mounted into one.
    let other = message_file("77aa", "app", "file-9");
    let mut both = app(200);
    both.own_files.push(other.clone());
    both.first_files.push(other);
    assert_eq!(Container::seen(both), None);
}

#[test]
fn outside_of_containers_nothing_is_proved() {
    // Also where there is no /proc, or where it does not show mounts as Linux does.
    assert_eq!(Container::seen(Surroundings::default()), None);
    assert_eq!(Container::seen(Surroundings { own_files: Vec::new(), ..app(100) }), None);
}

#[test]
fn a_kernel_without_a_boot_id_proves_nothing() {
    let nameless = |ticks| Surroundings { boot_id: String::new(), ..app(ticks) };
    assert!(!succeeds(nameless(200), nameless(100)));
}
