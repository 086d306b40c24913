//! The same as files: a kustomize component, and the templates of a Helm chart.

use std::fs;
use std::io;
use std::path::Path;

use incumbent::Lock;

use super::model::{Document, Usage, documents, pod_with_sidecar};
use super::yaml::{self, Decision, Form, Node, Switch};
use super::{IMAGE, Settings};

/// Writes all files that are made from the model. What is written by hand, as the chart's values, stays.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    for (file, text) in kustomize().into_iter().chain(helm()) {
        let file = folder.join(file);
        fs::create_dir_all(file.parent().unwrap_or(folder))?;
        fs::write(file, text)?;
    }
    Ok(())
}

type Files = Vec<(String, String)>;

const HEAD: &str = "made by incumbent manifests --write-deploy; do not edit";

/// The component's names are all `incumbent`: its kustomization puts those of the Deployment there.
fn kustomize() -> Files {
    let settings = Settings {
        lock: Lock::lease("", "incumbent"),
        name: "incumbent".to_owned(),
        account: "incumbent".to_owned(),
        image: None,
        makes_account: true,
        has_namespace: false,
        incumbent_image: IMAGE.to_owned(),
        replicas: 2,
        pre_create: false,
        watch: true,
        events: false,
        kubelet_reports: false,
        label: false,
        endpoint_slice: None,
        flow_schema: false,
    };
    let is_there = |document: &Document| {
        let is_there = |switch| matches!(settings.decide(switch), Decision::There);
        document.only.is_none_or(is_there)
    };
    let file = |name: &str, object: &Node| {
        let text = format!("# {HEAD}\n{}", yaml::write(object, &settings));
        (format!("kustomize/{name}.yaml"), text)
    };
    let documents = documents(Usage::Sidecar, &[]);
    let objects = documents.iter().filter(|document| is_there(document));
    let patch = [file("sidecar", &pod_with_sidecar())];
    objects.map(|document| file(document.file, &document.object)).chain(patch).collect()
}

fn helm() -> Files {
    let file = |document: &Document| {
        let object = yaml::write(&document.object, &Chart);
        let text = match document.only.map(|switch| Chart.decide(switch)) {
            Some(Decision::If(condition)) => {
                format!("{{{{- if {condition} }}}}\n{object}{{{{- end }}}}\n")
            }
            _ => object,
        };
        let name = format!("helm/incumbent/templates/{}.yaml", document.file);
        (name, format!("{{{{- /* {HEAD} */ -}}}}\n{text}"))
    };
    documents(Usage::Sidecar, &[]).iter().map(file).collect()
}

/// The form in which helm decides, by its values.
struct Chart;

impl Form for Chart {
    fn decide(&self, switch: Switch) -> Decision {
        Decision::If(match switch {
            Switch::Namespace => return Decision::There,
            Switch::Lease => r#"eq .Values.lock.kind "lease""#,
            Switch::ConfigMap => r#"eq .Values.lock.kind "configmap""#,
            Switch::CreateLease => r#"and (eq .Values.lock.kind "lease") (not .Values.preCreate)"#,
            Switch::CreateConfigMap => {
                r#"and (eq .Values.lock.kind "configmap") (not .Values.preCreate)"#
            }
            Switch::PreCreate => ".Values.preCreate",
            Switch::Watch => ".Values.watch",
            Switch::Events => ".Values.events",
            Switch::KubeletReports => ".Values.kubeletReports",
            Switch::Label => ".Values.label",
            Switch::Pods => "or .Values.label .Values.kubeletReports",
            Switch::EndpointSlice => ".Values.endpointSlice",
            Switch::FlowSchema => ".Values.flowSchema",
            Switch::Account => ".Values.account.create",
            Switch::Workload => ".Values.image",
        })
    }

    /// The values' schema lets nothing in that has a quote in it.
    fn word(&self, word: &str) -> String {
        let value = match word {
            "name" => ".Release.Name",
            "namespace" => ".Release.Namespace",
            "account" => "or .Values.account.name .Release.Name",
            "lock" => "or .Values.lock.name .Release.Name",
            "kind" => ".Values.lock.kind",
            "key" => "with .Values.lock.key }}:{{ . }}{{ end",
            "service" => ".Values.endpointSlice",
            "flow" => return "{{ .Release.Namespace }}-{{ .Release.Name }}".to_owned(),
            "replicas" => ".Values.replicas",
            "image" => ".Values.image",
            "incumbent" => ".Values.incumbent.image",
            _ => unreachable!("no form knows the word {word}"),
        };
        format!("{{{{ {value} }}}}")
    }
}
