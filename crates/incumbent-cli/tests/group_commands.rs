//! Seeing groups from the command line, and moving their tasks: real members with real commands, a real server.

#![cfg(target_os = "linux")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::kubectl::Kubectl;
use support::process::eventually;
use support::{Candidate, Cluster, Outcome};

/// A member whose commands run until they are asked to end.
fn member(cluster: &Cluster, name: &str, flags: &str) -> Candidate {
    start(cluster, name, flags, "while :; do sleep 1; done")
}

fn start(cluster: &Cluster, name: &str, flags: &str, script: &str) -> Candidate {
    let mut command = cluster.command(&format!(
        "work jobs --member {name} --address {name}:80 --lease-duration 3s {flags} --"
    ));
    command.args(["sh", "-c", script]);
    Candidate::start(command)
}

/// The members' program names them, and so does a command that is to know that these are all.
const TASKS: &str = "--tasks ap,eu,jp,us";

/// john and jane share the tasks.
fn john_and_jane(cluster: &Cluster, flags: &str) -> (Candidate, Candidate) {
    let (john, jane) = (member(cluster, "john", flags), member(cluster, "jane", flags));
    eventually("both have two tasks", || loads(cluster) == [("jane", 2), ("john", 2)]);
    (john, jane)
}

fn json_of(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
}

fn status(cluster: &Cluster) -> Value {
    let outcome = cluster.run("status group/jobs -o json");
    if outcome.code == 5 { json!({ "tasks": [], "members": [] }) } else { json_of(&outcome) }
}

/// How many tasks each member has that holds its seat.
fn loads(cluster: &Cluster) -> Vec<(&'static str, u64)> {
    let status = status(cluster);
    let loads = ["jane", "jim", "john"].into_iter().filter_map(|name| {
        let members = status["members"].as_array()?;
        let member = members.iter().find(|member| member["name"] == name)?;
        (member["seat"]["state"] == "held").then(|| (name, member["tasks"].as_u64().unwrap()))
    });
    loads.collect()
}

fn task(cluster: &Cluster, name: &str) -> Value {
    let status = status(cluster);
    let tasks = status["tasks"].as_array().unwrap();
    tasks.iter().find(|task| task["name"] == name).cloned().unwrap_or_default()
}

fn config(cluster: &Cluster, data: &Value) {
    let labels = json!({ "incumbent.dev/group": "jobs" });
    let metadata = json!({ "name": "jobs.config", "namespace": "default", "labels": labels });
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data,
    });
    cluster.server.create(object).unwrap();
}

const CONFIG: &str = "/api/v1/namespaces/default/configmaps/jobs.config";
const TABLE: &str = "/api/v1/namespaces/default/configmaps/jobs.tasks";

#[test]
fn a_group_is_shown_as_a_row_and_on_a_page() {
    let cluster = Cluster::start();
    let (_john, _jane) = john_and_jane(&cluster, TASKS);
    let row = cluster.run("get --groups");
    let cells: Vec<_> = row.stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((cells[0], cells[2], cells[3], cells[4]), ("group/jobs", "2~", "4", "0"), "{row:?}");
    assert_eq!(cells[5], "Settled");
    let sure = cluster.run("get group/jobs --sure -o wide");
    assert!(sure.stdout.contains(" 2 ") && !sure.stdout.contains('~'), "{sure:?}");
    assert_eq!(cluster.run("get group/jobs -o name").stdout, "group/jobs\n");
    let all = cluster.run("get --groups -A");
    assert!(all.stdout.starts_with("NAMESPACE   NAME"), "{all:?}");
    let rows = json_of(&cluster.run("get --groups -o json"));
    assert_eq!((&rows[0]["tasks"], &rows[0]["kind"]), (&json!(4), &json!("named")));
    let yaml = cluster.run("get group/jobs -o yaml").stdout;
    assert!(yaml.contains("run eu, token") && yaml.contains("name: jobs.jane"), "{yaml}");

    let page = cluster.run(&format!("status group/jobs --sure {TASKS}"));
    assert_eq!(page.code, 0, "{page:?}");
    for part in ["4 assigned, named", "pages: 1 open", "jane:80", "Assigned", "a renewal arrived"] {
        assert!(page.stdout.contains(part), "{part}: {}", page.stdout);
    }
    let eu = task(&cluster, "eu");
    assert_eq!((&eu["state"], &eu["waitsAtLeastMs"]), (&json!("assigned"), &Value::Null));
    let checked = cluster.run(&format!("check group/jobs --sure {TASKS}"));
    assert_eq!((checked.code, &*checked.stdout), (0, "group/jobs: all 4 tasks have owners\n"));
    let missed = cluster.run("check group/jobs --tasks ap,eu,jp,us,za --sure --stuck-after 1s");
    assert!(missed.code == 1 && missed.stdout.contains("task za has had no owner"), "{missed:?}");
    let waited = cluster.run("wait group/jobs --for assigned --task eu --timeout 20s");
    let owner = eu["owner"].as_str().unwrap();
    assert!(waited.code == 0 && waited.stdout.contains(owner), "{waited:?}");
    let all = "ap,eu,jp,us";
    assert_eq!(cluster.run(&format!("wait group/jobs --task {all} --timeout 20s")).code, 0);
    assert_eq!(cluster.run("wait group/jobs --task no --timeout 1s").code, 1);
    for arguments in ["status group/jobs", "check group/jobs", "wait group/jobs --timeout 20s"] {
        let outcome = cluster.run(arguments);
        assert_eq!(outcome.code, 3, "there may be more: {arguments}: {outcome:?}");
        assert!(outcome.stdout.contains("only the members' program names"), "{outcome:?}");
    }
}

/// A page that has lost its label still counts for members. Without an allocator, nothing puts it back.
#[test]
fn what_a_hidden_page_says_is_unknown() {
    for (tasks, data) in [("--from-config", json!({ "tasks": "eu\nus" })), (TASKS, json!({}))] {
        let cluster = Cluster::start();
        config(&cluster, &data);
        let mut john = member(&cluster, "john", tasks);
        eventually("john has them", || loads(&cluster).iter().any(|(_, count)| *count >= 2));
        john.kill();
        cluster.patch(TABLE, &json!({ "metadata": { "labels": { "incumbent.dev/group": null } } }));
        let outcome = cluster.run("status group/jobs");
        assert_eq!(outcome.code, 3, "{outcome:?}");
        for part in ["1 unknown", "Unknown;", "has lost the group's label"] {
            assert!(outcome.stdout.contains(part), "{part}: {}", outcome.stdout);
        }
        assert!(!outcome.stdout.contains("Unowned"), "{}", outcome.stdout);
        let checked = cluster.run("check group/jobs");
        assert!([1, 3].contains(&checked.code), "john may be known to be dead: {checked:?}");
        assert_eq!(cluster.run("wait group/jobs --timeout 1s").code, 1);
    }
}

#[test]
fn permits_are_free_or_have_owners() {
    let cluster = Cluster::start();
    let _john = member(&cluster, "john", "--permits 3");
    eventually("john has one", || loads(&cluster) == [("john", 1)]);
    let checked = cluster.run("check group/jobs");
    let said = "group/jobs: 1 of 3 permits have owners, 2 are free\n";
    assert_eq!((checked.code, &*checked.stdout), (0, said), "{checked:?}");
}

#[test]
fn tasks_without_a_living_owner_are_told_at_once_and_count_as_stuck_in_time() {
    let cluster = Cluster::start();
    let (mut john, mut jane) = john_and_jane(&cluster, TASKS);
    john.kill();
    jane.kill();
    let began = Instant::now();
    let page = cluster.run("status group/jobs --sure --stuck-after 2s");
    assert_eq!(page.code, 1, "{page:?}");
    for part in ["Stuck;", "4 lost", "has had no living owner for", "has no member"] {
        assert!(page.stdout.contains(part), "{part}: {}", page.stdout);
    }
    assert!(began.elapsed() > Duration::from_secs(2), "it was seen, not assumed");
    let checked = cluster.run("check group/jobs --sure");
    assert_eq!(checked.code, 1, "{checked:?}");
    let waited = cluster.run("wait group/jobs --timeout 1s");
    assert!(waited.code == 1 && waited.stderr.contains("no living owner"), "{waited:?}");
    assert!(cluster.run("get group/jobs").stdout.contains("Stuck"));
    let quiet = cluster.run("check group/jobs --quiet");
    assert_eq!((quiet.code, &*quiet.stdout), (1, ""));
}

/// Nobody but the API server knows for how long a task has waited when a command begins to look.
#[test]
fn a_listed_task_that_no_member_takes_is_stuck_even_for_a_single_look() {
    let cluster = Cluster::start();
    config(&cluster, &json!({ "tasks": "eu\nus\n" }));
    let fresh = cluster.run("status group/jobs");
    assert_eq!(fresh.code, 0, "{fresh:?}");
    assert!(fresh.stdout.contains("2 unowned") && fresh.stdout.contains("there is no table"));
    std::thread::sleep(Duration::from_secs(4));
    let page = cluster.run("status group/jobs --stuck-after 1s");
    assert_eq!(page.code, 1, "{page:?}");
    assert!(page.stdout.contains("has had no owner for") && page.stdout.contains("s~"), "{page:?}");

    let john = member(&cluster, "john", "--from-config");
    eventually("john has both", || loads(&cluster) == [("john", 2)]);
    john.signal(rustix::process::Signal::TERM);
    eventually("john has left", || loads(&cluster).is_empty());
    std::thread::sleep(Duration::from_secs(4));
    let page = cluster.run("status group/jobs --stuck-after 1s");
    assert_eq!(page.code, 1, "{page:?}");
    assert!(page.stdout.contains(">=") && page.stdout.contains("s~"), "{}", page.stdout);
    assert_eq!(cluster.run("check group/jobs --stuck-after 1h").code, 1, "no member is there");
}

#[test]
fn work_that_does_not_stop_is_named_and_makes_the_exit_code_1() {
    let cluster = Cluster::start();
    let stubborn = "trap '' TERM; while :; do sleep 1; done";
    let _john = start(&cluster, "john", "--tasks eu,us --kill-after 90s", stubborn);
    eventually("john has both", || loads(&cluster) == [("john", 2)]);
    let _jane = member(&cluster, "jane", "--tasks eu,us");
    eventually("john is asked to stop one", || {
        let states = status(&cluster)["taskStates"].clone();
        states["stopping"] == 1 && states["assigned"] == 1
    });
    let page = cluster.run("status group/jobs --sure --stuck-after 3s");
    assert_eq!(page.code, 1, "{page:?}");
    for part in ["john was asked at least", "has not confirmed that it stopped", "2 (1 stopping)"] {
        assert!(page.stdout.contains(part), "{part}: {}", page.stdout);
    }
    let checked = cluster.run("check group/jobs --stuck-after 1h --tasks eu,us");
    assert_eq!(checked.code, 0, "it may take its time: {checked:?}");
}

#[test]
fn a_line_is_printed_for_each_change_of_a_group() {
    let cluster = Cluster::start();
    let mut watch = Candidate::start(cluster.command("watch group/jobs -o json"));
    assert_eq!(watch.event("now")["tasks"], json!([]));
    let john = member(&cluster, "john", TASKS);
    assert_eq!(watch.event("allocator")["member"], "john");
    let assigned = watch.event("assigned");
    assert_eq!((&assigned["to"], assigned["tasks"].as_array().unwrap().len()), (&json!("john"), 4));
    let _jane = member(&cluster, "jane", TASKS);
    assert_eq!(watch.event("joined")["member"], "jane");
    assert_eq!(watch.event("stopping")["to"], "john");
    let moved = watch.event("assigned");
    assert_eq!((&moved["from"], &moved["to"]), (&json!("john"), &json!("jane")));
    let told = watch.history().len();
    john.signal(rustix::process::Signal::TERM);
    // A member that says that it leaves gives its tasks away before its seat.
    for (event, key, name) in [("gone", "member", "john"), ("assigned", "to", "jane")] {
        eventually(event, || {
            let lines = watch.history();
            lines[told..].iter().any(|line| line["event"] == event && line[key] == name)
        });
    }
}

#[test]
fn what_a_group_is_not_is_a_mistake_with_a_hint() {
    let cluster = Cluster::start();
    for arguments in
        ["status group/none", "get group/none", "check group/none", "history group/none"]
    {
        let outcome = cluster.run(arguments);
        assert_eq!(outcome.code, 5, "{arguments}: {outcome:?}");
        assert!(outcome.stderr.contains("incumbent get --groups"), "{outcome:?}");
    }
    for arguments in [
        "get scanner group/jobs",
        "get group/a.b",
        "watch group/a group/b",
        "wait group/jobs --for leader",
        "wait scanner --task eu",
        "check group/jobs --self",
        "check scanner --tasks eu",
        "status scanner --tasks eu",
        "status group/jobs --tasks eu,",
        "pause group/jobs",
        "freeze jobs",
        "move group/jobs eu",
    ] {
        let outcome = cluster.run(arguments);
        assert_eq!(outcome.code, 2, "{arguments}: {outcome:?}");
    }
    for (arguments, hint) in [
        ("dashboard group/jobs", "incumbent watch group/jobs"),
        ("dashboard scanner groups/jobs", "incumbent watch group/jobs"),
        ("step-down group/jobs", "use lease/NAME or configmap/NAME[:KEY]"),
        ("elect --lock group/jobs", "use lease/NAME or configmap/NAME[:KEY]"),
    ] {
        let outcome = cluster.run(arguments);
        assert_eq!(outcome.code, 2, "{arguments}: {outcome:?}");
        assert!(outcome.stderr.contains("group"), "{arguments}: {outcome:?}");
        assert!(outcome.stderr.contains(hint), "{arguments}: {outcome:?}");
    }
    assert!(cluster.run("get --groups").stderr.contains("no groups in namespace default"));
}

#[test]
fn a_page_that_somebody_edited_is_shown_with_its_fault() {
    let cluster = Cluster::start();
    let mut john = member(&cluster, "john", TASKS);
    eventually("john has all", || loads(&cluster) == [("john", 4)]);
    john.kill();
    cluster.patch(TABLE, &json!({ "data": { "tasks": "eu goes to jane" } }));
    let page = cluster.run("status group/jobs");
    for part in ["1 unreadable", "line 1 of `tasks`", "configmap/jobs.tasks"] {
        assert!(page.stdout.contains(part), "{part}: {}", page.stdout);
    }
}

#[test]
fn a_member_is_drained_and_taken_back() {
    let cluster = Cluster::start();
    let (_john, _jane) = john_and_jane(&cluster, TASKS);
    let typo = cluster.run("pause group/jobs --candidate jhon --dry-run");
    assert!(typo.stderr.contains("not there now, so check the name: jhon"), "{typo:?}");
    let paused = cluster.run("pause group/jobs --candidate john");
    assert_eq!((paused.code, &*paused.stdout), (0, "group/jobs: drained: john\n"), "{paused:?}");
    assert!(paused.stderr.contains("2 tasks move to other members"), "{paused:?}");
    eventually("jane has all", || loads(&cluster) == [("jane", 4), ("john", 0)]);
    assert!(cluster.run("status group/jobs").stdout.contains("drain john"));
    let refused = cluster.run("move group/jobs eu --to john");
    assert!(refused.code == 1 && refused.stderr.contains("drained"), "{refused:?}");
    assert_eq!(cluster.run("resume group/jobs --dry-run").code, 0);
    assert!(cluster.run("status group/jobs").stdout.contains("drain john"), "it was only tried");
    let typo = cluster.run("resume group/jobs --candidate jhon");
    assert!(typo.stderr.contains("not drained: jhon"), "{typo:?}");
    let resumed = cluster.run("resume group/jobs");
    assert_eq!(resumed.stdout, "group/jobs: no member is drained\n", "{resumed:?}");
    eventually("both have two", || loads(&cluster) == [("jane", 2), ("john", 2)]);
}

#[test]
fn a_task_is_moved_and_reported_with_its_times_and_a_freeze_keeps_it() {
    for tasks in [TASKS, "--slots 4", "--from-config"] {
        let cluster = Cluster::start();
        if tasks == "--from-config" {
            config(&cluster, &json!({ "tasks": "ap\neu weight=1\njp\nus" }));
        }
        let (_john, _jane) = john_and_jane(&cluster, tasks);
        let name = if tasks == "--slots 4" { "2" } else { "eu" };
        let before = task(&cluster, name);
        let to = if before["owner"] == "john" { "jane" } else { "john" };
        assert_eq!(cluster.run("freeze group/jobs").stdout, "group/jobs: frozen\n");
        let refused = cluster.run(&format!("move group/jobs {name} --to {to}"));
        assert!(refused.code == 1 && refused.stderr.contains("frozen"), "{refused:?}");
        assert_eq!(cluster.run("unfreeze group/jobs").stdout, "group/jobs: not frozen\n");
        let moved = cluster.run(&format!("move group/jobs {name} --to {to} --timeout 30s"));
        assert_eq!(moved.code, 0, "{moved:?}");
        let said = format!("assigned to {to} under token");
        assert!(moved.stdout.contains(&said) && moved.stdout.contains("after"), "{moved:?}");
        let after = task(&cluster, name);
        assert_eq!((&after["owner"], &after["pin"]), (&json!(to), &json!(to)));
        assert!(after["token"].as_u64() > before["token"].as_u64());
        let again = cluster.run(&format!("move group/jobs {name} --to {to}"));
        assert!(again.code == 0 && again.stdout.contains("has it already"), "{again:?}");
        let released = cluster.run(&format!("move group/jobs {name} --release"));
        assert!(released.code == 0 && released.stdout.contains("not pinned"), "{released:?}");
        assert_eq!(task(&cluster, name)["pin"], Value::Null);
        if tasks == "--from-config" {
            let stored = cluster.stored(CONFIG).unwrap();
            assert_eq!(stored["data"], json!({ "tasks": "ap\neu weight=1\njp\nus" }));
        }
        for arguments in ["no --to john", "eu --to nobody", "no --release"] {
            let outcome = cluster.run(&format!("move group/jobs {arguments}"));
            assert_eq!(outcome.code, 5, "{arguments}: {outcome:?}");
        }
        let forced = cluster.run("move group/jobs no --to john --no-wait");
        assert_eq!(forced.code, if tasks == TASKS { 0 } else { 5 }, "{forced:?}");
        if tasks == TASKS {
            assert!(forced.stderr.contains("no page of the table names it"), "{forced:?}");
            let page = cluster.run("status group/jobs").stdout;
            assert!(page.contains("Tasks are pinned that are not in the table: no"), "{page}");
            assert_eq!(cluster.run("move group/jobs no --release").code, 0);
            assert_eq!(cluster.run("move group/jobs no --release").code, 5, "nothing is pinned");
        }
    }
}

/// A task that leaves the list leaves its pin behind.
#[test]
fn the_pin_of_a_removed_task_is_shown_and_can_be_taken_back() {
    let cluster = Cluster::start();
    config(&cluster, &json!({ "tasks": "eu", "pins": "us john\n" }));
    let page = cluster.run("status group/jobs").stdout;
    assert!(page.contains("Tasks are pinned that do not exist: us"), "{page}");
    assert_eq!(cluster.run("move group/jobs us --to john").code, 5);
    let released = cluster.run("move group/jobs us --release");
    assert_eq!(released.code, 0, "{released:?}");
    assert_eq!(cluster.stored(CONFIG).unwrap()["data"], json!({ "tasks": "eu" }));
}

#[test]
fn a_freeze_whose_object_was_deleted_is_taken_back_by_a_new_one() {
    let cluster = Cluster::start();
    let _john = member(&cluster, "john", TASKS);
    eventually("john has all", || loads(&cluster) == [("john", 4)]);
    assert_eq!(cluster.run("freeze group/jobs").code, 0);
    cluster.delete(CONFIG);
    let outcome = cluster.run("unfreeze group/jobs");
    assert_eq!((outcome.code, &*outcome.stdout), (0, "group/jobs: not frozen\n"), "{outcome:?}");
    assert!(outcome.stderr.contains("members forget what an earlier one asked"), "{outcome:?}");
    assert!(cluster.stored(CONFIG).is_some());
}

/// People steer by kubectl, too: what they write is what the command shows.
#[test]
fn kubectl_and_the_command_say_the_same_of_a_group() {
    let Some(kubectl) = Kubectl::new("groups") else { return };
    let start = |name: &str| {
        let mut command = kubectl.incumbent(&format!(
            "work jobs --namespace {} --member {name} --lease-duration 3s {TASKS} -- sleep 600",
            kubectl.namespace
        ));
        command.env("RUST_LOG", "warn");
        Candidate::start(command)
    };
    let (_john, _jane) = (start("john"), start("jane"));
    let run = |arguments: &str| {
        let arguments = format!("{arguments} --namespace {}", kubectl.namespace);
        Outcome::of(kubectl.incumbent(&arguments).output().unwrap())
    };
    eventually("both have tasks", || run("get group/jobs -o wide").stdout.contains(" 2 "));
    assert_eq!(run("pause group/jobs --candidate john").code, 0);
    assert_eq!(kubectl.json("get configmap jobs.config")["data"]["drain"], "john\n");
    let selector = "get leases,configmaps -l incumbent.dev/group=jobs -o name";
    assert_eq!(kubectl.ok(selector).lines().count(), 4);
    kubectl.ok_with(
        "patch configmap jobs.config --type merge -p",
        &[r#"{"data": {"drain": "jane\n", "pins": "eu john\n"}}"#],
    );
    eventually("john has all", || {
        let page = run("status group/jobs").stdout;
        page.contains("drain jane; pin eu to john") && page.matches("Assigned   john").count() == 4
    });
    kubectl.ok_with(
        "patch configmap jobs.config --type merge -p",
        &[r#"{"data": {"drain": "jane john"}}"#],
    );
    let page = run("status group/jobs").stdout;
    assert!(page.contains("has a mistake") && page.contains("drain: "), "{page}");
    assert!(page.contains("so members keep what they read before"), "{page}");
    assert_eq!(run("freeze group/jobs").code, 2, "no member would read it");
}

fn doctor(cluster: &Cluster, arguments: &str) -> (i32, Vec<(String, String)>) {
    let outcome = cluster.run(&format!("doctor {arguments} -o json"));
    let checks = json_of(&outcome)["checks"].as_array().unwrap().clone();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let of_group = checks.iter().filter(|finding| finding["lock"] == "group/jobs");
    (outcome.code, of_group.map(|it| (text(it, "level"), text(it, "message"))).collect())
}

#[test]
fn doctor_finds_what_is_wrong_with_a_group() {
    let cluster = Cluster::start();
    let (code, found) = doctor(&cluster, "--group jobs");
    assert!(code == 0 && found[0].1.starts_with("nothing of it exists"), "{found:?}");
    let (mut john, mut jane) = john_and_jane(&cluster, TASKS);
    for arguments in ["", "--group jobs", "--group group/jobs"] {
        let (code, found) = doctor(&cluster, arguments);
        let said =
            "2 members share 4 tasks, and none of these is stuck; unknown: only the members'";
        assert!(code == 0 && found.len() == 1 && found[0].0 == "OK", "{arguments}: {found:?}");
        assert!(found[0].1.starts_with(said), "{found:?}");
    }
    assert_eq!(doctor(&cluster, "--lock lease/jobs").1, [], "it was not asked for");
    assert_eq!(cluster.run("freeze group/jobs").code, 0);
    let (code, found) = doctor(&cluster, "--group jobs");
    assert_eq!((code, &*found[0].0), (0, "WARN"), "{found:?}");
    john.kill();
    jane.kill();
    let (code, found) = doctor(&cluster, "--group jobs");
    let says = |part: &str| {
        let failed = found.iter().filter(|(level, _)| level == "FAIL");
        failed.into_iter().any(|(_, message)| message.contains(part))
    };
    assert_eq!(code, 1);
    assert!(says("has no member") && says("has had no living owner"), "{found:?}");
    cluster.patch(TABLE, &json!({ "data": { "tasks": "nonsense" } }));
    let (_, found) = doctor(&cluster, "--group jobs");
    assert!(found.iter().any(|(_, message)| message.contains("cannot be read")), "{found:?}");
}
