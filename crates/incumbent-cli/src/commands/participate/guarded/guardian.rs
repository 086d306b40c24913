//! The guardian: a small process between `run` and its command, which ends the command in time also when
//! `run` cannot.
//!
//! It has one thread and no runtime, asks no other process, and needs nothing but its own clock. All that it needs to kill is
//! open before the command starts. All descendants of the command come to it when their parents die, so nothing that
//! the command has started can hide. It ends only when no process is left; if it is killed itself, the kernel kills
//! the command, and `run` the rest. If it is stopped, the kernel wakes it when it has to act; if that does not help,
//! the kernel kills it, and by that the command.

use std::ffi::OsString;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use rustix::process::{
    self, Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, getpriority_process,
    setpriority_process,
};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::cgroup::Cgroup;
use super::deadlines::{Deadlines, Guard, Input, Moment, Output};
use super::kernel_timer::KernelTimer;
use super::kill_backoff::KillBackoff;
use super::launch::{LAUNCH, SELF, Start, failed, launch};
use super::protocol::{self, End, Order, Report};
use crate::runtime::descendants::{self, Survivor};
use crate::runtime::signals::hangup_is_ignored;
use crate::runtime::{exit, stderr};

/// The first argument of a process that is a guardian.
pub(crate) const GUARD: &str = "__guard";

/// Becomes a helper of `run`, if this process was started as one.
pub(crate) fn become_helper() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next()?;
    if role == GUARD {
        Some(guard(arguments))
    } else if role == LAUNCH {
        Some(launch(arguments))
    } else {
        None
    }
}

/// What it is now on the clock that continues while the machine is suspended.
pub(crate) fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let since_start = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    u64::try_from(since_start.as_nanos()).unwrap_or(Moment::MAX)
}

fn guard(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(start) = Start::take(&mut arguments) else { return ExitCode::FAILURE };
    let (mut guardian, input) = match Guardian::prepare(start.group.clone()) {
        Ok(prepared) => prepared,
        Err(error) => return failed("cannot watch over the command", &error),
    };
    let usual = getpriority_process(None).unwrap_or(0);
    // It is woken rarely, and then at once where that is allowed.
    let _ = setpriority_process(None, -20);
    let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT);
    let mut launch = Command::new(SELF);
    launch.arg(LAUNCH).arg(process::getpid().as_raw_nonzero().to_string()).arg(usual.to_string());
    launch.args(start.arguments()).args(arguments).stdin(Stdio::from(input)).process_group(0);
    // Before this line there may have been a pause of any length. After it nothing may fail: the command is this
    // process's to end.
    let end = match guardian.guard.may_start(now()) {
        false => End::Unstarted(exit::LOST),
        true => match launch.spawn() {
            Ok(child) => guardian.guard(Pid::from_child(&child)),
            Err(error) => {
                failed("cannot start the command", &error);
                End::REFUSED
            }
        },
    };
    guardian.report(Report::Gone(end));
    ExitCode::SUCCESS
}

/// A stream that has something to read when a signal came. None of them ends a guardian: what they mean is
/// for `run` to decide, which gets them too.
fn notice_signals() -> io::Result<UnixStream> {
    use signal_hook::consts::{
        SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    };
    let (notice, source) = UnixStream::pair()?;
    let hangup = (!hangup_is_ignored()).then_some(SIGHUP);
    let others = [SIGALRM, SIGCHLD, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    for signal in others.into_iter().chain(hangup) {
        signal_hook::low_level::pipe::register(signal, source.try_clone()?)?;
    }
    notice.set_nonblocking(true)?;
    Ok(notice)
}

/// Standard input is the line to `run`. The first message brings the command's own standard input along.
fn receive_start() -> io::Result<(UnixStream, OwnedFd, Deadlines)> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut bytes = [0; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        &control,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut passed,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut files = passed.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let input = files.next().and_then(|mut files| files.next());
    let line = std::str::from_utf8(&bytes[..received.bytes]).unwrap_or_default();
    match (input, Order::parse(line.trim_end())) {
        (Some(input), Some(Order::Extend(deadlines)))
            if !received.flags.contains(ReturnFlags::CTRUNC) =>
        {
            control.set_nonblocking(true)?;
            Ok((control, input, deadlines))
        }
        _ => Err(io::Error::other("only `incumbent run`, `once`, `schedule` and `work` start one")),
    }
}

struct Guardian {
    guard: Guard,
    /// The line to `run`, while it has a reader.
    control: Option<UnixStream>,
    read: Vec<u8>,
    signals: UnixStream,
    timer: OwnedFd,
    /// For when this process is stopped.
    wake: Option<KernelTimer>,
    last_resort: Option<KernelTimer>,
    group: Option<Cgroup>,
    terminal: OwnedFd,
    /// The process group that the terminal goes back to.
    shell: Option<Pid>,
}

impl Guardian {
    /// All that may fail, and the command's standard input.
    fn prepare(group: Option<PathBuf>) -> io::Result<(Self, OwnedFd)> {
        let signals = notice_signals()?;
        descendants::adopt_orphans()?;
        let (control, input, deadlines) = receive_start()?;
        let guardian = Self {
            guard: Guard::new(deadlines),
            control: Some(control),
            read: Vec::new(),
            signals,
            timer: timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?,
            wake: KernelTimer::that_wakes(),
            last_resort: KernelTimer::that_kills(),
            group: group.map(Cgroup::open).transpose()?,
            terminal: input.try_clone()?,
            shell: None,
        };
        Ok((guardian, input))
    }

    /// Watches over the command until nothing of it is left.
    fn guard(&mut self, child: Pid) -> End {
        self.report(Report::Started(child.as_raw_nonzero().get()));
        self.watch(child);
        self.kill(child)
    }

    /// Returns when the command is to be killed, or has ended.
    fn watch(&mut self, child: Pid) {
        let mut output = self.guard.step(now(), Input::Woken);
        loop {
            if output.terminate {
                if ended(child).is_none() {
                    self.report(Report::Stopping);
                }
                terminate(child);
            }
            if output.kill {
                return;
            }
            self.wait(&output);
            output = self.guard.step(now(), Input::Woken);
            for input in self.orders(child) {
                let next = self.guard.step(now(), input);
                let terminate = output.terminate || next.terminate;
                output = Output { terminate, ..next };
            }
            descendants::bury_children(Some(child));
            if ended(child).is_some() {
                let terminate = output.terminate;
                output = Output { terminate, ..self.guard.step(now(), Input::Ended) };
            } else {
                wake_from_terminal_stop(child);
            }
        }
    }

    /// Waits for a message, a signal, or the time.
    fn wait(&mut self, output: &Output) {
        self.set_alarms(output.wake_at);
        let nanos = i64::try_from(output.wake_at).unwrap_or(i64::MAX);
        let at = Timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let alarm = Itimerspec { it_interval: zero, it_value: at };
        let is_set = timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &alarm).is_ok();
        let mut sources = vec![
            PollFd::new(&self.timer, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        sources.extend(self.control.as_ref().map(|line| PollFd::new(line, PollFlags::IN)));
        await_any(&mut sources, (!is_set).then_some(WITHOUT_A_TIMER));
        self.hear_signals();
    }

    fn set_alarms(&mut self, wake_at: Moment) {
        if let Some(alarm) = &mut self.wake {
            alarm.set(wake_at);
        }
        if let Some(alarm) = &mut self.last_resort {
            alarm.set(self.guard.last_resort_at());
        }
    }

    fn hear_signals(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.signals.read(&mut bytes), Ok(1..)) {}
    }

    /// Reads what `run` says, and does of it what needs no decision.
    fn orders(&mut self, child: Pid) -> Vec<Input> {
        let Some(control) = &mut self.control else { return Vec::new() };
        let mut bytes = [0; 4096];
        let is_over = loop {
            match control.read(&mut bytes) {
                Ok(0) => break true,
                Ok(count) => self.read.extend(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        let mut inputs = Vec::new();
        for line in protocol::lines(&mut self.read) {
            match Order::parse(&line) {
                Some(Order::Extend(deadlines)) => inputs.push(Input::Extended(deadlines)),
                Some(Order::Stop { kill_at }) => inputs.push(Input::Stop { kill_at }),
                Some(Order::Bound { kill_at }) => inputs.push(Input::Bound { kill_at }),
                Some(Order::Signal(signal)) => pass_on(child, Signal::from_named_raw(signal)),
                Some(Order::Terminal(group)) => self.shell = Pid::from_raw(group),
                None => {}
            }
        }
        if is_over {
            self.control = None;
            inputs.push(Input::Orphaned);
        }
        inputs
    }

    /// Kills all there is, until nothing is left. The command is buried last but for what it leaves behind, so that
    /// its number stays its own.
    fn kill(&mut self, child: Pid) -> End {
        let mut backoff = KillBackoff::start(now());
        let end = loop {
            let mut survivors = vec![descendants::kill(child)];
            let _ = process::kill_process_group(child, Signal::KILL);
            if let Some(group) = &self.group {
                group.kill();
            }
            survivors.extend(descendants::kill_children(&[child]));
            if let Some(end) = ended(child) {
                break end;
            }
            self.await_death(&mut backoff, &survivors);
        };
        self.give_terminal_back(child);
        let _ = process::waitpid(Some(child), WaitOptions::empty());
        // All that it leaves behind has come to this process by now: the kernel hands it over before it tells of a
        // death.
        while !descendants::is_childless() {
            let survivors = descendants::kill_children(&[]);
            self.await_death(&mut backoff, &survivors);
        }
        if let Some(group) = &self.group {
            group.remove();
        }
        end
    }

    /// Waits until a child has died, or a moment. The alarm continues to wake this process while it kills.
    fn await_death(&mut self, backoff: &mut KillBackoff, survivors: &[Survivor]) {
        if let Some(complaint) = backoff.complaint(now(), survivors) {
            stderr::say(&format!("error: {complaint}"));
        }
        let pause = backoff.pause();
        self.set_alarms(now().saturating_add(STOPPED_WHILE_IT_KILLS));
        await_any(&mut [PollFd::new(&self.signals, PollFlags::IN)], Some(pause));
        self.hear_signals();
    }

    /// Only a member of the group that has the terminal may give it away unasked. The group lasts until the
    /// command is buried.
    fn give_terminal_back(&self, child: Pid) {
        if let Some(shell) = self.shell
            && process::setpgid(None, Some(child)).is_ok()
        {
            if rustix::termios::tcgetpgrp(&self.terminal) == Ok(child) {
                let _ = rustix::termios::tcsetpgrp(&self.terminal, shell);
            }
            let _ = process::setpgid(None, Some(process::getpid()));
        }
    }

    fn report(&mut self, report: Report) {
        if let Some(control) = &mut self.control {
            let _ = control.write_all(report.line().as_bytes());
        }
    }
}

/// For as long as there is no timer to wait for.
const WITHOUT_A_TIMER: Duration = Duration::from_millis(5);

/// When a guardian that was stopped while it killed continues: 20 ms.
const STOPPED_WHILE_IT_KILLS: Moment = 20_000_000;

/// Waits until one of these is ready, or so long. Where the kernel refuses to wait, it is a moment.
fn await_any(sources: &mut [PollFd<'_>], at_most: Option<Duration>) {
    let timeout = at_most.and_then(|pause| Timespec::try_from(pause).ok());
    if let Err(error) = poll(sources, timeout.as_ref())
        && error != rustix::io::Errno::INTR
    {
        std::thread::sleep(WITHOUT_A_TIMER);
    }
}

/// To the command's process group, and to the command where it has moved to another one.
fn pass_on(child: Pid, signal: Option<Signal>) {
    let Some(signal) = signal else { return };
    let _ = process::kill_process_group(child, signal);
    if process::getpgid(Some(child)) != Ok(child) {
        let _ = process::kill_process(child, signal);
    }
}

/// What is stopped, hears nothing until it continues.
fn terminate(child: Pid) {
    for signal in [Signal::TERM, Signal::CONT] {
        pass_on(child, Some(signal));
    }
}

/// How the command ended, if it has. It is left to be buried later.
fn ended(child: Pid) -> Option<End> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = process::waitid(WaitId::Pid(child), options).ok()??;
    end_of(&status)
}

/// A leader that stands still would lose its term, and the shell knows nothing of it: Ctrl-Z does
/// nothing. Who really wants it sends SIGSTOP.
fn wake_from_terminal_stop(child: Pid) {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
    if let Ok(Some(status)) = process::waitid(WaitId::Pid(child), options)
        && status.stopping_signal() == Some(Signal::TSTP.as_raw())
    {
        pass_on(child, Some(Signal::CONT));
    }
}

fn end_of(status: &WaitIdStatus) -> Option<End> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(End::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX))),
        (None, Some(signal)) => Some(End::Signalled(signal)),
        (None, None) => None,
    }
}
