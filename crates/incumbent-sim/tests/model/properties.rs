//! What must hold in every state, and what must occur in some state.

use stateright::Property;

use crate::state::State;
use crate::tally::Event;
use crate::world::World;

pub(crate) const ONE_LEADER: &str = "the work of two never runs at once";
pub(crate) const TOKENS_RISE: &str = "each grant has a higher token than all before";

/// All properties that apply to `world`.
pub(crate) fn of(world: &World) -> Vec<Property<World>> {
    let mut all = vec![Property::always(TOKENS_RISE, |_, state: &State| !state.token_fell)];
    if world.luck.deletions == 0 {
        all.extend(without_deletions());
    } else {
        // docs/guarantees.md, "What is not guaranteed": a newcomer does not know the term that was
        // running.
        all.push(Property::sometimes("two after a deletion", |_, state: &State| {
            state.working() > 1
        }));
    }
    if world.mutant.is_none() {
        all.extend(sometimes(world));
    }
    all
}

fn without_deletions() -> [Property<World>; 3] {
    [
        Property::always(ONE_LEADER, |_, state: &State| state.working() <= 1),
        Property::always("who may act holds the lock", |_, state: &State| {
            state.leaders_hold_the_lock()
        }),
        Property::always("who starts has the last grant", |_, state: &State| !state.started_late),
    ]
}

/// Events that show that the properties above were not vacuous.
fn sometimes(world: &World) -> Vec<Property<World>> {
    let mut all = vec![
        Property::sometimes("the first leads", |world: &World, _: &State| {
            world.tally.has(Event::FirstStarted)
        }),
        Property::sometimes("the second leads", |world, _| world.tally.has(Event::SecondStarted)),
        Property::sometimes("a conflict", |world, _| world.tally.has(Event::Conflict)),
    ];
    if world.candidates > 2 {
        all.push(Property::sometimes("the third leads", |world, _| {
            world.tally.has(Event::ThirdStarted)
        }));
    }
    if world.luck.releases > 0 {
        all.push(Property::sometimes("a handover", |world, _| world.tally.has(Event::Handover)));
    }
    if world.luck.crashes > 0 {
        all.extend([
            Property::sometimes("a leader crashes", |world: &World, _: &State| {
                world.tally.has(Event::LeaderCrashed)
            }),
            Property::sometimes("a takeover", |world, _| world.tally.has(Event::Takeover)),
            Property::sometimes("a process leads again after its crash", |world, _| {
                world.tally.has(Event::StartAfterRestart)
            }),
        ]);
    }
    if world.luck.losses > 0 {
        all.extend([
            Property::sometimes("a write lands late", |world: &World, _: &State| {
                world.tally.has(Event::LateWrite)
            }),
            Property::sometimes("what an unknown write left is acquired anew", |world, _| {
                world.tally.has(Event::Adoption)
            }),
        ]);
    }
    if world.luck.delays > 1 {
        all.extend([
            Property::sometimes("a leader is lost", |world: &World, _: &State| {
                world.tally.has(Event::Lost)
            }),
            Property::sometimes("work overruns", |world, _| world.tally.has(Event::Overrun)),
        ]);
    }
    if world.watching > 0 {
        all.push(Property::sometimes("a watch is behind", |world, _| {
            world.tally.has(Event::LateNews)
        }));
    }
    all
}
