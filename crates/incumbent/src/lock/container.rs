//! What a holder says of its container, in the annotation of its term.

use incumbent_core::{Container, ContainerReport, ContainerStart, Mark};
use serde_json::{Value, json};

/// What earlier versions wrote has neither `start` nor `report`, and so proves nothing.
pub(super) fn read(from: &Value) -> Option<Container> {
    Some(Container {
        pod_uid: text(from, "podUid")?,
        name: text(from, "name")?,
        start: start(&from["start"]),
        report: report(&from["report"]),
    })
}

fn start(from: &Value) -> Option<ContainerStart> {
    Some(ContainerStart {
        boot_id: text(from, "bootId")?,
        sandbox: from["sandbox"].as_u64()?,
        file: text(from, "file")?,
        ticks: from["ticks"].as_u64()?,
    })
}

fn report(from: &Value) -> Option<ContainerReport> {
    let mark = from["mark"].as_str().filter(|mark| mark.len() == MARK_DIGITS)?;
    Some(ContainerReport {
        namespace: text(from, "namespace")?,
        pod: text(from, "pod")?,
        mark: Mark(u128::from_str_radix(mark, 16).ok()?),
    })
}

fn text(from: &Value, field: &str) -> Option<String> {
    from[field].as_str().map(str::to_owned)
}

pub(super) fn written(container: &Container) -> Value {
    let mut said = json!({ "podUid": container.pod_uid, "name": container.name });
    if let Some(ContainerStart { boot_id, sandbox, file, ticks }) = &container.start {
        said["start"] =
            json!({ "bootId": boot_id, "sandbox": sandbox, "file": file, "ticks": ticks });
    }
    if let Some(ContainerReport { namespace, pod, mark: Mark(mark) }) = &container.report {
        let mark = format!("{mark:032x}");
        said["report"] = json!({ "namespace": namespace, "pod": pod, "mark": mark });
    }
    said
}

/// Of 128 bits.
const MARK_DIGITS: usize = 32;
