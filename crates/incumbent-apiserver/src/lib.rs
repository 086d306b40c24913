//! A Kubernetes API server in one process, for tests and demos.
//!
//! **Not for production.** It keeps nothing on disk, runs no Pods and no controllers, collects no
//! garbage, and is not hardened against attackers. It has no code for elections: it stores objects,
//! refuses a replace that is based on an old version, and notifies watchers. A leader election needs
//! nothing else. Answers have the words and codes of a real kube-apiserver; the tests replay recorded
//! transcripts of one against this server (`tests/transcripts.rs`).
//!
//! Clients reach it in two ways. A [`Service`] is the transport of an in-process client: it needs no
//! socket and no port, and works under paused time. A [`Listening`] serves the same API over HTTP or
//! HTTPS, for kubectl, for other languages, and to test outages.
//!
//! ```
//! use incumbent_apiserver::{ApiServer, Transport};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ApiServer::new();
//! server.create(json!({
//!     "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "blackboard"},
//!     "data": {"leader": ""},
//! }))?;
//!
//! // In-process: `kube::Client::new(server.service(), "default")`. Over a socket:
//! let listening = server.listen("127.0.0.1:0".parse()?, Transport::Https).await?;
//! println!("{}", listening.kubeconfig());
//! listening.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What is supported
//!
//! Namespaces, ConfigMaps, Leases, Events (of both groups), Pods with their status, EndpointSlices,
//! ServiceAccounts with tokens, and RBAC roles and bindings. RBAC is enforced: users cannot grant rights that
//! they do not have, and `--as` needs a rule. All verbs, watches with bookmarks, selectors, pages,
//! preconditions, dry runs, and merge, strategic, JSON and apply patches. `managedFields` record who set which
//! field, and server-side apply refuses to take another manager's field without force. Unknown fields are
//! dropped or refused as upstream does. Bodies are JSON, YAML or protobuf; answers are JSON, YAML, or the tables
//! that `kubectl get` prints.
//!
//! Deployments, Services, PodDisruptionBudgets, NetworkPolicies, FlowSchemas and PriorityLevelConfigurations are
//! only stored: the server validates them, applies defaults, and shows them as upstream does, but nothing acts
//! on them. Each answer to a write of one contains a warning that says so.
//!
//! The table of leases has two more columns than upstream's, which show an election: when the holder renewed,
//! and how often the holder changed.
//!
//! [`ApiServer::faults`] injects faults: requests are delayed, refused, lost, or applied without an answer, and
//! watches fall silent, for the requests that a [`Fault`] selects. [`ApiServer::restart`] and
//! [`ApiServer::compact`] break connections and drop the history, and [`ApiServer::restore`] restores a backup.
//! Over HTTP an administrator reaches faults, restarts and compaction under `/incumbent/faults`,
//! `/incumbent/restart` and `/incumbent/compact`; `/incumbent/requests` counts requests by user, verb and
//! answer. All of these work under paused time.
//!
//! Memory is bounded, except for the stored objects: the history, unread watches, bodies and connections each
//! have a limit.
//!
//! ```
//! # use incumbent_apiserver::ApiServer;
//! # use http_body_util::Full;
//! # use tower_service::Service;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let request = || http::Request::get("/version").body(Full::<bytes::Bytes>::default()).unwrap();
//! let server = ApiServer::new();
//! let fault = server.faults().add("client=jane,error=503,for=30s".parse()?);
//! let mut jane = server.service().named("jane");
//! assert_eq!(jane.call(request()).await?.status(), 503);
//! assert_eq!(fault.hits(), 1);
//! server.faults().remove(&fault);
//! assert_eq!(jane.call(request()).await?.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! # What is missing
//!
//! - Answers in protobuf, and descriptions in OpenAPI schemas.
//! - Subresources besides `status`, `token` and `eviction`, so `kubectl scale` does not work.
//! - Addresses for Services; controllers, priority and fairness, admission webhooks, and custom resources.
//! - Paths besides those of `/api`, `/apis`, `/openapi/v3`, `/version` and health: no list of paths at `/`, no
//!   `/openapi/v2`, `/metrics` or `/api/v1/watch`, and no `finalize` of a namespace.
//!
//! # Where it differs from upstream
//!
//! - The types of all fields of Pods and Deployments are checked, but only the values of names, images and
//!   selectors. Amounts such as `1024Mi` are kept as the client sent them.
//! - A request for a version in the future is refused at once; upstream first waits for it.
//! - Managers own the fields of an Event under their names in core/v1, whichever group they wrote to.
//! - A time whose zone moves it into the year 10000 is refused.
//! - Discovery answers 405 to methods other than GET; upstream answers them as a GET.
//! - If several values of an object have a wrong type, the error names the first one in the order of the Go type;
//!   upstream names the first one that was sent. Several unknown fields are named in the order of the Go type.
//! - `$setElementOrder` of a strategic merge patch is not validated.
//!
//! As in Kubernetes 1.36, the fields `strategy` and `preferredHolder` of a Lease are dropped, unless
//! [`Builder::coordinated_leader_election`] turns the feature gate `CoordinatedLeaderElection` on.
//!
//! # How it works
//!
//! `request` parses a request. `routes` answers it under one lock, on top of `store`; both are pure. `service`
//! serializes the answer after the lock is released. Before that, `fault` decides whether the request fails.
//! `resources` defines how kinds differ.

mod answer;
mod auth;
mod cause;
mod certificates;
mod column;
mod control;
mod counts;
mod fault;
mod features;
mod fieldset;
mod form;
mod hub;
mod intake;
mod json_patch;
mod kind;
mod list;
mod listen;
mod managed;
mod object;
mod patch;
mod protobuf;
mod random;
mod rbac;
mod request;
mod resources;
mod routes;
mod schema;
mod selector;
mod server;
mod service;
mod state;
mod status;
mod store;
mod table;
mod time;
mod typed;
mod validate;
mod watch;
mod yaml;

pub use certificates::CertificateError;
pub use counts::Requests;
pub use fault::{ActiveFault, Disconnected, Fault, FaultError};
pub use listen::{ListenError, Listening, Transport};
pub use request::Verb;
pub use server::{ApiServer, Backup, Builder, Faults};
pub use service::{Body, Service};
pub use status::Status;
