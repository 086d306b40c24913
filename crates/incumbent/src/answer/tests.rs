use serde_json::json;

use super::*;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/lock";

fn answered(method: &Method, path: &str, code: u16, body: &str) -> Result<Value, Failure> {
    meaning(method, path, Response { code, retry_after: None, body: body.as_bytes() })
}

fn status(code: u16, reason: &str, message: &str, details: Value) -> String {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": message, "details": details,
    })
    .to_string()
}

fn why(method: &Method, path: &str, code: u16, body: &str) -> Why {
    answered(method, path, code, body).unwrap_err().why
}

#[test]
fn an_object_is_gone_only_where_a_status_names_this_very_object() {
    let details = |kind: &str, name: &str| json!({ "kind": kind, "name": name });
    let not_found = |details| status(404, "NotFound", "not found", details);
    let gone = not_found(details("leases", "lock"));
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
        assert_eq!(why(&method, LEASE, 404, &gone), Why::Gone, "{method}");
        let query = format!("{LEASE}?dryRun=All");
        assert_eq!(why(&method, &query, 404, &gone), Why::Gone, "{method}");
    }
    for body in [
        "<html>default backend - 404</html>".to_owned(),
        "404 page not found".to_owned(),
        "{}".to_owned(),
        json!({ "message": "not found", "reason": "NotFound" }).to_string(),
    ] {
        assert_eq!(why(&Method::GET, LEASE, 404, &body), Why::NotKubernetes, "{body}");
    }
    for (details, expected) in [
        (details("leases", "another"), Why::Invalid),
        (details("configmaps", "lock"), Why::Invalid),
        (json!({}), Why::Invalid),
        (details("namespaces", "default"), Why::NoNamespace),
    ] {
        assert_eq!(why(&Method::GET, LEASE, 404, &not_found(details)), expected);
    }
    let list = LEASE.trim_end_matches("/lock");
    assert_eq!(why(&Method::GET, list, 404, &gone), Why::Invalid, "a list has no name");
}

#[test]
fn what_a_403_means_is_read_from_its_reason_and_message() {
    let forbidden = |message: &str| {
        let message = format!("leases.coordination.k8s.io \"lock\" is forbidden: {message}");
        why(&Method::PUT, LEASE, 403, &status(403, "Forbidden", &message, json!({})))
    };
    let rbac = "User \"system:serviceaccount:a:b\" cannot update resource \"leases\" in API group \
                \"coordination.k8s.io\" in the namespace \"default\"";
    assert_eq!(forbidden(rbac), Why::NoPermission);
    assert_eq!(forbidden("exceeded quota: objects, requested: count/leases=1"), Why::NoQuota);
    let terminating = "unable to create new content in namespace a because it is being terminated";
    assert_eq!(forbidden(terminating), Why::Terminating);
    let node = "can only access node lease with the same name as the requesting node";
    assert_eq!(forbidden(node), Why::Denied);
    assert_eq!(why(&Method::PUT, LEASE, 403, "<html>blocked</html>"), Why::NotKubernetes);
    let causes = json!({ "causes": [{ "reason": "NamespaceTerminating" }] });
    let body = status(403, "Forbidden", "is forbidden: no new content", causes);
    assert_eq!(why(&Method::POST, LEASE, 403, &body), Why::Terminating);
}

#[test]
fn a_denial_by_admission_is_one_whatever_its_code() {
    let webhook = "admission webhook \"a.example\" denied the request: only the holder may";
    let policy = "leases \"lock\" is forbidden: ValidatingAdmissionPolicy 'a' with binding 'b' denied \
                  request: only the holder may";
    for code in [400, 403, 409, 422] {
        for message in [webhook, policy] {
            let failure =
                answered(&Method::PUT, LEASE, code, &status(code, "Invalid", message, json!({})));
            let failure = failure.unwrap_err();
            assert_eq!(failure.why, Why::Denied, "{code} {message}");
            assert!(!failure.passes() && !failure.may_be_applied());
        }
    }
    let away = "Internal error occurred: failed calling webhook \"a.example\": connection refused";
    let body = status(500, "InternalError", away, json!({}));
    assert_eq!(
        why(&Method::PUT, LEASE, 500, &body),
        Why::Busy,
        "a webhook that is away comes back"
    );
}

#[test]
fn what_passes_by_itself_is_known_with_and_without_a_status() {
    for code in [408, 429, 500, 502, 503, 504] {
        for body in [status(code, "", "wait", json!({})), "please wait".to_owned()] {
            let failure = answered(&Method::PUT, LEASE, code, &body).unwrap_err();
            assert!(failure.passes(), "{code}");
            assert_eq!(failure.may_be_applied(), code != 429, "{code}");
        }
    }
    assert!(Failure::late().passes() && Failure::late().may_be_applied());
    let page = answered(&Method::PUT, LEASE, 302, "<html>sign in</html>").unwrap_err();
    assert!(page.passes() && page.may_be_applied());
    for code in [400, 401, 403, 405, 415, 422] {
        let failure = answered(&Method::PUT, LEASE, code, &status(code, "", "no", json!({})));
        let failure = failure.unwrap_err();
        assert!(!failure.passes() && !failure.may_be_applied(), "{code}");
    }
}

#[test]
fn a_success_without_an_object_is_no_answer_of_kubernetes() {
    assert_eq!(answered(&Method::GET, LEASE, 200, "{\"a\":1}"), Ok(json!({ "a": 1 })));
    for body in ["<html>welcome</html>", "", "[]", "null", "\"ok\""] {
        assert_eq!(why(&Method::GET, LEASE, 200, body), Why::NotKubernetes, "{body}");
    }
}

#[test]
fn a_target_is_read_from_its_path() {
    let target = |path| {
        let Target { resource, name } = Target::of(path);
        (resource.unwrap_or_default().to_owned(), name.unwrap_or_default().to_owned())
    };
    let is = |path, resource: &str, name: &str| {
        assert_eq!(target(path), (resource.to_owned(), name.to_owned()), "{path}");
    };
    is(LEASE, "leases", "lock");
    is("/api/v1/namespaces/a/configmaps/b?x=/c/", "configmaps", "b");
    is("/api/v1/namespaces/a/pods/b/eviction", "pods", "b");
    is("/api/v1/namespaces/a/pods?limit=1", "pods", "");
    is("/api/v1/namespaces/a", "namespaces", "a");
    is("/api/v1/namespaces", "namespaces", "");
    is("/apis/coordination.k8s.io/v1/leases", "leases", "");
    is("/version", "", "");
    is("", "", "");
}

#[test]
fn an_excerpt_of_a_page_fits_on_a_line() {
    let page = format!("<html>\n  <title>\u{e9}</title>{}", "x".repeat(1000));
    let failure = answered(&Method::GET, LEASE, 502, &page).unwrap_err();
    assert!(failure.message.starts_with("<html> <title>\u{e9}</title>xx"), "{failure:?}");
    assert!(failure.message.len() < 220);
}
