//! Trouble that passes, told where a program has no log.

/// Says on stderr what was just logged, where the program has set up neither `tracing` nor `log`: otherwise a
/// newcomer's program waits in silence for a server that it cannot reach.
///
/// It never waits for a reader of stderr. What is longer than a line of 512 bytes is cut off.
pub(crate) fn unlogged(what: &str, hint: &str) {
    if tracing::dispatcher::has_been_set() || log::max_level() >= log::LevelFilter::Warn {
        return;
    }
    for line in [what.to_owned(), format!("  hint: {}", hint.replace('\n', "\n        "))] {
        say(&line);
    }
}

#[cfg(unix)]
fn say(line: &str) {
    crate::abort::say(format_args!("{line}"));
}

#[cfg(not(unix))]
fn say(line: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("incumbent: {line}\n"));
}
