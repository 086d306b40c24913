//! Enough of the Kubernetes API, in one process.

mod answer;
mod auth;
mod certificates;
mod json_patch;
mod listen;
mod object;
mod patch;
mod random;
mod rbac;
mod request;
mod resources;
mod routes;
mod schema;
mod selector;
mod server;
mod service;
mod status;
mod store;
mod time;
mod validate;
mod watch;

pub use certificates::CertificateError;
pub use listen::{ListenError, Listening, Transport};
pub use request::Verb;
pub use server::{ApiServer, Builder, Requests};
pub use service::{Body, Service};
pub use status::Status;
