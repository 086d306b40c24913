//! Seeing elections from the command line, and moving their leaders: real candidates, a real server.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Candidate, Cluster, Outcome};

fn candidate(cluster: &Cluster, identity: &str) -> Candidate {
    Candidate::start(cluster.command(&format!(
        "elect --lock lease/scanner --preset fast --events --identity {identity}"
    )))
}

/// john leads, and jane stands in line.
fn john_and_jane(cluster: &Cluster) -> (Candidate, Candidate) {
    let mut john = candidate(cluster, "john");
    john.event("leading");
    let jane = candidate(cluster, "jane");
    await_line(cluster, "jane");
    (john, jane)
}

fn await_line(cluster: &Cluster, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let shown = json_of(&cluster.run("get scanner -o json"));
        if shown[0]["waitlist"].as_array().unwrap().iter().any(|waiter| waiter["identity"] == name)
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("{name} does not stand in line");
}

fn json_of(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"))
}

/// A lease of another program, as client-go writes it.
fn foreign(cluster: &Cluster, name: &str, holder: &str, renewed: jiff::Timestamp) {
    let metadata = json!({ "name": name, "namespace": "default", "labels": { "app": "other" } });
    let time = format!("{renewed:.6}");
    cluster
        .server
        .create(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 2,
                "acquireTime": time, "renewTime": time,
            },
        }))
        .unwrap();
}

/// A command that goes on, line by line; it ends with the test.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// The next line that has all of these in it.
    fn line(&self, parts: &[&str]) -> String {
        let mut passed = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(60)) {
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
            passed.push(line);
        }
        panic!("no line with {parts:?} among {passed:?}");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn get_says_by_a_mark_what_it_has_only_read_and_looks_longer_where_asked() {
    let cluster = Cluster::start();
    let (_john, _jane) = john_and_jane(&cluster);
    let once = cluster.run("get");
    assert!(once.stdout.contains("Held~"), "{once:?}");
    let sure = cluster.run("get --sure -o wide");
    assert!(sure.stdout.contains("Held ") && !sure.stdout.contains('~'), "{sure:?}");
    let row: Vec<_> = sure.stdout.lines().nth(1).unwrap().split("   ").map(str::trim).collect();
    assert!(row.contains(&"john") && row.contains(&"incumbent") && row.contains(&"2"), "{row:?}");
    assert_eq!(cluster.run("get -o name").stdout, "lease/scanner\n");
    let yaml = cluster.run("get scanner -o yaml");
    assert!(yaml.stdout.contains("holderIdentity: john"), "{yaml:?}");
    assert!(!cluster.run("get --no-headers").stdout.contains("NAME"));
    let longest = once.stdout.lines().map(str::len).max();
    assert!(longest <= Some(80), "{once:?}");
}

#[test]
fn get_finds_locks_by_namespace_and_label() {
    let cluster = Cluster::start();
    let now = jiff::Timestamp::now();
    foreign(&cluster, "other", "pod-a_1b2c", now);
    let _ = cluster.server.create(json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "kube-node-lease" },
    }));
    cluster
        .server
        .create(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "node-1", "namespace": "kube-node-lease" },
            "spec": { "holderIdentity": "node-1", "leaseDurationSeconds": 40 },
        }))
        .unwrap();
    assert_eq!(cluster.run("get -l app=other -o name").stdout, "lease/other\n");
    assert!(cluster.run("get -l app=scanner").stderr.contains("no locks in namespace default"));
    let all = cluster.run("get -A");
    assert!(all.stdout.starts_with("NAMESPACE   NAME"), "{all:?}");
    assert!(!all.stdout.contains("node-1"), "nodes' leases are no elections: {all:?}");
    assert!(cluster.run("get -A --include-node-leases").stdout.contains("node-1"));
    assert!(cluster.run("get -n elsewhere").stderr.contains("no locks in namespace elsewhere"));
}

#[test]
fn get_goes_on_a_line_for_each_change() {
    let cluster = Cluster::start();
    let watch = Following::start(cluster.command("get -w"));
    watch.line(&["NAME", "HOLDER"]);
    let (mut john, _jane) = john_and_jane(&cluster);
    watch.line(&["lease/scanner", "john"]);
    john.signal(rustix::process::Signal::TERM);
    assert_eq!(john.end(), 0);
    watch.line(&["lease/scanner", "jane", "Held"]);
}

#[test]
fn status_says_on_one_page_what_is_known() {
    let cluster = Cluster::start();
    let (_john, _jane) = john_and_jane(&cluster);
    let page = cluster.run("status scanner --sure");
    for part in [
        "Leader       john",
        "State        Held: a renewal arrived ",
        "Waitlist\n  1. jane",
        "john became leader",
        "Needs attention\n  nothing",
    ] {
        assert!(page.stdout.contains(part), "{part}: {page:?}");
    }
    assert!(page.stdout.lines().all(|line| line.len() <= 80), "{page:?}");
    let page = json_of(&cluster.run("status scanner -o json"));
    assert_eq!(
        (&page["holder"], &page["waitlist"][0]["identity"]),
        (&json!("john"), &json!("jane"))
    );
    assert_eq!(page["terms"][0]["holder"], "john");
    assert_eq!(cluster.run("status nothing").code, 5);
}

#[test]
fn status_of_a_foreign_lock_says_what_cannot_be_known_or_done() {
    let cluster = Cluster::start();
    foreign(&cluster, "other", "pod-a_1b2c", jiff::Timestamp::now());
    let page = cluster.run("status other");
    assert!(page.stdout.contains("Waitlist\n  unknown"), "{page:?}");
    assert!(page.stdout.contains("writes no fencing token, ignores requests"), "{page:?}");
}

#[test]
fn check_answers_by_its_exit_code() {
    let cluster = Cluster::start();
    let (_john, _jane) = john_and_jane(&cluster);
    foreign(&cluster, "old", "somebody", "2020-01-01T00:00:00Z".parse().unwrap());
    for (arguments, code, words) in [
        ("check scanner", 0, "john leads~"),
        ("check scanner --holder john --max-age 10s", 0, "john leads~"),
        ("check scanner --holder jane", 1, "john leads~"),
        ("check scanner --sure", 0, "john leads\n"),
        ("check old", 1, "no leader~: no renewal of somebody for "),
        ("check nothing", 5, ""),
        ("check scanner --self", 7, ""),
        ("check scanner -q", 0, ""),
        ("check scanner -s https://127.0.0.1:1", 3, ""),
        ("check scanner --as nobody", 4, ""),
    ] {
        let check = cluster.run(arguments);
        assert_eq!(check.code, code, "{arguments}: {check:?}");
        assert!(check.stdout.contains(words), "{arguments}: {check:?}");
        assert!(!words.is_empty() || check.stdout.is_empty(), "{arguments}: {check:?}");
    }
    let mut own = cluster.command("check scanner --self");
    own.env("INCUMBENT_IDENTITY", "john");
    assert_eq!(Outcome::of(own.output().unwrap()).code, 0);
    let mut own = cluster.command("check scanner --self");
    own.env("POD_NAME", "jane").env("POD_UID", "1");
    assert_eq!(Outcome::of(own.output().unwrap()).code, 1);
}

#[test]
fn wait_ends_when_it_comes_and_says_when_it_does_not() {
    let cluster = Cluster::start();
    let waiting = Following::start(cluster.command("wait scanner"));
    let (mut john, mut jane) = john_and_jane(&cluster);
    waiting.line(&["lease/scanner: john leads"]);
    let change = Following::start(cluster.command("wait scanner --for change"));
    let of_jane = Following::start(cluster.command("wait scanner --for holder=jane"));
    let late = cluster.run("wait scanner --for holder=jane --timeout 50ms");
    assert_eq!((late.code, late.stdout.as_str()), (1, ""), "{late:?}");
    john.signal(rustix::process::Signal::TERM);
    change.line(&["jane leads"]);
    of_jane.line(&["jane leads"]);
    let released = Following::start(cluster.command("wait scanner --for released"));
    jane.signal(rustix::process::Signal::TERM);
    released.line(&["no leader"]);
    assert_eq!((john.end(), jane.end()), (0, 0));
    assert_eq!(cluster.run("wait scanner --for nonsense").code, 2);
}

#[test]
fn watch_and_history_tell_the_same_story() {
    let cluster = Cluster::start();
    let watch = Following::start(cluster.command("watch scanner"));
    let as_json = Following::start(cluster.command("watch -o json"));
    let (john, mut jane) = john_and_jane(&cluster);
    watch.line(&["lease/scanner  john leads under token "]);
    john.signal(rustix::process::Signal::TERM);
    jane.event("leading");
    watch.line(&["no leader: john no longer holds it"]);
    watch.line(&["jane leads under token", " without a leader"]);
    let line: Value = serde_json::from_str(&as_json.line(&[r#""event":"leads""#, "jane"])).unwrap();
    assert!(line["gapMs"]["most"].is_u64() && line["token"].is_u64(), "{line}");
    jane.kill();
    watch.line(&["no leader: no renewal of jane for ", "its term is over"]);

    let history = cluster.run("history scanner");
    let rows: Vec<_> = history.stdout.lines().collect();
    assert!(rows[1].contains("john") && rows[1].contains("stopped"), "{history:?}");
    assert!(rows[2].contains("jane"), "{history:?}");
    let terms = json_of(&cluster.run("history scanner -o json"));
    assert_eq!(terms["terms"].as_array().unwrap().len(), 2);
}

#[test]
fn step_down_moves_the_leader_to_who_is_named_and_says_so_before() {
    let cluster = Cluster::start();
    let (mut john, _jane) = john_and_jane(&cluster);
    let _jack = candidate(&cluster, "jack");
    await_line(&cluster, "jack");
    let tried = cluster.run("step-down scanner --dry-run");
    assert_eq!(tried.code, 0, "{tried:?}");
    assert!(tried.stderr.contains("john will be asked to hand over; jane leads next"), "{tried:?}");
    assert!(json_of(&cluster.run("get scanner -o json"))[0]["handOverTo"].is_null());

    // Each turn lasts a tenth of a second, and whoever misses it is passed over. A busy machine may do that to
    // a candidate, but not ten times.
    let leads = |who: &str, moved: &Outcome| {
        assert_eq!(moved.code, 0, "{moved:?}");
        assert!(moved.stdout.contains(" without a leader"), "{moved:?}");
        moved.stdout.contains(&format!("{who} leads"))
    };
    let is_moved_to = |place: usize, flag: bool| {
        let who = line_of_two(&cluster).remove(place);
        let to = if flag { format!("--to {who}") } else { String::new() };
        leads(&who, &cluster.run(&format!("step-down scanner {to} --wait --timeout 60s")))
    };
    assert!((0..10).any(|_| is_moved_to(1, true)), "the one that is named");
    john.event("released");
    assert!((0..10).any(|_| is_moved_to(0, false)), "the next one");
}

/// Who stands in line, once the former leader does so again.
fn line_of_two(cluster: &Cluster) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let shown = json_of(&cluster.run("get scanner -o json"));
        let line = shown[0]["waitlist"].as_array().unwrap().iter();
        let line: Vec<_> =
            line.map(|waiter| waiter["identity"].as_str().unwrap().to_owned()).collect();
        if line.len() == 2 {
            return line;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("two do not stand in line");
}

#[test]
fn what_is_unsafe_or_senseless_is_refused_with_the_reason() {
    let cluster = Cluster::start();
    let (_john, _jane) = john_and_jane(&cluster);
    foreign(&cluster, "other", "pod-a_1b2c", jiff::Timestamp::now());
    cluster.run("claim configmap/board --identity jane");
    cluster.run("pause scanner --candidate jane");
    let vacant = json!({ "name": "vacant", "namespace": "default" });
    let api_version = "coordination.k8s.io/v1";
    let vacant = json!({ "apiVersion": api_version, "kind": "Lease", "metadata": vacant });
    cluster.server.create(vacant).unwrap();
    for (arguments, words) in [
        ("step-down scanner --to john", "john leads already"),
        ("step-down scanner --to jill", "jill is not in the waitlist"),
        ("step-down other", "could let two lead"),
        ("step-down configmap/board", "so there is no election"),
        ("step-down vacant", "there is no leader"),
    ] {
        let refused = cluster.run(arguments);
        assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{arguments}: {refused:?}");
        assert!(refused.stderr.contains(words), "{arguments}: {refused:?}");
        assert!(refused.stderr.contains("hint: "), "{arguments}: {refused:?}");
    }
    let other = json_of(&cluster.run("get other -o json"));
    assert_eq!(
        (&other[0]["holder"], &other[0]["handOverTo"]),
        (&json!("pod-a_1b2c"), &Value::Null)
    );
}

#[test]
fn a_foreign_leader_is_moved_by_evicting_its_pod_and_only_that() {
    let cluster = Cluster::start();
    foreign(&cluster, "other", "pod-a_1b2c", jiff::Timestamp::now());
    let gone = cluster.run("step-down other --via evict-pod");
    assert_eq!(gone.code, 7, "{gone:?}");
    assert!(gone.stderr.contains("nothing was done"), "{gone:?}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "pod-a", "namespace": "default" },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    cluster.server.create(pod.clone()).unwrap();
    let tried = cluster.run("step-down other --via evict-pod --dry-run");
    assert!(tried.code == 0 && tried.stderr.contains("Pod pod-a will be evicted"), "{tried:?}");
    assert!(cluster.server.create(pod.clone()).is_err(), "it is still there");
    assert_eq!(cluster.run("step-down other --via evict-pod").code, 0);
    assert!(cluster.server.create(pod).is_ok(), "it is gone");
}

#[test]
fn pause_gives_the_lock_back_and_resume_lets_one_lead_again() {
    let cluster = Cluster::start();
    let (mut john, mut jane) = john_and_jane(&cluster);
    let paused = cluster.run("pause scanner");
    assert_eq!(paused.stdout, "lease/scanner: paused: all candidates\n", "{paused:?}");
    assert!(paused.stderr.contains("john stops its work and releases the lock"), "{paused:?}");
    john.event("released");
    assert_eq!(cluster.run("wait scanner --for released").code, 0);
    assert!(
        cluster
            .run("status scanner")
            .stdout
            .contains("No leader: the election is paused, so no candidate may lead")
    );
    assert!(!jane.history().iter().any(|line| line["event"] == "leading"));

    let resumed = cluster.run("resume scanner");
    assert_eq!(resumed.stdout, "lease/scanner: no candidate is paused\n", "{resumed:?}");
    assert_eq!(cluster.run("wait scanner --timeout 30s").code, 0);
    assert!(!john.has_ended() && !jane.has_ended());
}

#[test]
fn kubectls_flags_say_where_the_server_is_and_who_asks() {
    let cluster = Cluster::start();
    foreign(&cluster, "other", "pod-a_1b2c", jiff::Timestamp::now());
    let (address, token) = (cluster.listening().address(), cluster.server.admin_token());
    let get = |flags: &str| {
        let mut get = support::incumbent(&format!("get -o name -n default {flags}"));
        Outcome::of(get.output().unwrap())
    };
    let known = get(&format!("-s https://{address} --token {token} --insecure-skip-tls-verify"));
    assert_eq!((known.code, known.stdout.as_str()), (0, "lease/other\n"), "{known:?}");
    let strict = get(&format!("-s https://{address} --token {token}"));
    assert_eq!(strict.code, 3, "nobody vouches for its certificate: {strict:?}");
    // One in 64 tokens of a random alphabet begins with a hyphen.
    for wrong in ["no", "-vno"] {
        let flags = format!("-s https://{address} --token {wrong} --insecure-skip-tls-verify");
        let unknown = get(&flags);
        assert_eq!(unknown.code, 4, "{unknown:?}");
    }
    assert_eq!(get("-s nonsense").code, 2);
    let config = cluster.kubeconfig();
    for (flags, code) in [("--cluster nowhere", 3), ("--context none", 3), ("--user nobody", 3)] {
        let wrong = get(&format!("--kubeconfig {} {flags}", config.display()));
        assert_eq!(wrong.code, code, "{flags}: {wrong:?}");
    }
    let slow = get(&format!("--kubeconfig {} --request-timeout 1ms", config.display()));
    assert!(slow.code == 0 || slow.stderr.contains("no answer within 1ms"), "{slow:?}");
}

/// `script` gives the command a terminal.
#[test]
fn the_table_is_painted_anew_on_a_terminal_and_nowhere_else() {
    let cluster = Cluster::start();
    let (john, _jane) = john_and_jane(&cluster);
    let program = cluster.command("");
    let shell = format!("{} get -w", program.get_program().to_str().unwrap());
    let mut on_terminal = Command::new("script");
    on_terminal.args(["-qefc", &shell, "/dev/null"]).env("KUBECONFIG", cluster.kubeconfig());
    let on_terminal = Following::start(on_terminal);
    let elsewhere = Following::start(cluster.command("get -w"));
    elsewhere.line(&["lease/scanner", "john"]);
    on_terminal.line(&["\x1b[2F\x1b[J", "NAME"]);
    john.signal(rustix::process::Signal::TERM);
    on_terminal.line(&["lease/scanner", "jane"]);
    assert!(!elsewhere.line(&["lease/scanner", "jane"]).contains('\x1b'));
}
