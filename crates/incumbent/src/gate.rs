//! A gate in front of the API server that lets writes through only while one leads.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Request, header};
use tower_layer::Layer as _;

use crate::connect::Through;
use crate::error::BoxError;
use crate::lock::Lock;
use crate::term::CurrentTerm;

/// Refuses requests that change anything while its candidate does not lead.
///
/// It is a `tower` layer for anything that sends HTTP requests, and it can create a
/// [`kube::Client`] that has this layer. Build the client once, at the start: the gate opens when a
/// term of its candidate begins, and closes when the term ends.
///
/// It checks leadership right before it sends a request. A request that is already in flight when
/// leadership ends may still be applied; only a [fencing token](crate::Leadership::fencing_token)
/// prevents that.
///
/// ```
/// # use incumbent::{Candidate, Clock, Lock};
/// # use incumbent_apiserver::ApiServer;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = ApiServer::new();
/// # let client = kube::Client::new(server.service(), "default");
/// use incumbent::NotLeading;
/// use k8s_openapi::api::core::v1::ConfigMap;
/// use kube::Api;
///
/// let candidate = Candidate::builder(client.clone(), Lock::lease("default", "scanner"))
///     # .clock(Clock::tokio())
///     .build()?;
/// let gated = candidate.write_gate().client(client);
///
/// let config_maps: Api<ConfigMap> = Api::default_namespaced(gated);
/// assert!(config_maps.list(&Default::default()).await.is_ok());
/// let Err(kube::Error::Service(error)) =
///     config_maps.create(&Default::default(), &ConfigMap::default()).await
/// else {
///     panic!("there is no leader");
/// };
/// assert!(error.is::<NotLeading>());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WriteGate {
    lock: Lock,
    current: CurrentTerm,
}

/// A request was not sent, because this process does not lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not sent: this process does not lead {lock}")]
#[non_exhaustive]
pub struct NotLeading {
    /// In which election.
    pub lock: Lock,
}

impl WriteGate {
    pub(crate) fn new(lock: Lock, current: CurrentTerm) -> Self {
        Self { lock, current }
    }

    /// Whether a write would pass now.
    pub fn is_open(&self) -> bool {
        self.current.is_valid()
    }

    fn refusal(&self) -> Option<NotLeading> {
        (!self.is_open()).then(|| NotLeading { lock: self.lock.clone() })
    }

    /// The same client, with its connections, its credentials and its settings, but with this gate
    /// for its writes. Pass it a client from [`connect`](crate::connect). Do not use the result for
    /// elections, which have to write in order to lead.
    pub fn client(&self, client: kube::Client) -> kube::Client {
        let namespace = client.default_namespace().to_owned();
        kube::Client::new(self.layer(Through(client)), namespace)
    }
}

impl<S> tower_layer::Layer<S> for WriteGate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, gate: self.clone() }
    }
}

/// What is behind a [`WriteGate`].
#[derive(Clone, Debug)]
pub struct Gated<S> {
    inner: S,
    gate: WriteGate,
}

impl<S, B> tower_service::Service<Request<B>> for Gated<S>
where
    S: tower_service::Service<Request<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let gate = is_write(&request).then(|| self.gate.clone());
        if let Some(refused) = gate.as_ref().and_then(WriteGate::refusal) {
            return Box::pin(async move { Err(refused.into()) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            // Most services send nothing before they are polled, and that may be much later.
            match gate.as_ref().and_then(WriteGate::refusal) {
                Some(refused) => Err(refused.into()),
                None => answer.await.map_err(Into::into),
            }
        })
    }
}

/// Also what asks for another protocol: to run something in a Pod is a GET with an upgrade.
fn is_write<B>(request: &Request<B>) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    !reads || request.headers().contains_key(header::UPGRADE)
}
