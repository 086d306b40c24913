//! The numbers of a group in the text format of OpenMetrics. docs/metrics.md says what each means.

use std::fmt::Write as _;

use super::board::GroupStatus;

/// All metrics of the group, without the line that ends a page.
///
/// The names of a group, a namespace and a ConfigMap have no characters that a label would have to escape.
pub(super) fn text(namespace: &str, group: &str, status: &GroupStatus) -> String {
    let labels = format!("namespace=\"{namespace}\",group=\"{group}\"");
    let mut page = Page { labels, text: String::new() };
    let listed = status.tasks.map(count);
    page.gauge("tasks", "Tasks that are listed", listed);
    page.gauge("owned_tasks", "Tasks that run in this member", Some(count(status.own)));
    let unowned = listed.map(|_| count(status.unowned));
    page.gauge("unowned_tasks", "Listed tasks that have no owner", unowned);
    let help = "Tasks that have waited for an owner, or for their owner to stop, for too long";
    page.gauge("stuck_tasks", help, Some(count(status.stuck.len())));
    page.head("moves", "counter", "How often a task went from one member to another");
    page.sample("moves_total", "", status.moves);
    page.gauge("generation", "The version of the table", status.generation);
    let help = "1 while this member writes the table, else 0";
    page.gauge("allocating", help, Some(status.allocates.into()));
    let help = "1 while something keeps the group from its work, else 0";
    page.gauge("trouble", help, Some(status.trouble.is_some().into()));
    let help = "Listed tasks that have no owner because this page of the table is full";
    page.head("tasks_without_room", "gauge", help);
    for full in &status.full {
        let of_page = format!(",page=\"{}\"", full.config_map);
        page.sample("tasks_without_room", &of_page, count(full.tasks));
    }
    page.text
}

struct Page {
    labels: String,
    text: String,
}

impl Page {
    /// A number; nothing where it is not known.
    fn gauge(&mut self, name: &str, help: &str, value: Option<u64>) {
        self.head(name, "gauge", help);
        if let Some(value) = value {
            self.sample(name, "", value);
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {PREFIX}{name} {help}.");
        let _ = writeln!(self.text, "# TYPE {PREFIX}{name} {kind}");
    }

    fn sample(&mut self, name: &str, more: &str, value: u64) {
        let _ = writeln!(self.text, "{PREFIX}{name}{{{}{more}}} {value}", self.labels);
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

const PREFIX: &str = "incumbent_group_";
