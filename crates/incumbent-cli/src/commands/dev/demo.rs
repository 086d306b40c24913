//! `incumbent demo`: an election of three processes, broken in five ways, with numbers.

mod candidates;
pub(crate) mod register;
mod report;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use incumbent::{Clock, Connect, Timing};
use incumbent_apiserver::{ApiServer, ListenError, Listening, Transport, Verb};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::sleep;

use self::candidates::{Candidates, Printed};
use self::register::{ObservedTerm, Register};
use self::report::{Report, Step, millis, overlap};
use crate::commands::dev::dev_server;
use crate::dashboard;
use crate::flags::output_format::OutputFormat;
use crate::runtime::signals::shutdown_signal;
use crate::runtime::{exit, output};

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Demo {
    /// Leave the election running at the end, and print how to look at it
    #[arg(long)]
    keep: bool,
    /// How to print the report
    #[arg(short, long, value_enum, default_value = "text")]
    output: OutputFormat,
}

const HELP: &str = "\
Examples:
  See five failures and how long each takes:
    $ incumbent demo
  Keep the election running at the end, with a page that shows it:
    $ incumbent demo --keep";

pub(crate) const LOCK: &str = "lease/demo";

pub(crate) async fn run(args: Demo) -> anyhow::Result<ExitCode> {
    let talk = if args.output == OutputFormat::Json { Talk::Quiet } else { Talk::Words };
    let mut demo = Playground::start(talk).await?;
    if args.keep {
        demo.show().await?;
    }
    let report = tokio::select! {
        report = demo.play() => report?,
        () = shutdown_signal() => {
            eprintln!("interrupted; the candidates are ended");
            return Ok(ExitCode::from(exit::INTERRUPTED));
        }
    };
    match args.output == OutputFormat::Json {
        true => output::line(&serde_json::to_string(&report)?)?,
        false => demo.conclude(&report)?,
    }
    if args.keep {
        demo.keep().await?;
    }
    Ok(if report.pass { ExitCode::SUCCESS } else { ExitCode::from(exit::NO) })
}

#[derive(Clone, Copy, PartialEq)]
enum Talk {
    Words,
    Quiet,
}

struct Playground {
    talk: Talk,
    started: Duration,
    server: ApiServer,
    listening: Option<Listening>,
    address: SocketAddr,
    folder: TempDir,
    register: Register,
    candidates: Candidates,
    printed: mpsc::UnboundedReceiver<Printed>,
    /// Where the dashboard is, if there is one.
    page: Option<String>,
}

impl Playground {
    async fn start(talk: Talk) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let folder = builder.prefix("incumbent-demo-").tempdir().with_context(|| {
            format!("cannot make a folder in {}", std::env::temp_dir().display())
        })?;
        let server = ApiServer::new();
        let listening = server.listen((Ipv4Addr::LOCALHOST, 0).into(), Transport::Https).await?;
        let kubeconfig = folder.path().join("kubeconfig");
        dev_server::write_private(&kubeconfig, &listening.kubeconfig())
            .with_context(|| format!("cannot write {}", kubeconfig.display()))?;
        let (register, register_address) = Register::start(Ipv4Addr::LOCALHOST.into())?;
        let (candidates, printed) = Candidates::new(&kubeconfig, register_address);
        let address = listening.address();
        Ok(Self {
            talk,
            started: now(),
            server,
            listening: Some(listening),
            address,
            folder,
            register,
            candidates,
            printed,
            page: None,
        })
    }

    async fn play(&mut self) -> anyhow::Result<Report> {
        self.say(
            "Three processes compete for one Lease, through a small Kubernetes API server in",
        )?;
        self.say("this process. The leader writes to a register as fast as it can. The register")?;
        self.say("rejects every token that is older than the newest one that it has seen.")?;
        self.say("Timing: lease 5 s, renew deadline 3 s, retry 0.5 s.")?;
        self.say("")?;
        for name in NAMES {
            self.candidates.start(name)?;
        }
        let (_, first) = self.next_leader(0).await?;
        self.tell(&format!(
            "{:<6} leads: it was the first to replace the vacant lock",
            first.identity
        ))?;
        let steps = vec![
            self.graceful_stop().await?,
            self.kill().await?,
            self.freeze().await?,
            self.short_outage().await?,
            self.long_outage().await?,
        ];
        Ok(Report::new(steps, &self.register.terms()))
    }

    async fn graceful_stop(&mut self) -> anyhow::Result<Step> {
        self.settle().await;
        let (token, old) = self.leader()?;
        self.head("1/5", &format!("{} is asked to stop (SIGTERM)", old.identity))?;
        self.candidates.signal(&old.identity, Signal::TERM)?;
        self.candidates.ended(&old.identity).await?;
        let (new_token, new) = self.next_leader(token).await?;
        let step = self.step("graceful stop", token, new_token);
        self.tell(&format!("{:<6} stopped its work, released the lock, and ended", old.identity))?;
        self.tell_leader(&new, &step, "one write to release, one to acquire")?;
        self.candidates.start(&old.identity)?;
        Ok(step)
    }

    async fn kill(&mut self) -> anyhow::Result<Step> {
        self.settle().await;
        let (token, old) = self.leader()?;
        self.head("2/5", &format!("{} is killed (kill -9)", old.identity))?;
        self.candidates.signal(&old.identity, Signal::KILL)?;
        self.candidates.ended(&old.identity).await?;
        let (new_token, new) = self.next_leader(token).await?;
        let step = self.step("kill -9", token, new_token);
        self.tell_leader(
            &new,
            &step,
            "no candidate can tell a dead leader from a slow one sooner",
        )?;
        self.candidates.start(&old.identity)?;
        Ok(step)
    }

    async fn freeze(&mut self) -> anyhow::Result<Step> {
        self.settle().await;
        let (token, old) = self.leader()?;
        self.head(
            "3/5",
            &format!("{} is frozen past its lease (SIGSTOP), then woken", old.identity),
        )?;
        self.candidates.signal(&old.identity, Signal::STOP)?;
        let (new_token, new) = self.next_leader(token).await?;
        self.tell_leader(&new, &self.step("freeze", token, new_token), "as after a crash")?;
        sleep(Duration::from_millis(500)).await;
        self.candidates.signal(&old.identity, Signal::CONT)?;
        let reported = self.printed_by(&old.identity, "lost").await;
        self.settle().await;
        let mut step = self.step("freeze", token, new_token);
        let late = match step.refused {
            0 => "none of its writes arrived".to_owned(),
            count => format!("{count} write that was under way when it froze was refused"),
        };
        if reported && step.overlap_ms == 0.0 {
            self.tell(&format!(
                "{:<6} woke, saw by its clock that its term was over, and did not",
                old.identity
            ))?;
            self.tell(&format!("       act: {late}"))?;
        } else if !reported {
            step.violation = Some(format!("{} woke and did not notice", old.identity));
        }
        Ok(step)
    }

    async fn short_outage(&mut self) -> anyhow::Result<Step> {
        self.settle().await;
        let (token, old) = self.leader()?;
        self.head("4/5", "the API server is away for 1 s, less than the renew deadline")?;
        self.renewed().await?;
        self.outage(Duration::from_secs(1)).await?;
        sleep(Timing::fast().renew_deadline()).await;
        let (now_token, now_leader) = self.leader()?;
        let mut step = self.step("short outage", token, now_token);
        if now_token == token {
            self.tell(&format!("{:<6} continued to lead, under the same token", old.identity))?;
        } else {
            step.violation = Some(format!("{} lost to {}", old.identity, now_leader.identity));
        }
        Ok(step)
    }

    async fn long_outage(&mut self) -> anyhow::Result<Step> {
        let (token, old) = self.leader()?;
        self.head("5/5", "the API server is away for 6 s, longer than the lease")?;
        let cut_at = self.outage(Duration::from_secs(6)).await?;
        let stopped = self.register.terms()[&token].last_belief.saturating_sub(cut_at);
        self.tell(&format!(
            "{:<6} stopped by its own clock {:.1} s after the server went away",
            old.identity,
            stopped.as_secs_f64()
        ))?;
        let (new_token, new) = self.next_leader(token).await?;
        let mut step = self.step("long outage", token, new_token);
        self.tell_leader(&new, &step, "the first to reach the server again")?;
        let allowed = Timing::fast().renew_deadline();
        if stopped > allowed {
            let late = (stopped - allowed).as_secs_f64();
            step.violation = Some(format!("{} led {late:.1} s past its deadline", old.identity));
        }
        Ok(step)
    }

    /// Closes the server's port and all connections for a while. What it stores stays. Returns since when
    /// nothing got through.
    async fn outage(&mut self, duration: Duration) -> anyhow::Result<Duration> {
        if let Some(listening) = self.listening.take() {
            listening.stop().await;
        }
        let cut_at = now();
        sleep(duration).await;
        let back = within(PATIENCE, self.listen_again()).await;
        self.listening = Some(back.context("another program has taken the port")??);
        Ok(cut_at)
    }

    /// On the same port. Another connection may have got it meanwhile, and keeps it for a moment.
    async fn listen_again(&self) -> Result<Listening, ListenError> {
        loop {
            match self.server.listen(self.address, Transport::Https).await {
                Err(ListenError::InUse { .. }) => sleep(Duration::from_millis(20)).await,
                outcome => return outcome,
            }
        }
    }

    /// Waits until the leader has just renewed. An outage of a second at another moment could end its term:
    /// `incumbent timings --preset fast` says which outage it survives when.
    async fn renewed(&self) -> anyhow::Result<()> {
        let writes = || self.server.requests().of(Verb::Update);
        let before = writes();
        let renewed = async {
            while writes() == before {
                sleep(Duration::from_millis(2)).await;
            }
        };
        within(PATIENCE, renewed).await.context("the leader does not renew")?;
        // The write has been counted; its answer still has to arrive.
        sleep(Duration::from_millis(250)).await;
        Ok(())
    }

    /// Lets a restarted candidate take its place in the line, and the leader renew.
    async fn settle(&self) {
        sleep(Duration::from_millis(1500)).await;
    }

    fn leader(&self) -> anyhow::Result<(u64, ObservedTerm)> {
        self.register.newest().context("there has been no leader yet")
    }

    /// Waits for a leader with a token above `token` to write.
    async fn next_leader(&self, token: u64) -> anyhow::Result<(u64, ObservedTerm)> {
        let newer = async {
            loop {
                match self.register.newest() {
                    Some((newest, term)) if newest > token => return (newest, term),
                    _ => sleep(Duration::from_millis(2)).await,
                }
            }
        };
        within(PATIENCE, newer).await.with_context(|| {
            format!("no candidate led within {} s: a promise is broken", PATIENCE.as_secs())
        })
    }

    /// Waits until a candidate has printed an event.
    async fn printed_by(&mut self, identity: &str, event: &str) -> bool {
        let printed = async {
            while let Some(printed) = self.printed.recv().await {
                if printed.identity == identity && printed.event == event {
                    return true;
                }
            }
            false
        };
        within(PATIENCE, printed).await.unwrap_or(false)
    }

    fn step(&self, name: &'static str, token: u64, new_token: u64) -> Step {
        let terms = self.register.terms();
        let (old, new) = (&terms[&token], &terms[&new_token]);
        let gap = (token != new_token)
            .then(|| Some(new.first_write?.saturating_sub(old.last_write?)))
            .flatten();
        let overlap_ms = if token == new_token { 0.0 } else { millis(overlap(old, new)) };
        Step {
            name,
            before: old.identity.clone(),
            after: new.identity.clone(),
            gap_ms: gap.map(millis),
            overlap_ms,
            refused: old.refused,
            violation: None,
        }
    }

    fn tell_leader(&self, new: &ObservedTerm, step: &Step, why: &str) -> io::Result<()> {
        let gap = Duration::from_secs_f64(step.gap_ms.unwrap_or(0.0) / 1e3);
        let gap = match gap < Duration::from_secs(1) {
            true => format!("{:.1} ms", millis(gap)),
            false => format!("{:.2} s", gap.as_secs_f64()),
        };
        self.tell(&format!("{:<6} leads, after {gap} without a leader", new.identity))?;
        self.tell(&format!("       ({why})"))
    }

    fn conclude(&self, report: &Report) -> io::Result<()> {
        self.say("")?;
        for violation in &report.violations {
            self.say(&format!("VIOLATED  {violation}"))?;
        }
        self.say(&format!(
            "{}  {} terms, {} writes; two led at once for {} ms;",
            if report.pass { "PASS" } else { "FAIL" },
            report.terms,
            report.writes,
            report.overlap_ms
        ))?;
        self.say(&format!("      writes with an old token, all refused: {}", report.refused))
    }

    /// Shows it all on a page, from the beginning on.
    async fn show(&mut self) -> anyhow::Result<()> {
        let kubeconfig = self.folder.path().join("kubeconfig");
        let client = Connect::default().kubeconfig(kubeconfig).client().await?;
        let page = dashboard::start_beside(client, format!("https://{}", self.address)).await?;
        eprintln!("To watch it in a browser: {page}");
        self.page = Some(page);
        Ok(())
    }

    /// Leaves everything running until a signal comes.
    async fn keep(&mut self) -> anyhow::Result<()> {
        self.register.take_it_easy(Duration::from_millis(100));
        let kubeconfig = self.folder.path().join("kubeconfig");
        let leader = self.leader()?.1.identity;
        let other = self.candidates.others(&leader).into_iter().next().unwrap_or_default();
        eprintln!();
        eprintln!("The election continues until Ctrl-C. In another terminal:");
        eprintln!("  export KUBECONFIG={}", kubeconfig.display());
        let incumbent = std::env::current_exe()?;
        eprintln!("  {} get", incumbent.display());
        eprintln!("  {} step-down demo --wait     # move the leader", incumbent.display());
        eprintln!("  {} history demo              # what has happened", incumbent.display());
        eprintln!("  {} elect --lock {LOCK} --preset fast     # one more", incumbent.display());
        eprintln!("  kubectl get lease demo -o yaml                  # if you have kubectl");
        if let Some(pid) = self.candidates.id(&leader) {
            eprintln!("  kill -9 {pid:<10} # {leader} leads; {other} or another will");
        }
        if let Some(page) = &self.page {
            eprintln!("and in a browser, with all that has happened: {page}");
        }
        shutdown_signal().await;
        Ok(())
    }

    fn head(&self, number: &str, what: &str) -> io::Result<()> {
        self.say("")?;
        self.say(&format!("-- {number}  {what}"))
    }

    fn tell(&self, what: &str) -> io::Result<()> {
        let seconds = now().saturating_sub(self.started).as_secs_f64();
        self.say(&format!("{seconds:6.2} s  {what}"))
    }

    fn say(&self, line: &str) -> io::Result<()> {
        match self.talk {
            Talk::Words => output::line(line),
            Talk::Quiet => Ok(()),
        }
    }
}

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// Longer than any handover takes: the lease of 5 s, and room for a slow machine. Only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

async fn within<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(duration, future).await.ok()
}

fn now() -> Duration {
    Clock::system().instant().since_start()
}
