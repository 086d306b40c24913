//! What `run` and a guardian say to each other: lines of text on a Unix socket.

use super::deadlines::{Deadlines, Moment};

/// What `run` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The term ends later.
    Extend(Deadlines),
    /// Stop, and be killed at this moment.
    Stop { kill_at: Moment },
    /// It was asked to stop with a signal: kill it at this moment.
    Bound { kill_at: Moment },
    /// Hand this signal to the command.
    Signal(i32),
    /// The command has the terminal, which goes back to this process group afterwards.
    Terminal(i32),
}

/// What a guardian says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The command runs, as this process and process group.
    Started(i32),
    /// The command still ran when it was told to stop: because its time was over, or because `run` said so.
    Stopping,
    /// The command has ended so, and nothing of it is left.
    Gone(End),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(u8),
    Signalled(i32),
    /// Nothing was started, and this is the code.
    Unstarted(u8),
}

impl End {
    /// The system refused something before the command was started: the code is EX_OSERR of sysexits.h.
    pub(crate) const REFUSED: Self = Self::Unstarted(71);

    /// For the log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Signalled(_) => "signalled",
            Self::Unstarted(_) => "unstarted",
        }
    }

    /// The exit code, as a shell says it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Exited(code) | Self::Unstarted(code) => code,
            Self::Signalled(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        }
    }
}

impl Order {
    pub(crate) fn line(self) -> String {
        match self {
            Self::Extend(until) => format!("extend {} {}\n", until.stop_at, until.kill_at),
            Self::Stop { kill_at } => format!("stop {kill_at}\n"),
            Self::Bound { kill_at } => format!("bound {kill_at}\n"),
            Self::Signal(signal) => format!("signal {signal}\n"),
            Self::Terminal(group) => format!("terminal {group}\n"),
        }
    }

    /// Nothing where the line makes no sense.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (verb, mut number) = (words.next()?, || words.next());
        Some(match verb {
            "extend" => Self::Extend(Deadlines {
                stop_at: number()?.parse().ok()?,
                kill_at: number()?.parse().ok()?,
            }),
            "stop" => Self::Stop { kill_at: number()?.parse().ok()? },
            "bound" => Self::Bound { kill_at: number()?.parse().ok()? },
            "signal" => Self::Signal(number()?.parse().ok()?),
            "terminal" => Self::Terminal(number()?.parse().ok()?),
            _ => return None,
        })
    }
}

impl Report {
    pub(crate) fn line(self) -> String {
        match self {
            Self::Started(pid) => format!("started {pid}\n"),
            Self::Stopping => "stopping\n".to_owned(),
            Self::Gone(End::Exited(code)) => format!("exited {code}\n"),
            Self::Gone(End::Signalled(signal)) => format!("signalled {signal}\n"),
            Self::Gone(End::Unstarted(code)) => format!("unstarted {code}\n"),
        }
    }

    /// Nothing where the line makes no sense.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        if line == "stopping" {
            return Some(Self::Stopping);
        }
        let (verb, number) = line.split_once(' ')?;
        Some(match verb {
            "started" => Self::Started(number.parse().ok()?),
            "exited" => Self::Gone(End::Exited(number.parse().ok()?)),
            "signalled" => Self::Gone(End::Signalled(number.parse().ok()?)),
            "unstarted" => Self::Gone(End::Unstarted(number.parse().ok()?)),
            _ => return None,
        })
    }
}

/// Takes the whole lines out of what was read so far.
pub(crate) fn lines(read: &mut Vec<u8>) -> Vec<String> {
    let Some(end) = read.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let whole: Vec<u8> = read.drain(..=end).collect();
    String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let until = Deadlines { stop_at: 7, kill_at: Moment::MAX };
        let (stop, bound) = (Order::Stop { kill_at: 9 }, Order::Bound { kill_at: 9 });
        for order in [Order::Extend(until), stop, bound, Order::Signal(15), Order::Terminal(4711)] {
            assert_eq!(Order::parse(order.line().trim_end()), Some(order));
        }
        let ends = [End::Exited(3), End::Signalled(9), End::Unstarted(79)].map(Report::Gone);
        for report in ends.into_iter().chain([Report::Started(4711), Report::Stopping]) {
            assert_eq!(Report::parse(report.line().trim_end()), Some(report));
        }
        assert_eq!((Order::parse("extend 7"), Report::parse("")), (None, None));
    }

    #[test]
    fn lines_may_come_in_pieces() {
        let mut read = b"stop 1\nsig".to_vec();
        assert_eq!(lines(&mut read), ["stop 1"]);
        assert!(lines(&mut read).is_empty());
        read.extend(b"nal 2\n");
        assert_eq!(lines(&mut read), ["signal 2"]);
    }

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!([End::Exited(3), End::Signalled(9)].map(End::code), [3, 137]);
    }
}
