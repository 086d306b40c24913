//! The guardian: a small process between `run` and its command, which ends the command in time also when
//! `run` cannot.
//!
//! It has one thread and no runtime, asks nobody, and needs nothing but its own clock. All descendants of the
//! command come to it when their parents die, so nothing that the command has started can hide. It ends only
//! when no process is left; if it is killed itself, the kernel kills the command, and `run` the rest.

use std::ffi::OsString;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
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

use super::family;
use super::guard::{Deadlines, Guard, Input, Moment, Output};
use super::wire::{self, End, Order, Report};
use crate::exit;

/// The first argument of a process that is a guardian, or on its way to become the command.
pub(crate) const GUARD: &str = "__guard";
const LAUNCH: &str = "__launch";

/// Becomes a helper of `run`, if this process was started as one.
pub(crate) fn become_helper() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next()?;
    if role == GUARD {
        Some(guard(arguments.collect()).unwrap_or_else(|error| {
            eprintln!("error: the guardian of the command: {error}");
            ExitCode::FAILURE
        }))
    } else if role == LAUNCH {
        Some(launch(arguments))
    } else {
        None
    }
}

/// What it is now on the clock that goes on while the machine is suspended.
pub(crate) fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let since_start = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    u64::try_from(since_start.as_nanos()).unwrap_or(Moment::MAX)
}

fn guard(command: Vec<OsString>) -> io::Result<ExitCode> {
    let signals = notice_signals()?;
    family::adopt_orphans()?;
    let (control, input, deadlines) = receive_start()?;
    let usual = getpriority_process(None).unwrap_or(0);
    // It is woken rarely, and then at once where that is allowed.
    let _ = setpriority_process(None, -20);
    let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT);
    let terminal = input.try_clone()?;
    let mut launch = Command::new(SELF);
    launch.arg(LAUNCH).arg(process::getpid().as_raw_nonzero().to_string()).arg(usual.to_string());
    launch.args(command).stdin(Stdio::from(input)).process_group(0);
    let guard = Guard::new(deadlines);
    // Before this line there may have been a pause of any length.
    if !guard.may_start(now()) {
        (&control).write_all(Report::Gone(End::Unstarted(exit::LOST)).line().as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let child = Pid::from_child(&launch.spawn()?);
    let mut guardian = Guardian {
        guard,
        control: Some(control),
        read: Vec::new(),
        signals,
        timer: timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?,
        child,
        terminal,
        shell: None,
    };
    guardian.report(Report::Started(child.as_raw_nonzero().get()));
    let end = guardian.watch()?;
    guardian.report(Report::Gone(end));
    Ok(ExitCode::SUCCESS)
}

/// What this very program is started as, also where its file was replaced meanwhile.
pub(crate) const SELF: &str = "/proc/self/exe";

/// A stream that has something to read when a signal came. None of them ends a guardian: what they mean is
/// for `run` to decide, which gets them too.
fn notice_signals() -> io::Result<UnixStream> {
    use signal_hook::consts::{
        SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    };
    let (notice, source) = UnixStream::pair()?;
    for signal in [SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
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
        _ => Err(io::Error::other("only `incumbent run` starts one")),
    }
}

/// Becomes the command, which the kernel kills when the guardian dies.
fn launch(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut number = || arguments.next()?.to_str()?.parse::<i32>().ok();
    let (guardian, priority) = (number(), number());
    let is_set = process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    // It may have died before that was said.
    if !is_set || process::getppid().map(|pid| pid.as_raw_nonzero().get()) != guardian {
        return ExitCode::FAILURE;
    }
    let _ = setpriority_process(None, priority.unwrap_or(0));
    let Some(program) = arguments.next() else { return ExitCode::FAILURE };
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("error: cannot run {}: {error}", program.display());
    ExitCode::from(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    })
}

/// As shells say it.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

struct Guardian {
    guard: Guard,
    /// The line to `run`, while there is anybody at its other end.
    control: Option<UnixStream>,
    read: Vec<u8>,
    signals: UnixStream,
    timer: OwnedFd,
    /// The command: also the number of its process group. It is buried last, so that the number stays its own.
    child: Pid,
    terminal: OwnedFd,
    /// The process group that the terminal goes back to.
    shell: Option<Pid>,
}

impl Guardian {
    /// Watches over the command until nothing of it is left.
    fn watch(&mut self) -> io::Result<End> {
        let mut output = self.guard.step(now(), Input::Woken);
        loop {
            if output.terminate {
                if self.ended().is_none() {
                    self.report(Report::Stopping);
                }
                self.terminate();
            }
            if output.kill {
                return self.kill();
            }
            self.wait(&output)?;
            output = self.guard.step(now(), Input::Woken);
            let orders = self.orders();
            for input in orders {
                let next = self.guard.step(now(), input);
                let terminate = output.terminate || next.terminate;
                output = Output { terminate, ..next };
            }
            family::bury_children(Some(self.child));
            if self.ended().is_some() {
                let terminate = output.terminate;
                output = Output { terminate, ..self.guard.step(now(), Input::Ended) };
            } else {
                self.wake_from_terminal_stop();
            }
        }
    }

    /// Waits for a message, a signal, or the time.
    fn wait(&mut self, output: &Output) -> io::Result<()> {
        let nanos = i64::try_from(output.wake_at).unwrap_or(i64::MAX);
        let at = Timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let alarm = Itimerspec { it_interval: zero, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &alarm)?;
        let mut sources = vec![
            PollFd::new(&self.timer, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        sources.extend(self.control.as_ref().map(|line| PollFd::new(line, PollFlags::IN)));
        match poll(&mut sources, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 64];
        while matches!(self.signals.read(&mut bytes), Ok(1..)) {}
        Ok(())
    }

    /// Reads what `run` says, and does of it what needs no decision.
    fn orders(&mut self) -> Vec<Input> {
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
        for line in wire::lines(&mut self.read) {
            match Order::parse(&line) {
                Some(Order::Extend(deadlines)) => inputs.push(Input::Extended(deadlines)),
                Some(Order::Stop { kill_at }) => inputs.push(Input::Stop { kill_at }),
                Some(Order::Bound { kill_at }) => inputs.push(Input::Bound { kill_at }),
                Some(Order::Signal(signal)) => self.pass_on(signal),
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

    fn pass_on(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = process::kill_process_group(self.child, signal);
        }
    }

    /// What is stopped, hears nothing until it goes on.
    fn terminate(&self) {
        for signal in [Signal::TERM, Signal::CONT] {
            let _ = process::kill_process_group(self.child, signal);
        }
    }

    /// Kills all there is, until nothing is left.
    fn kill(&mut self) -> io::Result<End> {
        let mut pause = Duration::from_micros(100);
        loop {
            let _ = process::kill_process_group(self.child, Signal::KILL);
            let were_others_there = family::kill_children(Some(self.child));
            if let Some(end) = self.ended()
                && !were_others_there
            {
                // Whatever it left has come to this process by now: the kernel hands it over before it
                // tells of a death.
                self.give_terminal_back();
                process::waitpid(Some(self.child), WaitOptions::empty())?;
                while !family::is_childless() {
                    family::kill_children(None);
                }
                return Ok(end);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// How the command ended, if it has. It is left to be buried later.
    fn ended(&self) -> Option<End> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = process::waitid(WaitId::Pid(self.child), options).ok()??;
        end_of(&status)
    }

    /// A leader that stands still would lose its term, and the shell knows nothing of it: Ctrl-Z does
    /// nothing. Who really wants it sends SIGSTOP.
    fn wake_from_terminal_stop(&self) {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        if let Ok(Some(status)) = process::waitid(WaitId::Pid(self.child), options)
            && status.stopping_signal() == Some(Signal::TSTP.as_raw())
        {
            let _ = process::kill_process_group(self.child, Signal::CONT);
        }
    }

    /// Only a member of the group that has the terminal may give it away unasked. The group lasts until the
    /// command is buried.
    fn give_terminal_back(&self) {
        if let Some(shell) = self.shell
            && process::setpgid(None, Some(self.child)).is_ok()
        {
            if rustix::termios::tcgetpgrp(&self.terminal) == Ok(self.child) {
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

fn end_of(status: &WaitIdStatus) -> Option<End> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(End::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX))),
        (None, Some(signal)) => Some(End::Signalled(signal)),
        (None, None) => None,
    }
}
