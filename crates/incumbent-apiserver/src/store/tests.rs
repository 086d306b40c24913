use serde_json::{Value, json};

use super::*;

const TABLE: &str = "configmaps";

fn fields(name: &str, value: &str) -> Fields {
    let object = json!({"metadata": {"namespace": "n", "name": name}, "data": {"k": value}});
    match object {
        Value::Object(fields) => fields,
        _ => unreachable!(),
    }
}

fn names(objects: &[Arc<Object>]) -> Vec<&str> {
    objects.iter().map(|object| object.name()).collect()
}

#[test]
fn a_replace_based_on_the_newest_version_is_made() {
    let mut store = Store::new(10);
    let first = store.create(TABLE, fields("a", "1")).unwrap();
    let second = store.replace(TABLE, first.version(), fields("a", "2")).unwrap();
    assert!(second.version() > first.version());
    assert_eq!(store.object(TABLE, "n", "a").unwrap().version(), second.version());
}

#[test]
fn of_two_replaces_based_on_one_version_the_second_is_refused() {
    let mut store = Store::new(10);
    let seen = store.create(TABLE, fields("a", "")).unwrap().version();
    store.replace(TABLE, seen, fields("a", "jane")).unwrap();
    assert_eq!(store.replace(TABLE, seen, fields("a", "john")).unwrap_err(), Refused::Changed);
    assert_eq!(store.object(TABLE, "n", "a").unwrap().fields()["data"], json!({"k": "jane"}));
}

#[test]
fn a_version_of_a_deleted_object_is_no_base_for_its_successor() {
    let mut store = Store::new(10);
    let seen = store.create(TABLE, fields("a", "1")).unwrap().version();
    store.remove(TABLE, "n", "a", seen).unwrap();
    assert_eq!(store.replace(TABLE, seen, fields("a", "2")).unwrap_err(), Refused::Missing);
    store.create(TABLE, fields("a", "1")).unwrap();
    assert_eq!(store.replace(TABLE, seen, fields("a", "2")).unwrap_err(), Refused::Changed);
    assert_eq!(store.remove(TABLE, "n", "a", seen).unwrap_err(), Refused::Changed);
}

#[test]
fn a_replace_that_changes_nothing_is_no_write() {
    let mut store = Store::new(10);
    let first = store.create(TABLE, fields("a", "1")).unwrap();
    store.take_fresh();
    let same = store.replace(TABLE, first.version(), fields("a", "1")).unwrap();
    assert_eq!(same.version(), first.version());
    assert_eq!(store.version(), first.version());
    assert!(store.take_fresh().is_empty());
}

#[test]
fn one_counter_numbers_the_writes_of_all_tables_and_starts_above_one() {
    let mut store = Store::new(10);
    let first = store.create("leases", fields("a", "1")).unwrap().version();
    let second = store.create(TABLE, fields("a", "1")).unwrap().version();
    assert!(first > 1);
    assert_eq!(second, first + 1);
}

#[test]
fn a_deletion_has_a_version_of_its_own() {
    let mut store = Store::new(10);
    let created = store.create(TABLE, fields("a", "1")).unwrap().version();
    let deleted = store.remove(TABLE, "n", "a", created).unwrap();
    assert_eq!(deleted.version(), created + 1);
    assert_eq!(
        deleted.fields()["metadata"]["resourceVersion"],
        json!(deleted.version().to_string())
    );
}

#[test]
fn a_forgotten_past_is_refused_and_the_rest_is_told_in_order() {
    let mut store = Store::new(3);
    let versions: Vec<u64> = (0..5)
        .map(|n| store.create(TABLE, fields(&format!("o{n}"), "")).unwrap().version())
        .collect();
    assert_eq!(
        store.changes_since(TABLE, versions[0]).unwrap_err(),
        Compacted { oldest: versions[1] }
    );
    let changes = store.changes_since(TABLE, versions[1]).unwrap();
    let told: Vec<u64> = changes.iter().map(|change| change.object.version()).collect();
    assert_eq!(told, versions[2..]);
    assert!(store.changes_since(TABLE, versions[4]).unwrap().is_empty());
}

#[test]
fn writes_elsewhere_do_not_make_a_table_forget() {
    let mut store = Store::new(1);
    let seen = store.create(TABLE, fields("a", "1")).unwrap().version();
    for n in 0..5 {
        store.create("leases", fields(&format!("o{n}"), "")).unwrap();
    }
    assert_eq!(store.changes_since(TABLE, seen).unwrap().len(), 0);
    assert_eq!(store.changes_since(TABLE, seen - 1).unwrap().len(), 1);
}

#[test]
fn the_past_can_be_listed_as_it_was() {
    let mut store = Store::new(10);
    let a = store.create(TABLE, fields("a", "1")).unwrap().version();
    let b = store.create(TABLE, fields("b", "1")).unwrap().version();
    store.replace(TABLE, a, fields("a", "2")).unwrap();
    store.remove(TABLE, "n", "b", b).unwrap();
    let past = store.objects_at(TABLE, b).unwrap();
    assert_eq!(names(&past), ["a", "b"]);
    assert_eq!(past[0].fields()["data"], json!({"k": "1"}));
    assert_eq!(names(&store.objects_at(TABLE, store.version()).unwrap()), ["a"]);
}

#[test]
fn a_year_of_renewals_leaves_no_more_than_the_history_behind() {
    let mut store = Store::new(1000);
    let mut version = store.create(TABLE, fields("a", "")).unwrap().version();
    let mut after_a_day = 0;
    for renewal in 0..200_000 {
        version =
            store.replace(TABLE, version, fields("a", &renewal.to_string())).unwrap().version();
        store.take_fresh();
        if renewal == 17_280 {
            after_a_day = store.tables[TABLE].weight;
        }
    }
    let table = &store.tables[TABLE];
    assert_eq!((table.log.len(), table.objects.len()), (1000, 1));
    assert!(table.weight <= after_a_day + 1000 * 10, "{after_a_day} then {}", table.weight);
    assert!(table.weight < 2 << 20, "{} bytes", table.weight);
    // As long as a client follows, it is told of everything.
    assert_eq!(store.changes_since(TABLE, version - 999).unwrap().len(), 999);
}

#[test]
fn large_objects_leave_fewer_changes_behind_than_small_ones() {
    let mut store = Store::new(1000);
    let large = "x".repeat(1 << 20);
    let mut version = store.create(TABLE, fields("a", &large)).unwrap().version();
    for number in 0..60 {
        let value = format!("{number}{large}");
        version = store.replace(TABLE, version, fields("a", &value)).unwrap().version();
        assert!(store.tables[TABLE].weight <= HEAVIEST_HISTORY);
    }
    assert!((10..30).contains(&store.tables[TABLE].log.len()));
    assert_eq!(store.changes_since(TABLE, version - 5).unwrap().len(), 5);
    assert!(store.changes_since(TABLE, version - 50).is_err());
    let sum: usize = store.tables[TABLE].log.iter().map(|change| change.object.weight()).sum();
    assert_eq!(store.tables[TABLE].weight, sum);
    store.compact();
    assert_eq!((store.tables[TABLE].weight, store.tables[TABLE].log.len()), (0, 0));
    assert_eq!(store.changes_since(TABLE, version).unwrap().len(), 0);
    assert!(store.changes_since(TABLE, version - 1).is_err());
}
