//! What a request takes in-process: no socket, no HTTP, but all that the server does about it.
//!
//! `cargo bench -p incumbent-apiserver --bench store`; in instructions, `bench/instructions`.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use divan::{Bencher, black_box};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use incumbent_apiserver::{ApiServer, Body};
use serde_json::{Value, json};
use tower_service::Service;

fn main() {
    // Bodies have a deadline, so somebody has to know the time, though nobody waits for it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("there is a clock");
    let _entered = runtime.enter();
    divan::main();
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

#[divan::bench]
fn get(bencher: Bencher<'_, '_>) {
    let (server, _) = with_a_lease();
    let path = format!("{LEASES}/l");
    bencher.bench_local(|| call(&server, Method::GET, black_box(&path), None));
}

/// A renewal, with so many watches of the Lease that nobody reads.
#[divan::bench(args = [0, 1, 100])]
fn replace(bencher: Bencher<'_, '_>, watches: usize) {
    let (server, mut lease) = with_a_lease();
    let watch = format!("{LEASES}?watch=1&fieldSelector=metadata.name%3Dl&resourceVersion=0");
    let _open: Vec<_> = (0..watches).map(|_| open(&server, &watch)).collect();
    let path = format!("{LEASES}/l");
    let mut renewals = 0_u32;
    bencher.bench_local(|| {
        renewals += 1;
        lease["spec"]["renewTime"] =
            format!("2026-01-01T00:00:00.{:06}Z", renewals % 1_000_000).into();
        lease = call(&server, Method::PUT, &path, Some(&lease));
    });
}

fn with_a_lease() -> (ApiServer, Value) {
    let server = ApiServer::new();
    let lease = server.create(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "jane", "leaseDurationSeconds": 15},
    }));
    (server, lease.expect("it is valid"))
}

fn call(server: &ApiServer, method: Method, path: &str, body: Option<&Value>) -> Value {
    let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
    let request =
        Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.body(Full::new(body)).expect("it is a request");
    let answer = at_once(server.service().call(request)).expect("it is there");
    assert!(answer.status().is_success(), "{}", answer.status());
    let text = at_once(answer.into_body().collect()).expect("it is whole").to_bytes();
    serde_json::from_slice(&text).expect("it is JSON")
}

fn open(server: &ApiServer, path: &str) -> Body {
    let request = Request::get(path).body(Full::<Bytes>::default()).expect("it is a request");
    at_once(server.service().call(request)).expect("it is there").into_body()
}

/// Nothing here waits for anything.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}
