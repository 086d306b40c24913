//! Words on stderr that cost nothing: no write waits, and none fails.
//!
//! Stderr may be a pipe that nobody reads, or one whose reader is gone, or a file on a full disk. A process that has
//! to kill a command in time must not wait for a reader, and `eprintln!` panics where a write fails.

use std::io;

/// Says this. What does not fit is lost.
pub(crate) fn say(text: &str) {
    let _ = io::Write::write(&mut Stderr, format!("{text}\n").as_bytes());
}

/// For a log: a writer that takes everything, and passes on what fits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        way::write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod way {
    use std::fs::File;
    use std::sync::OnceLock;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{FileType, Mode, OFlags, fstat, open};
    use rustix::net::{SendFlags, send};
    use rustix::stdio::stderr;

    enum Way {
        /// A pipe or a terminal, opened again: the mode of the one we got belongs to others as well.
        Own(File),
        Socket,
        /// What only seems to wait, as a file; and what may not be opened again.
        Given,
    }

    static WAY: OnceLock<Way> = OnceLock::new();

    fn find() -> Way {
        let kind = fstat(stderr()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match kind {
            Ok(FileType::Socket) => Way::Socket,
            Ok(FileType::Fifo | FileType::CharacterDevice) => {
                match open("/proc/self/fd/2", flags, Mode::empty()) {
                    Ok(own) => Way::Own(File::from(own)),
                    Err(_) => Way::Given,
                }
            }
            _ => Way::Given,
        }
    }

    /// Nothing is done with an error: there is nobody left to tell.
    pub(super) fn write(bytes: &[u8]) {
        let _ = match WAY.get_or_init(find) {
            Way::Own(file) => rustix::io::write(file, bytes),
            Way::Socket => send(stderr(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Given if has_room() => rustix::io::write(stderr(), bytes),
            Way::Given => Ok(0),
        };
    }

    fn has_room() -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let stderr = stderr();
        let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
        poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(not(target_os = "linux"))]
mod way {
    pub(super) fn write(bytes: &[u8]) {
        let _ = std::io::Write::write(&mut std::io::stderr(), bytes);
    }
}
