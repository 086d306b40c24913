//! With candidates over the official Python client's `leaderelection`, on a ConfigMap and on a Lease.
//!
//! It has no release, and counts no transitions: its record of a ConfigMap has no such field, and in a
//! Lease it leaves the number as it was.

use super::election::{Election, Kind, crashes, graceful_stops, partitions};

const LOCK: &str = "configmap/shared";

#[test]
fn a_crash_of_either_side_is_taken_over_by_the_other() {
    let Some(election) = Election::with(Kind::Python, LOCK) else { return };
    crashes(election, Kind::Python, 1);
}

#[test]
fn a_graceful_stop_of_either_side_hands_over_to_the_other() {
    let Some(election) = Election::with(Kind::Python, LOCK) else { return };
    graceful_stops(election, Kind::Python, 1);
}

#[test]
fn a_partition_of_either_side_never_makes_two_leaders() {
    let Some(election) = Election::with(Kind::Python, LOCK) else { return };
    partitions(election, Kind::Python, 1);
}

#[test]
fn its_lease_lock_takes_part_as_well() {
    let Some(election) = Election::with(Kind::Python, "lease/shared") else { return };
    crashes(election, Kind::Python, 1);
}
