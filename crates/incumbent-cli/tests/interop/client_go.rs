//! With candidates over client-go's `tools/leaderelection`, on a Lease.

use std::time::Duration;

use super::election::{Election, Kind, LEASE_SECONDS, Term, crashes, graceful_stops, partitions};

const LOCK: &str = "lease/shared";

#[test]
fn a_crash_of_either_side_is_taken_over_by_the_other() {
    let Some(election) = Election::with(Kind::ClientGo, LOCK) else { return };
    crashes(election, Kind::ClientGo, 2);
}

#[test]
fn a_graceful_stop_of_either_side_hands_over_to_the_other() {
    let Some(election) = Election::with(Kind::ClientGo, LOCK) else { return };
    graceful_stops(election, Kind::ClientGo, 2);
}

#[test]
fn a_partition_of_either_side_never_makes_two_leaders() {
    let Some(election) = Election::with(Kind::ClientGo, LOCK) else { return };
    partitions(election, Kind::ClientGo, 2);
}

#[test]
fn a_fleet_is_upgraded_in_place_and_back_with_no_gap_longer_than_a_lease() {
    let Some(mut election) = Election::with(Kind::ClientGo, LOCK) else { return };
    let mut fleet = Vec::new();
    for name in ["go-1", "go-2", "go-3"] {
        fleet.push(election.start(Kind::ClientGo, name, None));
        if fleet.len() == 1 {
            election.leads(fleet[0]);
            election.mark();
        }
    }
    for (kind, names) in
        [(Kind::Ours, ["our-1", "our-2", "our-3"]), (Kind::ClientGo, ["go-4", "go-5", "go-6"])]
    {
        for name in names {
            let new = election.start(kind, name, None);
            // It takes part: it knows of a leader.
            election.candidate(new).event("following");
            let old = fleet.remove(0);
            election.terminate(old);
            fleet.push(new);
        }
    }
    // Somebody of the last generation leads in the end.
    let last_generation = |term: &Term| ["go-4", "go-5", "go-6"].contains(&term.who.as_str());
    while !election.terms().last().is_some_and(last_generation) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let terms = election.terms();
    let kinds: Vec<Kind> = terms.iter().map(|term| term.kind).collect();
    assert!(kinds.contains(&Kind::Ours) && kinds.first() == kinds.last(), "{terms:#?}");
    let gaps = terms.windows(2).map(|pair| pair[1].from - pair[0].until);
    assert!(gaps.max() <= Some(LEASE_SECONDS * 1_000_000), "{terms:#?}");
    election.judge(terms.len() as i64 - 1);
}
