use serde_json::json;

use super::*;
use crate::resources::pod::POD;

fn fields(value: Value) -> Fields {
    let Value::Object(fields) = value else { panic!("not an object") };
    fields
}

fn pod(containers: Value) -> Fields {
    fields(
        json!({"metadata": {"labels": {"a": "1"}, "uid": "u"}, "spec": {"containers": containers}}),
    )
}

#[test]
fn a_set_is_read_as_it_is_written() {
    let json = json!({"f:data": {".": {}, "f:x": {}}, "f:metadata": {"f:labels": {"f:a": {}}}});
    let set = FieldSet::from_json(&json).unwrap();
    assert_eq!(set.to_json(), json);
    assert_eq!(set.paths(), [".data", ".data.x", ".metadata.labels.a"]);
    assert!(FieldSet::from_json(&json!({"f:data": 1})).is_none());
}

#[test]
fn a_set_is_within_or_touches_another_as_its_members_are() {
    let json = json!({"f:data": {".": {}, "f:x": {}}, "f:spec": {"f:a": {}}});
    let set = |json: Value| FieldSet::from_json(&json).unwrap();
    for (part, is_within, touches) in [
        (json!({}), true, false),
        (json!({"f:data": {}}), true, true),
        (json!({"f:data": {"f:x": {}}, "f:spec": {"f:a": {}}}), true, true),
        (json!({"f:data": {"f:x": {}, "f:y": {}}}), false, true),
        (json!({"f:spec": {}}), false, false),
    ] {
        let part = set(part);
        assert_eq!((part.is_within(&json), part.touches(&json)), (is_within, touches), "{part:?}");
        assert_eq!(!part.shared_with(&set(json.clone())).is_empty(), touches);
    }
}

#[test]
fn what_is_applied_is_meant_without_what_only_holds_it() {
    let ports = json!([{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]);
    let applied = pod(json!([{"name": "c", "image": "i", "ports": ports}]));
    let port = |protocol| format!("k:{{\"containerPort\":80,\"protocol\":\"{protocol}\"}}");
    assert_eq!(
        stated_by(POD.schema, &applied).without_parts(&[]).to_json(),
        json!({
            "f:metadata": {"f:labels": {"f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                ".": {}, "f:name": {}, "f:image": {}, "f:ports": {
                    port("TCP"): {".": {}, "f:containerPort": {}},
                    port("UDP"): {".": {}, "f:containerPort": {}, "f:protocol": {}},
                }}}},
        })
    );
}

#[test]
fn a_comparison_names_what_was_taken_and_what_went() {
    let old = pod(json!([{"name": "a", "image": "1"}, {"name": "b"}]));
    let mut new = pod(json!([{"name": "a", "image": "2", "args": ["x"]}]));
    new["metadata"] = json!({"annotations": {"n": "1"}, "uid": "other"});
    let changes = compare(POD.schema, &old, &new, &[]);
    assert_eq!(
        changes.taken.paths(),
        [
            ".metadata.annotations",
            ".metadata.annotations.n",
            ".spec.containers[name=\"a\"].args",
            ".spec.containers[name=\"a\"].image",
        ]
    );
    assert_eq!(
        changes.removed.paths(),
        [
            ".metadata.labels",
            ".metadata.labels.a",
            ".spec.containers[name=\"b\"]",
            ".spec.containers[name=\"b\"].name",
        ]
    );
    assert!(compare(POD.schema, &old, &old, &[]).is_empty());
}

#[test]
fn what_is_given_up_goes_unless_somebody_else_keeps_it() {
    let shape = &Shape::Object(POD.schema);
    let set = |value: Value| stated_by(POD.schema, &fields(value));
    let mut live = json!({
        "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["k/a", "k/b"]},
        "spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}});
    let gone = set(live.clone());
    let kept = set(json!({"metadata": {"labels": {"b": "2"}, "finalizers": ["k/b"]},
        "spec": {"containers": [{"name": "a"}]}}));
    prune(shape, &mut live, &gone, Some(&kept));
    assert_eq!(
        live,
        json!({"metadata": {"labels": {"b": "2"}, "finalizers": ["k/b"]},
            "spec": {"containers": [{"name": "a"}]}})
    );
}

#[test]
fn lists_of_named_things_are_merged_and_other_lists_replaced() {
    let mut live = json!({"spec": {"containers": [{"name": "a", "args": ["1"], "image": "i"}]}});
    let applied = json!({"spec": {"containers": [{"name": "b"}, {"name": "a", "args": ["2"]}]}});
    merge(&Shape::Object(POD.schema), &mut live, applied);
    assert_eq!(
        live["spec"]["containers"],
        json!([{"name": "a", "args": ["2"], "image": "i"}, {"name": "b"}])
    );
}
