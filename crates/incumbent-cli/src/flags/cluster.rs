//! Where the API server is, by kubectl's flags, and which locks there are meant.

use std::path::PathBuf;
use std::time::Duration;

use incumbent::survey::{LockView, Scope, Survey};
use incumbent::{Connect, Error, InvalidSetting, Lock};
use jiff::Timestamp;

use crate::flags::duration::duration;
use crate::flags::group::group_of;
use crate::flags::lock;
use crate::flags::schedule::{ScheduleName, target_text};
use crate::model::lock_status::is_left_over;

/// Where the API server is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Cluster {
    /// The namespace [default: that of the context or of the Pod]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// The kubeconfig to read [default: as kubectl does, else the Pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The cluster of the kubeconfig, instead of the context's
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    cluster: Option<String>,
    /// The user of the kubeconfig, instead of the context's
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    user: Option<String>,
    /// The address of the API server
    #[arg(short, long, value_name = "URL", hide_short_help = true)]
    server: Option<String>,
    /// The bearer token; others on this machine may see it in the list of processes
    #[arg(long, value_name = "TOKEN", hide_short_help = true, allow_hyphen_values = true)]
    token: Option<String>,
    /// A file with the certificates of the authorities to trust
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    certificate_authority: Option<PathBuf>,
    /// A file with the certificate to show
    #[arg(long, value_name = "FILE", requires = "client_key", hide_short_help = true)]
    client_certificate: Option<PathBuf>,
    /// A file with the key of that certificate
    #[arg(long, value_name = "FILE", requires = "client_certificate", hide_short_help = true)]
    client_key: Option<PathBuf>,
    /// The name to expect in the server's certificate
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    tls_server_name: Option<String>,
    /// Accept any certificate of the server: an attacker in between can read and change everything
    #[arg(long, hide_short_help = true)]
    insecure_skip_tls_verify: bool,
    /// Connect as a Pod does, with the files of this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"], hide_short_help = true)]
    service_account_dir: Option<PathBuf>,
}

impl Cluster {
    /// The client, and the namespace that locks are in.
    pub(crate) async fn connect(&self) -> Result<(kube::Client, String), Error> {
        self.open(self.described()).await
    }

    async fn open(&self, connect: Connect) -> Result<(kube::Client, String), Error> {
        let client = connect.client().await?;
        let in_pod = std::env::var("POD_NAMESPACE").ok().filter(|name| !name.is_empty());
        let named = self.namespace.clone().or(in_pod);
        let namespace = named.unwrap_or_else(|| client.default_namespace().to_owned());
        Ok((client, namespace))
    }

    fn described(&self) -> Connect {
        let mut connect =
            Connect::default().insecure_skip_tls_verify(self.insecure_skip_tls_verify);
        let mut say = |what: &Option<String>, add: fn(Connect, &String) -> Connect| {
            if let Some(what) = what {
                connect = add(std::mem::take(&mut connect), what);
            }
        };
        say(&self.context, |connect, name| connect.context(name));
        say(&self.cluster, |connect, name| connect.cluster(name));
        say(&self.user, |connect, name| connect.user(name));
        say(&self.server, |connect, address| connect.server(address));
        say(&self.token, |connect, token| connect.token(token));
        say(&self.tls_server_name, |connect, name| connect.tls_server_name(name));
        let mut point = |file: &Option<PathBuf>, add: fn(Connect, &PathBuf) -> Connect| {
            if let Some(file) = file {
                connect = add(std::mem::take(&mut connect), file);
            }
        };
        point(&self.kubeconfig, |connect, file| connect.kubeconfig(file));
        point(&self.service_account_dir, |connect, folder| connect.service_account_dir(folder));
        point(&self.certificate_authority, |connect, file| connect.certificate_authority(file));
        point(&self.client_certificate, |connect, file| connect.client_certificate(file));
        point(&self.client_key, |connect, file| connect.client_key(file));
        connect
    }
}

/// The same for commands that look and ask, as kubectl does.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Operator {
    #[command(flatten)]
    cluster: Cluster,
    /// Send requests in the name of this user
    #[arg(long = "as", value_name = "USER", help_heading = "Cluster", hide_short_help = true)]
    impersonate: Option<String>,
    /// Send requests as a member of this group; can be repeated
    #[arg(
        long = "as-group",
        value_name = "GROUP",
        requires = "impersonate",
        help_heading = "Cluster",
        hide_short_help = true
    )]
    impersonate_groups: Vec<String>,
    /// How long to wait for the API server [default: 10s], and for a credential plugin [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = patience, help_heading = "Cluster", hide_short_help = true)]
    request_timeout: Option<Duration>,
}

impl Operator {
    /// The client, and the namespace that locks are in.
    pub(crate) async fn connect(&self) -> Result<(kube::Client, String), Error> {
        let mut connect = self.cluster.described();
        if let Some(user) = &self.impersonate {
            connect = connect.impersonate(user).impersonate_groups(&self.impersonate_groups);
        }
        if let Some(patience) = self.request_timeout {
            connect = connect.plugin_timeout(patience);
        }
        self.cluster.open(connect).await
    }

    /// Where the API server is.
    pub(crate) async fn address(&self) -> Result<String, Error> {
        self.cluster.described().address().await
    }

    /// What `work` comes to, unless the API server takes longer than --request-timeout allows.
    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(patience) = self.request_timeout else { return work.await };
        let outcome = tokio::time::timeout(patience, work).await;
        outcome.unwrap_or_else(|_| {
            Err(Error::Unreachable { message: format!("no answer within {patience:?}") })
        })
    }

    /// One lock: its name, and a look at it.
    pub(crate) async fn lock(&self, text: &str) -> Result<(kube::Client, Lock), Error> {
        let (client, namespace) = self.connect().await?;
        Ok((client, lock::parse(&namespace, text)?))
    }

    /// A look at one lock. That it does not exist is an error.
    pub(crate) async fn look(&self, text: &str) -> Result<(kube::Client, LockView), Error> {
        let (client, lock) = self.lock(text).await?;
        let view = self.within(LockView::read(client.clone(), lock)).await?;
        Ok((client, view))
    }

    /// A survey of one lock, which may not exist yet.
    pub(crate) async fn survey(&self, client: kube::Client, lock: Lock) -> Result<Survey, Error> {
        self.within(Survey::start(client, &Scope::lock(lock))).await
    }

    pub(crate) fn missing(&self, lock: &Lock) -> Error {
        Error::Missing {
            what: format!("{lock} in namespace {}", lock.namespace()),
            hint: "to list the locks: incumbent get".to_owned(),
        }
    }
}

fn one_kind_at_a_time() -> Error {
    Error::Invalid(InvalidSetting::Program {
        what: "locks, groups and schedules cannot be shown in one table".to_owned(),
        hint: "call the command once for each kind".to_owned(),
    })
}

/// Which of many locks, or which groups.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct LockSelection {
    /// Which locks: NAME for a Lease, lease/NAME or configmap/NAME[:KEY] [default: all]; or which groups: group/NAME
    #[arg(value_name = "LOCK", value_parser = target_text)]
    locks: Vec<String>,
    /// Show all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Only locks whose labels match, as kubectl writes it: app=scanner,tier!=test
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Include locks that had no holder and no waiting candidate in the last hour; a lock that you name is always
    /// shown
    #[arg(long)]
    all: bool,
    /// With --all-namespaces, also the Lease that each node renews, which is no election
    #[arg(long, requires = "all_namespaces", hide_short_help = true)]
    include_node_leases: bool,
}

/// What that comes to.
pub(crate) struct Wanted {
    pub(crate) scope: Scope,
    /// Those that were named.
    pub(crate) locks: Vec<Lock>,
    /// For people: where it was looked.
    pub(crate) place: String,
}

impl LockSelection {
    /// The names of the groups, where groups were named and no lock.
    pub(crate) fn groups(&self) -> Result<Option<Vec<String>>, Error> {
        let groups: Vec<_> = self.locks.iter().filter_map(|text| group_of(text)).collect();
        match groups.len() {
            0 => Ok(None),
            count if count == self.locks.len() => {
                Ok(Some(groups.into_iter().map(str::to_owned).collect()))
            }
            _ => Err(one_kind_at_a_time()),
        }
    }

    /// The schedules, where schedules were named and nothing else.
    pub(crate) fn schedules(&self) -> Result<Option<Vec<ScheduleName>>, Error> {
        let schedules: Vec<_> =
            self.locks.iter().filter_map(|text| ScheduleName::of(text)).collect();
        match schedules.len() {
            0 => Ok(None),
            count if count == self.locks.len() => Ok(Some(schedules)),
            _ => Err(one_kind_at_a_time()),
        }
    }

    /// A group among what was named.
    pub(crate) fn some_group(&self) -> Option<&str> {
        self.locks.iter().find_map(|text| group_of(text))
    }

    /// Locks that seem to be unused are shown only if they are named or if all are asked for.
    pub(crate) fn shows(&self, view: &LockView, now: Timestamp) -> bool {
        self.all || !self.locks.is_empty() || !is_left_over(view, now)
    }

    pub(crate) fn wanted(&self, namespace: &str) -> Result<Wanted, Error> {
        let locks = self.locks.iter().map(|text| lock::parse(namespace, text));
        let locks = locks.collect::<Result<Vec<_>, _>>()?;
        let (scope, place) = match self.all_namespaces {
            _ if !locks.is_empty() => {
                (Scope::locks(locks.iter().cloned()), "these locks".to_owned())
            }
            true => {
                let everywhere = Scope::everywhere().node_leases(self.include_node_leases);
                (everywhere, "any namespace".to_owned())
            }
            false => (Scope::namespace(namespace), format!("namespace {namespace}")),
        };
        let scope = match &self.selector {
            Some(labels) => scope.selector(labels),
            None => scope,
        };
        Ok(Wanted { scope, locks, place })
    }
}

/// kubectl's zero means: for ever; and a bare number means seconds.
fn patience(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0s" => Ok(Duration::from_secs(60 * 60 * 24)),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            duration(&format!("{number}s"))
        }
        text => duration(text),
    }
}
