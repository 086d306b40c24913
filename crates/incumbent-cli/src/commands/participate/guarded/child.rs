//! A command under guard, as `run` sees it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IsTerminal};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{self, Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::cgroup::Cgroup;
use super::containment::Containment;
use super::deadlines::{Deadlines, Moment};
use super::guardian::{GUARD, now};
use super::kernel_timer::KernelTimer;
use super::kill_backoff::KillBackoff;
use super::launch::{SELF, Start};
use super::protocol::{self, End, Order, Report};
use crate::runtime::descendants::{self, Survivor};

/// A command under guard. It is gone when [`end`](Self::end) says so, and not before.
pub(crate) struct GuardedChild {
    control: UnixStream,
    read: Vec<u8>,
    handle: Handle,
    was_told_to_stop: bool,
    /// For when this process is stopped and has to do what its guardian cannot.
    wake: Option<KernelTimer>,
    /// Whether it gets the terminal that this process has, if any.
    is_in_front: bool,
}

/// What is needed to end a guarded command by force, from any thread.
#[derive(Clone)]
pub(crate) struct Handle {
    guardian: Arc<(Pid, OwnedFd)>,
    /// Once it was started.
    command: Arc<OnceLock<Commanded>>,
    group: Option<Arc<Cgroup>>,
}

/// A command, which is also the number of its process group.
#[derive(Debug)]
struct Commanded {
    pid: Pid,
    /// Stays its own when the number is another's.
    pidfd: OwnedFd,
}

impl GuardedChild {
    /// Starts the command with these variables beside those of this process.
    pub(crate) fn start(
        command: &[OsString],
        variables: &[(&str, String)],
        containment: Containment,
        deadlines: Deadlines,
    ) -> io::Result<Self> {
        let mut guarded =
            Self::launch(command, variables, containment, deadlines, io::stdin().as_fd())?;
        guarded.is_in_front = io::stdin().is_terminal();
        Ok(guarded)
    }

    /// Starts a program that has no term. Standard input and the terminal are left to the command.
    pub(crate) fn start_aside(
        program: &OsString,
        variables: &[(&str, String)],
        containment: Containment,
    ) -> io::Result<Self> {
        let input = File::open("/dev/null")?;
        let command = std::slice::from_ref(program);
        Self::launch(command, variables, containment, Deadlines::NONE, input.as_fd())
    }

    fn launch(
        command: &[OsString],
        variables: &[(&str, String)],
        containment: Containment,
        deadlines: Deadlines,
        input: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let (near, far) = StdStream::pair()?;
        near.set_nonblocking(true)?;
        let control = UnixStream::from_std(near)?;
        let group = make_group(containment).map(Arc::new);
        let folder = group.as_ref().map(|group| group.folder().to_owned());
        let start = Start { is_confined: containment.is_confined, group: folder };
        let mut guardian = Command::new(SELF);
        guardian.arg0("incumbent-guardian").arg(GUARD).args(start.arguments()).args(command);
        guardian
            .process_group(0)
            .env_remove("NOTIFY_SOCKET")
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let child = Pid::from_child(&guardian.stdin(Stdio::from(OwnedFd::from(far))).spawn()?);
        let pidfd = pidfd_open(child, PidfdFlags::empty())?;
        let handle = Handle { guardian: Arc::new((child, pidfd)), command: Arc::default(), group };
        let (read, wake, was_told_to_stop) = (Vec::new(), KernelTimer::that_wakes(), false);
        let mut guarded =
            Self { control, read, handle, was_told_to_stop, wake, is_in_front: false };
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
        let Some(_) = self.handle.command.get() else {
            // It has started nothing, or has not come to say so: then it is here.
            self.kill_all().await;
            return End::REFUSED;
        };
        tracing::warn!("the command's guardian has died: killing what is left of the command");
        self.kill_all().await;
        End::Signalled(Signal::KILL.as_raw())
    }

    /// Kills until this process has no child.
    async fn kill_all(&self) {
        let mut backoff = KillBackoff::start(now());
        self.handle.kill();
        while !descendants::is_childless() {
            let survivors = descendants::kill_children(None);
            self.handle.kill_group();
            complain(&mut backoff, &survivors);
            tokio::time::sleep(backoff.pause()).await;
        }
        if let Some(group) = &self.handle.group {
            group.remove();
        }
    }

    /// Never waits: what a guardian does not read, it does not need, for it has its deadlines.
    fn say(&self, order: Order) {
        let line = order.line();
        if !matches!(self.control.try_write(line.as_bytes()), Ok(count) if count == line.len()) {
            tracing::debug!(order = line.trim_end(), "the guardian does not listen");
        }
    }
}

impl Handle {
    fn has_started(&self, pid: Pid) {
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        // If it is no longer the guardian's, the number may be another's by now.
        if descendants::is_child_of(pid, self.guardian.0) {
            let _ = self.command.set(Commanded { pid, pidfd });
        }
    }

    /// Kills the guardian, by that the command, its process group, and its control group. Depends on nothing but what
    /// is open, and does not wait.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.guardian.1, Signal::KILL);
        if let Some(Commanded { pid, pidfd }) = self.command.get()
            // The number of one that was buried may be another's.
            && pidfd_send_signal(pidfd, Signal::KILL) != Err(rustix::io::Errno::SRCH)
        {
            let _ = process::kill_process_group(*pid, Signal::KILL);
        }
        self.kill_group();
    }

    fn kill_group(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
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
