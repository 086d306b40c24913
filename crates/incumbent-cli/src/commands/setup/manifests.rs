//! `incumbent manifests`: what a workload needs in the cluster, as YAML to read and to apply. Sends no request.

mod group;
mod model;
mod tree;
mod yaml;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use incumbent::{Error, Lock};

use crate::flags::membership::Shared;
use crate::runtime::output;
use model::Usage;
use yaml::{Decision, Form, Switch};

/// The image of this version.
const IMAGE: &str = concat!("ghcr.io/incumbent-dev/incumbent:", env!("CARGO_PKG_VERSION"));

/// What is asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Wanted {
    /// What to compete for: lease/NAME or configmap/NAME[:KEY]
    #[arg(long, value_name = "LOCK", required_unless_present_any = ["group", "write_deploy"], conflicts_with = "kind_of_tasks", value_parser = crate::flags::lock::lock_text)]
    lock: Option<String>,
    /// The group whose tasks to share; with --image, --for work and --for sidecar need one of --tasks, --from-config, --slots,
    /// --permits
    #[arg(long, value_name = "GROUP", conflicts_with_all = OF_A_LOCK)]
    group: Option<String>,
    #[command(flatten)]
    shared: Shared,
    /// How the workload takes part
    #[arg(long = "for", value_enum, value_name = "USAGE", default_value = "library")]
    usage: Usage,
    /// The name of the Role, the account and the Deployment [default: that of the lock or group]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The namespace of all objects
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Bind this existing account, instead of creating one
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    /// The image of the application; without one, no Deployment is printed
    #[arg(long, value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    image: Option<String>,
    /// The image of the sidecar
    #[arg(long, value_name = "IMAGE", default_value = IMAGE, value_parser = NonEmptyStringValueParser::new())]
    incumbent_image: String,
    /// The number of Pods
    #[arg(long, value_name = "N", default_value = "2")]
    replicas: u16,
    /// Print the lock itself, so that no candidate needs the permission to create it
    #[arg(long)]
    pre_create: bool,
    /// Leave out the permission to watch; waiting candidates then poll
    #[arg(long)]
    no_watch: bool,
    /// Grant Events on the lock, or on the table of the group
    #[arg(long)]
    events: bool,
    /// Grant a look at the Pods, to take over as soon as the kubelet reports a leader's or member's end; not for
    /// sidecars or Pods that share a PID namespace
    #[arg(long)]
    kubelet_reports: bool,
    /// Grant a label on the leader's Pod
    #[arg(long)]
    label: bool,
    /// Grant the EndpointSlice SERVICE-leader, with the leader's address
    #[arg(long, value_name = "SERVICE")]
    endpoint_slice: Option<String>,
    /// Print a FlowSchema and its priority level, which a cluster administrator has to apply
    #[arg(long)]
    flow_schema: bool,
    /// Write the kustomize component and the chart of the repository into this folder
    #[arg(long, value_name = "DIR", hide = true)]
    write_deploy: Option<PathBuf>,
    /// The command of the application, after --
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// What says nothing about a group.
const OF_A_LOCK: [&str; 5] = ["lock", "pre_create", "no_watch", "label", "endpoint_slice"];

const HELP: &str = "\
Examples:
  Print the least permissions for a program that uses the library:
    $ incumbent manifests --lock lease/scanner
  Print those and a Deployment that runs any program under an election:
    $ incumbent manifests --lock lease/scanner --for run --image app:1 -- ./scanner
  Print what the members of a group need:
    $ incumbent manifests --group indexers --image indexer:1
  Print the same for a program in any language, one process for each slot:
    $ incumbent manifests --group indexers --for work --slots 64 --image indexer:1 -- ./index";

pub(crate) fn run(wanted: &Wanted) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &wanted.write_deploy {
        tree::write(folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = Settings::new(wanted)?;
    let documents = match &wanted.group {
        Some(_) => {
            let tasks = wanted.shared.flag().unwrap_or_default();
            group::documents(wanted.usage, &tasks, &wanted.command)
        }
        None => model::documents(wanted.usage, &wanted.command),
    };
    let there = documents.into_iter().filter(|document| {
        document.only.is_none_or(|switch| matches!(settings.decide(switch), Decision::There))
    });
    let texts: Vec<_> = there.map(|document| yaml::write(&document.object, &settings)).collect();
    output::line(texts.join("---\n").trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// What is asked for, with all defaults, and all names known to be good ones.
#[derive(Debug)]
struct Settings {
    lock: Lock,
    name: String,
    account: String,
    image: Option<String>,
    makes_account: bool,
    has_namespace: bool,
    incumbent_image: String,
    replicas: u16,
    pre_create: bool,
    watch: bool,
    events: bool,
    kubelet_reports: bool,
    label: bool,
    endpoint_slice: Option<String>,
    flow_schema: bool,
}

impl Settings {
    fn new(wanted: &Wanted) -> Result<Self, Error> {
        let lock = lock(wanted)?;
        let name = wanted.name.clone().unwrap_or_else(|| lock.name().to_owned());
        let account = wanted.service_account.clone().unwrap_or_else(|| name.clone());
        check_name("--name", &name, 63)?;
        check_name("--service-account", &account, 253)?;
        if let Some(service) = &wanted.endpoint_slice {
            check_name("--endpoint-slice", service, 63)?;
        }
        check_usage(wanted)?;
        if wanted.image.is_none() && !wanted.command.is_empty() {
            return Err(invalid(
                "a command without --image has no Deployment to run in",
                "add --image",
            ));
        }
        let is_sidecar = wanted.usage == Usage::Sidecar && wanted.image.is_some();
        if is_sidecar && wanted.kubelet_reports {
            return Err(invalid(
                "the end of a sidecar proves nothing about the application beside it",
                "leave --kubelet-reports out; --for run and --for library can use it",
            ));
        }
        let shows = match wanted.usage {
            Usage::Library | Usage::Work => "",
            Usage::Sidecar if wanted.endpoint_slice.is_some() => "EndpointSlice",
            Usage::Run if wanted.label || wanted.endpoint_slice.is_some() => {
                "label or EndpointSlice"
            }
            Usage::Run | Usage::Sidecar => "",
        };
        if !shows.is_empty() {
            let hint = "leave the flag out, or use --for library";
            return Err(invalid(format!("this command writes no {shows}"), hint));
        }
        Ok(Self {
            lock,
            name,
            account,
            image: wanted.image.clone(),
            makes_account: wanted.service_account.is_none(),
            has_namespace: true,
            incumbent_image: wanted.incumbent_image.clone(),
            replicas: wanted.replicas,
            pre_create: wanted.pre_create,
            watch: !wanted.no_watch,
            events: wanted.events,
            kubelet_reports: wanted.kubelet_reports,
            label: wanted.label,
            endpoint_slice: wanted.endpoint_slice.clone(),
            flow_schema: wanted.flow_schema,
        })
    }
}

/// Whether the workload can take part in that way.
fn check_usage(wanted: &Wanted) -> Result<(), Error> {
    let (usage, is_group) = (wanted.usage, wanted.group.is_some());
    let runs = matches!(usage, Usage::Run | Usage::Work);
    if is_group && usage == Usage::Run {
        return Err(invalid(
            "incumbent run is for an election, not for a group",
            "use --for work, which starts the command once for each task",
        ));
    }
    if !is_group && usage == Usage::Work {
        return Err(invalid("incumbent work is for a group", "name one with --group"));
    }
    if wanted.image.is_some() && runs && wanted.command.is_empty() {
        let name = if is_group { "work" } else { "run" };
        let what = format!("incumbent {name} needs a command");
        return Err(invalid(what, "write it at the end, after --"));
    }
    let names_tasks = wanted.shared.flag().is_some();
    if is_group && usage == Usage::Library && names_tasks {
        return Err(invalid(
            "a program that uses the library names its tasks itself",
            "leave the flag out, or add --for work or --for sidecar",
        ));
    }
    if is_group && usage != Usage::Library && wanted.image.is_some() && !names_tasks {
        return Err(invalid(
            "the members have to know what their tasks are",
            "add one of --tasks, --from-config, --slots, --permits",
        ));
    }
    Ok(())
}

/// What to compete for. The members of a group compete for the Lease of their allocator.
fn lock(wanted: &Wanted) -> Result<Lock, Error> {
    let Some(group) = &wanted.group else {
        let lock = wanted.lock.as_deref().unwrap_or_default();
        return crate::flags::lock::parse(&wanted.namespace, lock);
    };
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if group.len() > 63 || !group.bytes().all(fits) {
        return Err(Error::Invalid(incumbent::InvalidSetting::GroupName(group.clone())));
    }
    crate::flags::lock::parse(&wanted.namespace, &format!("lease/{group}"))
}

fn invalid(what: impl Into<String>, hint: &str) -> Error {
    Error::Invalid(incumbent::InvalidSetting::Program { what: what.into(), hint: hint.to_owned() })
}

/// Names end up in paths and labels, so they are those of DNS.
fn check_name(flag: &str, name: &str, longest: usize) -> Result<(), Error> {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let ends_well = |end: Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
    let ends = ends_well(name.chars().next()) && ends_well(name.chars().next_back());
    if name.len() <= longest && name.bytes().all(fits) && ends {
        return Ok(());
    }
    let hint = format!("lower case letters, digits, '-' and '.', at most {longest} characters");
    Err(invalid(format!("{name:?} is no name for {flag}"), &hint))
}

impl Form for Settings {
    fn decide(&self, switch: Switch) -> Decision {
        let is_lease = self.lock.key().is_none();
        let is_there = match switch {
            Switch::Lease => is_lease,
            Switch::ConfigMap => !is_lease,
            Switch::CreateLease => is_lease && !self.pre_create,
            Switch::CreateConfigMap => !is_lease && !self.pre_create,
            Switch::PreCreate => self.pre_create,
            Switch::Namespace => self.has_namespace,
            Switch::Watch => self.watch,
            Switch::Events => self.events,
            Switch::KubeletReports => self.kubelet_reports,
            Switch::Label => self.label,
            Switch::Pods => self.label || self.kubelet_reports,
            Switch::EndpointSlice => self.endpoint_slice.is_some(),
            Switch::FlowSchema => self.flow_schema,
            Switch::Account => self.makes_account,
            Switch::Workload => self.image.is_some(),
        };
        if is_there { Decision::There } else { Decision::Absent }
    }

    fn word(&self, word: &str) -> String {
        match word {
            "name" => self.name.clone(),
            "namespace" => self.lock.namespace().to_owned(),
            "account" => self.account.clone(),
            "lock" => self.lock.name().to_owned(),
            "kind" => if self.lock.key().is_none() { "lease" } else { "configmap" }.to_owned(),
            "key" => match self.lock.key() {
                None | Some("leader") => String::new(),
                Some(key) => format!(":{key}"),
            },
            "service" => self.endpoint_slice.clone().unwrap_or_default(),
            "flow" => format!("{}-{}", self.lock.namespace(), self.name),
            "replicas" => self.replicas.to_string(),
            "image" => self.image.clone().unwrap_or_default(),
            "incumbent" => self.incumbent_image.clone(),
            _ => unreachable!("no form knows the word {word}"),
        }
    }
}
