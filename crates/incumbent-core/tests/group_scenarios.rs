//! Stories of one member, or of one allocator, as text that a newcomer can read.
//!
//! A line that begins with a time is what happens; the indented lines below it are what the member or the allocator
//! does. `UPDATE_SCENARIOS=1 cargo test -p incumbent-core` writes the answers again: commit only what you understand.

#[path = "support/group_script.rs"]
mod group_script;
#[path = "support/stories.rs"]
mod stories;

use group_script::GroupScript;

#[test]
fn each_scenario_of_a_group_goes_as_it_is_written() {
    stories::each_goes_as_it_is_written("group_scenarios", GroupScript::play);
}
