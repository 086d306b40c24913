//! A candidate that behaves like client-go (`tools/leaderelection`), and stops its work in time.
//!
//! It polls, waits as long as the record says from when it noticed a change of it, counts its renew
//! deadline from the answer, goes on until that when it sees another holder, and writes the whole record
//! and nothing else. Its create is a grant. It releases nothing.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::ledger::Ledger;
use crate::lock::Access;

/// Its process, which is started again and again until it is dropped.
pub(crate) struct ClientGo(JoinHandle<()>);

impl ClientGo {
    pub(crate) fn start(access: Access, ledger: &Ledger, mut rng: Rng) -> Self {
        let ledger = ledger.clone();
        Self(tokio::spawn(async move {
            for number in 0.. {
                sleep(Duration::from_millis(rng.u64(0..40_000))).await;
                let mut elector = Elector::new(&access, format!("client-go-{number}"));
                elector.acquire(&mut rng).await;
                elector.lead(&ledger, Duration::from_millis(rng.u64(1_000..40_000))).await;
            }
        }))
    }
}

impl Drop for ClientGo {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Elector<'a> {
    access: &'a Access,
    name: String,
    /// Its wall clock begins anew with each process: those of two machines differ.
    started: Instant,
    observed: Value,
    observed_at: Instant,
    /// When its last successful write was sent.
    sent_at: Instant,
}

impl<'a> Elector<'a> {
    fn new(access: &'a Access, name: String) -> Self {
        let now = Instant::now();
        Self { access, name, started: now, observed: Value::Null, observed_at: now, sent_at: now }
    }

    async fn acquire(&mut self, rng: &mut Rng) {
        while !self.try_acquire_or_renew().await {
            // JitterFactor is 1.2, which adds up to 120 % and not 20 %.
            sleep(RETRY_PERIOD.mul_f64(1.0 + 1.2 * rng.f64())).await;
        }
    }

    /// Until it is done, or lost.
    async fn lead(&mut self, ledger: &Ledger, length: Duration) {
        let _entry = ledger.enter_foreign(&self.name, self.sent_at);
        let done = Instant::now() + length;
        let mut renewed = Instant::now();
        loop {
            let renew_by = renewed + RENEW_DEADLINE;
            tokio::select! {
                biased;
                () = sleep_until(renew_by.min(done)) => return,
                is_renewed = async {
                    sleep(RETRY_PERIOD).await;
                    self.try_acquire_or_renew().await
                } => if is_renewed {
                    renewed = Instant::now();
                    ledger.foreign_renewed(self.sent_at);
                },
            }
        }
    }

    async fn try_acquire_or_renew(&mut self) -> bool {
        let lock = match timeout(RENEW_DEADLINE / 2, self.access.read()).await {
            Ok(Ok(lock)) => lock,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Value::Null,
            _ => return false,
        };
        let record = self.access.kind.record(&lock);
        if record != self.observed {
            self.observe(&record);
        }
        if self.must_wait(&record) {
            return false;
        }
        let sent_at = Instant::now();
        let written = self.written(&record);
        let answer = timeout(RENEW_DEADLINE / 2, async {
            match lock.is_null() {
                true => self.access.create(&written).await,
                false => self.access.patch_version(self.access.kind.saying(&written), &lock).await,
            }
        });
        let Ok(Ok(stored)) = answer.await else { return false };
        self.observe(&self.access.kind.record(&stored));
        self.sent_at = sent_at;
        true
    }

    fn observe(&mut self, record: &Value) {
        self.observed = record.clone();
        self.observed_at = Instant::now();
    }

    /// `isLeaseValid`, and somebody else's.
    fn must_wait(&self, record: &Value) -> bool {
        let holder = record["holderIdentity"].as_str().unwrap_or_default();
        let lease = Duration::from_secs(record["leaseDurationSeconds"].as_u64().unwrap_or(0));
        !holder.is_empty() && holder != self.name && Instant::now() < self.observed_at + lease
    }

    fn written(&self, old: &Value) -> Value {
        let goes_on = old["holderIdentity"].as_str() == Some(&self.name);
        let wall = jiff::Timestamp::constant(1_767_225_600, 0) + self.started.elapsed();
        let now = format!("{wall:.6}");
        let acquired = match goes_on {
            true => old["acquireTime"].clone(),
            false => json!(now),
        };
        let transitions = old["leaseTransitions"].as_u64().unwrap_or(0) + u64::from(!goes_on);
        json!({
            "holderIdentity": self.name,
            "leaseDurationSeconds": LEASE_DURATION.as_secs(),
            "acquireTime": acquired,
            "renewTime": now,
            "leaseTransitions": transitions,
        })
    }
}

/// client-go's defaults, as those of ours.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(15);
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY_PERIOD: Duration = Duration::from_secs(2);
