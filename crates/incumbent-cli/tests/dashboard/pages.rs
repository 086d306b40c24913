//! What it answers, without a browser.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::dashboard::Dashboard;
use crate::support::sidecar::until;
use crate::support::{Candidate, Cluster, Outcome, incumbent};

/// A Lease that somebody else's program holds, and does not renew.
pub(crate) fn lease(namespace: &str, name: &str, holder: &str) -> Value {
    let now = format!("{:.6}", jiff::Timestamp::now());
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": 60,
            "acquireTime": now, "renewTime": now, "leaseTransitions": 3 },
    })
}

pub(crate) fn dashboard(cluster: &Cluster, more: &str) -> Dashboard {
    Dashboard::start(cluster.command(&format!("dashboard {more}")))
}

pub(crate) fn elect(cluster: &Cluster, lock: &str, identity: &str) -> Candidate {
    let what = format!("elect --events --lock {lock} --identity {identity} --preset fast");
    Candidate::start(cluster.command(&what))
}

/// A request in the name of an operator.
pub(crate) fn request(cluster: &Cluster, method: &str, path: &str, body: Option<Value>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", "application/json")
        .header("User-Agent", "controller/v1.16.2")
        .body(body.map_or_else(Vec::new, |body| body.to_string().into_bytes()))
        .unwrap();
    let answer = async {
        let client = kube::Client::new(cluster.server.service(), "default");
        client.request::<Value>(request).await
    };
    runtime.block_on(answer).unwrap();
}

/// Two candidates, of which the first leads and the second stands in line.
pub(crate) fn two(cluster: &Cluster, dashboard: &Dashboard) -> (Candidate, Candidate) {
    let mut john = elect(cluster, "lease/scanner", "john");
    john.event("leading");
    let jane = elect(cluster, "lease/scanner", "jane");
    dashboard.when("lease/scanner", "jane waits", |scanner| {
        scanner["waitlist"][0]["identity"] == "jane"
    });
    (john, jane)
}

#[test]
fn the_page_shows_who_leads_and_json_says_the_same() {
    let cluster = Cluster::start();
    let dashboard = dashboard(&cluster, "");
    let mut john = elect(&cluster, "lease/scanner", "john");
    john.event("leading");
    let seen = dashboard.when("lease/scanner", "it is seen", |scanner| {
        scanner["holder"] == "john" && scanner["isCertain"] == true
    });
    assert_eq!((&seen["holder"], &seen["state"]), (&json!("john"), &json!("held")));
    assert_eq!(seen["terms"][0]["holder"], "john");
    assert_eq!(seen["needs"][0]["kind"], "no-standby");
    assert!(seen["expiresInMs"].as_u64().unwrap() <= 5000);
    let page = dashboard.get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    for part in [
        r#"data-holder="john""#,
        r#"data-state="Held""#,
        "No candidate waits behind john",
        "<progress",
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let json = dashboard.ask("GET /", &["Accept: application/json"], "").json();
    assert_eq!(json["elections"][0]["holder"], "john");
    assert_eq!((&json["hasLooked"], &json["canSteer"]), (&json!(true), &json!(false)));
    let one = dashboard.get("/api/lock/default/lease/scanner").json();
    assert_eq!(one["object"]["spec"]["holderIdentity"], "john");
    let page = dashboard.get("/lock/default/lease/scanner").body;
    for part in [
        "john became leader",
        "incumbent step-down -n default lease/scanner",
        "&quot;holderIdentity&quot;",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for (path, status) in [
        ("/lock/default/lease/other", 404),
        ("/nothing", 404),
        ("/lock/x", 404),
        ("/?window=x", 400),
    ] {
        assert_eq!(dashboard.get(path).status, status, "{path}");
    }
    for path in ["/healthz", "/readyz", "/style.css", "/script.js", "/icon.svg", "/favicon.ico"] {
        assert_eq!(dashboard.get(path).status, 200, "{path}");
        let head = dashboard.ask(&format!("HEAD {path}"), &[], "");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
    }
    for request in ["POST /", "PUT /lock/default/lease/scanner", "DELETE /api/state"] {
        assert_eq!(dashboard.ask(request, &[], "").status, 405, "{request}");
    }
    for path in ["/", "/nothing", "/lock/default/lease/other", "/?window=x", "/healthz"] {
        let reply = dashboard.get(path);
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(reply.header("content-security-policy").is_some(), "{path}");
    }
}

#[test]
fn what_others_write_is_text_and_nothing_more() {
    let cluster = Cluster::start();
    let evil = "<script>alert(1)</script>\u{202e}\u{7}'\"&";
    let mut object = lease("default", "scanner", evil);
    object["metadata"]["annotations"]["incumbent.dev/waitlist"] =
        json!([{ "identity": evil }]).to_string().into();
    cluster.server.create(object).unwrap();
    cluster.server.create(lease("default", "long", &"x".repeat(4000))).unwrap();
    let dashboard = dashboard(&cluster, "--allow-steer");
    for path in
        ["/", "/lock/default/lease/scanner", "/?q=%3Cscript%3E", "/?q=%22%3E%3Cscript%3Ealert"]
    {
        let page = dashboard.get(path);
        assert_eq!(page.status, 200);
        assert!(!page.body.contains("<script>"), "{path}");
        assert!(!page.body.contains(['\u{202e}', '\u{7}']), "{path}");
    }
    let front = dashboard.get("/").body;
    assert!(front.contains("&lt;script&gt;alert(1)&lt;/script&gt;\u{fffd}\u{fffd}"), "{front}");
    assert!(!front.contains(&"x".repeat(200)));
    let state = dashboard.get("/api/state");
    assert!(!state.body.contains('\u{202e}'), "a terminal would be turned around");
    assert!(state.json()["elections"].as_array().unwrap().iter().any(|one| one["holder"] == evil));
    let mut news = dashboard.news("");
    let row = news.event()["rows"].to_string();
    assert!(row.contains("&lt;script&gt;") && !row.contains("<script>"), "{row}");
}

#[test]
fn a_page_loads_what_is_ours_and_has_nothing_inline() {
    let cluster = Cluster::start();
    cluster.server.create(lease("default", "scanner", "john")).unwrap();
    let dashboard = dashboard(&cluster, "");
    for path in ["/", "/lock/default/lease/scanner", "/script.js", "/api/state", "/nothing"] {
        let page = dashboard.get(path);
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("referrer-policy"), Some("same-origin"));
        for inline in ["<script>", "<style", " style=", " onclick=", "src=\"http", "href=\"http"] {
            assert!(!page.body.contains(inline), "{path}: {inline}");
        }
    }
}

#[test]
fn names_that_are_not_its_own_are_not_answered_to() {
    let cluster = Cluster::start();
    let dashboard = dashboard(&cluster, "--allow-host board.example");
    for (host, status) in [("evil.example", 421), ("board.example", 200), ("localhost:1", 200)] {
        let reply = dashboard.ask("GET /", &[&format!("Host: {host}")], "");
        assert_eq!(reply.status, status, "{host}");
    }
    let site = dashboard.ask("GET /events", &["Sec-Fetch-Site: cross-site"], "");
    assert_eq!(site.status, 403);
}

#[test]
fn who_could_be_reached_by_others_has_to_say_so() {
    let cluster = Cluster::start();
    for (flags, hint) in [
        ("--listen 0.0.0.0:0", "--allow-remote"),
        ("--listen 0.0.0.0:0 --allow-remote --allow-steer", "--token-file"),
    ] {
        let Outcome { code, stderr, .. } = cluster.run(&format!("dashboard {flags}"));
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(hint), "{stderr}");
    }
}

/// The form that asks for this, as a browser would send it.
fn form(dashboard: &Dashboard, action: &str, more: &str) -> String {
    let page = dashboard.get("/lock/default/lease/scanner").body;
    let after = |text: &str| {
        let (_, rest) = page.split_once(text).unwrap_or_else(|| panic!("no {text}: {page}"));
        rest.split('"').next().unwrap().to_owned()
    };
    let mark = after(r#"name="mark" value=""#);
    let holder = after(r#"name="holder" value=""#);
    format!("action={action}&holder={holder}&mark={mark}{more}")
}

const POST: &str = "POST /lock/default/lease/scanner";

#[test]
fn nothing_is_changed_unless_that_is_allowed_and_asked_by_our_own_page() {
    let cluster = Cluster::start();
    let reader = dashboard(&cluster, "");
    let candidates = two(&cluster, &reader);
    assert_eq!(reader.ask(POST, &[], "action=hand-over").status, 403);
    assert!(!reader.get("/lock/default/lease/scanner").body.contains("<form method"));
    let steerer = dashboard(&cluster, "--allow-steer");
    let good = form(&steerer, "hand-over", "");
    for (headers, body, status) in [
        (&[][..], "action=hand-over&holder=john", 403),
        (&["Origin: http://evil.example"], good.as_str(), 403),
        (&["Origin: null"], &good, 403),
        (&["Sec-Fetch-Site: cross-site"], &good, 403),
        (&["Host: evil.example"], &good, 421),
        (&[], &good.replace("holder=john", "holder=jack"), 409),
        (&[], &form(&steerer, "hand-over", "&to=jack"), 409),
        (&[], &form(&steerer, "resume", ""), 409),
        (&[], &form(&steerer, "delete", ""), 400),
        (&[], "nonsense", 400),
        (&[], &format!("{good}&more=1"), 400),
        (&[], &format!("{good}&holder=john"), 400),
        (&["Content-Type: text/plain"], &good, 400),
        (&[], &format!("{good}{}", "x".repeat(10_000)), 413),
    ] {
        let reply = steerer.ask(POST, headers, body);
        assert_eq!(reply.status, status, "{headers:?} {body}: {reply:?}");
    }
    assert_eq!(steerer.election("lease/scanner").unwrap()["handOverTo"], Value::Null);
    let origin = format!("Origin: {}", steerer.url);
    let asked = steerer.ask(POST, &[&origin, "Sec-Fetch-Site: same-origin"], &good);
    assert_eq!(
        (asked.status, asked.header("location")),
        (303, Some("/lock/default/lease/scanner"))
    );
    let led = |name: &'static str| move |scanner: &Value| scanner["holder"] == name;
    let seen = reader.when("lease/scanner", "jane leads", led("jane"));
    assert_eq!(
        (&seen["terms"][0]["how"], &seen["changesLastHour"]),
        (&json!("released"), &json!(1))
    );
    drop(candidates);
}

#[test]
fn an_election_is_paused_and_goes_on_again() {
    let cluster = Cluster::start();
    let dashboard = dashboard(&cluster, "--allow-steer");
    let _candidates = two(&cluster, &dashboard);
    let ask = |action: &str| {
        let reply = dashboard.ask(POST, &[], &form(&dashboard, action, ""));
        assert_eq!(reply.status, 303, "{reply:?}");
    };
    ask("pause");
    let paused =
        dashboard.when("lease/scanner", "nobody leads", |scanner| scanner["holder"].is_null());
    let paused = match paused["needs"][0]["kind"] == "paused" {
        true => paused,
        false => dashboard
            .when("lease/scanner", "it says so", |scanner| scanner["needs"][0]["kind"] == "paused"),
    };
    assert_eq!(paused["paused"], json!(["*"]));
    let page = dashboard.get("/lock/default/lease/scanner").body;
    let mark = page.split(r#"name="mark" value=""#).nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(dashboard.ask(POST, &[], &format!("action=resume&mark={mark}")).status, 303);
    dashboard.when("lease/scanner", "somebody leads", |scanner| scanner["state"] == "held");
}

#[test]
fn of_another_programs_leader_nothing_is_asked() {
    let cluster = Cluster::start();
    cluster.server.create(lease("default", "scanner", "theirs")).unwrap();
    let dashboard = dashboard(&cluster, "--allow-steer");
    let page = dashboard.get("/lock/default/lease/scanner").body;
    assert!(page.contains("end its process instead"), "{page}");
    assert!(!page.contains("<form method"), "{page}");
}

#[test]
fn where_there_is_a_secret_it_is_needed() {
    let cluster = Cluster::start();
    let secret = cluster.folder.path().join("secret");
    std::fs::write(&secret, "correct horse battery").unwrap();
    let dashboard =
        dashboard(&cluster, &format!("--allow-steer --token-file {}", secret.display()));
    let _candidates = two(&cluster, &dashboard);
    for (secret, status) in
        [("", 401), ("&secret=wrong", 401), ("&secret=correct+horse+battery", 303)]
    {
        let reply = dashboard.ask(POST, &[], &form(&dashboard, "hand-over", secret));
        assert_eq!(reply.status, status, "{secret}");
    }
}

#[test]
fn news_are_all_at_first_and_then_what_is_another() {
    let cluster = Cluster::start();
    for name in ["first", "second"] {
        cluster.server.create(lease("default", name, "theirs")).unwrap();
    }
    let dashboard = dashboard(&cluster, "");
    let mut news = dashboard.news("?window=1h");
    let first = news.event();
    assert_eq!(first["rows"].as_array().unwrap().len(), 2);
    for part in ["strip", "attention", "timeline"] {
        assert!(first["parts"][part].is_string(), "{part}");
    }
    cluster.server.create(lease("default", "third", "jane")).unwrap();
    let changed = until("news", || Some(news.event()).filter(|event| event["rows"] != json!([])));
    let rows = changed["rows"].as_array().unwrap();
    assert!(rows.len() == 1 && rows[0].as_str().unwrap().contains("jane"), "{rows:?}");
    assert!(changed["parts"]["strip"].is_string(), "there is one election more");
    request(
        &cluster,
        "DELETE",
        "/apis/coordination.k8s.io/v1/namespaces/default/leases/third",
        None,
    );
    let gone = until("news", || Some(news.event()).filter(|event| event["gone"] != json!([])));
    assert_eq!(gone["gone"], json!(["default/lease/third"]));
}

#[test]
fn events_tell_of_the_time_before_it_looked() {
    let cluster = Cluster::start();
    let mut john = elect(&cluster, "lease/scanner", "john");
    john.event("leading");
    let mut jane = elect(&cluster, "lease/scanner", "jane");
    jane.event("following");
    john.signal(rustix::process::Signal::TERM);
    jane.event("leading");
    let dashboard = dashboard(&cluster, "");
    let seen = dashboard.when("lease/scanner", "both terms are known", |scanner| {
        scanner["terms"].as_array().is_some_and(|terms| terms.len() >= 2)
    });
    assert_eq!(
        (&seen["terms"][0]["holder"], &seen["terms"][1]["holder"]),
        (&json!("john"), &json!("jane"))
    );
}

#[test]
fn the_rights_that_the_documentation_gives_are_enough_to_read() {
    let cluster = Cluster::start();
    let hour = Duration::from_secs(3600);
    let token = cluster.server.service_account_token("ops", "incumbent-dashboard", hour);
    let manifest = crate::support::blocks("docs/dashboard.md", "yaml").remove(0);
    let objects = manifest.split("---\n").map(|text| serde_saphyr::from_str(text).unwrap());
    let is_rbac = |object: &Value| object["kind"].as_str().unwrap().starts_with("ClusterRole");
    for object in objects.filter(is_rbac) {
        cluster.server.create(object).unwrap();
    }
    cluster.server.create(lease("default", "scanner", "john")).unwrap();
    let dashboard = dashboard(&cluster, &format!("-A --token {token}"));
    let state = dashboard.get("/api/state").json();
    assert_eq!((&state["unseen"], &state["elections"][0]["holder"]), (&json!([]), &json!("john")));
    let page = dashboard.get("/lock/default/lease/scanner").body;
    assert!(page.contains("None on this object"), "Events can be read: {page}");
    cluster.server.create(lease("default", "mailer", "jane")).unwrap();
    dashboard.when("lease/mailer", "it is watched", |mailer| mailer["holder"] == "jane");
}

#[test]
fn the_demo_that_is_kept_has_a_page_from_the_beginning_on() {
    let mut command = incumbent("demo --keep -o json");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let url = lines.find_map(|line| Some(line.split_once("in a browser: ")?.1.to_owned())).unwrap();
    let demo = Dashboard::of(child, url);
    demo.when("lease/demo", "somebody leads", |demo| demo["state"] == "held");
    assert_eq!(demo.get("/api/state").json()["canSteer"], true);
}

#[test]
fn an_api_server_that_is_away_is_no_reason_to_end() {
    let mut cluster = Cluster::start();
    let address = cluster.listening().address();
    cluster.server.create(lease("default", "scanner", "john")).unwrap();
    let dashboard = dashboard(&cluster, "");
    cluster.stop();
    let unseen =
        dashboard.when("lease/scanner", "it is unknown", |scanner| scanner["state"] == "unknown");
    assert!(unseen["unseenForMs"].is_number());
    let page = dashboard.get("/").body;
    assert!(page.contains("cannot be seen for"), "{page}");
    cluster.listen_again(address);
    dashboard.when("lease/scanner", "it is seen again", |scanner| scanner["state"] != "unknown");
}
