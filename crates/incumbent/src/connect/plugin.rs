//! Credentials that a program makes: `users[].user.exec` of a kubeconfig.
//!
//! That program may hang. So it never runs on a thread of the runtime, its time is bounded, and it is killed
//! when that is over. A request waits for it only where there is no valid token, and a request that gives up
//! does not end it: the next one finds what it has made.
//!
//! Neither its arguments, nor its environment, nor what it prints are shown: all of these may hold secrets.

use std::io::{self, IsTerminal};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use k8s_openapi::ByteString;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

use super::credentials::{Token as BearerToken, WithToken, bearer};
use super::kubeconfig::without_text;
use crate::error::{BoxError, Error};
use crate::report;

/// A client that shows what the plugin makes, where the configuration names one.
pub(crate) async fn client(
    mut config: kube::Config,
    patience: Option<Duration>,
    build: impl FnOnce(kube::Config) -> Result<kube::Client, Error>,
) -> Result<kube::Client, Error> {
    let Some(exec) = take_plugin(&mut config.auth_info) else { return build(config) };
    let plugin = Plugin { exec, patience };
    let credential = plugin.run(true).await?;
    if let Some(certificate) = credential.certificate()? {
        config.auth_info.client_certificate_data = certificate.client_certificate_data;
        config.auth_info.client_key_data = certificate.client_key_data;
    }
    let client = build(config)?;
    let Some(token) = credential.token else { return Ok(client) };
    let namespace = client.default_namespace().to_owned();
    let token = Token::new(&plugin, &token, credential.expiration_timestamp)?;
    let token = Arc::new(Tokens { plugin, state: Mutex::new(State::new(token)) });
    Ok(kube::Client::new(WithToken { client, token }, namespace))
}

/// A token, a password or an older kind of plugin goes first, as in `kube`.
fn take_plugin(auth: &mut AuthInfo) -> Option<ExecConfig> {
    let is_named = auth.token.is_some() || auth.token_file.is_some();
    let has_password = auth.username.is_some() && auth.password.is_some();
    let exec = auth.exec.take();
    exec.filter(|_| !is_named && !has_password && auth.auth_provider.is_none())
}

#[derive(Clone, Debug)]
struct Plugin {
    exec: ExecConfig,
    patience: Option<Duration>,
}

/// What a plugin prints, under `status`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Credential {
    token: Option<String>,
    expiration_timestamp: Option<jiff::Timestamp>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Credential {
    /// The certificate in the form of a kubeconfig.
    fn certificate(&self) -> Result<Option<AuthInfo>, Error> {
        let (Some(certificate), Some(key)) = (&self.client_certificate_data, &self.client_key_data)
        else {
            return Ok(None);
        };
        let base64 = |pem: &str| json!(ByteString(pem.as_bytes().to_vec()));
        let auth = json!({
            "client-certificate-data": base64(certificate),
            "client-key-data": base64(key),
        });
        let auth = serde_json::from_value(auth);
        auth.map(Some).map_err(|error| Error::NotConfigured { message: error.to_string() })
    }
}

impl Plugin {
    /// Runs it once.
    async fn run(&self, is_first: bool) -> Result<Credential, Error> {
        let may_ask = self.may_ask(is_first, io::stdin().is_terminal())?;
        let patience = match (self.patience, is_first, may_ask) {
            (Some(patience), true, _) => patience,
            (None, true, true) => FOR_PEOPLE,
            (None, true, false) => FIRST,
            (patience, false, _) => REFRESH.min(patience.unwrap_or(REFRESH)),
        };
        let mut running = Running::start(self.command(may_ask)?, !may_ask)
            .map_err(|error| self.failed(format!("cannot be started: {error}")))?;
        let outcome = tokio::time::timeout(patience, running.output()).await;
        let (output, status) = outcome
            .map_err(|_| {
                self.failed(format!("did not answer within {patience:?}, and was killed"))
            })?
            .map_err(|error| self.failed(format!("cannot be read: {error}")))?;
        match status {
            Some(status) if !status.success() => Err(self.failed(format!("failed with {status}"))),
            _ => self.read(&output),
        }
    }

    /// Whether it gets our standard input: only a terminal, as with kubectl, for anything else belongs to the
    /// work. The first time, that is; later the terminal belongs to the work, too.
    fn may_ask(&self, is_first: bool, is_terminal: bool) -> Result<bool, Error> {
        match self.exec.interactive_mode {
            Some(ExecInteractiveMode::Always) if is_first && !is_terminal => Err(self.failed(
                "has to ask a person (interactiveMode: Always), and standard input is not a terminal"
                    .to_owned(),
            )),
            Some(ExecInteractiveMode::Never) => Ok(false),
            _ => Ok(is_first && is_terminal),
        }
    }

    fn read(&self, output: &[u8]) -> Result<Credential, Error> {
        #[derive(Deserialize)]
        struct Printed {
            status: Option<Credential>,
        }
        // JSON is YAML, and some plugins print the one, some the other.
        let text = String::from_utf8_lossy(output);
        let printed: Printed = serde_saphyr::from_str(&text).map_err(|error| {
            self.failed(format!("printed no ExecCredential: {}", without_text(&error)))
        })?;
        printed.status.ok_or_else(|| self.failed("printed no status".to_owned()))
    }

    fn command(&self, may_ask: bool) -> Result<Command, Error> {
        let exec = &self.exec;
        let Some(program) = &exec.command else {
            return Err(Error::NotConfigured { message: "exec names no command".to_owned() });
        };
        let mut spec = json!({ "interactive": may_ask });
        if exec.provide_cluster_info {
            spec["cluster"] = json!(exec.cluster);
        }
        let info = json!({
            "apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec,
        });
        let mut command = Command::new(program);
        command.args(exec.args.iter().flatten());
        let pairs = exec.env.iter().flatten();
        command.envs(pairs.filter_map(|pair| Some((pair.get("name")?, pair.get("value")?))));
        command.env("KUBERNETES_EXEC_INFO", info.to_string());
        for name in exec.drop_env.iter().flatten() {
            command.env_remove(name);
        }
        command.stdin(if may_ask { Stdio::inherit() } else { Stdio::null() });
        Ok(command)
    }

    fn failed(&self, message: String) -> Error {
        let command = self.exec.command.clone().unwrap_or_default();
        let hint = self.exec.install_hint.clone().unwrap_or_default();
        Error::Plugin { command, message, hint }
    }
}

/// A plugin that runs, and is killed when this is dropped before its end.
struct Running {
    child: Child,
    /// It has a process group of its own, so that what it has started can be killed with it.
    leads_group: bool,
}

impl Running {
    fn start(mut command: Command, leads_group: bool) -> io::Result<Self> {
        command.stdout(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        if leads_group {
            command.process_group(0);
        }
        Ok(Self { child: command.spawn()?, leads_group })
    }

    /// All it prints, and how it ends. Until this returns it is not waited for, so its number is its own.
    async fn output(&mut self) -> io::Result<(Vec<u8>, Option<ExitStatus>)> {
        let mut output = Vec::new();
        if let Some(stdout) = self.child.stdout.take() {
            stdout.take(LONGEST_OUTPUT).read_to_end(&mut output).await?;
        }
        Ok((output, known(self.child.wait().await)?))
    }
}

/// How a plugin ended. `None` where another part of the program has waited for it first, as one does that waits for
/// all children: then its output has to tell.
fn known(ended: io::Result<ExitStatus>) -> io::Result<Option<ExitStatus>> {
    match ended {
        Err(error) if error.raw_os_error() == Some(NO_SUCH_CHILD) => Ok(None),
        ended => ended.map(Some),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if self.leads_group
            && let Some(number) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(group) = rustix::process::Pid::from_raw(number)
        {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = self.leads_group;
    }
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    expires: Option<jiff::Timestamp>,
    made: Instant,
}

impl Token {
    fn new(plugin: &Plugin, token: &str, expires: Option<jiff::Timestamp>) -> Result<Self, Error> {
        let header = bearer(token)
            .map_err(|_| plugin.failed("returned a token that no header can carry".to_owned()))?;
        Ok(Self { header, expires, made: Instant::now() })
    }

    /// Whether it lasts for longer than this. What is new counts whatever it says: this machine's clock may
    /// be wrong, and another would say the same.
    fn lasts(&self, so_long: Duration) -> bool {
        let left = |expires: jiff::Timestamp| expires.duration_since(jiff::Timestamp::now());
        self.made.elapsed() < NEW
            || self.expires.is_none_or(|expires| {
                Duration::try_from(left(expires)).is_ok_and(|left| left > so_long)
            })
    }
}

/// The token that requests show, and what makes the next one.
struct Tokens {
    plugin: Plugin,
    state: Mutex<State>,
}

struct State {
    token: Token,
    /// As long as its other end is there, the plugin runs.
    refresh: Option<watch::Receiver<()>>,
    failure: Option<(Instant, String)>,
}

impl State {
    fn new(token: Token) -> Self {
        Self { token, refresh: None, failure: None }
    }

    fn running(&self) -> Option<watch::Receiver<()>> {
        self.refresh.clone().filter(|refresh| refresh.has_changed().is_ok())
    }

    fn fresh_failure(&self) -> Option<&str> {
        let (at, why) = self.failure.as_ref()?;
        (at.elapsed() < AFTER_FAILURE).then_some(why)
    }
}

impl Tokens {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh(self: &Arc<Self>, state: &mut State) -> watch::Receiver<()> {
        let (end, running) = watch::channel(());
        state.refresh = Some(running.clone());
        let tokens = self.clone();
        tokio::spawn(async move {
            let made = tokens.next().await;
            let mut state = tokens.state();
            match made {
                Ok(token) => (state.token, state.failure) = (token, None),
                Err(error) => {
                    let hint = error.hint();
                    tracing::warn!(%error, hint, "no new credential");
                    report::unlogged(&format!("no new credential: {error}"), &hint);
                    state.failure = Some((Instant::now(), error.to_string()));
                }
            }
            drop(state);
            drop(end);
        });
        running
    }

    async fn next(&self) -> Result<Token, Error> {
        let credential = self.plugin.run(false).await?;
        let token = credential.token.as_deref();
        let token =
            token.ok_or_else(|| self.plugin.failed("returned no token this time".to_owned()))?;
        Token::new(&self.plugin, token, credential.expiration_timestamp)
    }
}

impl BearerToken for Tokens {
    async fn header(self: &Arc<Self>) -> Result<HeaderValue, BoxError> {
        loop {
            let mut running = {
                let mut state = self.state();
                if state.token.lasts(EARLY) {
                    return Ok(state.token.header.clone());
                }
                let running = match (state.running(), state.fresh_failure()) {
                    (None, None) => Some(self.refresh(&mut state)),
                    (running, _) => running,
                };
                if state.token.lasts(LAST_MOMENT) {
                    return Ok(state.token.header.clone());
                }
                match (running, state.fresh_failure()) {
                    (Some(running), _) => running,
                    (None, why) => return Err(why.unwrap_or_default().to_owned().into()),
                }
            };
            // It never says anything: what is waited for is its end.
            let _ = running.changed().await;
        }
    }

    fn distrust(&self, header: &HeaderValue) {
        let mut state = self.state();
        if state.token.header == *header {
            state.token.expires = Some(jiff::Timestamp::UNIX_EPOCH);
        }
    }
}

/// ECHILD, which has this number on every Unix.
const NO_SUCH_CHILD: i32 = 10;

/// Longer than any plugin needs that asks no other process.
const FIRST: Duration = Duration::from_secs(60);

/// For somebody to sign in.
const FOR_PEOPLE: Duration = Duration::from_secs(300);

/// So that there is time for several attempts before a token ends.
const REFRESH: Duration = Duration::from_secs(20);

/// With so little left of a token, the next one is made.
const EARLY: Duration = Duration::from_secs(60);

/// With so little left, a request would come too late.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// A token of this age is shown whatever it says of its end, so that a plugin is not run for each request.
const NEW: Duration = Duration::from_secs(5);

/// A plugin that fails is not run again at once.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Many times what a credential needs.
const LONGEST_OUTPUT: u64 = 1 << 20;

#[cfg(all(test, target_os = "linux"))]
mod tests;
