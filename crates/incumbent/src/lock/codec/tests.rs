use std::time::Duration;

use incumbent_core::group::{PageIndex, Released, SeatInfo, TaskName};
use incumbent_core::{FencingToken, HolderInfo, Identity, Record, Session, Stamp, Uid, WallTime};
use serde_json::{Value, json};

use super::*;

fn object(body: Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "metadata": { "name": "lock", "namespace": "prod", "uid": "u1", "resourceVersion": "31719" },
    });
    merge(&mut object, body);
    object
}

fn merge(into: &mut Value, from: Value) {
    match from {
        Value::Object(fields) => {
            for (name, value) in fields {
                merge(as_map(into).entry(name).or_insert(Value::Null), value);
            }
        }
        other => *into = other,
    }
}

fn ours() -> Record {
    let time = Stamp::At(WallTime::from_unix_micros(1_767_225_600_123_456));
    Record {
        holder: Identity::new("john"),
        session: Some(Session(7)),
        last_token: FencingToken(31719),
        lease_duration: Some(Duration::from_secs(15)),
        acquired: Some(time.clone()),
        renewed: Some(time),
        transitions: 3,
        ..Record::default()
    }
}

fn read(lock: &Lock, body: Value) -> Record {
    lock.decode(&object(body)).unwrap().record
}

fn lease() -> Lock {
    Lock::lease("prod", "lock")
}

fn config_map() -> Lock {
    Lock::config_map("prod", "lock")
}

#[test]
fn what_is_written_is_read_again() {
    for lock in [lease(), config_map(), config_map().with_key("scanner")] {
        let written = lock.edit(&object(json!({})), &ours());
        assert_eq!(lock.decode(&written).unwrap().record, ours(), "{lock}");
    }
}

#[test]
fn a_lease_looks_as_client_go_writes_it() {
    let written = lease().edit(&object(json!({})), &ours());
    assert_eq!(
        written["spec"],
        json!({
            "holderIdentity": "john",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T00:00:00.123456Z",
            "renewTime": "2026-01-01T00:00:00.123456Z",
            "leaseTransitions": 3,
        })
    );
}

#[test]
fn a_config_map_shows_the_holder_to_people_and_the_record_to_foreign_electors() {
    let written = config_map().edit(&object(json!({ "data": { "other": "kept" } })), &ours());
    assert_eq!(written["data"], json!({ "leader": "john", "other": "kept" }));
    assert_eq!(
        text_annotation(&written, RECORD_ANNOTATION),
        json!({
            "holderIdentity": "john",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T00:00:00.123456Z",
            "renewTime": "2026-01-01T00:00:00.123456Z",
            "leaderTransitions": 3,
        })
    );
    let vacant = Record { holder: None, session: None, ..ours() };
    assert_eq!(config_map().edit(&written, &vacant)["data"]["leader"], "");
}

#[test]
fn everything_else_in_the_object_stays_as_it_is() {
    let before = object(json!({
        "kind": "Lease",
        "metadata": {
            "labels": { "team": "a" },
            "annotations": {
                "somebody.else/x": "1",
                TERM_ANNOTATION: "{\"token\":1,\"later\":\"field\"}",
                RECORD_ANNOTATION: "{\"preferredHolder\":\"jane\"}",
            },
            "ownerReferences": [{ "name": "pod" }],
            "finalizers": ["f"],
        },
        "spec": { "strategy": "OldestEmulationVersion", "preferredHolder": "jane", "new": [1] },
        "data": { "k": "v" },
        "binaryData": { "b": "AA==" },
    }));
    for lock in [lease(), config_map()] {
        let after = lock.edit(&before, &ours());
        for pointer in [
            "/metadata/uid",
            "/metadata/resourceVersion",
            "/metadata/labels",
            "/metadata/ownerReferences",
            "/metadata/finalizers",
            "/metadata/annotations/somebody.else~1x",
            "/spec/strategy",
            "/spec/preferredHolder",
            "/spec/new",
            "/data/k",
            "/binaryData",
        ] {
            assert_eq!(after.pointer(pointer), before.pointer(pointer), "{lock}: {pointer}");
        }
        assert_eq!(text_annotation(&after, TERM_ANNOTATION)["later"], "field");
        assert_eq!(text_annotation(&after, RECORD_ANNOTATION)["preferredHolder"], "jane");
    }
}

#[test]
fn fields_of_foreign_programs_may_be_missing_null_empty_or_absurd() {
    let nothing = Record::default();
    for spec in [
        json!({}),
        json!(null),
        json!("text"),
        json!([1]),
        json!({ "holderIdentity": null, "leaseDurationSeconds": null, "renewTime": null }),
        json!({ "holderIdentity": "", "leaseDurationSeconds": 0, "leaseTransitions": -1 }),
        json!({ "holderIdentity": 5, "leaseDurationSeconds": -3, "acquireTime": 7 }),
        json!({ "leaseDurationSeconds": 1.5, "leaseTransitions": 1e30, "renewTime": "" }),
        json!({ "leaseDurationSeconds": "soon", "leaseTransitions": {} }),
    ] {
        assert_eq!(read(&lease(), json!({ "spec": spec })), nothing, "{spec}");
        if !spec.is_object() && !spec.is_null() {
            continue;
        }
        let annotation = json!({ RECORD_ANNOTATION: spec.to_string() });
        let as_config_map = json!({ "metadata": { "annotations": annotation } });
        assert_eq!(read(&config_map(), as_config_map), nothing, "{spec}");
    }
    for annotations in [json!(null), json!("x"), json!({ RECORD_ANNOTATION: "" })] {
        let body = json!({ "metadata": { "annotations": annotations }, "data": null });
        assert_eq!(read(&config_map(), body), nothing, "{annotations}");
    }
}

#[test]
fn the_count_of_transitions_ends_at_what_kubernetes_can_hold() {
    let last = Record { transitions: i32::MAX as u32, ..ours() };
    for lock in [lease(), config_map()] {
        let written = lock.edit(&object(json!({})), &Record { transitions: u32::MAX, ..ours() });
        assert_eq!(lock.decode(&written).unwrap().record, last, "{lock}");
    }
}

#[test]
fn each_key_of_a_config_map_has_an_election_of_its_own() {
    let (east, west) = (config_map().with_key("east"), config_map().with_key("west"));
    let jane = Record { holder: Identity::new("jane"), session: Some(Session(9)), ..ours() };
    let mut both = east.edit(&object(json!({})), &ours());
    both = west.edit(&both, &jane);
    assert_eq!(east.decode(&both).unwrap().record, ours());
    assert_eq!(west.decode(&both).unwrap().record, jane);
    assert!(!config_map().decode(&both).unwrap().record.is_held());
    assert_eq!(both["data"], json!({ "east": "john", "west": "jane" }));
    for key in ["x".repeat(51), "a.".to_owned(), "a_".to_owned()] {
        assert!(config_map().with_key(key.clone()).checked_for_election().is_err(), "{key}");
    }
}

#[test]
fn a_record_that_cannot_be_understood_is_waited_out() {
    for text in ["nope", "{cut off", "[1]", "\"text\""] {
        let body = json!({ "metadata": { "annotations": { RECORD_ANNOTATION: text } } });
        let record = read(&config_map(), body);
        assert!(record.is_held(), "{text}");
        assert_eq!((record.token(), record.lease_duration), (None, None), "{text}");
        assert_eq!(record.renewed, Some(Stamp::Text(text.to_owned())));
    }
}

/// Each file names where its shape is from.
#[test]
fn records_of_other_peoples_clients_are_read_as_they_write_them() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop/records");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let object = &file["object"];
        let lock = if object["kind"] == "Lease" { lease() } else { config_map() };
        let record = lock.decode(object).unwrap().record;
        let read = json!({
            "holder": record.holder.as_ref().map(Identity::as_str),
            "leaseDurationSeconds": record.lease_duration.map(|duration| duration.as_secs()),
            "transitions": record.transitions,
        });
        assert_eq!(read, file["read"], "{}", path.display());
        assert_eq!(record.is_held(), !read["holder"].is_null(), "{}", path.display());
        assert_eq!((record.session, record.token()), (None, None), "{}", path.display());
        // Ours over it is ours, in whatever form.
        let taken = lock.decode(&lock.edit(object, &ours())).unwrap().record;
        assert_eq!(taken, ours(), "{}", path.display());
        files += 1;
    }
    assert!(files >= 17, "{files}");
}

#[test]
fn a_record_that_fabric8_made_keeps_the_form_that_fabric8_reads() {
    let made =
        json!({ RECORD_ANNOTATION: "{\"holderIdentity\":\"f\",\"leaseDuration\":\"PT4S\"}" });
    let written =
        config_map().edit(&object(json!({ "metadata": { "annotations": made } })), &ours());
    let record = text_annotation(&written, RECORD_ANNOTATION);
    assert_eq!(record["leaseDuration"], "PT15S");
    assert_eq!(record.get("leaseDurationSeconds"), None);
    for (text, seconds) in
        [("PT1.5S", Some(2)), ("PT1H", Some(3600)), ("PT0S", None), ("soon", None)]
    {
        assert_eq!(iso_duration(&text.into()), seconds.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn a_term_counts_only_beside_its_own_holder_and_renew_time() {
    let written = lease().edit(&object(json!({})), &ours());
    let ours = written["spec"]["renewTime"].clone();
    let ours = ours.as_str().unwrap();
    let later = "2026-01-01T00:00:07.000000Z";
    let ours_by = |holder: &str, renewed: &str| {
        let mut written = written.clone();
        written["spec"]["holderIdentity"] = holder.into();
        written["spec"]["renewTime"] = renewed.into();
        lease().decode(&written).unwrap().record
    };
    assert_eq!(ours_by("john", ours).token(), Some(FencingToken(31719)));
    // client-go took over, and released: the annotation is left over from the term before.
    assert_eq!(ours_by("jane", later).token(), None);
    assert!(!ours_by("", later).is_held());
    // A foreign program of our name renewed our record.
    assert_eq!(ours_by("john", later).session, None);
    // Somebody took the name out while the term was running.
    let cleared = ours_by("", ours);
    assert!(cleared.is_held());
    assert_eq!((cleared.holder, cleared.session), (None, Some(Session(7))));
    // The last token is remembered in any case.
    assert_eq!(ours_by("jane", later).last_token, FencingToken(31719));
}

#[test]
fn a_name_without_a_record_is_a_claim_and_never_expires() {
    let claimed = read(&config_map(), json!({ "data": { "leader": "jane" } }));
    assert_eq!(claimed.holder, Identity::new("jane"));
    assert_eq!(claimed.lease_duration, Some(Duration::MAX));

    // Likewise one that another client wrote over a running term, or over a released one.
    for record in [ours(), Record { holder: None, session: None, ..ours() }] {
        let mut written = config_map().edit(&object(json!({})), &record);
        written["data"]["leader"] = "jane".into();
        let read = config_map().decode(&written).unwrap().record;
        assert_eq!(read.holder, Identity::new("jane"));
        assert_eq!((read.session, read.lease_duration), (None, Some(Duration::MAX)));
    }

    // A foreign elector writes only its record, so our name is left over in the data.
    let mut written = config_map().edit(&object(json!({})), &ours());
    let foreign = json!({ "holderIdentity": "py", "leaseDurationSeconds": 17 });
    annotate(&mut written, RECORD_ANNOTATION, &foreign);
    let read = config_map().decode(&written).unwrap().record;
    assert_eq!(read.holder, Identity::new("py"));
}

#[test]
fn an_absurd_token_cannot_end_the_line() {
    for (text, token) in [
        ("{\"token\": 18446744073709551615}", 0),
        ("{\"token\": -4}", 0),
        ("{\"token\": \"9\"}", 0),
        ("{\"token\": 9223372036854775807}", 0),
        ("{\"token\": 4611686018427387904}", HIGHEST_TOKEN),
    ] {
        let body = json!({ "metadata": { "annotations": { TERM_ANNOTATION: text } } });
        assert_eq!(read(&lease(), body).last_token, FencingToken(token), "{text}");
    }
}

#[test]
fn an_object_without_a_version_is_refused() {
    let refused = |metadata: Value| lease().decode(&json!({ "metadata": metadata })).unwrap_err();
    assert_eq!(refused(json!({})), NoObject::NoUid);
    assert_eq!(refused(json!({ "uid": "u" })), NoObject::NoVersion);
    assert_eq!(
        refused(json!({ "uid": "u", "resourceVersion": "banana" })),
        NoObject::VersionIsNoNumber("banana".to_owned())
    );
}

#[test]
fn what_a_member_says_is_read_again_and_what_nobody_wrote_releases_nothing() {
    let seat = Lock::seat("prod", "indexers", "john");
    let pages = [(PageIndex(0), 4711), (PageIndex(3), 4712)].into();
    let exceptions = [TaskName::new("eu").unwrap()].into();
    let info = SeatInfo {
        capacity: 2,
        version: "1.2".to_owned(),
        is_leaving: true,
        declined: [TaskName::new("us").unwrap()].into(),
        prepares_within: Some(Duration::from_millis(30_001)),
        prepared: [(PageIndex(1), 4803)].into(),
        released: Released { pages, exceptions },
        ..SeatInfo::default()
    };
    let holder_info = HolderInfo { seat: Some(info), ..HolderInfo::default() };
    let record = Record { holder_info, ..ours() };
    let mut written = seat.edit(&object(json!({})), &record);
    assert_eq!(seat.decode(&written).unwrap().record, record);
    assert_eq!(written["metadata"]["labels"][GROUP_LABEL], "indexers");

    let mut term = text_annotation(&written, TERM_ANNOTATION);
    term["seat"]["released"] = json!("all of it");
    annotate(&mut written, TERM_ANNOTATION, &term);
    let info = seat.decode(&written).unwrap().record.holder_info.seat.unwrap();
    assert_eq!((info.released, info.is_leaving), (Released::default(), false));
}

#[test]
fn a_table_outlives_the_term_that_named_it() {
    let lock = Lock::lease("prod", "indexers");
    let record = Record { table: Some(Uid("t1".to_owned())), ..ours() };
    let written = lock.edit(&object(json!({})), &record);
    assert_eq!(lock.decode(&written).unwrap().record, record);
    let vacant = Record { holder: None, session: None, ..record };
    let vacant = lock.decode(&lock.edit(&written, &vacant)).unwrap().record;
    assert_eq!(vacant.table, Some(Uid("t1".to_owned())));
    assert_eq!(written["metadata"]["labels"], json!(null));
}

#[test]
fn a_seat_that_is_created_vacant_has_its_label_and_is_no_foreign_lease() {
    let seat = Lock::seat("default", "indexers", "john");
    let created = seat.create(&Record::default());
    assert_eq!(created["metadata"]["labels"][GROUP_LABEL], "indexers");
    assert!(!seat.is_foreign(&created));
    let bare = json!({ "metadata": { "name": "indexers.john" } });
    assert!(seat.is_foreign(&bare));
    // An election of its own, whose Lease only has such a name.
    assert!(!Lock::lease("default", "indexers.john").is_foreign(&bare));
    let other = json!({ "metadata": { "labels": { GROUP_LABEL: "other" } } });
    assert!(seat.is_foreign(&other));
    let carries = json!({ "metadata": { "annotations": { TERM_ANNOTATION: r#"{"seat":{}}"# } } });
    assert!(!seat.is_foreign(&carries), "the record decides");
}
