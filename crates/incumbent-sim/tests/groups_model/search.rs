//! Visits every state of a world once, by breadth, so that the trace of a failure is a shortest one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use incumbent_core::FencingToken;

use crate::state::{Luck, State};
use crate::world::Action;

/// The highest token with which a task starts in a visit; what follows a higher one is left out.
///
/// An allocator that never hears that a member has left gives it a task, and the other one takes it back, without end.
const HIGHEST_TOKEN: FencingToken = FencingToken(5);

/// What a visit has found.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    pub(crate) states: usize,
    /// States in which nothing happens any more without a fault.
    pub(crate) quiet: usize,
    pub(crate) is_complete: bool,
}

/// Visits all states that follow from `first` with this luck, and no more than `most`.
///
/// # Panics
/// If a property does not hold, with the way to the state.
pub(crate) fn visit(first: &State, luck: Luck, most: usize) -> Visit {
    let first = State { luck, ..first.clone() };
    let mut parents: HashMap<u64, u64> = HashMap::from([(print_of(&first), 0)]);
    let mut queue = VecDeque::from([first.clone()]);
    let mut visit = Visit { is_complete: true, ..Visit::default() };
    while let Some(state) = queue.pop_front() {
        let here = print_of(&state);
        let mut is_quiet = true;
        for action in state.actions() {
            let next = state.after(&action);
            let print = print_of(&next);
            is_quiet &= action.is_fault() || print == here;
            if let Some(broken) = next.broken {
                panic!("{broken}:\n{}", way_to(&first, here, &parents, Some(&action)));
            }
            if next.highest.values().any(|token| *token > HIGHEST_TOKEN) {
                continue;
            }
            if let Entry::Vacant(unseen) = parents.entry(print) {
                unseen.insert(here);
                queue.push_back(next);
            }
        }
        if is_quiet {
            visit.quiet += 1;
            if let Err(stuck) = healed(state) {
                let way = way_to(&first, here, &parents, None);
                panic!("nothing leads to a good state:\n{way}\n{stuck:#?}");
            }
        }
        if parents.len() > most {
            visit.is_complete = false;
            break;
        }
    }
    visit.states = parents.len();
    visit
}

/// Lets everything happen that is no fault, and leases pass, until each task runs once.
pub(crate) fn healed(mut state: State) -> Result<State, Box<State>> {
    // Whoever has ended starts again.
    for index in 0..2 {
        if state.members[index].member.is_none() {
            state.start(index);
        }
    }
    for round in 0..8 {
        for _ in 0..400 {
            let next = state.actions().into_iter().filter(|action| !action.is_fault()).find_map(
                |action| {
                    let next = state.after(&action);
                    (next != state).then_some(next)
                },
            );
            match next {
                Some(next) => state = next,
                None => break,
            }
        }
        if let Some(broken) = state.broken {
            panic!("{broken}, after everything healed: {state:#?}");
        }
        if state.is_good() {
            return Ok(state);
        }
        if state.may_pass() {
            state.pass(round % 2);
        }
    }
    Err(Box::new(state))
}

fn print_of(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn way_to(first: &State, end: u64, parents: &HashMap<u64, u64>, last: Option<&Action>) -> String {
    let mut prints = vec![end];
    while let Some(parent) = parents.get(&prints[prints.len() - 1]).filter(|parent| **parent != 0) {
        prints.push(*parent);
    }
    let mut state = first.clone();
    let mut way = String::new();
    for print in prints.iter().rev().skip(1) {
        let actions = state.actions().into_iter();
        let (action, next) = actions
            .map(|action| (action.clone(), state.after(&action)))
            .find(|(_, next)| print_of(next) == *print)
            .expect("it was found this way");
        way.push_str(&format!("  {action:?}{}\n", sent(&next)));
        state = next;
    }
    if let Some(last) = last {
        way.push_str(&format!("  {last:?}\n"));
    }
    way
}

fn sent(state: &State) -> String {
    let asks = state.allocators.iter().enumerate();
    asks.filter_map(|(index, acting)| Some(format!("\n      {index}: {:?}", acting.sent.as_ref()?)))
        .collect()
}
