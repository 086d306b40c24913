use super::*;

fn at(seconds: i64) -> Moment {
    Moment::from_unix_micros(seconds * 1_000_000 + 1)
}

fn full() -> ScheduleRecord {
    let run = Run {
        tick: Tick::At(at(60)),
        attempt: 2,
        failures: 1,
        token: FencingToken(7),
        session: Session(u128::MAX),
        first: at(60),
        began: at(61),
    };
    let asked = Run { tick: Tick::Asked { id: u64::MAX, at: at(59) }, failures: 0, ..run };
    let outcomes = [Outcome::Failed, Outcome::Stopped, Outcome::Replaced, Outcome::Unstarted];
    let past = |outcome| Past { run: asked.clone(), ended: at(62), outcome };
    ScheduleRecord {
        spec: Spec {
            when: When::Cron { pattern: "0 7 * * *".to_owned(), zone: "Europe/Berlin".to_owned() },
            revision: 3,
        },
        floor: at(60),
        floor_civil: Some("1970-01-01T01:01:00".to_owned()),
        run: Some(run),
        last: outcomes.into_iter().map(past).collect(),
        counts: Counts { ran: 4, missed: 3, skipped: 2, suspended: 1 },
        last_success: Some(at(1)),
        suspended: Some(Suspension { since: at(50), by: "jane".to_owned() }),
        asked: Some(Asked { id: 42, at: at(59) }),
        moved_to: Some("new".to_owned()),
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let every = When::Every { period: Duration::from_millis(1500), anchor: at(7) };
    let new = ScheduleRecord::new(Spec { when: every, revision: 0 }, at(60));
    for record in [full(), new] {
        assert_eq!(decode(&encode(&record, None)), Some(record.clone()));
        let over = encode(&record, Some(&encode(&full(), None)));
        assert_eq!(decode(&over), Some(record));
    }
}

#[test]
fn what_a_later_version_has_written_stays() {
    let mut later: Value = serde_json::from_str(&encode(&full(), None)).unwrap();
    later["owner"] = json!({ "team": "billing" });
    let text = encode(&full(), Some(&later.to_string()));
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), later);
}

/// Whatever one part of a record is replaced by, it is read in full or not at all.
#[test]
fn a_garbled_record_is_unreadable_and_never_a_panic() {
    let good: Value = serde_json::from_str(&encode(&full(), None)).unwrap();
    let garbage = [
        Value::Null,
        json!(-1),
        json!(u64::MAX),
        json!("x"),
        json!(""),
        json!("9999-12-31T23:59:59Z"),
        json!([]),
        json!({}),
        json!([{}]),
        json!(true),
    ];
    let mut paths = vec![String::new()];
    for (name, value) in good.as_object().unwrap() {
        paths.push(format!("/{name}"));
        let inner = value.as_object().into_iter().flatten();
        paths.extend(inner.map(|(inner, _)| format!("/{name}/{inner}")));
    }
    let mut unreadable = 0;
    for path in &paths {
        for garbage in &garbage {
            let mut bad = good.clone();
            *bad.pointer_mut(path).unwrap() = garbage.clone();
            match decode(&bad.to_string()) {
                Some(record) => assert!(decode(&encode(&record, None)).is_some(), "{bad}"),
                None => unreadable += 1,
            }
        }
    }
    assert!(unreadable > paths.len() * 5, "{unreadable} of {}", paths.len());
    for text in ["", "null", "[]", "{", "{}", "\u{0}"] {
        assert_eq!(decode(text), None, "{text:?}");
    }
}
