//! Objects of Kubernetes, by way of `Leadership::fenced`, over a real server in this process.

use std::time::Duration;

use incumbent::{Candidate, Clock, FenceError, FencingToken, Leadership, Lock};
use incumbent_apiserver::{ApiServer, Verb};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::client::ClientBuilder;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::page::snippet;
use crate::support::{Line, State, begin_chance_at, client, client_on, restricted_client, seconds};

const TOKEN: &str = "incumbent.dev/fencing-token";

/// A server with one object, `plan`.
struct Stage {
    server: ApiServer,
    plans: Api<ConfigMap>,
}

impl Stage {
    fn new() -> Self {
        Self::on(ApiServer::new(), json!({}))
    }

    fn on(server: ApiServer, annotations: Value) -> Self {
        let metadata =
            json!({ "name": "plan", "namespace": "default", "annotations": annotations });
        let plan = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
        server.create(plan).unwrap();
        let plans = Api::default_namespaced(client(&server));
        Self { server, plans }
    }

    /// A leader of its own election: each of these believes that it leads, and the later ones are newer.
    async fn leader(&self, lock: &str) -> (Candidate, Leadership) {
        let mut candidate = Candidate::builder(client(&self.server), Lock::lease("default", lock))
            .clock(Clock::tokio())
            .build()
            .unwrap();
        let leadership = candidate.campaign().await.unwrap();
        (candidate, leadership)
    }

    async fn stored(&self) -> (u64, Option<String>) {
        let plan = self.plans.get("plan").await.unwrap();
        (count(&plan), plan.annotations().get(TOKEN).cloned())
    }

    /// The same objects behind a line on which a write takes a second.
    fn slow(&self) -> Api<ConfigMap> {
        self.server.faults().add("client=slow,verb=update,latency=1s".parse().unwrap());
        Api::default_namespaced(kube::Client::new(self.server.service().named("slow"), "default"))
    }
}

fn count(plan: &ConfigMap) -> u64 {
    let data = plan.data.as_ref().and_then(|data| data.get("count"));
    data.map_or(0, |count| count.parse().unwrap())
}

/// A change that shows how often it was applied.
fn increment(plan: &mut ConfigMap) {
    let count = count(plan) + 1;
    plan.data.get_or_insert_default().insert("count".to_owned(), count.to_string());
}

async fn write(leader: &Leadership, plans: &Api<ConfigMap>) -> Result<ConfigMap, FenceError> {
    spawnable(leader.fenced(plans).replace("plan", increment)).await
}

/// Compiles only if a task may do it.
fn spawnable<F: Future + Send>(future: F) -> F {
    future
}

// As on the page.
async fn assign(leadership: &Leadership, plans: &Api<ConfigMap>) -> Result<(), FenceError> {
    let fenced = leadership.fenced(plans);
    let plan = fenced.raise("plan").await?; // What is read here, no older leader changes any more.
    let task = format!("task-{}", plan.data.unwrap_or_default().len() + 1);
    fenced
        .replace("plan", |plan| {
            plan.data.get_or_insert_default().insert(task.clone(), "worker-3".to_owned());
        })
        .await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_function_on_the_page_is_the_one_that_runs_here() {
    assert!(include_str!("kubernetes.rs").contains(&snippet("assign")));
    let stage = Stage::new();
    let (_john, older) = stage.leader("a").await;
    let (_jane, newer) = stage.leader("b").await;
    assign(&older, &stage.plans).await.unwrap();
    assign(&newer, &stage.plans).await.unwrap();
    let error = assign(&older, &stage.plans).await.unwrap_err();
    assert!(matches!(error, FenceError::Stale { .. }), "{error}");
    let data = stage.plans.get("plan").await.unwrap().data.unwrap();
    assert_eq!(data.into_keys().collect::<Vec<_>>(), ["task-1", "task-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_newer_leader_wins_an_older_is_refused_and_the_same_may_write_again() {
    let stage = Stage::new();
    let (_john, older) = stage.leader("a").await;
    let (_jane, newer) = stage.leader("b").await;
    let (old, new) = (older.fencing_token(), newer.fencing_token());
    assert_eq!(stage.stored().await, (0, None));
    for count in [1, 2] {
        write(&older, &stage.plans).await.unwrap();
        assert_eq!(stage.stored().await, (count, Some(old.to_string())));
    }
    write(&newer, &stage.plans).await.unwrap();
    let before = stage.server.requests();
    let error = write(&older, &stage.plans).await.unwrap_err();
    let FenceError::Stale { ours, seen, .. } = error else { panic!("{error}") };
    assert_eq!((ours, seen), (old, new));
    assert_eq!(stage.server.requests().of(Verb::Update), before.of(Verb::Update));
    assert_eq!(stage.stored().await, (3, Some(new.to_string())));
    let path = "/api/v1/namespaces/default/configmaps/plan";
    let said = format!("{path} was written under token {new}, newer than ours ({old})");
    assert_eq!(error.to_string(), said);
}

#[tokio::test(start_paused = true)]
async fn whoever_writes_at_once_no_write_is_lost_or_doubled_and_the_tokens_never_fall() {
    let (mut taken, mut refused, mut conflicts) = (0, 0, 0);
    for seed in 0..20 {
        begin_chance_at(seed);
        let stage = Stage::on(ApiServer::builder().seed(seed).build(), json!({}));
        let leaders = [stage.leader("a").await, stage.leader("b").await, stage.leader("c").await];
        stage.server.faults().add("resource=configmaps,latency=1ms..9ms".parse().unwrap());
        let before = stage.server.requests().of(Verb::Update);
        let mut work = Vec::new();
        for (begin, (_, leader)) in (0..).step_by(60).zip(&leaders) {
            // The old ones are still at it when the new ones begin, and each does two things at once.
            work.push(write_until_refused(&stage, leader, begin));
            work.push(write_until_refused(&stage, leader, begin));
        }
        let ends = futures_util::future::join_all(work).await;
        let mut written: Vec<_> = ends.iter().flat_map(|end| end.taken.clone()).collect();
        written.sort_unstable_by_key(|(version, _)| *version);
        assert!(written.is_sorted_by_key(|(_, token)| *token), "seed {seed}: {written:?}");
        assert_eq!(stage.stored().await.0, written.len() as u64, "seed {seed}");
        taken += written.len();
        refused += ends.iter().filter(|end| end.was_refused).count();
        conflicts += stage.server.requests().of(Verb::Update) - before - written.len() as u64;
    }
    assert!(taken > 500 && refused > 60 && conflicts > 150, "{taken} {refused} {conflicts}");
}

/// What one who writes all the time came to.
struct End {
    /// Which versions it wrote, and under which token.
    taken: Vec<(u64, FencingToken)>,
    was_refused: bool,
}

async fn write_until_refused(stage: &Stage, leader: &Leadership, begin: u64) -> End {
    let mut taken = Vec::new();
    tokio::time::sleep(Duration::from_millis(begin)).await;
    for _ in 0..15 {
        match write(leader, &stage.plans).await {
            Ok(plan) => {
                let version = plan.resource_version().unwrap().parse().unwrap();
                taken.push((version, leader.fencing_token()));
            }
            Err(FenceError::Stale { .. }) => return End { taken, was_refused: true },
            Err(FenceError::GaveUp { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    End { taken, was_refused: false }
}

#[tokio::test(start_paused = true)]
async fn an_annotation_that_is_no_token_lets_nobody_in() {
    for value in ["", " ", "abc", "-1", "+5", "007", "5 ", "1e3", "99999999999999999999999"] {
        let stage = Stage::on(ApiServer::new(), json!({ TOKEN: value }));
        let (_john, john) = stage.leader("a").await;
        let error = write(&john, &stage.plans).await.unwrap_err();
        assert!(matches!(error, FenceError::Unreadable { .. }), "{value:?}: {error}");
        assert!(error.hint().contains(&format!("{TOKEN}=TOKEN")), "{}", error.hint());
        assert_eq!(stage.stored().await, (0, Some(value.to_owned())));
    }
    let stage = Stage::on(ApiServer::new(), json!({ TOKEN: "0", "other": "kept" }));
    let (_john, john) = stage.leader("a").await;
    let plan = write(&john, &stage.plans).await.unwrap();
    assert_eq!(plan.annotations()["other"], "kept");
    assert_eq!(plan.annotations()[TOKEN], john.fencing_token().to_string());
}

#[tokio::test(start_paused = true)]
async fn what_a_change_does_to_the_metadata_does_not_lift_the_fence() {
    let stage = Stage::new();
    let (_john, john) = stage.leader("a").await;
    let slow = stage.slow();
    let fenced = john.fenced(&slow);
    let careless = fenced.replace("plan", |plan| {
        increment(plan);
        plan.metadata.resource_version = None;
        plan.metadata.uid = None;
        plan.metadata.annotations = None;
    });
    // Without a resourceVersion, the slow one would erase what the other has written meanwhile.
    let (slow, quick) = tokio::join!(careless, write(&john, &stage.plans));
    assert!(slow.is_ok() && quick.is_ok());
    assert_eq!(stage.stored().await, (2, Some(john.fencing_token().to_string())));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_known_again_and_not_made_twice() {
    for fault in ["drop=answer", "drop=answer,by=close", "error=504,late=0s"] {
        let stage = Stage::new();
        let (_john, john) = stage.leader("a").await;
        let fault = format!("verb=update,resource=configmaps,{fault}").parse().unwrap();
        let fault = stage.server.faults().add(fault);
        let plan = write(&john, &stage.plans).await.unwrap();
        assert_eq!((count(&plan), fault.hits()), (1, 1));
        assert_eq!(stage.stored().await.0, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_lands_after_its_caller_gave_up_is_not_made_twice() {
    let stage = Stage::new();
    let (_john, john) = stage.leader("a").await;
    // Applied while the second attempt is under way, which has the same delay.
    let fault = "verb=update,resource=configmaps,late=12s".parse().unwrap();
    let fault = stage.server.faults().add(fault);
    assert_eq!(count(&write(&john, &stage.plans).await.unwrap()), 1);
    assert!(fault.hits() > 1);
    seconds(30.0).await;
    assert_eq!(stage.stored().await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_lost_on_its_way_is_made_once() {
    let stage = Stage::new();
    let (_john, john) = stage.leader("a").await;
    let fault = "verb=update,resource=configmaps,drop=request,for=15s".parse().unwrap();
    let fault = stage.server.faults().add(fault);
    assert_eq!(count(&write(&john, &stage.plans).await.unwrap()), 1);
    assert!(fault.hits() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_that_others_have_written_over_is_reported_as_unknown() {
    let stage = Stage::new();
    let (_john, older) = stage.leader("a").await;
    let (_jane, newer) = stage.leader("b").await;
    let fault = "client=cut,verb=update,drop=answer".parse().unwrap();
    let fault = stage.server.faults().add(fault);
    let cut = kube::Client::new(stage.server.service().named("cut"), "default");
    let cut: Api<ConfigMap> = Api::default_namespaced(cut);
    let jane = async {
        while fault.hits() == 0 {
            seconds(0.1).await;
        }
        write(&newer, &stage.plans).await.unwrap()
    };
    let (john, _) = tokio::join!(write(&older, &cut), jane);
    let error = john.unwrap_err();
    assert!(matches!(error, FenceError::Unknown { .. }), "{error}");
    assert_eq!(stage.stored().await, (2, Some(newer.fencing_token().to_string())));
    let error = write(&older, &cut).await.unwrap_err();
    assert!(matches!(error, FenceError::Stale { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn endless_conflicts_and_a_server_that_is_away_end_after_a_few_attempts() {
    let stage = Stage::new();
    let (_john, john) = stage.leader("a").await;
    let line = Line::to(&stage.server);
    let plans = Api::default_namespaced(client_on(&stage.server, &line));
    line.set(State::WritesConflict);
    let before = stage.server.requests().of(Verb::Update);
    let error = write(&john, &plans).await.unwrap_err();
    assert!(matches!(error, FenceError::GaveUp { .. }), "{error}");
    assert!(stage.server.requests().of(Verb::Update) - before <= 12);
    line.set(State::Whole);
    let fault = "resource=configmaps,verb=update,error=429".parse().unwrap();
    let fault = stage.server.faults().add(fault);
    let error = write(&john, &plans).await.unwrap_err();
    assert!(matches!(error, FenceError::GaveUp { .. }), "{error}");
    assert!(fault.hits() <= 12);
    // Nothing was sent, so nothing is in doubt.
    line.set(State::Silent);
    let error = write(&john, &plans).await.unwrap_err();
    assert!(matches!(error, FenceError::GaveUp { .. }), "{error}");
    assert_eq!(stage.stored().await.0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_of_which_no_answer_and_no_read_says_what_came_of_it_is_unknown() {
    let stage = Stage::new();
    let (_john, john) = stage.leader("a").await;
    let faults = stage.server.faults();
    let fenced = john.fenced(&stage.plans);
    let write = fenced.replace("plan", |plan| {
        increment(plan);
        for fault in ["verb=update,drop=answer,by=close", "verb=get,error=503"] {
            faults.add(format!("resource=configmaps,{fault}").parse().unwrap());
        }
    });
    let error = write.await.unwrap_err();
    assert!(matches!(error, FenceError::Unknown { .. }), "{error}");
    faults.clear();
    assert_eq!(stage.stored().await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn who_no_longer_leads_sends_nothing() {
    let stage = Stage::new();
    let line = Line::to(&stage.server);
    let mut john = Candidate::builder(client_on(&stage.server, &line), Lock::lease("default", "a"))
        .clock(Clock::tokio())
        .build()
        .unwrap();
    let gated = ClientBuilder::new(stage.server.service(), "default");
    let gated: Api<ConfigMap> =
        Api::default_namespaced(gated.with_layer(&john.write_gate()).build());
    let leadership = john.campaign().await.unwrap();
    write(&leadership, &gated).await.unwrap();
    line.set(State::Silent);
    seconds(11.0).await;
    for plans in [&gated, &stage.plans] {
        let before = stage.server.requests().total();
        let error = write(&leadership, plans).await.unwrap_err();
        assert!(matches!(error, FenceError::NotLeading(_)), "{error}");
        assert_eq!(stage.server.requests().total(), before);
    }
    assert_eq!(stage.stored().await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_of_another_election_is_no_lost_answer() {
    let stage = Stage::new();
    let (_john, john) = stage.leader("a").await;
    let other = Candidate::builder(client(&stage.server), Lock::lease("default", "b"));
    let gate = other.clock(Clock::tokio()).build().unwrap().write_gate();
    let gated = ClientBuilder::new(stage.server.service(), "default").with_layer(&gate).build();
    let error = write(&john, &Api::default_namespaced(gated)).await.unwrap_err();
    assert_eq!(error.to_string(), "not sent: this process does not lead lease/b");
    assert!(matches!(error, FenceError::NotLeading(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn leadership_that_ends_under_way_ends_the_write_and_says_what_is_known_of_it() {
    for (verb, is_in_doubt) in [("get", false), ("update", true)] {
        let stage = Stage::new();
        let (_john, john) = stage.leader("a").await;
        for fault in [format!("resource=configmaps,verb={verb}"), "resource=leases".to_owned()] {
            stage.server.faults().add(format!("{fault},drop=request").parse().unwrap());
        }
        let error = write(&john, &stage.plans).await.unwrap_err();
        assert!(!john.is_valid());
        assert_eq!(matches!(error, FenceError::Unknown { .. }), is_in_doubt, "{error}");
        assert_eq!(matches!(error, FenceError::NotLeading(_)), !is_in_doubt, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_is_said_at_once() {
    let stage = Stage::new();
    let (_john, john) = stage.leader("a").await;
    let error = john.fenced(&stage.plans).replace("missing", increment).await.unwrap_err();
    assert!(error.to_string().contains(r#"configmaps "missing" not found"#), "{error}");
    let rules = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }]);
    let reader = restricted_client(&stage.server, "reader", rules);
    let error = write(&john, &Api::default_namespaced(reader)).await.unwrap_err();
    let FenceError::Refused { error, .. } = error else { panic!("{error}") };
    assert!(matches!(*error, kube::Error::Api(status) if status.code == 403));
    assert_eq!(stage.stored().await.0, 0);
}

#[tokio::test(start_paused = true)]
async fn what_replaces_or_deletes_the_version_that_was_raised_is_fenced_too() {
    let stage = Stage::new();
    let (_john, older) = stage.leader("a").await;
    let (_jane, newer) = stage.leader("b").await;
    let metadata = json!({ "name": "p", "namespace": "default" });
    let spec = json!({ "containers": [{ "name": "c", "image": "i" }] });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    stage.server.create(pod).unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client(&stage.server));
    let mut raised = older.fenced(&pods).raise("p").await.unwrap();
    raised.status.get_or_insert_default().message = Some("by the older".to_owned());
    let mut raised = pods.replace_status("p", &PostParams::default(), &raised).await.unwrap();

    newer.fenced(&pods).raise("p").await.unwrap();
    raised.status.get_or_insert_default().message = Some("late".to_owned());
    let late = pods.replace_status("p", &PostParams::default(), &raised).await;
    assert!(matches!(late, Err(kube::Error::Api(status)) if status.code == 409));
    let exactly = Preconditions { resource_version: raised.resource_version(), uid: raised.uid() };
    let exactly = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
    let late = pods.delete("p", &exactly).await;
    assert!(matches!(late, Err(kube::Error::Api(status)) if status.code == 409));
    let status = pods.get("p").await.unwrap().status.unwrap();
    assert_eq!(status.message.as_deref(), Some("by the older"));
}

#[tokio::test(start_paused = true)]
async fn elections_that_write_one_object_keep_apart_under_annotations_of_their_own() {
    let stage = Stage::new();
    let (_john, older) = stage.leader("a").await;
    let (_jane, newer) = stage.leader("b").await;
    newer
        .fenced(&stage.plans)
        .annotation("example.com/b")
        .replace("plan", increment)
        .await
        .unwrap();
    let plan =
        older.fenced(&stage.plans).annotation("example.com/a").replace("plan", increment).await;
    let plan = plan.unwrap();
    assert_eq!(plan.annotations()["example.com/a"], older.fencing_token().to_string());
    assert_eq!(plan.annotations()["example.com/b"], newer.fencing_token().to_string());
    assert_eq!(count(&plan), 2);
}

#[tokio::test(start_paused = true)]
async fn labels_of_others_cost_a_retry_and_stay() {
    let stage = Stage::new();
    let (_john, john) = stage.leader("a").await;
    let resource = kube::core::ApiResource::erase::<ConfigMap>(&());
    let slow = stage.slow().into_client();
    let objects: Api<DynamicObject> = Api::default_namespaced_with(slow, &resource);
    let label = async {
        seconds(0.5).await;
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "who": "else" } } }));
        stage.plans.patch("plan", &PatchParams::default(), &patch).await.unwrap();
    };
    let fenced = john.fenced(&objects);
    let mut calls = 0;
    let replace = fenced.replace("plan", |plan| {
        calls += 1;
        plan.data["data"] = json!({ "count": "7" });
    });
    let (plan, ()) = tokio::join!(replace, label);
    assert_eq!(plan.unwrap().labels()["who"], "else");
    assert_eq!((calls, stage.stored().await.0), (2, 7));
}

/// A server without the object, and how a leader writes it there.
async fn create(leader: &Leadership, plans: &Api<ConfigMap>) -> Result<ConfigMap, FenceError> {
    let fenced = leader.fenced(plans).or_create(ConfigMap::default());
    spawnable(fenced.replace("plan", increment)).await
}

fn empty() -> Stage {
    let server = ApiServer::new();
    let plans = Api::default_namespaced(client(&server));
    Stage { server, plans }
}

#[tokio::test(start_paused = true)]
async fn a_fenced_write_creates_what_is_missing_once_and_is_fenced_from_then_on() {
    let stage = empty();
    let (_john, older) = stage.leader("a").await;
    let (_jane, newer) = stage.leader("b").await;
    let missing = write(&older, &stage.plans).await.unwrap_err();
    assert!(matches!(missing, FenceError::Refused { .. }), "only where it is asked for: {missing}");
    let fence = older.fenced(&stage.plans).or_create(ConfigMap::default());
    assert_eq!(fence.raise("plan").await.unwrap().name_any(), "plan");
    create(&older, &stage.plans).await.unwrap();
    assert_eq!(stage.stored().await, (1, Some(older.fencing_token().to_string())));
    create(&newer, &stage.plans).await.unwrap();
    assert_eq!(stage.stored().await, (2, Some(newer.fencing_token().to_string())));
    let late = create(&older, &stage.plans).await.unwrap_err();
    assert!(matches!(late, FenceError::Stale { .. }), "{late}");
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_or_that_others_forestall_is_made_once() {
    let stage = empty();
    let (_john, older) = stage.leader("a").await;
    let (_jane, newer) = stage.leader("b").await;
    let lost = "client=lossy,verb=create,drop=answer,for=5s".parse().unwrap();
    let lost = stage.server.faults().add(lost);
    let lossy = kube::Client::new(stage.server.service().named("lossy"), "default");
    create(&older, &Api::default_namespaced(lossy)).await.unwrap();
    assert_eq!((lost.hits(), stage.stored().await.0), (1, 1));
    stage.plans.delete("plan", &DeleteParams::default()).await.unwrap();

    stage.server.faults().add("client=slow,verb=create,latency=1s".parse().unwrap());
    let slow =
        Api::default_namespaced(kube::Client::new(stage.server.service().named("slow"), "default"));
    let (late, early) = tokio::join!(create(&older, &slow), create(&newer, &stage.plans));
    early.unwrap();
    assert!(matches!(late, Err(FenceError::Stale { .. })), "{late:?}");
    assert_eq!(stage.stored().await, (1, Some(newer.fencing_token().to_string())));
}
