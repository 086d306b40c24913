//! Stories of one candidate, as text that a newcomer can read.
//!
//! A line that begins with a time is what happens to the candidate; the indented lines below it are
//! what the candidate does. `UPDATE_SCENARIOS=1 cargo test -p incumbent-core` writes the answers again:
//! commit only what you understand.

#[path = "support/stories.rs"]
mod stories;
mod support;

use support::script::Script;

#[test]
fn each_scenario_goes_as_it_is_written() {
    stories::each_goes_as_it_is_written("scenarios", Script::play);
}
