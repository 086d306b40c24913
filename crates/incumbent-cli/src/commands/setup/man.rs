//! `incumbent man`: the manual, a page for each command, from the one definition of the flags.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;

use crate::runtime::help;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Manual {
    /// The folder to write them to, as incumbent.1, incumbent-get.1, ...
    folder: PathBuf,
}

const HELP: &str = "\
Examples:
  Write the manual to this folder, and read a page:
    $ incumbent man man1 && man -l man1/incumbent-get.1
  Write it for all users:
    $ incumbent man /usr/local/share/man/man1";

pub(crate) fn run(args: &Manual, whole: Command) -> anyhow::Result<ExitCode> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (file, page) in pages(whole)? {
        let file = folder.join(file);
        std::fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All pages, each with the name of its file.
fn pages(whole: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut whole = whole.disable_help_subcommand(true);
    whole.build();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set());
    let all = shown.chain([&whole]);
    all.map(|command| {
        // A date would be another in each build; without any, the next field would stand in its place.
        let man = Man::new(command.clone()).date(" ").source(SOURCE).manual("incumbent");
        Ok((man.get_filename(), page(&man, command)?))
    })
    .collect()
}

const SOURCE: &str = concat!("incumbent ", env!("CARGO_PKG_VERSION"));

fn page(man: &Man, command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    write_notes(command, &mut page)?;
    if !command.has_subcommands() {
        page.extend_from_slice(
            b".SH \"SEE ALSO\"\n\\fBincumbent\\fR(1), which lists the exit codes\n",
        );
    }
    Ok(page)
}

/// What stands behind the flags in the help: tables, whose lines are not to be joined.
fn write_notes(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let notes = command.get_after_long_help().or_else(|| command.get_after_help());
    let Some(notes) = notes.map(ToString::to_string) else { return Ok(()) };
    page.extend_from_slice(b".SH NOTES\n.nf\n");
    for line in help::laid_out(&notes, WIDTH).lines() {
        writeln!(page, "{}", literal(line))?;
    }
    page.extend_from_slice(b".fi\n");
    Ok(())
}

/// What man leaves of 80 columns for lines that it does not fill itself.
const WIDTH: usize = 72;

/// A line that means nothing to roff.
fn literal(line: &str) -> String {
    let escaped = line.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_text_is_no_request_to_roff() {
        assert_eq!(literal(".SH a-b"), "\\&.SH a\\-b");
        assert_eq!(literal("'tis C:\\n"), "\\&'tis C:\\en");
        assert_eq!(literal("  1  no"), "  1  no");
    }
}
