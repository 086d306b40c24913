//! Random faults: of machines, of the network, and by people.

use std::time::Duration;

use incumbent_core::{Identity, Input, Session};

use super::node::Watch;
use super::{Event, World};
use crate::clock::{Micros, micros};
use crate::tally::{Fault, Outcome};

/// An event outside of the assumptions (`docs/guarantees.md`, "What is not guaranteed").
pub(super) struct Upset {
    pub(super) at: Micros,
    pub(super) advantage: Advantage,
}

/// Which candidates may lead beside a term that was running at that time.
pub(super) enum Advantage {
    /// Candidates that did not know its newest version and were never shown that term. `knew`
    /// lists, for each node, the life that knew that version, or zero. A foreign candidate never
    /// knows it.
    Unaware {
        knew: Vec<u32>,
        /// The time before which a candidate must have been shown the term.
        by: Micros,
    },
    /// Candidates that did not know its newest version. For a candidate that only knows the version
    /// that came back, there is no change.
    Behind {
        knew: Vec<u32>,
    },
    Foreign,
    Everybody,
}

/// The random faults, which are drawn by weight.
const TROUBLES: [Fault; 22] = [
    Fault::ServerRestart,
    Fault::ServerAway,
    Fault::ConflictStorm,
    Fault::CutOff,
    Fault::Forbidden,
    Fault::Crash,
    Fault::Pause,
    Fault::Stall,
    Fault::MachinePause,
    Fault::WallJump,
    Fault::Withdrawal,
    Fault::LabelEdit,
    Fault::HolderCleared,
    Fault::HolderReplaced,
    Fault::MadeVacant,
    Fault::LeaseShortened,
    Fault::OldCopyWritten,
    Fault::LockDeleted,
    Fault::BackupRestored,
    Fault::LineEdited,
    Fault::HandOverAsked,
    Fault::ElectionPaused,
];

/// Edits of the lock. Two or three of them in a row find what electors forget.
const EDITS: [Fault; 7] = [
    Fault::HolderCleared,
    Fault::HolderReplaced,
    Fault::MadeVacant,
    Fault::LeaseShortened,
    Fault::OldCopyWritten,
    Fault::LockDeleted,
    Fault::BackupRestored,
];

impl World {
    pub(super) fn schedule_trouble(&mut self) {
        let gap = self.chance.below(2 * self.plan.trouble_gap);
        if self.plan.heal_at > self.now + gap {
            self.after(gap, Event::Trouble);
        }
    }

    pub(super) fn on_trouble(&mut self) {
        self.schedule_trouble();
        self.strike_one_of(&TROUBLES);
    }

    /// One more edit follows an earlier one.
    pub(super) fn on_edited_again(&mut self) {
        if !self.is_healed {
            self.strike_one_of(&EDITS);
        }
    }

    fn strike_one_of(&mut self, faults: &[Fault]) {
        let weight: u64 = faults.iter().map(|fault| u64::from(self.plan.rate(*fault))).sum();
        let mut drawn = self.chance.below(weight.max(1));
        for fault in faults {
            let rate = u64::from(self.plan.rate(*fault));
            if drawn < rate {
                self.strike(*fault);
                if EDITS.contains(fault) && self.chance.permille(500) {
                    let lease = micros(self.plan.longest_lease());
                    let soon = [lease / 100, lease / 4, lease][self.chance.below(3) as usize];
                    let gap = self.chance.below(soon);
                    self.after(gap, Event::EditedAgain);
                }
                return;
            }
            drawn -= rate;
        }
    }

    fn strike(&mut self, fault: Fault) {
        let lease = micros(self.plan.longest_lease());
        // Mostly short, but sometimes as long as two terms.
        let most = [lease / 10, lease, 2 * lease][self.chance.below(3) as usize];
        let span = self.chance.below(most);
        // In half of the cases, the fault affects the leader.
        let leader = self.leader().filter(|leader| *leader < self.nodes.len());
        let index = match leader.filter(|_| self.chance.permille(500)) {
            Some(leader) => leader,
            None => self.chance.below(self.nodes.len() as u64) as usize,
        };
        self.tally.events += 1;
        self.note("ops", "trouble", || format!("{fault:?} of {index} for {span} µs"));
        match fault {
            Fault::ServerRestart => self.restart_server(0),
            Fault::ServerAway => self.restart_server(span),
            Fault::ConflictStorm => self.server.conflicts_until = self.now + span,
            Fault::CutOff => self.nodes[index].cut_until = self.now + span,
            Fault::Forbidden => self.nodes[index].forbidden_until = self.now + span,
            Fault::Crash => self.crash_somebody(index),
            Fault::Pause => self.pause(index, span),
            Fault::Stall => self.nodes[index].stalled_until = self.now + span,
            Fault::MachinePause => self.pause_machine(index, span),
            Fault::WallJump => {
                let by = self.chance.below(200_000_000).cast_signed() - 100_000_000;
                self.nodes[index].clock.jump_wall(by);
            }
            Fault::Withdrawal => self.withdraw(index),
            _ => self.meddle(fault),
        }
        self.tally.fault(fault);
    }

    /// All connections end with the server. The stored state stays.
    fn restart_server(&mut self, away: Micros) {
        self.server.incarnation += 1;
        self.server.away_until = self.now + away;
        for index in 0..self.nodes.len() {
            if !self.nodes[index].watch.is_silent {
                self.end_watch(index, true);
            }
        }
    }

    fn crash_somebody(&mut self, index: usize) {
        let victim = self.chance.below((self.nodes.len() + self.foreign.len()) as u64) as usize;
        match victim.checked_sub(self.nodes.len()) {
            Some(foreign) => self.foreign_crashes(foreign),
            None => self.crash(index, "crashes"),
        }
    }

    /// The process ends at once, and another one is started in its place.
    pub(super) fn crash(&mut self, index: usize, how: &str) {
        // Nothing happens on a machine that stands still.
        if self.nodes[index].life == 0 || self.nodes[index].machine_paused_at > self.now {
            return;
        }
        let ended = self.ends_with(index);
        for index in &ended {
            self.end_process(*index, how);
        }
        self.report_end(&ended);
    }

    fn end_process(&mut self, index: usize, how: &str) {
        self.note_of(index, how, String::new);
        let node = &mut self.nodes[index];
        node.end();
        node.paused_until = 0;
        node.stalled_until = 0;
        let lease = micros(node.timing.lease_duration());
        let most = if self.is_healed || self.chance.permille(500) { lease / 20 } else { 2 * lease };
        let delay = self.chance.below(most);
        self.after(delay, Event::Start { node: index });
    }

    /// SIGSTOP, or a frozen cgroup: no part of the process runs, but its clock does.
    fn pause(&mut self, index: usize, span: Micros) {
        if self.nodes[index].is_running(self.now) {
            self.nodes[index].paused_until = self.now + span;
            self.after(span, Event::Resume { node: index });
        }
    }

    /// A hypervisor stops the machine, and none of its clocks shows that.
    fn pause_machine(&mut self, index: usize, span: Micros) {
        if !self.nodes[index].is_running(self.now) {
            return;
        }
        self.pause(index, span);
        let node = &mut self.nodes[index];
        node.clock.freeze(span);
        node.machine_paused_at = self.now + span;
        if let Some(work) = &mut node.work {
            work.lost_time = true;
        }
    }

    /// A leader ends its work in an orderly way; a campaigning candidate withdraws.
    fn withdraw(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.is_running(self.now) {
            return;
        }
        if let Some(work) = node.work.as_mut().filter(|work| !work.stopping) {
            let term = work.number;
            self.on_work_stops(index, term);
        } else if node.campaigns && node.stalled_until <= self.now {
            node.campaigns = false;
            self.tally.outcome(Outcome::CampaignWithdrawn);
            self.step(index, Input::Release, 0);
        }
    }

    /// A person with the permission to do so edits the lock.
    fn meddle(&mut self, fault: Fault) {
        let at = self.now;
        match fault {
            Fault::LabelEdit => self.server.edit_label(at),
            Fault::HolderCleared => {
                // Our candidates can tell that a term was running only if it was one of ours.
                let ours =
                    self.server.lock().is_some_and(|lock| lock.snapshot.record.session.is_some());
                self.upset(if ours { Advantage::Foreign } else { Advantage::Everybody });
                self.server.edit(at, |record| record.holder = None);
            }
            Fault::HolderReplaced => {
                self.server.edit(at, |record| record.holder = Identity::new("somebody-else"));
            }
            Fault::MadeVacant => {
                self.upset(Advantage::Everybody);
                self.server.make_vacant(at);
            }
            Fault::LeaseShortened => {
                self.upset_unaware(at);
                self.server.edit(at, |record| record.lease_duration = Some(Duration::from_secs(1)));
            }
            Fault::OldCopyWritten => self.write_old_copy(),
            Fault::LockDeleted if self.server.lock().is_some() => {
                self.upset_unaware(Micros::MAX);
                self.server.delete(at);
            }
            Fault::BackupRestored => return self.restore_backup(),
            Fault::LineEdited => self.edit_line_by_hand(),
            Fault::HandOverAsked => self.ask_to_hand_over(),
            Fault::ElectionPaused => self.pause_election(),
            _ => return,
        }
        self.spread();
    }

    fn write_old_copy(&mut self) {
        let log = self.server.log();
        let back = self.chance.below(log.len() as u64) as usize;
        let Some(copy) = log[back].stored.clone() else { return };
        match copy.snapshot.record.is_held() {
            true => {
                self.upset_who_lags();
                self.upset_if_author_lags(copy.snapshot.record.session);
            }
            false => self.upset(Advantage::Everybody),
        }
        self.server.write_old_copy(self.now, &copy);
    }

    /// The server returns with its state of at least two terms ago, because a restore takes at
    /// least that long.
    fn restore_backup(&mut self) {
        let lease = micros(self.plan.longest_lease());
        let Some(old) = self.now.checked_sub(2 * lease) else { return };
        let candidates = self.server.log().partition_point(|entry| entry.at <= old);
        let Some(index) = candidates.checked_sub(1) else { return };
        let index = index - self.chance.below(index as u64 + 1).min(10) as usize;
        self.upset_who_lags();
        self.history_went_back = true;
        self.server.restore(self.now, index);
        self.restart_server(0);
    }

    fn upset(&mut self, advantage: Advantage) {
        self.upsets.push(Upset { at: self.now, advantage });
    }

    /// A candidate that has not seen that another record replaced its own may still release it as
    /// its own.
    fn upset_if_author_lags(&mut self, author: Option<Session>) {
        let newest = self.server.lock().map(|lock| lock.snapshot.version.clone());
        let lags = self.nodes.iter().any(|node| {
            let is_author = Some(node.elector.config().session) == author;
            is_author && node.elector.version() != newest.as_ref()
        });
        if lags {
            self.upset(Advantage::Everybody);
        }
    }

    /// A candidate that lags behind profits, because it sees no change in what it already knows.
    fn upset_who_lags(&mut self) {
        let knew = self.who_knows_the_newest();
        self.upset(Advantage::Behind { knew });
    }

    /// A newcomer profits, because it may never learn of the term that was running.
    fn upset_unaware(&mut self, by: Micros) {
        let knew = self.who_knows_the_newest();
        self.upset(Advantage::Unaware { knew, by });
    }

    fn who_knows_the_newest(&self) -> Vec<u32> {
        let newest = self.server.lock().map(|lock| lock.snapshot.version.clone());
        let knew = self.nodes.iter().map(|node| match node.elector.version() {
            known if known == newest.as_ref() => node.life,
            _ => 0,
        });
        knew.collect()
    }

    /// All faults end here, and everything that hangs ends too.
    pub(super) fn on_heal(&mut self) {
        self.is_healed = true;
        self.note("sim", "heals", String::new);
        let now = self.now;
        self.server.edit_line(now, |record| record.paused.clear());
        self.spread();
        self.server.away_until = now;
        self.server.conflicts_until = now;
        for index in 0..self.nodes.len() {
            self.free(index);
        }
        for index in 0..self.nodes.len() {
            self.rename_namesake(index);
            let node = &self.nodes[index];
            let (life, works) = (node.life, node.work.is_some());
            if life == 0 {
                self.at(now, Event::Start { node: index });
            } else if !works {
                self.at(now, Event::Campaign { node: index, life });
            }
            if self.nodes[index].may_watch && life != 0 {
                self.end_watch_for_good(index);
            }
        }
    }

    /// All nodes wake up at the same moment, and each watchdog runs before any work does.
    fn free(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.cut_until = self.now;
        node.forbidden_until = self.now;
        node.stalled_until = self.now;
        if node.paused_until <= self.now {
            return;
        }
        node.paused_until = self.now;
        node.clock.thaw(node.machine_paused_at.saturating_sub(self.now));
        node.machine_paused_at = node.machine_paused_at.min(self.now);
        let term = node.work.as_ref().map(|work| work.number);
        self.after(0, Event::Resume { node: index });
        if let Some(term) = term {
            self.on_term_due(index, term);
        }
    }

    /// Two candidates with the same name were a mistake, which a person corrects.
    fn rename_namesake(&mut self, index: usize) {
        let name = self.nodes[index].name;
        let same = self.plan.candidates.iter().filter(|other| other.name == name).count();
        if same > 1 {
            self.nodes[index].name = self.nodes.len() + index;
            self.crash(index, "is renamed");
        }
    }

    /// A hanging connection is detected as dead.
    fn end_watch_for_good(&mut self, index: usize) {
        let watch = &mut self.nodes[index].watch;
        if watch.is_silent || watch.streams {
            *watch = Watch { streams: true, is_silent: false, ..std::mem::take(watch) };
            self.end_watch(index, true);
        }
    }
}
