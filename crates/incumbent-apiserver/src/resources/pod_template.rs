//! What Pods and Pod templates have in common.

use serde_json::{Value, json};

use crate::cause::Cause;
use crate::schema::Fields;
use crate::validate::{NameRule, name_errors};

/// Sets upstream's defaults in a spec.
pub(super) fn default_spec(spec: &mut Fields) {
    for (name, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
    ] {
        spec.entry(name).or_insert(value);
    }
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        spec.insert("serviceAccount".to_owned(), account);
    }
    for list in ["initContainers", "containers"] {
        maps(spec.get_mut(list)).for_each(default_container);
    }
    maps(spec.get_mut("volumes")).for_each(default_volume);
}

fn default_container(container: &mut Fields) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    let is_latest = matches!(tag, None | Some("latest")) && !image.contains('@');
    let pull_policy = if is_latest { "Always" } else { "IfNotPresent" };
    for (name, value) in [
        ("terminationMessagePath", "/dev/termination-log"),
        ("terminationMessagePolicy", "File"),
        ("imagePullPolicy", pull_policy),
    ] {
        container.entry(name).or_insert_with(|| json!(value));
    }
    for port in maps(container.get_mut("ports")) {
        port.entry("protocol").or_insert_with(|| json!("TCP"));
    }
    for variable in maps(container.get_mut("env")) {
        default_field_ref(variable.get_mut("valueFrom"));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        map(container.get_mut(probe)).into_iter().for_each(default_probe);
    }
    for hook in ["postStart", "preStop"] {
        let lifecycle = container.get_mut("lifecycle");
        default_http_get(lifecycle.and_then(|lifecycle| lifecycle.get_mut(hook)));
    }
}

fn default_probe(probe: &mut Fields) {
    for (name, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        probe.entry(name).or_insert_with(|| json!(value));
    }
    let mut whole = Value::Object(std::mem::take(probe));
    default_http_get(Some(&mut whole));
    if let Value::Object(whole) = whole {
        *probe = whole;
    }
}

/// Sets the defaults of a probe or a hook.
fn default_http_get(handler: Option<&mut Value>) {
    if let Some(get) = map(handler.and_then(|handler| handler.get_mut("httpGet"))) {
        get.entry("path").or_insert_with(|| json!("/"));
        get.entry("scheme").or_insert_with(|| json!("HTTP"));
    }
}

fn default_field_ref(source: Option<&mut Value>) {
    if let Some(field) = map(source.and_then(|source| source.get_mut("fieldRef"))) {
        field.entry("apiVersion").or_insert_with(|| json!("v1"));
    }
}

fn default_volume(volume: &mut Fields) {
    /// 0644
    const MODE: i32 = 420;
    // A volume without a source is an empty directory.
    if volume.keys().all(|name| name == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for kind in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = map(volume.get_mut(kind)) {
            source.entry("defaultMode").or_insert_with(|| json!(MODE));
            maps(source.get_mut("items")).for_each(default_item);
            for projection in maps(source.get_mut("sources")) {
                if let Some(token) = map(projection.get_mut("serviceAccountToken")) {
                    token.entry("expirationSeconds").or_insert_with(|| json!(3600));
                }
                if let Some(downward) = map(projection.get_mut("downwardAPI")) {
                    maps(downward.get_mut("items")).for_each(default_item);
                }
            }
        }
    }
}

fn default_item(item: &mut Fields) {
    if let Some(field) = map(item.get_mut("fieldRef")) {
        field.entry("apiVersion").or_insert_with(|| json!("v1"));
    }
}

pub(super) fn map(value: Option<&mut Value>) -> Option<&mut Fields> {
    value.and_then(Value::as_object_mut)
}

/// The objects of a list.
pub(super) fn maps(list: Option<&mut Value>) -> impl Iterator<Item = &mut Fields> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Why containers are invalid; `place` is the path of the spec.
pub(super) fn container_causes(spec: Option<&Value>, place: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let containers = |list| spec.and_then(|spec| spec.get(list)).and_then(Value::as_array);
    if containers("containers").is_none_or(Vec::is_empty) {
        causes.push(Cause::required(format!("{place}.containers"), ""));
    }
    for list in ["containers", "initContainers"] {
        for (index, container) in containers(list).into_iter().flatten().enumerate() {
            let text = |name: &str| container.get(name).and_then(Value::as_str).unwrap_or_default();
            let field = |name: &str| format!("{place}.{list}[{index}].{name}");
            match text("name") {
                "" => causes.push(Cause::required(field("name"), "")),
                name => {
                    let errors = name_errors(NameRule::Label, name);
                    causes.extend(
                        errors.iter().map(|why| Cause::invalid(field("name"), &json!(name), why)),
                    );
                }
            }
            if text("image").is_empty() {
                causes.push(Cause::required(field("image"), ""));
            }
            let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
            let unset = ports.enumerate().filter(|(_, port)| port["containerPort"] == 0);
            causes.extend(unset.map(|(port, _)| {
                Cause::required(field(&format!("ports[{port}].containerPort")), "")
            }));
        }
    }
    causes
}
