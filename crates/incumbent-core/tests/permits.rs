//! Who should have which permit.

use std::collections::{BTreeMap, BTreeSet};

use incumbent_core::group::{Kind, TaskName, Worker, hand_out};
use incumbent_core::{FencingToken, Identity};
use proptest::prelude::*;

type Owners = BTreeMap<TaskName, Identity>;

proptest! {
    #[test]
    fn no_member_has_two_permits_and_none_is_idle_while_a_member_waits(
        members in members(), permits in 1..6_u16, held in prop::collection::vec(0..8_usize, 0..6),
    ) {
        let current: Owners =
            held.into_iter().enumerate().map(|(permit, owner)| (numbered(permit), name(owner))).collect();
        let wanted = give(&members, permits, &current);
        let owners: BTreeSet<_> = wanted.values().collect();
        prop_assert_eq!(owners.len(), wanted.len());
        let takers = members.iter().filter(|worker| worker.takes_tasks && worker.capacity > 0);
        let waiting = takers.filter(|worker| !owners.contains(&worker.name)).count();
        prop_assert!(waiting == 0 || wanted.len() == usize::from(permits));
        prop_assert_eq!(give(&members, permits, &wanted), wanted);
    }

    #[test]
    fn an_owner_that_takes_tasks_keeps_its_permit(members in members(), permits in 1..6_u16) {
        let current = give(&members, permits, &Owners::new());
        let mut more = members;
        more.extend((20..25).map(|index| member(index, index as u64)));
        let wanted = give(&more, permits, &current);
        for (permit, owner) in &current {
            prop_assert_eq!(&wanted[permit], owner);
        }
    }
}

#[test]
fn those_that_joined_first_are_served_first() {
    let members = [member(0, 30), member(1, 10), member(2, 20)];
    let wanted = give(&members, 2, &Owners::new());
    assert_eq!(wanted, [(numbered(0), name(1)), (numbered(1), name(2))].into());
}

#[test]
fn the_permit_of_a_member_that_takes_no_tasks_goes_to_the_next_as_soon_as_there_is_one() {
    let draining = Worker { takes_tasks: false, ..member(0, 1) };
    let current: Owners = [(numbered(0), name(0))].into();
    assert_eq!(give(std::slice::from_ref(&draining), 1, &current), current);
    assert_eq!(give(&[draining, member(1, 5)], 1, &current), [(numbered(0), name(1))].into());
}

#[test]
fn a_member_gets_nothing_while_what_it_had_is_not_released() {
    let members = [member(0, 1), member(1, 2)];
    let busy = [name(0)].into();
    let wanted = hand_out(&members, Kind::Permits(2).tasks(), &Owners::new(), &busy);
    assert_eq!(wanted, [(numbered(0), name(1))].into());
}

fn give(members: &[Worker], permits: u16, current: &Owners) -> Owners {
    hand_out(members, Kind::Permits(permits).tasks(), current, &BTreeSet::new())
}

fn members() -> impl Strategy<Value = Vec<Worker>> {
    let worker = (0..2_u32, 1..50_u64, prop::bool::weighted(0.8));
    prop::collection::vec(worker, 0..8).prop_map(|workers| {
        let worker = |(index, (capacity, joined, takes_tasks))| Worker {
            capacity,
            takes_tasks,
            ..member(index, joined)
        };
        workers.into_iter().enumerate().map(worker).collect()
    })
}

fn member(index: usize, joined: u64) -> Worker {
    Worker {
        name: name(index),
        capacity: 1,
        version: String::new(),
        joined: FencingToken(joined),
        takes_tasks: true,
    }
}

fn name(index: usize) -> Identity {
    Identity::new(format!("m{index}")).unwrap()
}

fn numbered(permit: usize) -> TaskName {
    TaskName::numbered(permit as u16)
}
