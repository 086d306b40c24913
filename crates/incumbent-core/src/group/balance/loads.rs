//! How much each member has to do, and how to even that out.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::table::TaskName;

/// The loads of the members that tasks may go to. A member is known by a number.
///
/// All arithmetic is exact: a fair share is a fraction, so loads and shares are counted in parts of one unit of weight,
/// and `unit` says how many parts that is.
pub(super) struct Loads<'a> {
    members: Vec<Option<Member<'a>>>,
    unit: i128,
    /// The lightest of all tasks that may move.
    lightest: i128,
    /// All members, by how much they have above their share.
    by_surplus: BTreeSet<(i128, usize)>,
    /// Those that have too much.
    over: BTreeSet<(i128, usize)>,
    /// Those that have too little.
    under: BTreeSet<(i128, usize)>,
}

struct Member<'a> {
    capacity: i128,
    load: i128,
    /// The part of the load that is pinned.
    fixed: i128,
    /// The part that is not, by weight.
    movable: BTreeMap<u32, BTreeSet<Movable<'a>>>,
    /// In parts.
    share: i128,
}

/// A task that may move. Of equal weights the last one moves first: one that was placed just now, because its move costs
/// nothing, or the last by number or name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Movable<'a> {
    is_new: bool,
    number: Option<u16>,
    name: &'a TaskName,
}

impl<'a> Movable<'a> {
    fn new(name: &'a TaskName, is_new: bool) -> Self {
        Self { is_new, number: name.number(), name }
    }
}

impl<'a> Loads<'a> {
    /// No loads yet. `receivers` are the numbers and capacities of the members that count, below `members`.
    pub(super) fn new(members: usize, receivers: impl Iterator<Item = (usize, u32)>) -> Self {
        let mut slots: Vec<_> = (0..members).map(|_| None).collect();
        for (member, capacity) in receivers {
            let capacity = i128::from(capacity);
            let movable = BTreeMap::new();
            slots[member] = Some(Member { capacity, load: 0, fixed: 0, movable, share: 0 });
        }
        Self {
            members: slots,
            unit: 1,
            lightest: 0,
            by_surplus: BTreeSet::new(),
            over: BTreeSet::new(),
            under: BTreeSet::new(),
        }
    }

    /// `member` has this task. Nothing happens if `member` is not a receiver.
    pub(super) fn add(&mut self, member: usize, task: &'a TaskName, weight: u32, is_pinned: bool) {
        let Some(member) = &mut self.members[member] else { return };
        let weight = weight.max(1);
        if is_pinned {
            member.load += i128::from(weight);
            member.fixed += i128::from(weight);
        } else {
            member.put(weight, Movable::new(task, false));
        }
    }

    /// Gives each task a member: the members that have too little come first, and then the one that lacks most of its
    /// share. So a new task never lifts a member above its share by more than that task.
    ///
    /// Of slots with equal weights, which are neighbours in `tasks`, a member gets a run, so that they make few ranges.
    pub(super) fn place(&mut self, tasks: &[(&'a TaskName, u32)]) -> Vec<(&'a TaskName, usize)> {
        self.share_out(tasks);
        let mut placed = Vec::with_capacity(tasks.len());
        for alike in tasks.chunk_by(|(_, one), (_, next)| one == next) {
            let receivers = alike.iter().map(|(_, weight)| {
                let (_, receiver) =
                    *self.under.first().or_else(|| self.by_surplus.first()).expect("a receiver");
                self.change(receiver, |member| member.load += i128::from((*weight).max(1)));
                receiver
            });
            let mut receivers: Vec<_> = receivers.collect();
            if alike.first().is_some_and(|(task, _)| task.number().is_some()) {
                receivers.sort_unstable();
            }
            placed.extend(alike.iter().zip(receivers).map(|((task, _), member)| (*task, member)));
        }
        for ((task, weight), (_, receiver)) in tasks.iter().zip(&placed) {
            let task = Movable::new(task, true);
            self.change(*receiver, |member| member.hold((*weight).max(1), task));
        }
        placed
    }

    /// Moves tasks until no member has too much, and none has too little that a move could help. Each move brings two
    /// members nearer to each other, so this ends. Returns the tasks that moved.
    pub(super) fn even_out(&mut self) -> BTreeMap<&'a TaskName, usize> {
        let mut moved = BTreeMap::new();
        while let Some((donor, receiver)) = self.next_move() {
            moved.extend([self.shift(donor, receiver)]);
        }
        moved
    }

    /// From which member a task moves next, and to which.
    fn next_move(&self) -> Option<(usize, usize)> {
        if let Some(&(surplus, receiver)) = self.under.first() {
            // What cannot help the member that lacks most helps no other: the difference to a donor is smaller there.
            return Some((self.donor_for(surplus)?, receiver));
        }
        let (_, donor) = self.over.last()?;
        let (_, receiver) = self.by_surplus.first()?;
        Some((*donor, *receiver))
    }

    /// The member from which one with this surplus gets a task: one that has too much if there is one, otherwise the
    /// most loaded.
    fn donor_for(&self, receiver: i128) -> Option<usize> {
        let helps = |surplus: &i128| *surplus - receiver > self.lightest * self.unit;
        let in_order = self
            .over
            .iter()
            .rev()
            .chain(self.by_surplus.iter().rev().take_while(|(surplus, _)| helps(surplus)));
        let can_give = |(surplus, donor): &&(i128, usize)| {
            let lightest = self.member(*donor).lightest();
            lightest.is_some_and(|weight| weight * self.unit < surplus - receiver)
        };
        in_order.copied().find(|donor| can_give(&donor)).map(|(_, donor)| donor)
    }

    /// Moves the task that brings these two nearest to each other.
    fn shift(&mut self, donor: usize, receiver: usize) -> (&'a TaskName, usize) {
        let gap = self.member(donor).surplus(self.unit) - self.member(receiver).surplus(self.unit);
        let weight = self.member(donor).nearest(gap, self.unit);
        let mut taken = None;
        self.change(donor, |member| taken = member.take(weight));
        let task = taken.expect("it has a task of this weight");
        self.change(receiver, |member| member.put(weight, task));
        (task.name, receiver)
    }

    /// Computes each member's fair share of what there is and of what is still to be placed.
    fn share_out(&mut self, unplaced: &[(&'a TaskName, u32)]) {
        let to_place = unplaced.iter().map(|(_, weight)| i128::from((*weight).max(1)));
        let receivers = || self.members.iter().flatten();
        let held = receivers().filter_map(Member::lightest);
        self.lightest = held.chain(to_place.clone()).min().unwrap_or(1);

        let mut weight =
            receivers().map(|member| member.load).sum::<i128>() + to_place.sum::<i128>();
        let mut capacity = receivers().map(|member| member.capacity).sum::<i128>();
        // The most filled by pins first.
        let mut by_pins: Vec<_> =
            receivers().map(|member| (member.fixed, member.capacity)).collect();
        by_pins.sort_by(|(fixed, capacity), (other_fixed, other_capacity)| {
            (other_fixed * capacity).cmp(&(fixed * other_capacity))
        });
        for (fixed, own) in by_pins {
            if fixed * capacity <= weight * own {
                break;
            }
            weight -= fixed;
            capacity -= own;
        }
        self.unit = capacity;
        for member in 0..self.members.len() {
            if self.members[member].is_some() {
                self.change(member, |member| {
                    member.share = (weight * member.capacity).max(member.fixed * capacity);
                });
            }
        }
    }

    /// Changes a member, and finds its place among the others again.
    fn change(&mut self, number: usize, change: impl FnOnce(&mut Member<'a>)) {
        let (unit, lightest) = (self.unit, self.lightest);
        let member = self.members[number].as_mut().expect("a receiver");
        let entry = (member.surplus(unit), number);
        for order in [&mut self.by_surplus, &mut self.over, &mut self.under] {
            order.remove(&entry);
        }
        change(member);
        let entry = (member.surplus(unit), number);
        self.by_surplus.insert(entry);
        if member.has_too_much(unit) {
            self.over.insert(entry);
        }
        if member.has_too_little(unit, lightest) {
            self.under.insert(entry);
        }
    }

    fn member(&self, number: usize) -> &Member<'a> {
        self.members[number].as_ref().expect("a receiver")
    }
}

impl<'a> Member<'a> {
    /// How much it has above its share, in parts. Negative where it lacks something.
    fn surplus(&self, unit: i128) -> i128 {
        self.load * unit - self.share
    }

    fn lightest(&self) -> Option<i128> {
        self.movable.first_key_value().map(|(weight, _)| i128::from(*weight))
    }

    fn has_too_much(&self, unit: i128) -> bool {
        let is_far_above = 10 * self.load * unit > 11 * self.share;
        is_far_above && self.lightest().is_some_and(|one| self.surplus(unit) >= one * unit)
    }

    fn has_too_little(&self, unit: i128, one: i128) -> bool {
        let is_far_below = 10 * self.load * unit < 9 * self.share;
        is_far_below && self.surplus(unit) + one * unit <= 0
    }

    /// The weight of the task whose move leaves the smallest difference to a member that has less by `gap`.
    fn nearest(&self, gap: i128, unit: i128) -> u32 {
        let half = u32::try_from(gap / (2 * unit)).unwrap_or(u32::MAX);
        let lighter = self.movable.range(..=half).next_back();
        let heavier = self.movable.range(half..).find(|(weight, _)| **weight > half);
        let weights = lighter.into_iter().chain(heavier).map(|(weight, _)| *weight);
        let left = |weight: &u32| (gap - 2 * i128::from(*weight) * unit).abs();
        weights.min_by_key(left).expect("it has a task that may move")
    }

    fn put(&mut self, weight: u32, task: Movable<'a>) {
        self.load += i128::from(weight);
        self.hold(weight, task);
    }

    /// Takes a task among its own whose weight was counted before.
    fn hold(&mut self, weight: u32, task: Movable<'a>) {
        self.movable.entry(weight).or_default().insert(task);
    }

    fn take(&mut self, weight: u32) -> Option<Movable<'a>> {
        let tasks = self.movable.get_mut(&weight)?;
        let task = tasks.pop_last()?;
        if tasks.is_empty() {
            self.movable.remove(&weight);
        }
        self.load -= i128::from(weight);
        Some(task)
    }
}
