//! Enough of the Kubernetes API, in one process, for tests and demos.
//!
//! **Not for production.** It keeps nothing on disk, runs no Pods and no controllers, collects no
//! garbage, and has never met an attacker. It knows nothing of elections either: it stores
//! objects, refuses a replace that is based on an old version, and tells who watches. That is all
//! that a leader election needs, and it is done with the words and codes of a real kube-apiserver,
//! of which recorded transcripts are played against it (`tests/transcripts.rs`).
//!
//! Two ways lead to it. A [`Service`] is given to a client as its transport: no socket, no port,
//! and it works under paused time. A [`Listening`] serves the same over HTTP or HTTPS, for
//! kubectl, for other languages, and for seeing what an outage does.
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
//! # What there is
//!
//! Namespaces, ConfigMaps, Leases, Events (of both groups), Pods with their status, EndpointSlices,
//! ServiceAccounts with tokens, and RBAC roles and bindings, which are obeyed: nobody grants what he does not have,
//! and `--as` needs a rule. Every verb, watches with bookmarks, selectors, pages, preconditions,
//! dry runs, and merge, strategic, JSON and apply patches. `managedFields` say who set what, and
//! server-side apply refuses to take another's field without force. Unknown fields are dropped or
//! refused as upstream does it. Bodies come as JSON, YAML or protobuf, answers as JSON, as YAML, or
//! as the tables that `kubectl get` prints.
//!
//! Deployments, Services, PodDisruptionBudgets, NetworkPolicies, FlowSchemas and
//! PriorityLevelConfigurations are stored: checked, completed and shown as upstream does it. Nothing acts on them,
//! and each answer to a write of one warns of that.
//!
//! A table of leases has two columns more than upstream's, when the holder renewed and how often
//! the holder changed, because that is what one wants to see of an election.
//!
//! Faults, too: [`ApiServer::faults`] lets requests come late, fail, get lost, or be done without an
//! answer, and lets watches fall silent, for whom and as often as a [`Fault`] says;
//! [`ApiServer::restart`] and [`ApiServer::compact`] do what their names say. Over HTTP an
//! administrator reaches the same under `/incumbent/faults`, `/incumbent/restart` and
//! `/incumbent/compact`; and under `/incumbent/requests` how often who asked for what, and got which
//! answer. [`ApiServer::restore`] lets history go back. They work under paused time.
//!
//! Whatever clients do, memory stays bounded but for the objects that they store: a history, an
//! unread watch, a body, a connection each have a limit.
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
//! # What there is not
//!
//! Answers in protobuf; descriptions in OpenAPI schemas; subresources besides `status`, `token` and
//! `eviction`, so no `kubectl scale`; addresses for Services; controllers, priority and fairness, admission
//! webhooks, custom resources. Of a Pod or a Deployment the types of all fields are checked, but of the values only
//! those of names, images and selectors; amounts such as `1024Mi` are kept as they came. A version that is still to
//! come is refused at once, where upstream first waits for it. Fields of an Event are owned under their names in
//! core/v1, in whichever group it was written. A time whose zone carries it into the year 10000 is refused.
//!
//! The fields `strategy` and `preferredHolder` of a Lease are dropped, as in a real 1.36, unless
//! [`Builder::coordinated_leader_election`] turns the feature gate `CoordinatedLeaderElection` on.
//!
//! No paths but those of `/api`, `/apis`, `/openapi/v3`, `/version` and health: no list of paths at
//! `/`, no `/openapi/v2`, `/metrics` or `/api/v1/watch`, no `finalize` of a namespace. Upstream's
//! discovery answers any method as a GET; this one says 405.
//!
//! Of an object with several values of a wrong type the first one in the order of its Go type is
//! named, upstream names the first one that was sent; several unknown fields are named in the order of the type
//! too. `$setElementOrder` of a strategic merge patch is
//! not checked.
//!
//! # How it is made
//!
//! A request becomes a target (`request`), gets an answer under one lock (`routes` on `store`, both
//! pure), and is written out after it (`service`). Before that the faults have their say (`fault`). Kinds differ only by the table in `resources`.

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
