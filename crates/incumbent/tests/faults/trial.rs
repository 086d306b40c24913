//! One seed: an election, what goes wrong with it, and what must hold at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use incumbent::{Candidate, Clock};
use incumbent_apiserver::{ActiveFault, ApiServer, Backup};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, sleep_until};

use crate::candidates::Process;
use crate::client_go::ClientGo;
use crate::ledger::{Advantage, Ledger, Outcome};
use crate::lock::{Access, Kind};
use crate::schedule::{self, FAULTY, Hand, Mishap, Target, What};
use crate::slow::{Pace, SlowAnswers};
use crate::stale::{Lag, Past, StaleReads};
use crate::stuck;

/// What a seed stands for.
pub(crate) struct Trial {
    seed: u64,
    kind: Kind,
    /// Which of the candidates watch; the others have no permission to, and poll.
    watches: Vec<bool>,
    /// Whether one takes part that behaves like client-go.
    has_foreign: bool,
    mishaps: Vec<Mishap>,
}

impl Trial {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let candidates = rng.usize(3..5);
        Self {
            seed,
            kind: if rng.bool() { Kind::Lease } else { Kind::ConfigMap },
            watches: (0..candidates).map(|_| rng.u8(..3) > 0).collect(),
            has_foreign: rng.u8(..3) == 0,
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
        let Self { seed, kind, watches, has_foreign, mishaps } = self;
        writeln!(f, "seed {seed}: a {kind:?}; candidates that watch: {watches:?}")?;
        writeln!(f, "a foreign one: {has_foreign}; schedule:")?;
        mishaps.iter().try_for_each(|mishap| writeln!(f, "  {mishap}"))
    }
}

/// A trial while it runs.
struct Stage {
    kind: Kind,
    watches: Vec<bool>,
    server: ApiServer,
    /// What an administrator does, to whom nothing goes wrong but a restart.
    admin: Access,
    /// The token of who may not watch.
    poller: String,
    ledger: Ledger,
    rng: Rng,
    healed: watch::Sender<bool>,
    processes: Vec<Process>,
    /// Those that share an identity with one of them.
    namesakes: Vec<Process>,
    foreign: Option<ClientGo>,
    /// How slow the lines of the candidates are, and how far their reads lag behind.
    paces: Vec<Pace>,
    lags: Vec<Lag>,
    past: Past,
    historian: JoinHandle<()>,
    backups: Vec<Kept>,
    history_went_back: bool,
    /// How many processes there have been.
    started: usize,
    faults: Vec<(&'static str, ActiveFault)>,
    /// What somebody else wrote into the lock, as it must be found at the end.
    edits: BTreeMap<String, String>,
}

/// A backup, when it was made, and what somebody else had written into the lock by then.
struct Kept {
    at: Instant,
    backup: Backup,
    edits: BTreeMap<String, String>,
}

impl Stage {
    fn set(trial: &Trial) -> Self {
        let server = ApiServer::builder().seed(trial.seed).build();
        let client = kube::Client::new(server.service().named("admin"), "default");
        let admin = Access { kind: trial.kind, client };
        let past = Past::new();
        let mut stage = Self {
            kind: trial.kind,
            watches: trial.watches.clone(),
            poller: poller(&server),
            ledger: Ledger::new(),
            rng: Rng::with_seed(!trial.seed),
            healed: watch::Sender::new(false),
            processes: Vec::new(),
            namesakes: Vec::new(),
            foreign: None,
            paces: Vec::new(),
            lags: Vec::new(),
            historian: tokio::spawn(past.clone().write_down(server.clone())),
            past,
            admin,
            server,
            backups: Vec::new(),
            history_went_back: false,
            started: 0,
            faults: Vec::new(),
            edits: BTreeMap::new(),
        };
        stuck::begins(trial.seed, &stage.ledger);
        if stage.kind == Kind::ConfigMap {
            let metadata = json!({ "name": "lock", "namespace": "default" });
            let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
            stage.server.create(map).expect("it can be created");
        }
        for index in 0..stage.watches.len() {
            stage.paces.push(Pace::new(&stage.ledger));
            stage.lags.push(Lag::new(&stage.ledger, &stage.past));
            let process = stage.start(index, None, Duration::ZERO);
            stage.processes.push(process);
        }
        if trial.has_foreign {
            let service = stage.server.service().named("c-go/");
            let client = kube::Client::new(service, "default");
            let access = Access { kind: stage.kind, client };
            stage.foreign = Some(ClientGo::start(access, &stage.ledger, stage.rng.fork()));
        }
        stage
    }

    async fn play(&mut self, mishaps: &[Mishap]) {
        let start = Instant::now();
        for mishap in mishaps {
            sleep_until(start + mishap.at).await;
            self.ledger.trace(&format!("* {mishap}"));
            let (at, backup) = (Instant::now(), self.server.backup());
            self.backups.push(Kept { at, backup, edits: self.edits.clone() });
            self.strike(mishap).await;
        }
        sleep_until(start + FAULTY).await;
    }

    async fn strike(&mut self, mishap: &Mishap) {
        match &mishap.what {
            // These are counted where they hit.
            What::Fault { text, whom } => return self.add_fault(mishap.kind, text, *whom),
            What::SlowAnswers { by, lasts, whom } => return self.slow_down(*by, *lasts, *whom),
            What::StaleReads { by, lasts, whom } => return self.fall_behind(*by, *lasts, *whom),
            What::Restart(down) => self.server.restart(*down),
            What::Compact => self.server.compact(),
            What::Suspend(span) => {
                self.ledger.stands_still_until(Instant::now() + *span);
                advance(*span).await;
            }
            What::RestoreBackup if !self.restore_backup() => return,
            What::RestoreBackup => {}
            What::Delete => self.delete().await,
            What::ByHand(hand) => self.edit_record(*hand).await,
            What::Edit(number) => self.edit(*number).await,
            What::AskForAnother => self.annotate("hand-over-to", json!("*")).await,
            What::Cordon(whom) => {
                let name = self.processes[self.one(*whom).unwrap_or(0)].name.clone();
                self.annotate("cordon", json!(name)).await;
            }
            What::Unwell { whom, lasts } => {
                self.processes[self.one(*whom).unwrap_or(0)].falls_ill(*lasts);
            }
            What::Namesake(whom) => {
                let index = self.one(*whom).unwrap_or(0);
                let identity = self.processes[index].name.clone();
                let namesake = self.start(index, Some(identity), Duration::ZERO);
                self.namesakes.push(namesake);
            }
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
        self.foreign = None;
        for namesake in std::mem::take(&mut self.namesakes) {
            self.cut_off(&namesake.name);
            namesake.end();
        }
        self.annotate("cordon", Value::Null).await;
        self.healed.send_replace(true);
        sleep(WITHIN).await;
        let leader = self.ledger.working();
        let holder = self.kind.holder(&self.lock().await);
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
        self.historian.abort();
        sleep(CALM).await;
        let lock = self.lock().await;
        if !self.kind.holder(&lock).is_empty() {
            self.ledger.violation(format!("all have left, and it is held: {lock}"));
        }
        for (path, value) in &self.edits {
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
    /// A process with an identity of its own, or with that of another. It has a wall clock of its own, which
    /// begins anew: those of machines differ, and that of a restarted one has been set back.
    fn start(&mut self, index: usize, identity: Option<String>, after: Duration) -> Process {
        let name = format!("c{index}.{}", self.started);
        self.started += 1;
        let server = match self.watches[index] {
            true => self.server.service(),
            false => self.server.service_as(&self.poller),
        };
        let server = server.named(&format!("{name}/"));
        let inner = StaleReads { server, lag: self.lags[index].clone() };
        let service = SlowAnswers { inner, pace: self.paces[index].clone() };
        let client = kube::Client::new(service, "default");
        let builder = Candidate::builder(client, self.kind.lock())
            .clock(Clock::tokio())
            .identity(identity.unwrap_or_else(|| name.clone()));
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
        self.cut_off(&self.processes[index].name);
        let next = self.start(index, None, pause);
        std::mem::replace(&mut self.processes[index], next).end();
    }

    fn cut_off(&self, name: &str) {
        let cut = format!("client={name}/,drop=everything");
        self.server.faults().add(cut.parse().expect("it is well formed"));
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

    fn fall_behind(&self, by: Duration, lasts: Duration, whom: Target) {
        let one = self.one(whom);
        for (index, lag) in self.lags.iter().enumerate() {
            if one.is_none_or(|one| one == index) {
                lag.fall_behind(by, lasts);
            }
        }
    }

    /// Whether there is one that is old enough: nobody restores in less time.
    fn restore_backup(&mut self) -> bool {
        let is_old = |kept: &&Kept| kept.at.elapsed() >= Duration::from_secs(30);
        let Some(kept) = self.backups.iter().rev().find(is_old) else { return false };
        self.server.restore(&kept.backup);
        self.edits = kept.edits.clone();
        self.past.forget();
        self.history_went_back = true;
        self.ledger.upset(Advantage::Everybody);
        self.ledger.tokens_are_forgotten();
        true
    }

    /// The last token is no longer in the lock. Revisions rise above it, unless history went back: then it
    /// takes somebody who remembers.
    fn erases_token(&self) {
        self.ledger.upset(Advantage::Everybody);
        if self.history_went_back {
            self.ledger.tokens_are_forgotten();
        }
    }

    /// Who has never seen the lock held, and then finds it deleted, leads at once.
    async fn delete(&mut self) {
        if self.admin.delete().await.is_ok() {
            self.edits.clear();
            self.erases_token();
        }
    }

    async fn edit_record(&self, hand: Hand) {
        let lock = self.lock().await;
        let mut record = self.kind.record(&lock);
        if !record.is_object() {
            return;
        }
        let term = lock["metadata"]["annotations"]["incumbent.dev/term"].as_str();
        let term: Value = serde_json::from_str(term.unwrap_or("null")).unwrap_or_default();
        let is_ours = term["renewTime"] == record["renewTime"];
        match hand {
            Hand::ReplacesHolder => record["holderIdentity"] = "somebody-else".into(),
            Hand::ClearsHolder | Hand::MakesVacant => record["holderIdentity"] = "".into(),
            Hand::ShortensLease => record["leaseDurationSeconds"] = 1.into(),
        }
        match hand {
            Hand::ReplacesHolder => {}
            // Only of a term of ours can our candidates tell that it was running.
            Hand::ClearsHolder if is_ours => self.ledger.upset(Advantage::Foreign),
            Hand::MakesVacant => self.erases_token(),
            Hand::ClearsHolder | Hand::ShortensLease => self.ledger.upset(Advantage::Everybody),
        }
        let mut patch = self.kind.saying(&record);
        if let Hand::MakesVacant = hand {
            patch["metadata"]["annotations"]["incumbent.dev/term"] = Value::Null;
        }
        // Another name under the key, beside no record of it, would be a claim.
        if self.kind == Kind::ConfigMap && record["holderIdentity"] == "" {
            patch["data"]["leader"] = "".into();
        }
        drop(self.admin.patch(&patch).await);
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
        if self.admin.patch(&patch).await.is_ok() {
            self.edits.insert(format!("{place}/{key}"), value);
        }
    }

    async fn annotate(&self, key: &str, value: Value) {
        let annotations = json!({ format!("incumbent.dev/{key}"): value });
        let patch = json!({ "metadata": { "annotations": annotations } });
        drop(self.admin.patch(&patch).await);
    }

    async fn lock(&self) -> Value {
        self.admin.read().await.unwrap_or_default()
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

/// By when somebody leads after the faults. The last late write lands, or the last process starts
/// anew; then a lease passes, and a last request times out, is tried again, and again after
/// a campaign that failed.
const WITHIN: Duration = Duration::from_secs(20 + 15 + 3 + 3 + 5);

/// How long nothing must change then.
const CALM: Duration = Duration::from_secs(40);
