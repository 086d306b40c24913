//! How troubles come about.

use http::Method;
use serde_json::{Value, json};

use super::super::schedule::{self, Target};
use super::super::watches::HowWatchesEnd;
use super::stage::{LEASES, MAPS, Plan, Stage};
use super::trial::{Trouble, What};

impl Stage<'_> {
    pub(super) fn strike(&mut self, trouble: &Trouble) {
        let now = self.world.now;
        self.world.judge.trace(now, || format!("* {}: {:?}", trouble.kind, trouble.what));
        match &trouble.what {
            // Faults are counted where they hit.
            What::Common(mishap) => return self.strike_as_elections(trouble.kind, &mishap.what),
            What::ByHand(number) => {
                if self.change_by_hand(trouble.kind, *number).is_none() {
                    return;
                }
            }
            What::Namesake(slot) => {
                let namesake = self.start(*slot, format!("m{slot}"));
                self.namesakes.push(namesake);
            }
            What::Leave(slot) => self.leave(self.seats[*slot]),
            What::Drain(slot, span) => {
                let process = self.seats[*slot];
                self.drain(process, true);
                self.plan(now + *span, Plan::Wants(process));
            }
        }
        self.world.judge.count(trouble.kind, 1);
    }

    fn strike_as_elections(&mut self, kind: &'static str, what: &schedule::What) {
        let now = self.world.now;
        match what {
            schedule::What::Fault(fault, whom) => {
                let slot = self.slot(*whom);
                return self.world.add_fault(fault, slot);
            }
            schedule::What::Restart(down) => {
                self.world.server.restart(now, *down);
                self.world.show();
            }
            schedule::What::Compact => self.world.server.compact(),
            schedule::What::WatchesEnd(whom) => {
                let slot = self.slot(*whom);
                self.world.end_watches(slot, HowWatchesEnd::Orderly);
            }
            schedule::What::Stop(whom, span) => {
                let slot = self.one(*whom);
                self.world.stop(self.seats[slot], *span);
            }
            schedule::What::StopAll(span) => {
                for index in 0..self.world.processes.len() {
                    self.world.stop(index, *span);
                }
            }
            schedule::What::Block(whom, span) => {
                let slot = self.one(*whom);
                let index = self.seats[slot];
                let machine = &mut self.world.processes[index].machine;
                machine.blocked_until = Some(machine.now(now) + *span);
            }
            schedule::What::WallJumps(whom, seconds) => {
                let slot = self.one(*whom);
                let index = self.seats[slot];
                let machine = &mut self.world.processes[index].machine;
                machine.turn(|dial| dial.turn_wall(seconds * 1_000_000));
            }
            schedule::What::Crash(whom, pause) => {
                let slot = self.one(*whom);
                self.world.kill(self.seats[slot]);
                self.plan(now + *pause, Plan::Start(slot));
            }
            other => unreachable!("{other:?} is of elections alone"),
        }
        self.world.judge.count(kind, 1);
    }

    /// The place of the member that is meant: the allocator is the leader.
    fn one(&mut self, whom: Target) -> usize {
        match whom {
            Target::All => 0,
            Target::One(slot) => slot,
            Target::Leader => self.allocator().unwrap_or(0),
        }
    }

    fn allocator(&mut self) -> Option<usize> {
        let lock = self.by_hand(Method::GET, &format!("{LEASES}/indexers"), &Value::Null)?;
        let holder = lock["spec"]["holderIdentity"].as_str()?;
        let slot: usize = holder.strip_prefix('m')?.parse().ok()?;
        (slot < self.seats.len()).then_some(slot)
    }

    fn slot(&mut self, whom: Target) -> Option<usize> {
        match whom {
            Target::All => None,
            whom => Some(self.one(whom)),
        }
    }

    /// Nothing where the object is not there.
    fn change_by_hand(&mut self, kind: &str, number: usize) -> Option<Value> {
        let seat = format!("{LEASES}/indexers.m{}", number % self.seats.len());
        let page = format!("{MAPS}/indexers.tasks");
        let unlabelled = json!({ "metadata": { "labels": { "incumbent.dev/group": null } } });
        match kind {
            "page deleted" => self.by_hand(Method::DELETE, &page, &Value::Null),
            "page edited" => {
                let key = ["tasks", "table"][number % 2];
                let text = ["", "m0 runs all\n"][number / 2 % 2];
                self.by_hand(Method::PATCH, &page, &json!({ "data": { key: text } }))
            }
            "page unlabelled" => self.by_hand(Method::PATCH, &page, &unlabelled),
            "seat deleted" => self.by_hand(Method::DELETE, &seat, &Value::Null),
            "seat unlabelled" => self.by_hand(Method::PATCH, &seat, &unlabelled),
            "allocators' Lease deleted" => {
                self.by_hand(Method::DELETE, &format!("{LEASES}/indexers"), &Value::Null)
            }
            "list edited" => {
                let task = format!("t{}", number % self.trial.tasks);
                if !self.listed.remove(&task) {
                    self.listed.insert(task);
                }
                self.write_list();
                Some(Value::Null)
            }
            "list deleted" => {
                self.by_hand(Method::DELETE, &format!("{MAPS}/indexers.config"), &Value::Null)
            }
            other => unreachable!("nobody does {other}"),
        }
    }
}
