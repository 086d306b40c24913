//! Rules of RBAC: those that a group needs, and any as YAML to put into a Role.

use k8s_openapi::api::rbac::v1::PolicyRule;

/// A rule for one kind of object, or for the one of this name.
pub(crate) fn rule(
    (group, resource): (&str, &str),
    name: Option<&str>,
    verbs: &[&str],
) -> PolicyRule {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    PolicyRule {
        api_groups: Some(texts(&[group])),
        resources: Some(texts(&[resource])),
        resource_names: name.map(|name| texts(&[name])),
        verbs: texts(verbs),
        ..PolicyRule::default()
    }
}

/// All that a member of a group needs. Any member may become the allocator.
pub(crate) fn of_a_group() -> Vec<PolicyRule> {
    let verbs = ["get", "list", "watch", "create", "update", "delete"];
    vec![
        rule(("coordination.k8s.io", "leases"), None, &verbs),
        rule(("", "configmaps"), None, &verbs),
    ]
}

/// The items of `rules` in a Role.
pub(crate) fn yaml(rules: &[PolicyRule]) -> String {
    let list = |texts: &[String]| {
        let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let item = |rule: &PolicyRule| {
        let keys = [
            ("apiGroups", &rule.api_groups),
            ("resources", &rule.resources),
            ("resourceNames", &rule.resource_names),
        ];
        let lines = keys.into_iter().filter_map(|(key, texts)| {
            texts.as_ref().map(|texts| format!("{key}: {}", list(texts)))
        });
        let lines: Vec<String> = lines.chain([format!("verbs: {}", list(&rule.verbs))]).collect();
        format!("- {}", lines.join("\n  "))
    };
    rules.iter().map(item).collect::<Vec<_>>().join("\n")
}
