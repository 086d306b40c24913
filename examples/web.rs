//! A web service with notes. Any replica answers a read; a write goes to the leader, for the others send
//! the client there.
//!
//! ```text
//! web 127.0.0.1:8001 &  web 127.0.0.1:8002 &
//! curl --location -X PUT --data milk localhost:8002/notes/shopping
//! curl localhost:8001/notes/shopping
//! ```
//!
//! In a Pod, listen on `POD_IP` (from the downward API), so that the others can name an address that
//! clients reach.

use std::future::{IntoFuture, pending};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use incumbent::{
    BoxError, Candidate, FencingToken, Leader, LeadershipStatus, Lock, Observer, connect,
    shutdown_signal,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let shutdown = shutdown_signal();
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(listen).await?;
    let address = format!("http://{}", listener.local_addr()?);
    println!("{address}");

    let client = connect().await?;
    let mut candidate = Candidate::builder(client.clone(), Lock::lease("default", "web"))
        .address(address.clone())
        .build()?;
    let replica = Replica {
        address,
        notes: Api::default_namespaced(client),
        status: candidate.leadership_status(),
        observer: candidate.observe(),
    };
    let routes = Router::new()
        .route("/notes/{name}", get(read).put(write))
        .route("/healthz", get(healthz))
        .with_state(replica);

    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, routes).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    // The handlers are the work. Requests are served until another one can lead, and those under way then
    // are finished.
    candidate.run_until(shutdown, |_| pending::<Result<(), BoxError>>()).await?;
    drop(stop);
    Ok(server.await??)
}

/// All that handlers know.
#[derive(Clone)]
struct Replica {
    address: String,
    notes: Api<ConfigMap>,
    status: LeadershipStatus,
    observer: Observer,
}

/// Says that this process lives, and not that it leads: a probe that asks for leadership would have
/// the kubelet restart every follower, and keep each rolling update from ever being done.
async fn healthz() -> &'static str {
    "ok"
}

async fn read(State(replica): State<Replica>, Path(name): Path<String>) -> Result<String, Trouble> {
    let stored = replica.notes.get_opt(OBJECT).await?.unwrap_or_default();
    let note = stored.data.unwrap_or_default().remove(&name);
    note.ok_or(Trouble::Is(StatusCode::NOT_FOUND))
}

async fn write(
    State(replica): State<Replica>,
    Path(name): Path<String>,
    uri: Uri,
    note: String,
) -> Result<Response, Trouble> {
    if let Some(active_term) = replica.status.active_term() {
        replica.store(&name, note, active_term.fencing_token).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    match replica.observer.leader() {
        // 307, since with it a client repeats the method and the body too.
        // A watch may show this replica's own write before its term begins: then it is asked again.
        Leader::Known { address: Some(leader), .. } if leader != replica.address => {
            Ok(Redirect::temporary(&format!("{leader}{uri}")).into_response())
        }
        _ => Err(Trouble::Is(StatusCode::SERVICE_UNAVAILABLE)),
    }
}

impl Replica {
    /// Writes one note, unless a newer leader has written.
    ///
    /// A handler may outlive the term in which it began. So the notes carry the token of who wrote them, and
    /// the replace is of exactly the version in which the token was compared.
    async fn store(&self, name: &str, note: String, token: FencingToken) -> Result<(), Trouble> {
        loop {
            let mut stored = match self.notes.get_opt(OBJECT).await? {
                Some(stored) => stored,
                None => self.create().await?,
            };
            let annotations = stored.metadata.annotations.get_or_insert_default();
            let written_under = annotations.get(TOKEN).map_or(Ok(0), |token| token.parse());
            // What is no number is no older token either.
            if !written_under.is_ok_and(|written_under: u64| written_under <= token.0) {
                return Err(Trouble::Is(StatusCode::SERVICE_UNAVAILABLE));
            }
            annotations.insert(TOKEN.to_owned(), token.to_string());
            stored.data.get_or_insert_default().insert(name.to_owned(), note.clone());
            match self.notes.replace(OBJECT, &PostParams::default(), &stored).await {
                Err(error) if is_conflict(&error) => {} // Another client wrote in between: look again.
                outcome => return Ok(outcome.map(drop)?),
            }
        }
    }

    async fn create(&self) -> Result<ConfigMap, Trouble> {
        let mut empty = ConfigMap::default();
        empty.metadata.name = Some(OBJECT.to_owned());
        match self.notes.create(&PostParams::default(), &empty).await {
            Err(error) if is_conflict(&error) => Ok(self.notes.get(OBJECT).await?),
            outcome => Ok(outcome?),
        }
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

enum Trouble {
    Is(StatusCode),
    ApiServer(kube::Error),
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        Self::ApiServer(error)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::Is(StatusCode::SERVICE_UNAVAILABLE) => {
                (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
            }
            Self::Is(status) => status.into_response(),
            Self::ApiServer(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }
}

const OBJECT: &str = "notes";
const TOKEN: &str = "example.com/token";
