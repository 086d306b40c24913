//! A label selector inside an object: how upstream shows it, and what it matches.

use serde_json::Value;

use crate::schema::Fields;

/// `app=x,tier in (a,b)`; empty if it selects everything.
pub(super) fn shown(selector: Option<&Value>) -> String {
    let mut parts: Vec<(&str, String)> = Vec::new();
    for (key, value) in labels(selector) {
        parts.push((key, format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in expressions(selector) {
        let (key, values) = (expression.key, expression.values.join(","));
        let shown = match expression.operator {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key, shown));
    }
    parts.sort_by_key(|(key, _)| *key);
    parts.into_iter().map(|(_, shown)| shown).collect::<Vec<_>>().join(",")
}

/// Whether the selector matches these labels.
pub(super) fn matches(selector: Option<&Value>, found: Option<&Fields>) -> bool {
    let label = |key: &str| found.and_then(|found| found.get(key)).and_then(Value::as_str);
    labels(selector).all(|(key, value)| label(key) == value.as_str())
        && expressions(selector).all(|expression| {
            let is_listed = label(expression.key).is_some_and(|l| expression.values.contains(&l));
            match expression.operator {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "DoesNotExist" => label(expression.key).is_none(),
                _ => label(expression.key).is_some(),
            }
        })
}

struct Expression<'a> {
    key: &'a str,
    operator: &'a str,
    values: Vec<&'a str>,
}

fn labels(selector: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    let labels = selector.and_then(|selector| selector.get("matchLabels")?.as_object());
    labels.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

fn expressions(selector: Option<&Value>) -> impl Iterator<Item = Expression<'_>> {
    let list = selector.and_then(|selector| selector.get("matchExpressions")?.as_array());
    list.into_iter().flatten().map(|expression| {
        let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
        let values = expression.get("values").and_then(Value::as_array);
        let values = values.into_iter().flatten().filter_map(Value::as_str).collect();
        Expression { key: text("key"), operator: text("operator"), values }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_is_shown_in_the_order_of_its_keys_and_matches_by_all_its_parts() {
        let selector = json!({
            "matchLabels": {"b": "1"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["x", "y"]},
                {"key": "c", "operator": "NotIn", "values": ["z"]},
                {"key": "d", "operator": "Exists"},
                {"key": "e", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(shown(Some(&selector)), "a in (x,y),b=1,c notin (z),d,!e");
        let good = json!({"a": "x", "b": "1", "d": ""});
        assert!(matches(Some(&selector), good.as_object()));
        for (key, value) in [("a", "z"), ("b", "2"), ("c", "z"), ("e", "")] {
            let mut bad = good.clone();
            bad[key] = json!(value);
            assert!(!matches(Some(&selector), bad.as_object()), "{key}");
        }
        assert!(matches(None, None) && shown(None).is_empty());
    }
}
