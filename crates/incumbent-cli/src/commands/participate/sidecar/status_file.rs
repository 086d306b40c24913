//! A file that says what `GET /v1/leader` would, for programs that can read nothing else.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::answers::{Answer, Answers, Asker};
use crate::model::format;

/// The file; it goes with the sidecar. One that was killed leaves it, with a time that passes.
pub(crate) struct StatusFile {
    path: PathBuf,
    mode: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    /// For people. Programs compare `validUntilBootMs`.
    valid_until: Option<String>,
    pid: u32,
}

impl StatusFile {
    pub(crate) fn create(path: PathBuf, mode: u32, answers: &Answers) -> anyhow::Result<Self> {
        let file = Self { path, mode };
        file.write(&answers.ask(Asker::Application))
            .with_context(|| format!("cannot write {}", file.path.display()))?;
        Ok(file)
    }

    /// Keeps up with what is true.
    pub(crate) async fn keep(self, answers: Answers, tick: Duration) {
        let mut changes = answers.changes();
        loop {
            changes.borrow_and_update();
            if let Err(error) = self.write(&answers.ask(Asker::Application)) {
                tracing::warn!(file = %self.path.display(), %error, "cannot be written");
            }
            let _ = tokio::time::timeout(tick, changes.changed()).await;
        }
    }

    fn write(&self, answer: &Answer) -> io::Result<()> {
        let valid_for = jiff::SignedDuration::from_millis(answer.valid_for_ms.cast_signed());
        let until = (answer.valid_for_ms > 0).then(|| jiff::Timestamp::now() + valid_for);
        let valid_until = until.map(|until| format!("{until:.3}"));
        let status = Status { answer, valid_until, pid: std::process::id() };
        let folder = self.path.parent().filter(|parent| *parent != Path::new(""));
        // Its mode is 0600 from the start.
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new(".")))?;
        let json = format::printable_json(&serde_json::to_string(&status)?);
        file.write_all(json.as_bytes())?;
        file.write_all(b"\n")?;
        file.as_file().set_permissions(Permissions::from_mode(self.mode))?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
