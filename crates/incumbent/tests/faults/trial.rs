//! One seed: an election, what goes wrong with it, and what must hold at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use http::{Method, Request};
use incumbent::{Candidate, Clock, Lock};
use incumbent_apiserver::{ActiveFault, ApiServer};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::candidates::Process;
use crate::ledger::{Ledger, Outcome};
use crate::schedule::{self, FAULTY, Mishap, Target, What};
use crate::slow::{Pace, SlowAnswers};

/// What a seed stands for.
pub(crate) struct Trial {
    seed: u64,
    kind: Kind,
    /// Which of the candidates watch; the others have no permission to, and poll.
    watches: Vec<bool>,
    mishaps: Vec<Mishap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Lease,
    ConfigMap,
}

impl Trial {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let candidates = rng.usize(3..5);
        Self {
            seed,
            kind: if rng.bool() { Kind::Lease } else { Kind::ConfigMap },
            watches: (0..candidates).map(|_| rng.u8(..3) > 0).collect(),
            mishaps: schedule::draw(&mut rng, candidates),
        }
    }

    pub(crate) fn run(&self) -> Outcome {
        // The driver draws from this thread's generator.
        fastrand::seed(self.seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let mut stage = Stage::set(self);
            stage.play(&self.mishaps).await;
            stage.heal().await;
            stage.close().await
        })
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, kind, watches, mishaps } = self;
        writeln!(f, "seed {seed}: a {kind:?}; candidates that watch: {watches:?}; schedule:")?;
        mishaps.iter().try_for_each(|mishap| writeln!(f, "  {mishap}"))
    }
}

/// A trial while it runs.
struct Stage {
    kind: Kind,
    watches: Vec<bool>,
    server: ApiServer,
    /// The token of who may not watch.
    poller: String,
    ledger: Ledger,
    clock: Clock,
    rng: Rng,
    healed: watch::Sender<bool>,
    processes: Vec<Process>,
    /// How slow the lines of the candidates are.
    paces: Vec<Pace>,
    /// How many processes there have been.
    started: usize,
    faults: Vec<(&'static str, ActiveFault)>,
    /// What somebody else wrote into the lock, as it must be found at the end.
    foreign: BTreeMap<String, String>,
}

impl Stage {
    fn set(trial: &Trial) -> Self {
        let mut stage = Self {
            kind: trial.kind,
            watches: trial.watches.clone(),
            server: ApiServer::builder().seed(trial.seed).build(),
            poller: String::new(),
            ledger: Ledger::new(),
            clock: Clock::tokio(),
            rng: Rng::with_seed(!trial.seed),
            healed: watch::Sender::new(false),
            processes: Vec::new(),
            paces: Vec::new(),
            started: 0,
            faults: Vec::new(),
            foreign: BTreeMap::new(),
        };
        stage.poller = poller(&stage.server);
        if stage.kind == Kind::ConfigMap {
            let metadata = json!({ "name": "lock", "namespace": "default" });
            let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
            stage.server.create(map).expect("it can be created");
        }
        for index in 0..stage.watches.len() {
            stage.paces.push(Pace::new(&stage.ledger));
            let process = stage.start(index, Duration::ZERO);
            stage.processes.push(process);
        }
        stage
    }

    async fn play(&mut self, mishaps: &[Mishap]) {
        let start = Instant::now();
        for mishap in mishaps {
            sleep_until(start + mishap.at).await;
            self.ledger.trace(&format!("* {mishap}"));
            self.strike(mishap).await;
        }
        sleep_until(start + FAULTY).await;
    }

    async fn strike(&mut self, mishap: &Mishap) {
        match &mishap.what {
            // These two are counted where they hit.
            What::Fault { text, whom } => return self.add_fault(mishap.kind, text, *whom),
            What::SlowAnswers { by, lasts, whom } => return self.slow_down(*by, *lasts, *whom),
            What::Restart(down) => self.server.restart(*down),
            What::Compact => self.server.compact(),
            What::Delete => self.delete().await,
            What::Edit(number) => self.edit(*number).await,
            What::Crash { whom, pause } => self.crash(self.one(*whom).unwrap_or(0), *pause),
        }
        self.ledger.count(mishap.kind, 1);
    }

    /// Nothing goes wrong any more: somebody leads soon, and goes on.
    async fn heal(&mut self) {
        self.ledger.trace("* healed");
        for (kind, fault) in self.faults.drain(..) {
            self.server.faults().remove(&fault);
            self.ledger.count(kind, fault.hits());
        }
        self.healed.send_replace(true);
        sleep(WITHIN).await;
        let leader = self.ledger.working();
        let holder = holder(self.kind, &self.lock().await);
        if leader.len() != 1 || holder != leader[0].0 {
            let text = format!("{WITHIN:?} after the faults {leader:?} lead, and {holder:?} holds");
            self.ledger.violation(text);
        }
        sleep(CALM).await;
        let later = self.ledger.working();
        if later != leader {
            self.ledger.violation(format!("for no reason {later:?} lead after {leader:?}"));
        }
    }

    /// Everybody leaves: the lock is free, holds what others wrote, and nothing is left running.
    async fn close(mut self) -> Outcome {
        for process in self.processes.drain(..) {
            process.end();
        }
        sleep(CALM).await;
        let lock = self.lock().await;
        if !holder(self.kind, &lock).is_empty() {
            self.ledger.violation(format!("all have left, and it is held: {lock}"));
        }
        for (path, value) in &self.foreign {
            if lock.pointer(path).and_then(Value::as_str) != Some(value) {
                self.ledger.violation(format!("{path} was {value}, and is lost: {lock}"));
            }
        }
        let watches = self.server.open_watches();
        if watches > 0 {
            self.ledger.violation(format!("{watches} watches are still open"));
        }
        self.ledger.close()
    }
}

/// What becomes of single candidates, and of the lock.
impl Stage {
    fn start(&mut self, index: usize, after: Duration) -> Process {
        let name = format!("c{index}.{}", self.started);
        self.started += 1;
        let service = match self.watches[index] {
            true => self.server.service(),
            false => self.server.service_as(&self.poller),
        };
        let inner = service.named(&format!("{name}/"));
        let service = SlowAnswers { inner, pace: self.paces[index].clone() };
        let client = kube::Client::new(service, "default");
        let lock = match self.kind {
            Kind::Lease => Lock::lease("default", "lock"),
            Kind::ConfigMap => Lock::config_map("default", "lock"),
        };
        let builder = Candidate::builder(client, lock).clock(self.clock);
        let (healed, rng) = (self.healed.subscribe(), self.rng.fork());
        Process::start(name, after, builder, &self.ledger, healed, rng)
    }

    /// The index of the one candidate that is meant, if it is only one.
    fn one(&self, whom: Target) -> Option<usize> {
        let works =
            |process: &Process| self.ledger.working().iter().any(|(name, _)| *name == process.name);
        match whom {
            Target::All => None,
            Target::One(index) => Some(index),
            Target::Leader => Some(self.processes.iter().position(works).unwrap_or(0)),
        }
    }

    /// The line of a process that is gone stays cut, also when all else is healed.
    fn crash(&mut self, index: usize, pause: Duration) {
        let name = &self.processes[index].name;
        let cut = format!("client={name}/,drop=everything");
        self.server.faults().add(cut.parse().expect("it is well formed"));
        let next = self.start(index, pause);
        std::mem::replace(&mut self.processes[index], next).end();
    }

    fn add_fault(&mut self, kind: &'static str, text: &str, whom: Target) {
        let client = self.one(whom).map_or_else(|| "c".to_owned(), |index| format!("c{index}."));
        let text = format!("client={client},{text}");
        let fault = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        self.faults.push((kind, self.server.faults().add(fault)));
    }

    fn slow_down(&self, by: Duration, lasts: Duration, whom: Target) {
        let one = self.one(whom);
        for (index, pace) in self.paces.iter().enumerate() {
            if one.is_none_or(|one| one == index) {
                pace.slow_down(by, lasts);
            }
        }
    }

    async fn delete(&mut self) {
        if self.request(Method::DELETE, Value::Null).await.is_some() {
            self.foreign.clear();
            self.ledger.lock_deleted();
        }
    }

    async fn edit(&mut self, number: u32) {
        let (key, value) = (format!("key-{}", number % 5), number.to_string());
        let place = match (self.kind, number % 3) {
            (_, 0) => "/metadata/labels",
            (Kind::ConfigMap, 1) => "/data",
            _ => "/metadata/annotations",
        };
        let mut patch = json!({ &key: &value });
        for part in place.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
            patch = json!({ part: patch });
        }
        if self.request(Method::PATCH, patch).await.is_some() {
            self.foreign.insert(format!("{place}/{key}"), value);
        }
    }

    async fn lock(&self) -> Value {
        self.request(Method::GET, Value::Null).await.unwrap_or_default()
    }

    /// What an administrator asks, to whom nothing goes wrong but a restart.
    async fn request(&self, method: Method, body: Value) -> Option<Value> {
        let path = match self.kind {
            Kind::Lease => "/apis/coordination.k8s.io/v1/namespaces/default/leases/lock",
            Kind::ConfigMap => "/api/v1/namespaces/default/configmaps/lock",
        };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", "application/merge-patch+json")
            .body(body)
            .expect("it is well formed");
        let client = kube::Client::new(self.server.service().named("admin"), "default");
        client.request(request).await.ok()
    }
}

/// The token of an account that may not watch.
fn poller(server: &ApiServer) -> String {
    let rules = json!([{
        "apiGroups": ["", "coordination.k8s.io"], "resources": ["leases", "configmaps"],
        "verbs": ["get", "create", "update"],
    }]);
    let version = "rbac.authorization.k8s.io/v1";
    let metadata = json!({ "name": "poller", "namespace": "default" });
    let role = json!({
        "apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules,
    });
    let binding = json!({
        "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
        "subjects": [{ "kind": "ServiceAccount", "name": "poller", "namespace": "default" }],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "poller" },
    });
    let token = server.service_account_token("default", "poller", Duration::from_secs(36_000));
    for object in [role, binding] {
        server.create(object).expect("it can be created");
    }
    token
}

/// Who holds the lock; nobody where this is empty.
fn holder(kind: Kind, lock: &Value) -> String {
    let path = match kind {
        Kind::Lease => "/spec/holderIdentity",
        Kind::ConfigMap => "/data/leader",
    };
    lock.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// By when somebody leads after the faults. The last late write lands, or the last process starts
/// anew; then a lease passes, and a last request times out, is tried again, and again after
/// a campaign that failed.
const WITHIN: Duration = Duration::from_secs(20 + 15 + 3 + 3 + 5);

/// How long nothing must change then.
const CALM: Duration = Duration::from_secs(40);
