//! A candidate that behaves like client-go (`tools/leaderelection`), and stops its work in time.
//!
//! It polls, waits as long as the record says from when it noticed a change of it, counts its renew
//! deadline from the answer, continues until that when it sees another holder, and writes the whole record
//! and nothing else. Its create is a grant. It releases nothing.

use std::time::Duration;

use fastrand::Rng;
use http::Method;
use incumbent_core::Instant;
use serde_json::{Value, json};

use super::judge::Judge;
use super::lock::Kind;
use super::machine::HostClock;
use super::server::request;
use crate::clock::Clock;

/// Its process, which takes part again and again. Called inside of its runtime.
pub(super) fn start(
    host: HostClock,
    client: kube::Client,
    kind: Kind,
    judge: &Judge,
    lease: Duration,
    mut rng: Rng,
) {
    let judge = judge.clone();
    tokio::spawn(async move {
        let clock = Clock::simulated(host);
        for number in 0.. {
            clock.sleep(lease.mul_f64(rng.f64() * 2.5)).await;
            let mut elector = Elector::new(&client, kind, host, lease, number);
            elector.acquire(&mut rng).await;
            elector.lead(&judge, lease.mul_f64(0.1 + rng.f64() * 2.5)).await;
        }
    });
}

struct Elector<'a> {
    client: &'a kube::Client,
    kind: Kind,
    host: HostClock,
    clock: Clock,
    lease: Duration,
    name: String,
    observed: Value,
    observed_at: Instant,
    /// When its last successful write was sent, in true time.
    sent_at: Duration,
}

impl<'a> Elector<'a> {
    fn new(
        client: &'a kube::Client,
        kind: Kind,
        host: HostClock,
        lease: Duration,
        number: u32,
    ) -> Self {
        let clock = Clock::simulated(host);
        Self {
            client,
            kind,
            host,
            clock,
            lease,
            name: format!("client-go-{number}"),
            observed: Value::Null,
            observed_at: clock.instant(),
            sent_at: host.true_now(),
        }
    }

    async fn acquire(&mut self, rng: &mut Rng) {
        while !self.try_acquire_or_renew().await {
            // JitterFactor is 1.2, which adds up to 120 % and not 20 %.
            self.clock.sleep(self.retry_period().mul_f64(1.0 + 1.2 * rng.f64())).await;
        }
    }

    /// Until it is done, or lost.
    async fn lead(&mut self, judge: &Judge, length: Duration) {
        let (host, process) = (self.host, self.host.number());
        judge.foreign_begins(host.true_now(), self.sent_at, process, &self.name);
        judge.foreign_ends(process, self.sent_at + self.is_good_for());
        let done = self.clock.instant() + length;
        let mut renewed = self.clock.instant();
        loop {
            let renew_by = renewed + self.renew_deadline();
            let (clock, pause) = (self.clock, self.retry_period());
            tokio::select! {
                biased;
                () = clock.sleep_until(renew_by.min(done)) => break,
                is_renewed = async {
                    clock.sleep(pause).await;
                    self.try_acquire_or_renew().await
                } => if is_renewed {
                    renewed = self.clock.instant();
                    judge.foreign_ends(process, self.sent_at + self.is_good_for());
                },
            }
        }
        let ends = (self.sent_at + self.is_good_for()).min(host.true_now());
        judge.foreign_ends(process, ends);
        judge.trace(host.true_now(), || format!("{} ends", self.name));
    }

    async fn try_acquire_or_renew(&mut self) -> bool {
        let patience = self.renew_deadline() / 2;
        let read = self.request(Method::GET, self.kind.path(), &Value::Null);
        let lock = match self.clock.timeout(patience, read).await {
            Some(Ok(lock)) => lock,
            Some(Err(kube::Error::Api(status))) if status.code == 404 => Value::Null,
            _ => return false,
        };
        let record = self.kind.record(&lock);
        if record != self.observed {
            self.observe(&record);
        }
        if self.must_wait(&record) {
            return false;
        }
        let sent_at = self.host.true_now();
        let written = self.written(&record);
        let answer = self.clock.timeout(patience, self.write(&lock, &written)).await;
        let Some(Ok(stored)) = answer else { return false };
        self.observe(&self.kind.record(&stored));
        self.sent_at = sent_at;
        true
    }

    async fn write(&self, lock: &Value, record: &Value) -> Result<Value, kube::Error> {
        if lock.is_null() {
            let object = self.kind.object(record);
            return self.request(Method::POST, self.kind.collection(), &object).await;
        }
        let mut patch = self.kind.saying(record);
        patch["metadata"]["resourceVersion"] = lock["metadata"]["resourceVersion"].clone();
        self.request(Method::PATCH, self.kind.path(), &patch).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Value, kube::Error> {
        self.client.request(request(method, path, body)).await
    }

    fn observe(&mut self, record: &Value) {
        self.observed = record.clone();
        self.observed_at = self.clock.instant();
    }

    /// `isLeaseValid`, and somebody else's.
    fn must_wait(&self, record: &Value) -> bool {
        let holder = record["holderIdentity"].as_str().unwrap_or_default();
        let lease = Duration::from_secs(record["leaseDurationSeconds"].as_u64().unwrap_or(0));
        let is_over = self.clock.instant() >= self.observed_at + lease;
        !holder.is_empty() && holder != self.name && !is_over
    }

    fn written(&self, old: &Value) -> Value {
        let goes_on = old["holderIdentity"].as_str() == Some(&self.name);
        let now = format!("{:.6}", self.clock.timestamp());
        let acquired = match goes_on {
            true => old["acquireTime"].clone(),
            false => json!(now),
        };
        let transitions = old["leaseTransitions"].as_u64().unwrap_or(0) + u64::from(!goes_on);
        json!({
            "holderIdentity": self.name,
            "leaseDurationSeconds": self.lease.as_secs(),
            "acquireTime": acquired,
            "renewTime": now,
            "leaseTransitions": transitions,
        })
    }

    /// client-go's defaults, scaled to this lease.
    fn renew_deadline(&self) -> Duration {
        self.lease * 2 / 3
    }

    fn retry_period(&self) -> Duration {
        self.lease * 2 / 15
    }

    /// For how long after a renewal others have to wait for it: one that works for longer, as its deadline
    /// counts from the answer, does so at its own risk. Clocks differ by two in a hundred.
    fn is_good_for(&self) -> Duration {
        self.lease.mul_f64(0.98)
    }
}
