//! Allocates tasks to workers: one of them leads and assigns, all of them work, and the tasks of one that
//! dies go to others. No task is ever worked on by two.
//!
//! ```text
//! kubectl create configmap tasks --from-literal=task-1= --from-literal=task-2= --from-literal=task-3=
//! tasks a &  tasks b &  tasks c &
//! ```
//!
//! The ConfigMap `tasks` is the table: under `task-1` stands who works on it, and under `worker-a` that this
//! worker is there, and since which term. Whoever changes it replaces the very version that it has read.
//!
//! When is a worker dead? Each worker leads an election of its own, `worker-a`, in which it has no rival while
//! it lives. The leader stands as a candidate there too: if it wins, the worker has lost its term, and has
//! stopped before that. So it needs no heartbeats, no clocks that agree, and no guesses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use incumbent::{
    BoxError, Candidate, Error, FencingToken, Leadership, Lock, connect, shutdown_signal,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (stop_working, stop_allocating) = (shutdown_signal(), shutdown_signal());
    let name = std::env::args().nth(1).ok_or("usage: tasks NAME, with a name for each worker")?;
    let name = format!("{WORKER}{name}");
    let client = connect().await?;
    let table = Table(Api::default_namespaced(client.clone()));
    let (mut worker, mut allocator) = (candidate(&client, &name)?, candidate(&client, "tasks")?);
    tokio::try_join!(
        worker.run_until(stop_working, |leadership| {
            work(name.clone(), table.clone(), leadership)
        }),
        allocator.run_until(stop_allocating, |leadership| {
            allocate(client.clone(), table.clone(), leadership)
        }),
    )?;
    Ok(())
}

fn candidate(client: &Client, lock: &str) -> Result<Candidate, Error> {
    Candidate::builder(client.clone(), Lock::lease("default", lock))
        .lease_duration(Duration::from_secs(3))
        .build()
}

/// What every process does: work on what it is assigned.
async fn work(name: String, table: Table, leadership: Arc<Leadership>) -> Result<(), BoxError> {
    // Before it looks at its tasks: from here on, nobody can take them away on grounds of an earlier term.
    table.register(&name, leadership.fencing_token()).await?;
    println!("ready");
    while leadership.is_valid() {
        for (task, _) in tasks(&table.read().await?).filter(|(_, worker)| **worker == name) {
            // One step of a task that has no end: a queue, a tenant, a part of the keys.
            if leadership.is_valid() {
                println!("{task}");
            }
        }
        sleep(PERIOD).await;
    }
    Ok(())
}

/// What the leader does besides.
async fn allocate(client: Client, table: Table, leader: Arc<Leadership>) -> Result<(), BoxError> {
    println!("allocating");
    let (mut watched, mut ended) = (BTreeSet::new(), JoinSet::new());
    while leader.is_valid() {
        for worker in workers(&table.read().await?) {
            if watched.insert(worker.clone()) {
                ended.spawn(lead_in_place_of(client.clone(), worker.clone()));
            }
        }
        table.assign().await?;
        tokio::select! {
            Some(outcome) = ended.join_next() => {
                let (worker, proof) = outcome??;
                table.strike_off(&worker, proof.fencing_token()).await?;
                watched.remove(&worker);
                proof.release().await; // It may come back, and finds that it has no tasks.
            }
            () = sleep(PERIOD) => {}
        }
    }
    Ok(())
}

/// Waits until this worker has ended; what is returned keeps it from coming back.
async fn lead_in_place_of(client: Client, worker: String) -> Result<(String, Leadership), Error> {
    let leadership = candidate(&client, &worker)?.campaign().await?;
    Ok((worker, leadership))
}

/// Who is there, and who works on what.
#[derive(Clone)]
struct Table(Api<ConfigMap>);

type Entries = BTreeMap<String, String>;

fn is_worker(key: &str) -> bool {
    key.starts_with(WORKER)
}

fn workers(entries: &Entries) -> impl Iterator<Item = &String> {
    entries.keys().filter(|key| is_worker(key))
}

fn tasks(entries: &Entries) -> impl Iterator<Item = (&String, &String)> {
    entries.iter().filter(|(key, _)| !is_worker(key))
}

impl Table {
    async fn register(&self, worker: &str, token: FencingToken) -> Result<(), kube::Error> {
        self.edit(|entries| {
            entries.insert(worker.to_owned(), token.to_string());
        })
        .await
    }

    /// Removes a worker and frees its tasks, unless it has come back in a later term.
    async fn strike_off(&self, worker: &str, token: FencingToken) -> Result<(), kube::Error> {
        self.edit(|entries| {
            let since = entries.get(worker).and_then(|since| since.parse().ok());
            if since.is_some_and(|since: u64| since < token.0) {
                entries.remove(worker);
                entries.values_mut().filter(|holder| *holder == worker).for_each(String::clear);
            }
        })
        .await
    }

    /// Gives each free task to the worker that has the fewest.
    async fn assign(&self) -> Result<(), kube::Error> {
        self.edit(|entries| {
            let mut load: BTreeMap<_, usize> = workers(entries).cloned().map(|w| (w, 0)).collect();
            for (_, worker) in tasks(entries) {
                load.entry(worker.clone()).and_modify(|tasks| *tasks += 1);
            }
            for (_, worker) in
                entries.iter_mut().filter(|(key, by)| !is_worker(key) && by.is_empty())
            {
                if let Some((idlest, tasks)) = load.iter_mut().min_by_key(|(_, tasks)| **tasks) {
                    idlest.clone_into(worker);
                    *tasks += 1;
                }
            }
        })
        .await
    }

    async fn read(&self) -> Result<Entries, kube::Error> {
        Ok(self.0.get(OBJECT).await?.data.unwrap_or_default())
    }

    /// Replaces what the table says by what `change` makes of it; anew, if somebody wrote in between.
    async fn edit(&self, change: impl Fn(&mut Entries)) -> Result<(), kube::Error> {
        loop {
            let mut stored = self.0.get(OBJECT).await?;
            let before = stored.data.clone();
            change(stored.data.get_or_insert_default());
            if stored.data == before {
                return Ok(());
            }
            match self.0.replace(OBJECT, &PostParams::default(), &stored).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                outcome => return outcome.map(drop),
            }
        }
    }
}

const OBJECT: &str = "tasks";
const WORKER: &str = "worker-";
const PERIOD: Duration = Duration::from_millis(100);
