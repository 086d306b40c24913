//! One page over HTTP.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;

use super::Exporter;
use crate::http::listener::{Limits, ListenAddress, Listener};
use crate::http::response::{of_type, wrong_method};

impl Exporter {
    /// What counts, and serves its numbers already, where an address is given. Says on stderr where.
    pub(crate) async fn at(address: Option<SocketAddr>) -> anyhow::Result<Option<Self>> {
        let Some(address) = address else { return Ok(None) };
        let listener = Listener::open(&ListenAddress::Tcp(address), 0).await?;
        eprintln!("metrics: {}/metrics", listener.place()?);
        let exporter = Self::new();
        let routes = Router::new()
            .route("/metrics", get(page))
            .fallback((StatusCode::NOT_FOUND, "see /metrics\n"))
            .method_not_allowed_fallback(wrong_method)
            .with_state(exporter.clone());
        tokio::spawn(listener.serve(routes, Limits::SCRAPES));
        Ok(Some(exporter))
    }
}

/// All numbers, as they are now.
pub(crate) async fn page(State(exporter): State<Exporter>) -> Response {
    of_type(OPEN_METRICS, exporter.text())
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
