//! Requests between processes and the API server.

use incumbent_core::schedule::{ScheduleEvent, ScheduleOperation, ScheduleReply};
use incumbent_core::{Input, Instant, Operation, Reply};

use super::replica::Machine;
use super::tally::{ScheduleFault, ScheduleStep};
use super::world::{Address, Answer, Call, Happens, Response, World};
use crate::clock::Micros;

impl World {
    pub(super) fn send(&mut self, node: usize, machine: Machine, call: Call, deadline: Instant) {
        let is_lost = self.draws(ScheduleFault::RequestLost);
        let is_late = self.draws(ScheduleFault::RequestLate);
        let is_doubled = self.draws(ScheduleFault::Doubled);
        let number = self.next_number();
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.pending[machine as usize] = Some(number);
        let gives_up = process.clock.when(deadline).max(self.now + 1);
        let address = Address { node, life, machine, number };
        self.trace(format_args!("r{node} sends {}", brief(&call)));
        self.at(gives_up, Happens::Timeout(address));
        if is_lost && self.chance.permille(500) {
            return;
        }
        let arrives = match is_late {
            true => gives_up + self.chance.below(gives_up - self.now + 1_000_000),
            false => self.now + self.latency(),
        };
        if is_doubled {
            let again = arrives + self.chance.below(5_000_000);
            self.at(again, Happens::Arrive { address, call: call.clone(), is_answered: false });
        }
        self.at(arrives, Happens::Arrive { address, call, is_answered: !is_lost && !is_late });
    }

    fn latency(&mut self) -> Micros {
        self.chance.between(1, self.plan.latency)
    }

    pub(super) fn arrives(&mut self, address: Address, call: Call, is_answered: bool) {
        let is_cut = self.nodes[address.node].cut_until > self.now;
        if self.away_until > self.now || is_cut {
            return;
        }
        let date = Some(self.date());
        if self.draws(ScheduleFault::Refused) {
            let reply = match call {
                Call::Elector(_) => Answer::Elector(Reply::Refused { retry_after: None }),
                Call::Scheduler(_) => {
                    Answer::Scheduler(ScheduleReply::Refused { retry_after: None })
                }
            };
            let response = Response { reply, date, object: None };
            return self.at(self.now + 1, Happens::Answer(address, response));
        }
        let reply = match &call {
            Call::Elector(operation) => Answer::Elector(self.store.elect(operation)),
            Call::Scheduler(operation) => {
                let (reply, change) = self.store.schedule(operation);
                if reply == ScheduleReply::Conflict {
                    self.tally.step(ScheduleStep::Conflict);
                }
                if let Some(change) = change {
                    if !self.is_pending(address) {
                        self.tally.step(ScheduleStep::LandedLate);
                    }
                    self.judge_write(address.node, address.life, change);
                }
                Answer::Scheduler(reply)
            }
        };
        let object = self.store.object.clone();
        if is_answered {
            let at = self.now + self.latency();
            self.at(at, Happens::Answer(address, Response { reply, date, object }));
        }
    }

    pub(super) fn answers(&mut self, address: Address, response: Response) {
        if self.nodes[address.node].cut_until <= self.now && self.is_pending(address) {
            self.settle(address, response);
        }
    }

    pub(super) fn times_out(&mut self, address: Address) {
        if self.is_pending(address) {
            let reply = match address.machine {
                Machine::Elector => Answer::Elector(Reply::Unknown),
                Machine::Scheduler => Answer::Scheduler(ScheduleReply::Unknown),
            };
            self.settle(address, Response { reply, date: None, object: None });
        }
    }

    fn is_pending(&self, address: Address) -> bool {
        self.process(address.node, address.life).is_some_and(|process| {
            process.pending[address.machine as usize] == Some(address.number)
        })
    }

    fn settle(&mut self, address: Address, response: Response) {
        let node = address.node;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.pending[address.machine as usize] = None;
        let Response { reply, date, object } = response;
        let is_shared = self.plan.shares_answers || address.machine == Machine::Scheduler;
        if let Some(date) = date.filter(|_| is_shared) {
            self.step_scheduler(node, ScheduleEvent::Date(date));
        }
        match reply {
            Answer::Elector(reply) => {
                let shows = matches!(reply, Reply::Found(_) | Reply::Written(_));
                self.step_elector(node, Input::Reply(reply));
                if let Some(object) = object.filter(|_| shows && self.plan.shares_answers) {
                    self.step_scheduler(node, ScheduleEvent::Observed(object.object()));
                }
            }
            Answer::Scheduler(reply) => self.step_scheduler(node, ScheduleEvent::Reply(reply)),
        }
    }
}

fn brief(call: &Call) -> String {
    match call {
        Call::Elector(Operation::Read) | Call::Scheduler(ScheduleOperation::Read) => {
            "a read".to_owned()
        }
        Call::Elector(Operation::Create(_)) => "a create".to_owned(),
        Call::Elector(Operation::Replace { base, .. }) => format!("a replace of {}", base.revision),
        Call::Scheduler(ScheduleOperation::Replace { base, record, .. }) => format!(
            "a record over {}: floor {}, run {:?}, {:?}",
            base.revision,
            record.floor.unix_micros() / 1_000_000 % 1_000_000,
            record.run.as_ref().map(|run| (run.tick, run.attempt)),
            record.counts,
        ),
    }
}
