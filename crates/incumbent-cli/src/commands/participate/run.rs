//! `incumbent run`: runs a command only while this process leads.
//!
//! The command is under a guardian, a separate process: it ends the command before another candidate may lead,
//! whatever becomes of this process. The lock is released only when nothing of the command is left.

pub(crate) mod args;
mod policy;
mod standby;

use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use incumbent::survey::LockView;
use incumbent::{Candidate, Clock, Error, Leader, Leadership, Observer};
use jiff::Timestamp;

use crate::commands::participate::guarded::{
    Cause, Company, Containment, Deadlines, End, GuardedChild, Guardians, Launch, Signals,
    ends_by_default, look_at_reach,
};
use crate::flags::lock;
use crate::http::metrics::Exporter;
use crate::runtime::descendants::adopt_orphans;
use crate::runtime::{exit, notify, preflight};
use policy::{Next, Policy};
use standby::Standby;

pub(crate) async fn run(args: args::Run) -> ExitCode {
    match try_run(args).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => exit::report_as_wrapper(&error),
    }
}

async fn try_run(args: args::Run) -> anyhow::Result<u8> {
    let mut runner = match Runner::prepare(args).await? {
        Ok(runner) => runner,
        Err(code) => return Ok(code),
    };
    let outcome = runner.take_part().await;
    runner.leave().await;
    outcome
}

/// Waits for a signal that ends a program, and returns the exit code that it stands for.
async fn told_to_end(signals: &mut Signals) -> u8 {
    loop {
        let signal = signals.next().await;
        if ends_by_default(signal) {
            return End::Signalled(signal).code();
        }
    }
}

/// Runs a command while it leads.
pub(crate) struct Runner {
    args: args::Run,
    candidate: Candidate,
    signals: Signals,
    policy: Policy,
    guardians: Guardians,
    containment: Containment,
    /// How often to look whether the term was renewed.
    tick: Duration,
    /// Then one that only tries gives up for a sign of life, not for a name.
    holder_seems_dead: bool,
}

/// How the wait for a term ended.
pub(crate) enum Wait {
    Leads(Leadership),
    /// Without one, and this is the exit code.
    Over(u8),
}

impl Runner {
    /// Connects, and takes part as one that only follows; or what a signal meant that came meanwhile.
    pub(crate) async fn prepare(mut args: args::Run) -> anyhow::Result<Result<Self, u8>> {
        // Before anything else: from here on a signal ends this process in order.
        let mut signals = Signals::listen()?;
        adopt_orphans()?;
        let (containment, gaps) = look_at_reach(args.allow_privilege_escalation);
        for gap in gaps {
            tracing::warn!("{}; {}", gap.what, gap.hint);
        }
        let timing = args.timing.timing()?;
        let began = Instant::now();
        let set_up = async {
            let (client, namespace) = args.cluster.connect().await?;
            let lock = lock::parse(&namespace, &args.lock)?;
            let looking = async {
                match args.only_try {
                    true => preflight::look_before(client.clone(), &lock).await,
                    false => preflight::look_patiently(client.clone(), &lock).await,
                }
            };
            let in_time =
                tokio::time::timeout(args.timeout.unwrap_or(Duration::MAX), looking).await;
            let late = |_| Err(Error::Unreachable { message: "not within --timeout".to_owned() });
            let view = in_time.unwrap_or_else(late)?;
            Ok::<_, Error>((client, lock, view.is_some_and(|view| seems_dead(&view))))
        };
        let (client, lock, holder_seems_dead) = tokio::select! {
            outcome = set_up => outcome?,
            code = told_to_end(&mut signals) => return Ok(Err(code)),
        };
        // The wait that follows has what is left.
        args.timeout = args.timeout.map(|patience| patience.saturating_sub(began.elapsed()));
        let guardians = Guardians::default();
        let builder = Candidate::builder(client, lock).timing(timing);
        let mut builder = args.candidacy.apply(builder).on_overrun(guardians.on_overrun());
        let exporter = Exporter::at(args.candidacy.metrics_addr).await?;
        if let Some(exporter) = &exporter {
            builder = builder.metrics(exporter.clone());
        }
        let candidate = builder.build()?;
        if let Some(exporter) = &exporter {
            exporter.show(&candidate);
        }
        let policy = Policy {
            on_loss: args.on_loss,
            restart: args.restart,
            max_restarts: args.max_restarts,
            restarts: 0,
        };
        let tick = timing.renew_interval() / 4;
        Ok(Ok(Self {
            args,
            candidate,
            signals,
            policy,
            guardians,
            containment,
            tick,
            holder_seems_dead,
        }))
    }

    pub(crate) fn identity(&self) -> &str {
        self.candidate.identity()
    }

    pub(crate) fn kill_after(&self) -> Duration {
        self.args.kill_after
    }

    /// Waits for a signal that ends a program, and returns the exit code that it stands for.
    pub(crate) async fn told_to_end(&mut self) -> u8 {
        told_to_end(&mut self.signals).await
    }

    pub(crate) async fn leave(self) {
        notify::tell("STOPPING=1");
        self.candidate.leave().await;
    }

    /// Takes part until there is an exit code.
    async fn take_part(&mut self) -> anyhow::Result<u8> {
        loop {
            let leadership = match self.wait().await? {
                Wait::Leads(leadership) => leadership,
                Wait::Over(code) => return Ok(code),
            };
            let next = self.lead(&leadership).await;
            // Nothing of the command is left, or it could not be started.
            leadership.release().await;
            if let Next::Exit(code) = next? {
                return Ok(code);
            }
        }
    }

    /// Waits for a term. When this returns, nothing of what runs beside the wait is left.
    pub(crate) async fn wait(&mut self) -> anyhow::Result<Wait> {
        let lock = self.candidate.lock().to_string();
        notify::tell(&format!("READY=1\nSTATUS=waiting to lead {lock}"));
        let mut standby =
            Standby::new(self.args.on_follower.clone(), self.variables(), self.containment);
        let wait = self.wait_beside(&mut standby).await;
        standby.end(self.args.kill_after).await;
        wait
    }

    async fn wait_beside(&mut self, standby: &mut Standby) -> anyhow::Result<Wait> {
        let mut observer = self.candidate.observe();
        let mut of_standby = self.candidate.observe();
        let only_try = self.args.only_try;
        let patience = self.args.timeout;
        let holder_seems_dead = self.holder_seems_dead;
        let own = &self.candidate.identity().to_owned();
        let mut give_up = pin!(async {
            match (only_try, patience) {
                (true, _) if holder_seems_dead => somebody_lives(&observer, own).await,
                (true, _) => somebody_else_leads(&mut observer, own).await,
                (false, Some(patience)) => tokio::time::sleep(patience).await,
                (false, None) => std::future::pending().await,
            }
        });
        let mut campaign = pin!(self.candidate.campaign());
        loop {
            tokio::select! {
                biased;
                leadership = &mut campaign => return Ok(Wait::Leads(leadership?)),
                signal = self.signals.next() => {
                    if standby.ends_the_wait(signal) {
                        return Ok(Wait::Over(End::Signalled(signal).code()));
                    }
                }
                () = &mut give_up => return Ok(Wait::Over(self.args.conflict_exit_code)),
                () = somebody_else_leads(&mut of_standby, own), if standby.is_due() => standby.start()?,
                () = standby.ended() => {}
            }
        }
    }

    /// Runs the command for as long as this process leads; when it returns, nothing of it is left.
    async fn lead(&mut self, leadership: &Leadership) -> anyhow::Result<Next> {
        let token = leadership.fencing_token().0;
        let lock = self.candidate.lock().to_string();
        tracing::info!(lock, token, "leading");
        notify::tell(&format!("STATUS=leading {lock}, token {token}"));
        // What ran beside the wait may have taken long to end.
        while leadership.is_valid() {
            let start = Instant::now();
            let (cause, end) = self.run_command(leadership).await?;
            match self.policy.next(cause, end, start.elapsed()) {
                Next::Restart => {}
                next => return Ok(next),
            }
        }
        Ok(Next::Campaign)
    }

    /// Runs the command one time. When this returns, nothing of it is left. Where it fails, nothing was
    /// started.
    pub(crate) async fn run_command(
        &mut self,
        leadership: &Leadership,
    ) -> anyhow::Result<(Cause, End)> {
        let handed_over = async {
            leadership.asked_to_hand_over().await;
        };
        let (launcher, signals) = self.split();
        launcher.run(leadership, Vec::new(), handed_over, signals).await
    }

    pub(crate) fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// What starts commands, and the signals to this process.
    pub(crate) fn split(&mut self) -> (Launcher<'_>, &mut Signals) {
        let Self { args, candidate, guardians, containment, tick, signals, .. } = self;
        (Launcher { args, candidate, guardians, containment: *containment, tick: *tick }, signals)
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        variables(&self.candidate)
    }
}

/// Starts the command.
pub(crate) struct Launcher<'a> {
    args: &'a args::Run,
    candidate: &'a Candidate,
    guardians: &'a Guardians,
    containment: Containment,
    tick: Duration,
}

impl Launcher<'_> {
    /// Runs the command one time, until it ends by itself, or is `revoked`. When this returns, nothing of it is left.
    /// Where it fails, nothing was started.
    pub(crate) async fn run(
        &self,
        leadership: &Leadership,
        more_variables: Vec<(&'static str, String)>,
        revoked: impl Future<Output = ()>,
        signals: &mut Signals,
    ) -> anyhow::Result<(Cause, End)> {
        let mut variables = variables(self.candidate);
        variables.push(("INCUMBENT_TOKEN", leadership.fencing_token().to_string()));
        variables.extend(more_variables);
        let mut guarded = GuardedChild::start(&Launch {
            command: &self.args.command,
            variables: &variables,
            containment: self.containment,
            deadlines: Deadlines::of(leadership),
            guardians: self.guardians,
        })?;
        let company = Company { leadership, tick: self.tick, kill_after: self.args.kill_after };
        let (cause, end) = company.keep(&mut guarded, revoked, signals).await;
        let told_to_stop = guarded.was_told_to_stop();
        tracing::info!(
            reason = cause.word(),
            end = end.word(),
            code = end.code(),
            told_to_stop,
            "the command has ended"
        );
        Ok((cause, end))
    }
}

/// The arguments that each command is given.
fn variables(candidate: &Candidate) -> Vec<(&'static str, String)> {
    let lock = candidate.lock();
    vec![
        ("INCUMBENT_LOCK", lock.to_string()),
        ("INCUMBENT_NAMESPACE", lock.namespace().to_owned()),
        ("INCUMBENT_IDENTITY", candidate.identity().to_owned()),
    ]
}

/// One's own write may be seen before its answer comes: that is nobody else's.
async fn somebody_else_leads(observer: &mut Observer, own: &str) {
    loop {
        if observer.leader().identity().is_some_and(|leader| leader.as_str() != own) {
            return;
        }
        if observer.changed().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// By wall clocks, which decide no more than whether it is worth it to wait: a lease at most.
fn seems_dead(view: &LockView) -> bool {
    let age = view.renewed.map(|renewed| Timestamp::now().duration_since(renewed));
    let age = age.and_then(|age| Duration::try_from(age).ok());
    age.zip(view.lease_duration).is_some_and(|(age, lease_duration)| age > lease_duration)
}

/// Waits until the leader renews its term, or another's begins.
async fn somebody_lives(observer: &Observer, own: &str) {
    let mut first = None;
    loop {
        // A claim is valid for ever: only this kind of moment has a "never".
        if let Leader::Known { identity, token, valid_for, .. } = observer.leader()
            && identity.as_str() != own
        {
            let (term, until) = ((identity, token), Clock::system().instant() + valid_for);
            let (known, end) = first.get_or_insert_with(|| (term.clone(), until));
            if *known != term || until > *end + MORE_THAN_ROUNDING {
                return;
            }
        }
        tokio::time::sleep(OFTEN_ENOUGH).await;
    }
}

/// A renewal gives more, because no candidate renews that often.
const MORE_THAN_ROUNDING: Duration = Duration::from_millis(20);

/// To notice a renewal before the next one comes.
const OFTEN_ENOUGH: Duration = Duration::from_millis(50);
