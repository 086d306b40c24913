//! How to print what a command has found.

/// For a command that prints sentences, or the same for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    Text,
    Json,
}

/// For a command that prints a table, or objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Table,
    /// A table with more columns, and whole names
    Wide,
    Json,
    Yaml,
    /// The names alone
    Name,
}
