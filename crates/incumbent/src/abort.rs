//! Ends the process, whatever else in it hangs.

use std::fmt::Arguments;

#[cfg(unix)]
pub(crate) use words::say;

/// Ends this process by SIGABRT. Before, it says why on stderr, if stderr takes a line at once.
///
/// It allocates nothing and takes no lock, not even that of `std::io::Stderr`: work that hangs may hold it.
pub(crate) fn abort(why: Arguments<'_>) -> ! {
    #[cfg(unix)]
    say(why);
    #[cfg(not(unix))]
    let _ = why;
    std::process::abort()
}

#[cfg(unix)]
mod words {
    use std::fmt::Arguments;
    use std::io::Write;
    use std::os::fd::AsFd;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    /// A pipe takes a line up to this length whole, or says that it would block (POSIX's least `PIPE_BUF`
    /// is 512).
    const LONGEST_LINE: usize = 512;

    /// Another writer may fill a pipe between the two calls, so that the second blocks. The dead man's switch
    /// ends the process then.
    pub(crate) fn say(why: Arguments<'_>) {
        let mut line = [0; LONGEST_LINE];
        let mut room = &mut line[..];
        // What is too long is cut off.
        let _ = writeln!(room, "incumbent: {why}");
        let left = room.len();
        let stderr = std::io::stderr();
        let stderr = stderr.as_fd();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut polled = [PollFd::from_borrowed_fd(stderr, PollFlags::OUT)];
        let is_ready = poll(&mut polled, Some(&at_once)).is_ok();
        if is_ready && polled[0].revents().contains(PollFlags::OUT) {
            let _ = rustix::io::write(stderr, &line[..LONGEST_LINE - left]);
        }
    }
}
