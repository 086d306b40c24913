//! Stories of one replica of a schedule, as text that a newcomer can read.
//!
//! A line that begins with a time is what happens; the indented lines below it are what the replica does.
//! `UPDATE_SCENARIOS=1 cargo test -p incumbent-core` writes the answers again: commit only what you understand.

#[path = "support/schedule_script.rs"]
mod schedule_script;
#[path = "support/stories.rs"]
mod stories;

use schedule_script::ScheduleScript;

#[test]
fn each_scenario_of_a_schedule_goes_as_it_is_written() {
    stories::each_goes_as_it_is_written("schedule_scenarios", ScheduleScript::play);
}
