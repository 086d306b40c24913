//! How mishaps come about.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::excuse::{Upset, What as Was};
use super::lock::{Kind, term};
use super::schedule::{Hand, Mishap, Target, What};
use super::trial::{Plan, Stage};
use super::watches::HowWatchesEnd;

impl Stage<'_> {
    pub(super) fn strike(&mut self, mishap: &Mishap) {
        let now = self.world.now;
        match &mishap.what {
            // These are counted where they hit.
            What::Fault(fault, whom) => {
                let slot = self.slot(*whom);
                return self.world.add_fault(fault, slot);
            }
            What::Restart(down) => {
                self.world.server.restart(now, *down);
                self.world.show();
            }
            What::Compact => self.world.server.compact(),
            What::WatchesEnd(whom) => {
                let slot = self.slot(*whom);
                self.world.end_watches(slot, HowWatchesEnd::Orderly);
            }
            What::Stop(whom, span) => {
                self.world.stop(self.seats[self.one(*whom)], *span);
            }
            What::StopAll(span) => {
                for index in 0..self.world.processes.len() {
                    self.world.stop(index, *span);
                }
            }
            What::Block(whom, span) => {
                let index = self.seats[self.one(*whom)];
                let machine = &mut self.world.processes[index].machine;
                machine.blocked_until = Some(machine.now(now) + *span);
            }
            What::Freeze(whom, span) => self.freeze(self.seats[self.one(*whom)], *span),
            What::WallJumps(whom, seconds) => {
                let index = self.seats[self.one(*whom)];
                let machine = &mut self.world.processes[index].machine;
                machine.turn(|dial| dial.turn_wall(seconds * 1_000_000));
            }
            What::RestoreBackup if !self.restore_backup() => return,
            What::RestoreBackup => {}
            What::Delete if !self.delete() => return,
            What::Delete => {}
            What::ByHand(hand) if !self.edit_record(*hand) => return,
            What::ByHand(_) => {}
            What::Edit(number) => self.edit(*number),
            What::AskForAnother => self.annotate("hand-over-to", json!("*")),
            What::PauseElection(whom) => {
                let name = self.world.processes[self.seats[self.one(*whom)]].name.clone();
                self.annotate("cordon", json!(name));
            }
            What::Unwell(whom, lasts) => self.falls_ill(self.seats[self.one(*whom)], *lasts),
            What::Namesake(whom) => {
                let slot = self.one(*whom);
                let identity = self.world.processes[self.seats[slot]].name.clone();
                let namesake = self.start(slot, Some(identity));
                self.namesakes.push(namesake);
            }
            What::Crash(whom, pause) => self.crash(self.one(*whom), *pause),
        }
        self.world.judge.count(mishap.kind, 1);
    }

    /// The place of the candidate that is meant; the first, where it is nobody in particular.
    fn one(&self, whom: Target) -> usize {
        match whom {
            Target::All => 0,
            Target::One(slot) => slot,
            Target::Leader => {
                let working = self.world.judge.working(self.world.now);
                let leads = |seat: &usize| working.iter().any(|(process, ..)| process == seat);
                self.seats.iter().position(leads).unwrap_or(0)
            }
        }
    }

    fn slot(&self, whom: Target) -> Option<usize> {
        match whom {
            Target::All => None,
            whom => Some(self.one(whom)),
        }
    }

    fn freeze(&mut self, index: usize, span: Duration) {
        let until = self.world.stop(index, span);
        let machine = &mut self.world.processes[index].machine;
        let at = machine.now(self.world.now);
        machine.turn(|dial| dial.freeze(at, until));
        self.world.judge.upset(Upset { at, what: Was::Froze { process: index } });
    }

    fn falls_ill(&mut self, index: usize, lasts: Duration) {
        if let Some(strings) = &self.world.processes[index].strings {
            strings.health.send_replace(false);
        }
        self.plan(self.world.now + lasts, Plan::Recovers(index));
        self.world.run(index);
    }

    /// Nothing that the process has sent arrives later than others of its kind, and it hears of nothing.
    fn crash(&mut self, slot: usize, pause: Duration) {
        let index = self.seats[slot];
        self.world.kill(index);
        self.plan(self.world.now + pause, Plan::Start(slot));
    }

    fn upset(&self, what: Was) {
        self.world.judge.upset(Upset { at: self.world.now, what });
    }

    /// The processes to which the newest version of the lock has not been shown yet.
    fn behind(&mut self) -> BTreeSet<usize> {
        let newest = self.revision();
        let processes = self.world.processes.iter().enumerate();
        processes.filter(|(_, process)| process.newest < newest).map(|(index, _)| index).collect()
    }

    /// Whether there is one that is old enough: nobody restores in less time.
    fn restore_backup(&mut self) -> bool {
        let (now, lease) = (self.world.now, self.trial.lease);
        let is_old = |kept: &&super::trial::Kept| now - kept.at >= lease * 2;
        let Some(kept) = self.backups.iter().rev().find(is_old) else { return false };
        let (backup, edits) = (kept.backup.clone(), kept.edits.clone());
        let (behind, newest) = (self.behind(), self.revision());
        self.world.server.restore(&backup);
        self.world.begin_history();
        self.edits = edits;
        self.undone = self.undone.max(Some(newest));
        self.went_back(behind);
        self.world.judge.tokens_are_forgotten(now);
        self.world.show();
        true
    }

    fn went_back(&mut self, behind: BTreeSet<usize>) {
        let lock = self.lock().unwrap_or_default();
        let holder =
            self.trial.kind.record(&lock)["holderIdentity"].as_str().unwrap_or("").to_owned();
        let gives_up = behind.iter().any(|index| self.world.processes[*index].name == holder);
        self.upset(Was::WentBack { behind });
        if gives_up {
            self.upset(Was::WentBackToOneBehind);
        }
    }

    /// The last token is no longer in the lock. Revisions rise above it, unless history went back: then it
    /// takes somebody who remembers.
    fn erases_token(&self) {
        if self.undone.is_some() {
            self.world.judge.tokens_are_forgotten(self.world.now);
        }
    }

    fn by_hand(&mut self, method: Method, body: &Value) -> Option<Value> {
        let now = self.world.now;
        let done = self.world.server.by_hand(now, method, self.trial.kind.path(), body);
        self.world.show();
        done
    }

    /// Who has never seen the lock held, and then finds it deleted, leads at once.
    fn delete(&mut self) -> bool {
        let is_done = self.by_hand(Method::DELETE, &Value::Null).is_some();
        if is_done {
            self.edits.clear();
            self.upset(Was::Deleted);
            self.erases_token();
        }
        is_done
    }

    fn edit_record(&mut self, hand: Hand) -> bool {
        let lock = self.lock().unwrap_or_default();
        let mut record = self.trial.kind.record(&lock);
        if !record.is_object() {
            return false;
        }
        let is_ours = term(&lock)["renewTime"] == record["renewTime"];
        match hand {
            Hand::WritesOldCopy => return self.write_old_copy(),
            Hand::ReplacesHolder => record["holderIdentity"] = "somebody-else".into(),
            Hand::ClearsHolder | Hand::MakesVacant => record["holderIdentity"] = "".into(),
            Hand::ShortensLease => record["leaseDurationSeconds"] = 1.into(),
        }
        let mut patch = self.trial.kind.saying(&record);
        if let Hand::MakesVacant = hand {
            patch["metadata"]["annotations"]["incumbent.dev/term"] = Value::Null;
        }
        // Another name under the key, beside no record of it, would be a claim.
        if self.trial.kind == Kind::ConfigMap && record["holderIdentity"] == "" {
            patch["data"]["leader"] = "".into();
        }
        match hand {
            Hand::ReplacesHolder | Hand::WritesOldCopy => {}
            // Only of a term of ours can our candidates tell that it was running.
            Hand::ClearsHolder if is_ours => self.upset(Was::NameCleared),
            Hand::ClearsHolder => self.upset(Was::Vacated),
            Hand::MakesVacant => {
                self.upset(Was::Vacated);
                self.erases_token();
            }
            Hand::ShortensLease => {
                let shown = self.world.processes.iter().map(|process| process.shown.clone());
                self.upset(Was::Shortened { shown: shown.collect() });
            }
        }
        self.by_hand(Method::PATCH, &patch).is_some()
    }

    /// What a tool does that keeps objects as they were: record and term go back, and nothing else.
    fn write_old_copy(&mut self) -> bool {
        let back = Duration::from_millis(self.rng.u64(1..self.trial.lease.as_millis() as u64 * 2));
        let Some(then) = self.world.now.checked_sub(back) else { return false };
        let Some(old) = self.world.server.past(then, self.trial.kind.path()) else { return false };
        let behind = self.behind();
        let mut patch = self.trial.kind.saying(&self.trial.kind.record(&old));
        patch["metadata"]["annotations"]["incumbent.dev/term"] =
            old["metadata"]["annotations"]["incumbent.dev/term"].clone();
        if self.trial.kind == Kind::ConfigMap {
            patch["data"]["leader"] = old["data"]["leader"].clone();
        }
        self.erases_token();
        let is_done = self.by_hand(Method::PATCH, &patch).is_some();
        self.went_back(behind);
        is_done
    }

    fn edit(&mut self, number: u32) {
        let (key, value) = (format!("key-{}", number % 5), number.to_string());
        let place = match (self.trial.kind, number % 3) {
            (_, 0) => "/metadata/labels",
            (Kind::ConfigMap, 1) => "/data",
            _ => "/metadata/annotations",
        };
        let mut patch = json!({ &key: &value });
        for part in place.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
            patch = json!({ part: patch });
        }
        let is_done = self.by_hand(Method::PATCH, &patch).is_some();
        // A candidate may know a version of this number that a restore has undone, and replace this one by it: the API
        // server cannot tell the two apart.
        let is_taken_for_another = self.undone.is_some_and(|undone| self.revision() <= undone);
        if is_done && !is_taken_for_another {
            self.edits.insert(format!("{place}/{key}"), value);
        }
    }

    pub(super) fn annotate(&mut self, key: &str, value: Value) {
        let annotations = json!({ format!("incumbent.dev/{key}"): value });
        let patch = json!({ "metadata": { "annotations": annotations } });
        self.by_hand(Method::PATCH, &patch);
    }

    /// The version of the lock, as a number.
    fn revision(&mut self) -> u64 {
        let lock = self.lock().unwrap_or_default();
        lock["metadata"]["resourceVersion"].as_str().unwrap_or("0").parse().unwrap_or(0)
    }

    pub(super) fn lock(&mut self) -> Option<Value> {
        self.world.server.by_hand(self.world.now, Method::GET, self.trial.kind.path(), &Value::Null)
    }
}
