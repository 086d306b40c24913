//! A command under guard, as the process that starts it sees it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IsTerminal};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{self, Pid, PidfdFlags, Signal, pidfd_open};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::cgroup::Cgroup;
use super::containment::Containment;
use super::deadlines::{Deadlines, Moment};
use super::guardian::{GUARD, now};
use super::handle::{Guardians, Handle};
use super::kernel_timer::KernelTimer;
use super::kill_backoff::KillBackoff;
use super::launch::{SELF, Start};
use super::protocol::{self, End, Order, Report};
use crate::runtime::descendants::{self, Survivor};

/// What is started, and how.
pub(crate) struct Launch<'a> {
    pub(crate) command: &'a [OsString],
    /// It gets these beside those of this process.
    pub(crate) variables: &'a [(&'static str, String)],
    pub(crate) containment: Containment,
    pub(crate) deadlines: Deadlines,
    pub(crate) guardians: &'a Guardians,
}

/// A command under guard. It is gone when [`end`](Self::end) says so, and not before.
pub(crate) struct GuardedChild {
    control: UnixStream,
    read: Vec<u8>,
    handle: Handle,
    /// Those of all commands of this process.
    guardians: Guardians,
    was_told_to_stop: bool,
    /// For when this process is stopped and has to do what its guardian cannot.
    wake: Option<KernelTimer>,
    /// Whether it gets the terminal that this process has, if any.
    is_in_front: bool,
}

impl GuardedChild {
    /// Starts the command. It gets the standard input of this process, and the terminal, if there is one.
    pub(crate) fn start(launch: &Launch<'_>) -> io::Result<Self> {
        let mut guarded = Self::launch(launch, io::stdin().as_fd())?;
        guarded.is_in_front = io::stdin().is_terminal();
        Ok(guarded)
    }

    /// Starts the command without standard input, and leaves the terminal to others.
    pub(crate) fn start_aside(launch: &Launch<'_>) -> io::Result<Self> {
        Self::launch(launch, File::open("/dev/null")?.as_fd())
    }

    fn launch(launch: &Launch<'_>, input: BorrowedFd<'_>) -> io::Result<Self> {
        let Launch { command, variables, containment, deadlines, guardians } = *launch;
        let (near, far) = StdStream::pair()?;
        near.set_nonblocking(true)?;
        let control = UnixStream::from_std(near)?;
        let group = make_group(containment);
        let folder = group.as_ref().map(|group| group.folder().to_owned());
        let start = Start { is_confined: containment.is_confined, group: folder };
        let mut guardian = Command::new(SELF);
        guardian.arg0("incumbent-guardian").arg(GUARD).args(start.arguments()).args(command);
        guardian
            .process_group(0)
            .env_remove("NOTIFY_SOCKET")
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let child = Pid::from_child(&guardian.stdin(Stdio::from(OwnedFd::from(far))).spawn()?);
        let handle = Handle::new(child, pidfd_open(child, PidfdFlags::empty())?, group);
        guardians.add(handle.clone());
        let mut guarded = Self {
            control,
            read: Vec::new(),
            handle,
            guardians: guardians.clone(),
            was_told_to_stop: false,
            wake: KernelTimer::that_wakes(),
            is_in_front: false,
        };
        guarded.wake_at(deadlines);
        // It starts the command when it gets this, and ends if it does not: what failed until here has started nothing.
        pass_input(&guarded.control, input, Order::Extend(deadlines))?;
        Ok(guarded)
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The term continues until then.
    pub(crate) fn extend(&mut self, deadlines: Deadlines) {
        self.wake_at(deadlines);
        self.say(Order::Extend(deadlines));
    }

    /// What the guardian has not killed by then, is this process's to kill.
    fn wake_at(&mut self, deadlines: Deadlines) {
        if let Some(alarm) = &mut self.wake {
            alarm.set(deadlines.kill_at);
        }
    }

    /// Tells the command to stop. What is left of it at that moment is killed.
    pub(crate) fn stop(&self, kill_at: Moment) {
        self.say(Order::Stop { kill_at });
    }

    /// Kills at that moment what was asked to stop with a signal, and wakes it to hear that.
    pub(crate) fn bound(&self, kill_at: Moment) {
        self.say(Order::Bound { kill_at });
        self.signal(Signal::CONT.as_raw());
    }

    pub(crate) fn signal(&self, signal: i32) {
        self.say(Order::Signal(signal));
    }

    /// Waits until nothing is left of the command, and says how it ended.
    ///
    /// May be dropped and called again.
    pub(crate) async fn end(&mut self) -> End {
        let mut bytes = [0; 256];
        loop {
            for line in protocol::lines(&mut self.read) {
                match Report::parse(&line) {
                    Some(Report::Started(pid)) => self.has_started(pid),
                    Some(Report::Stopping) => self.was_told_to_stop = true,
                    Some(Report::Gone(end)) => return end,
                    None => {}
                }
            }
            match self.control.read(&mut bytes).await {
                Ok(count @ 1..) => self.read.extend(&bytes[..count]),
                Ok(0) | Err(_) => return self.stand_in().await,
            }
        }
    }

    /// Whether the guardian has told it to stop, which it may do by its own clock before `run` knows why.
    pub(crate) fn was_told_to_stop(&self) -> bool {
        self.was_told_to_stop
    }

    fn has_started(&self, pid: i32) {
        let Some(pid) = Pid::from_raw(pid) else { return };
        self.handle.has_started(pid);
        let terminal = io::stdin();
        // Who is in the background may not give away the terminal, and has no need to.
        if self.is_in_front
            && let Some(own) = descendants::own_group()
            && rustix::termios::tcgetpgrp(&terminal) == Ok(own)
        {
            self.say(Order::Terminal(own.as_raw_nonzero().get()));
            let _ = rustix::termios::tcsetpgrp(&terminal, pid);
            // It may have been stopped for reading too early.
            let _ = process::kill_process_group(pid, Signal::CONT);
        }
    }

    /// The guardian is gone without a word. The kernel has killed the command, in most cases, and all that is left has
    /// come to this process.
    async fn stand_in(&self) -> End {
        if !self.handle.knows_the_command() {
            // It has started nothing, or has not come to say so: then it is here.
            self.kill_all().await;
            return End::REFUSED;
        }
        tracing::warn!("the command's guardian has died: killing what is left of the command");
        self.kill_all().await;
        End::Signalled(Signal::KILL.as_raw())
    }

    /// Kills until this process has no child but the guardians of other commands: what a dead guardian has left is
    /// among the rest.
    async fn kill_all(&self) {
        let mut backoff = KillBackoff::start(now());
        self.guardians.remove(&self.handle);
        self.handle.kill();
        while !descendants::is_childless_but_for(&self.guardians.living()) {
            let survivors = descendants::kill_children(&self.guardians.living());
            self.handle.kill_group();
            complain(&mut backoff, &survivors);
            tokio::time::sleep(backoff.pause()).await;
        }
        self.handle.remove_group();
    }

    /// Never waits: what a guardian does not read, it does not need, for it has its deadlines.
    fn say(&self, order: Order) {
        let line = order.line();
        if !matches!(self.control.try_write(line.as_bytes()), Ok(count) if count == line.len()) {
            tracing::debug!(order = line.trim_end(), "the guardian does not listen");
        }
    }
}

impl Drop for GuardedChild {
    fn drop(&mut self) {
        self.guardians.remove(&self.handle);
    }
}

/// A control group for one command; none where it is not needed, or is not available, which was said at the start.
fn make_group(containment: Containment) -> Option<Cgroup> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("incumbent-{}-{number}", std::process::id());
    containment.is_grouped.then(|| Cgroup::create(&name).ok()).flatten()
}

fn complain(backoff: &mut KillBackoff, survivors: &[Survivor]) {
    if let Some(complaint) = backoff.complaint(now(), survivors) {
        tracing::error!("{complaint}");
    }
}

/// The first message takes the command's standard input along.
fn pass_input(control: &UnixStream, input: BorrowedFd<'_>, order: Order) -> io::Result<()> {
    let files = [input];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = SendAncillaryBuffer::new(&mut space);
    passed.push(SendAncillaryMessage::ScmRights(&files));
    let line = order.line();
    sendmsg(control, &[IoSlice::new(line.as_bytes())], &mut passed, SendFlags::empty())?;
    Ok(())
}
