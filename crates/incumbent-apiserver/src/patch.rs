//! Merge patch (RFC 7386) and strategic merge patch.

use serde_json::Value;

use crate::schema::{Fields, ListMerge, Shape, Struct};

/// Merges by RFC 7386: null removes a member, and lists are replaced.
pub(crate) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Fields::new());
    }
    if let Value::Object(target) = target {
        for (name, value) in patch {
            if value.is_null() {
                target.remove(&name);
            } else {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
    }
}

/// Merges as kubectl and kubelets expect: entries of a list that have a key are merged by it.
///
/// # Errors
///
/// An unknown directive.
pub(crate) fn strategic(
    schema: &'static Struct,
    target: &mut Fields,
    patch: Fields,
) -> Result<(), String> {
    strategic_object(Some(schema), target, patch)
}

/// The directives that upstream places between the fields of a patch.
const ORDER: &str = "$setElementOrder/";
const REMOVE: &str = "$deleteFromPrimitiveList/";
const DIRECTIVE: &str = "$patch";
const KEEP: &str = "$retainKeys";

fn strategic_object(
    schema: Option<&'static Struct>,
    target: &mut Fields,
    mut patch: Fields,
) -> Result<(), String> {
    match patch.remove(DIRECTIVE).as_ref().map(|directive| directive.as_str()) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => target.clear(),
        Some(Some("delete")) => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(format!("unknown patch directive {other:?}")),
    }
    if let Some(Value::Array(kept)) = patch.remove(KEEP) {
        target.retain(|name, _| kept.iter().any(|kept| kept == name));
    }
    let shape_of = |name: &str| {
        let field = schema.and_then(|schema| schema.find(name));
        field.map_or(&Shape::Any, |field| &field.shape)
    };
    let orders = take_orders(&mut patch, target, shape_of);
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(REMOVE) {
            remove_from_list(target.get_mut(list), &value);
        } else if value.is_null() {
            target.remove(&name);
        } else {
            let shape = shape_of(&name);
            strategic_value(shape, target.entry(name).or_insert(Value::Null), value)?;
        }
    }
    for Order { name, wanted, before } in orders {
        if let Some(Value::Array(list)) = target.get_mut(&name) {
            arrange(list, &wanted, &before, shape_of(&name).entry_key());
        }
    }
    Ok(())
}

/// The order that a patch asks for, and the order before it.
struct Order {
    name: String,
    wanted: Vec<Value>,
    before: Vec<Value>,
}

fn take_orders(
    patch: &mut Fields,
    target: &Fields,
    shape_of: impl Fn(&str) -> &'static Shape,
) -> Vec<Order> {
    let names = patch.keys().filter_map(|name| name.strip_prefix(ORDER)).map(str::to_owned);
    let names: Vec<_> = names.collect();
    let order = |name: String| {
        let wanted = patch.remove(&format!("{ORDER}{name}"));
        let key = shape_of(&name).entry_key();
        let keys = |list: Option<&Value>| keys(list.and_then(Value::as_array), key);
        Order { wanted: keys(wanted.as_ref()), before: keys(target.get(&name)), name }
    };
    names.into_iter().map(order).collect()
}

/// The keys of a list's entries: the values of a member, or the whole entries.
fn keys(list: Option<&Vec<Value>>, key: Option<&str>) -> Vec<Value> {
    let list = list.map_or(&[][..], Vec::as_slice);
    list.iter().map(|entry| key_of(entry, key).clone()).collect()
}

fn key_of<'a>(entry: &'a Value, key: Option<&str>) -> &'a Value {
    key.map_or(entry, |key| &entry[key])
}

/// Sorts the entries that a patch names into its order. The others keep their order, and stay before the first named
/// entry that they preceded.
fn arrange(list: &mut Vec<Value>, wanted: &[Value], before: &[Value], key: Option<&str>) {
    let place =
        |keys: &[Value], entry: &Value| keys.iter().position(|known| known == key_of(entry, key));
    let all = std::mem::take(list).into_iter();
    let (mut named, mut others): (Vec<_>, Vec<_>) =
        all.partition(|entry| place(wanted, entry).is_some());
    named.sort_by_key(|entry| place(wanted, entry));
    others.sort_by_key(|entry| place(before, entry));
    let mut others = others.into_iter().peekable();
    for entry in named {
        let stood = place(before, &entry);
        let is_earlier = |other: &Value| {
            stood.zip(place(before, other)).is_some_and(|(stood, other)| other < stood)
        };
        while let Some(other) = others.next_if(is_earlier) {
            list.push(other);
        }
        list.push(entry);
    }
    list.extend(others);
}

fn strategic_value(shape: &'static Shape, target: &mut Value, patch: Value) -> Result<(), String> {
    match (shape, patch) {
        (Shape::List(_, ListMerge::Set), Value::Array(patch)) => {
            for value in patch {
                let list = list_mut(target);
                if !list.contains(&value) {
                    list.push(value);
                }
            }
            Ok(())
        }
        (Shape::Atomic(inner), patch) => strategic_value(inner, target, patch),
        (Shape::List(item, ListMerge::Key(key) | ListMerge::Keys(key, _)), Value::Array(patch)) => {
            strategic_list(item, key, list_mut(target), patch)
        }
        (Shape::List(..), patch) => {
            *target = patch;
            Ok(())
        }
        (shape, Value::Object(patch)) => {
            let schema = if let Shape::Object(of) = shape { Some(*of) } else { None };
            strategic_object(schema, object_mut(target), patch)
        }
        (_, patch) => {
            *target = patch;
            Ok(())
        }
    }
}

fn strategic_list(
    item: &'static Shape,
    key: &str,
    target: &mut Vec<Value>,
    patch: Vec<Value>,
) -> Result<(), String> {
    let directive = |value: &Value| value.get(DIRECTIVE).and_then(Value::as_str).map(str::to_owned);
    let replaces =
        |value: &Value| directive(value).as_deref() == Some("replace") && value.get(key).is_none();
    if patch.iter().any(replaces) {
        *target = patch.into_iter().filter(|value| !replaces(value)).collect();
        return Ok(());
    }
    let (wanted, before) = (keys(Some(&patch), Some(key)), keys(Some(target), Some(key)));
    for value in patch {
        let Some(name) = value.get(key).cloned() else {
            return Err(format!("map: {value} does not contain declared merge key: {key}"));
        };
        let place = target.iter().position(|entry| entry.get(key) == Some(&name));
        match (directive(&value).as_deref(), place) {
            (Some("delete"), Some(place)) => drop(target.remove(place)),
            (Some("delete"), None) => {}
            (_, Some(place)) => strategic_value(item, &mut target[place], value)?,
            (_, None) => {
                let mut entry = Value::Null;
                strategic_value(item, &mut entry, value)?;
                target.push(entry);
            }
        }
    }
    arrange(target, &wanted, &before, Some(key));
    Ok(())
}

fn remove_from_list(list: Option<&mut Value>, gone: &Value) {
    if let (Some(Value::Array(list)), Value::Array(gone)) = (list, gone) {
        list.retain(|value| !gone.contains(value));
    }
}

fn list_mut(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("it was made a list just above"),
    }
}

fn object_mut(value: &mut Value) -> &mut Fields {
    if !value.is_object() {
        *value = Value::Object(Fields::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made a map just above"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::pod::POD;

    fn strategically(target: Value, patch: Value) -> Value {
        let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else {
            panic!("not objects")
        };
        strategic(POD.schema, &mut target, patch).unwrap();
        target.into()
    }

    #[test]
    fn null_in_a_merge_patch_takes_a_member_away() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "d": [1, 2]});
        merge(&mut target, json!({"a": {"b": null, "e": {"f": null}}, "d": [3]}));
        assert_eq!(target, json!({"a": {"c": 2, "e": {}}, "d": [3]}));
    }

    #[test]
    fn a_strategic_patch_merges_containers_by_name_and_replaces_their_statuses() {
        let target = json!({
            "spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]},
            "status": {"containerStatuses": [{"name": "a"}, {"name": "b"}]}});
        let patch = json!({
            "spec": {"containers": [{"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}]},
            "status": {"containerStatuses": [{"name": "b", "ready": true}]}});
        assert_eq!(
            strategically(target, patch),
            json!({
                "spec": {"containers": [
                    {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"},
                    {"name": "c", "image": "c:1"}]},
                "status": {"containerStatuses": [{"name": "b", "ready": true}]}})
        );
    }

    #[test]
    fn entries_stand_in_the_order_of_the_patch_and_others_where_they_stood() {
        let containers = |names: &[&str]| -> Vec<Value> {
            names.iter().map(|name| json!({"name": name})).collect()
        };
        for (there, directive, patch, expected) in [
            // As Kubernetes 1.36 answers: new entries come before those that the patch does not name.
            (&["x", "y"][..], None, &["x", "z"][..], &["x", "z", "y"][..]),
            (&["y", "x"], None, &["x", "z"], &["y", "x", "z"]),
            (&["x", "y"], Some(["z", "y", "x"]), &["z"], &["z", "y", "x"]),
            (&["x", "y", "z"], Some(["z", "x", "y"]), &[], &["z", "x", "y"]),
        ] {
            let target = json!({"spec": {"containers": containers(there)}});
            let mut spec = json!({"containers": containers(patch)});
            if let Some(order) = directive {
                spec["$setElementOrder/containers"] = containers(&order).into();
            }
            let merged = strategically(target, json!({"spec": spec}));
            assert_eq!(merged["spec"]["containers"], json!(containers(expected)));
        }
        let target = json!({"metadata": {"finalizers": ["k/a", "k/b"]}});
        let patch = json!({"metadata": {"finalizers": ["k/c"],
            "$setElementOrder/finalizers": ["k/c", "k/b", "k/a"]}});
        let merged = strategically(target, patch);
        assert_eq!(merged["metadata"]["finalizers"], json!(["k/c", "k/b", "k/a"]));
    }

    #[test]
    fn directives_delete_and_replace() {
        let target = json!({"spec": {"volumes": [{"name": "a"}, {"name": "b"}]},
            "metadata": {"labels": {"x": "1"}, "finalizers": ["k/a", "k/b"]}});
        let patch = json!({
            "spec": {"volumes": [{"name": "a", "$patch": "delete"}]},
            "metadata": {"labels": {"$patch": "replace", "y": "2"},
                "$deleteFromPrimitiveList/finalizers": ["k/a"]}});
        assert_eq!(
            strategically(target, patch),
            json!({"spec": {"volumes": [{"name": "b"}]},
                "metadata": {"labels": {"y": "2"}, "finalizers": ["k/b"]}})
        );
    }
}
