//! What is refused, and how.

use super::support::Cluster;
use super::support::sidecar::{SECRET, Sidecar};
use super::{in_state, number, runs, task};

#[test]
fn names_that_are_not_ours_and_releases_without_the_secret_are_refused() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", "--tasks a --lease-duration 60s");
    let token = number(task(&runs(&john, 1), "a"), "token");
    for path in ["/v1/tasks", "/v1/events", "/v1/owner?task=a", "/v1/members", "/metrics"] {
        let refused = john.ask(&format!("GET {path}"), &["Host: evil.example:4040"], "");
        assert_eq!(refused.status, 421, "{path}: {refused:?}");
    }
    let body = format!("{{\"token\":{token}}}");
    let wrong = "Authorization: Bearer correct horse battery stapler";
    for headers in [&[][..], &[wrong]] {
        assert_eq!(john.ask("POST /v1/tasks/a/released", headers, &body).status, 401);
        assert_eq!(john.ask("GET /v1/lifeline", headers, "").status, 401);
    }
    let secret = format!("Authorization: Bearer {SECRET}");
    let post = |path: &str, body: &str| john.ask(&format!("POST {path}"), &[&secret], body);
    for wrong in ["", "{}", "{\"token\":\"7\"}", "{\"token\":-1}", "{\"token\":7,\"task\":\"a\"}"] {
        assert_eq!(post("/v1/tasks/a/released", wrong).status, 400, "{wrong}");
    }
    assert_eq!(post("/v1/tasks/a/released", &"x".repeat(100_000)).status, 413);
    assert_eq!(post("/v1/tasks/b/released", &body).status, 404);
    assert_eq!(post("/v1/tasks/%FF/released", &body).status, 400);
    let other = post("/v1/tasks/a/released", "{\"token\":1}");
    assert_eq!(other.status, 409);
    assert!(other.body.contains(&token.to_string()) && other.body.contains("nothing was released"));
    assert_eq!(john.get("/v1/tasks?lease=x").status, 400);
    assert_eq!(john.get("/v1/leader").status, 404);
    assert_eq!(in_state(&john.tasks(), "running"), ["a"], "none of it did anything");
    assert!(!john.log().contains(SECRET));
}

#[test]
fn each_route_answers_by_the_methods_that_its_document_names() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", "--tasks a");
    runs(&john, 1);
    let document = john.get("/openapi.json").json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let place = path.replace("{name}", "a");
        for method in ["get", "post", "put", "patch", "delete"] {
            // HEAD instead of GET, whose answer may never end.
            let asked = if method == "get" { "HEAD" } else { &method.to_uppercase() };
            let reply = john.ask(&format!("{asked} {place}"), &[], "");
            let is_documented = methods.get(method).is_some();
            match path == "/v1/lifeline" && asked == "HEAD" {
                true => assert_eq!(reply.status, 401, "{reply:?}"),
                false => assert_eq!(reply.status == 405, !is_documented, "{method} {path}"),
            }
        }
    }
    // Each answer has the fields of the document.
    let odd = Sidecar::member(&cluster, "jane", "--tasks a --capacity 0");
    let shown = odd.tasks();
    for field in document["components"]["schemas"]["Validity"]["required"].as_array().unwrap() {
        assert!(!shown[field.as_str().unwrap()].is_null(), "{field}: {shown}");
    }
}

#[test]
fn a_task_of_any_name_can_be_released() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", "--tasks in/a%20{b}\"c\\?d");
    let answer = runs(&john, 1);
    let task = &answer["tasks"][0];
    assert_eq!(task["name"], "in/a%20{b}\"c\\?d");
    let path = "in%2Fa%2520%7Bb%7D%22c%5C%3Fd";
    assert_eq!(john.released(path, number(task, "token")).json()["state"], "done");
}

#[test]
fn over_a_unix_socket_a_task_is_released_without_a_secret() {
    let cluster = Cluster::start();
    let path = cluster.folder.path().join("socket");
    let listen = format!("--tasks a --listen unix:{}", path.display());
    let john = Sidecar::member(&cluster, "john", &listen);
    let token = number(task(&runs(&john, 1), "a"), "token");
    let body = format!("{{\"token\":{token}}}");
    let reply = john.ask("POST /v1/tasks/a/released", &[], &body);
    assert_eq!(reply.json()["state"], "done", "a socket needs no secret");
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let cluster = Cluster::start();
    for (arguments, hint) in [
        ("--group jobs", "--tasks"),
        ("--group jobs --tasks a --slots 3", "--slots"),
        ("--lock lease/x --tasks a", "--tasks"),
        ("--lock lease/x --capacity 2", "--group"),
        ("--lock lease/x --group jobs --tasks a", "--group"),
        ("--group jobs --tasks a --on-lost x", "--on-lost"),
        ("--group jobs --tasks a --status-file x", "--status-file"),
        ("--group jobs --tasks a --identity x", "--identity"),
        ("--group jobs.x --tasks a", "jobs.x"),
        ("--group jobs --tasks a,a", "twice"),
        ("", "--lock"),
    ] {
        let refused = cluster.run(&format!("sidecar --listen 127.0.0.1:0 {arguments}"));
        assert_eq!(refused.code, 2, "{arguments}: {refused:?}");
        assert!(refused.stderr.contains(hint), "{arguments}: {refused:?}");
    }
}

#[test]
fn a_second_process_of_this_name_is_refused_and_told_what_to_do() {
    let cluster = Cluster::start();
    let john = Sidecar::member(&cluster, "john", "--tasks a");
    runs(&john, 1);
    let second = cluster.run(
        "sidecar --group jobs --member john --tasks a --lease-duration 3s --listen 127.0.0.1:0",
    );
    assert_eq!(second.code, 6, "{second:?}");
    for word in ["lease/jobs.john", "member of the group", "--member"] {
        assert!(second.stderr.contains(word), "{word}: {second:?}");
    }
    assert!(in_state(&john.tasks(), "running").contains(&"a"));
}
