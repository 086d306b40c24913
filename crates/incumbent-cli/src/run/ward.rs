//! A command under guard, as `run` sees it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IsTerminal};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{self, Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::family;
use super::guard::{Deadlines, Moment};
use super::guardian::{GUARD, SELF};
use super::wire::{self, End, Order, Report};

/// A command under guard. It is gone when [`end`](Self::end) says so, and not before.
pub(crate) struct Ward {
    control: UnixStream,
    read: Vec<u8>,
    handle: Handle,
    was_told_to_stop: bool,
    /// Whether it gets the terminal that this process has, if any.
    is_in_front: bool,
}

/// What is needed to end a ward by force, from any thread.
#[derive(Clone)]
pub(crate) struct Handle {
    guardian: Arc<OwnedFd>,
    /// The command, and its process group, once it was started.
    command: Arc<OnceLock<Pid>>,
}

impl Ward {
    /// Starts the command with these variables beside those of this process.
    pub(crate) fn start(
        command: &[OsString],
        variables: &[(&str, String)],
        deadlines: Deadlines,
    ) -> io::Result<Self> {
        let mut ward = Self::launch(command, variables, deadlines, io::stdin().as_fd())?;
        ward.is_in_front = io::stdin().is_terminal();
        Ok(ward)
    }

    /// Starts a program that has no term. Standard input and the terminal are left to the command.
    pub(crate) fn start_aside(
        program: &OsString,
        variables: &[(&str, String)],
    ) -> io::Result<Self> {
        let input = File::open("/dev/null")?;
        Self::launch(std::slice::from_ref(program), variables, Deadlines::NONE, input.as_fd())
    }

    fn launch(
        command: &[OsString],
        variables: &[(&str, String)],
        deadlines: Deadlines,
        input: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let (near, far) = StdStream::pair()?;
        pass_input(&near, input, Order::Extend(deadlines))?;
        let mut guardian = Command::new(SELF);
        guardian.arg0("incumbent-guardian").arg(GUARD).args(command).process_group(0);
        guardian
            .env_remove("NOTIFY_SOCKET")
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let child = guardian.stdin(Stdio::from(OwnedFd::from(far))).spawn()?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        near.set_nonblocking(true)?;
        let handle = Handle { guardian: Arc::new(pidfd), command: Arc::default() };
        let control = UnixStream::from_std(near)?;
        let read = Vec::new();
        Ok(Self { control, read, handle, was_told_to_stop: false, is_in_front: false })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The term goes on until then.
    pub(crate) fn extend(&self, deadlines: Deadlines) {
        self.say(Order::Extend(deadlines));
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
            for line in wire::lines(&mut self.read) {
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
        let Some(command) = Pid::from_raw(pid) else { return };
        let _ = self.handle.command.set(command);
        let terminal = io::stdin();
        // Who is in the background may not give away the terminal, and has no need to.
        if self.is_in_front
            && let Some(own) = family::own_group()
            && rustix::termios::tcgetpgrp(&terminal) == Ok(own)
        {
            self.say(Order::Terminal(own.as_raw_nonzero().get()));
            let _ = rustix::termios::tcsetpgrp(&terminal, command);
            // It may have been stopped for reading too early.
            let _ = process::kill_process_group(command, Signal::CONT);
        }
    }

    /// The guardian is gone without a word: it was killed, and by that the command. What else there is, came
    /// to this process.
    async fn stand_in(&self) -> End {
        tracing::warn!("the command's guardian was killed, and the command with it");
        self.handle.kill();
        while !family::is_childless() {
            family::kill_children(None);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        End::Signalled(Signal::KILL.as_raw())
    }

    /// Never waits: what a guardian does not read, it does not need, for it has its deadlines.
    fn say(&self, order: Order) {
        let line = order.line();
        if !matches!(self.control.try_write(line.as_bytes()), Ok(count) if count == line.len()) {
            tracing::debug!(?order, "the guardian does not listen");
        }
    }
}

impl Handle {
    /// Kills the guardian, by that the command, and its process group.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&*self.guardian, Signal::KILL);
        if let Some(command) = self.command.get() {
            let _ = process::kill_process_group(*command, Signal::KILL);
        }
    }
}

/// The first message takes the command's standard input along.
fn pass_input(control: &StdStream, input: BorrowedFd<'_>, order: Order) -> io::Result<()> {
    let files = [input];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = SendAncillaryBuffer::new(&mut space);
    passed.push(SendAncillaryMessage::ScmRights(&files));
    let line = order.line();
    sendmsg(control, &[IoSlice::new(line.as_bytes())], &mut passed, SendFlags::empty())?;
    Ok(())
}
