//! One page over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::{Method, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Exporter;

impl Exporter {
    /// What counts, and serves its numbers already, where an address is given.
    pub(crate) async fn at(address: Option<SocketAddr>) -> anyhow::Result<Option<Self>> {
        let Some(address) = address else { return Ok(None) };
        let exporter = Self::new();
        exporter.serve(address).await?;
        Ok(Some(exporter))
    }

    /// Serves `/metrics` there in the background, until the program ends. Says on stderr where.
    async fn serve(&self, address: SocketAddr) -> anyhow::Result<()> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        eprintln!("metrics: http://{}/metrics", listener.local_addr()?);
        tokio::spawn(self.clone().keep(listener));
        Ok(())
    }

    async fn keep(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, say: those that are open have to close first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let exporter = self.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = exporter.answer(&request);
                    async { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // However it ends: whoever wants numbers asks again.
                let _ = tokio::time::timeout(PATIENCE, connection).await;
                drop(place);
            });
        }
    }

    fn answer(&self, request: &http::Request<Incoming>) -> Response<Full<Bytes>> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let (status, kind, body) = match request.uri().path() {
            "/metrics" if reads => (StatusCode::OK, OPEN_METRICS, self.text()),
            "/metrics" => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, PLAIN, "see /metrics\n".to_owned()),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        let kind = header::HeaderValue::from_static(kind);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// A Prometheus or two, and somebody with curl.
const MOST_CONNECTIONS: usize = 8;

/// A scrape takes milliseconds; a connection that says nothing must not keep its place.
const PATIENCE: Duration = Duration::from_secs(10);
