//! What goes to stdout (data) and stderr (talk).

use std::io::{self, IsTerminal, Write};

use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::runtime::stderr::Stderr;

/// Writes one line of data, at once. Fails where nobody reads it any more.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// The log goes to stderr, and never waits for a reader: warnings, or what `RUST_LOG` asks for.
pub(crate) fn start_log() {
    let asked_for = std::env::var("RUST_LOG").ok().and_then(|targets| targets.parse().ok());
    let targets = asked_for.unwrap_or_else(|| Targets::new().with_target("incumbent", Level::WARN));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false);
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
}
