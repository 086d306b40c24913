//! Saying what will happen to a lock, and asking where somebody is there to answer.

use std::io::{self, BufRead, IsTerminal, Write};

/// How a change is made, or only tried.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Confirmation {
    /// Do not ask; without a terminal nothing is asked
    #[arg(short, long)]
    yes: bool,
    /// Let the API server check the request, and store nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Confirmation {
    /// Says what will be done, and asks at a terminal whether it shall.
    pub(crate) fn given(&self, what: &str) -> io::Result<bool> {
        let mut stderr = io::stderr().lock();
        let is_asked =
            !self.yes && !self.dry_run && io::stdin().is_terminal() && stderr.is_terminal();
        if !is_asked {
            let only_tried = if self.dry_run { " (dry run: nothing is stored)" } else { "" };
            writeln!(stderr, "{what}{only_tried}")?;
            return Ok(true);
        }
        write!(stderr, "{what}\nGo on? [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}
