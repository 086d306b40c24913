//! What a member knows of the table, for those who ask.

use std::collections::BTreeMap;

use incumbent_core::FencingToken;
use incumbent_core::group::{Page, PageIndex, TaskName};

/// Who owns a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner {
    /// The member.
    pub member: String,
    /// Where it can be reached, if it says so.
    pub address: Option<String>,
    /// The token that it works with.
    pub fencing_token: FencingToken,
    /// Whether it is asked to stop, so that another member gets the task.
    pub is_revoked: bool,
}

/// A member that owns tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// Its name.
    pub name: String,
    /// Where it can be reached, if it says so.
    pub address: Option<String>,
    /// Its tasks.
    pub tasks: Vec<String>,
}

/// The pages that were last seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pages: BTreeMap<PageIndex, Page>,
}

impl Table {
    pub(super) fn with(&self, index: PageIndex, page: Option<Page>) -> Self {
        let mut pages = self.pages.clone();
        let _ = match page {
            Some(page) => pages.insert(index, page),
            None => pages.remove(&index),
        };
        Self { pages }
    }

    pub(super) fn owner_of(&self, task: &TaskName) -> Option<Owner> {
        let (term, order, assignment) = self.pages.values().find_map(|page| page.owner_of(task))?;
        Some(Owner {
            member: term.member.to_string(),
            address: order.address.clone(),
            fencing_token: assignment.token,
            is_revoked: assignment.revoked.is_some(),
        })
    }

    pub(super) fn members(&self) -> Vec<GroupMember> {
        let mut members: BTreeMap<String, GroupMember> = BTreeMap::new();
        for (term, order, task, _) in self.pages.values().flat_map(Page::entries) {
            let name = term.member.to_string();
            let known = members.entry(name.clone()).or_insert_with(|| GroupMember {
                name,
                address: None,
                tasks: Vec::new(),
            });
            known.address.clone_from(&order.address);
            known.tasks.push(task.to_string());
        }
        members.into_values().collect()
    }
}
