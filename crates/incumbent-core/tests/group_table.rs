//! Every state of a member and of an allocator met by every input: nothing panics, and what happens is written down.
//!
//! `UPDATE_SCENARIOS=1 cargo test -p incumbent-core` writes `group_table.txt` again.

#[path = "support/group_script.rs"]
mod group_script;

use std::fmt::Write as _;
use std::path::Path;

use group_script::GroupScript;

#[test]
fn each_state_of_a_group_has_an_answer_to_each_input() {
    let mut table = String::new();
    for (machine, states, inputs) in [
        ("member a", MEMBER_STATES, MEMBER_INPUTS),
        ("allocator", ALLOCATOR_STATES, ALLOCATOR_INPUTS),
    ] {
        for (name, story) in states {
            writeln!(table, "{machine}: {name}").unwrap();
            let story = format!("{machine}\n{story}");
            for input in inputs {
                let answer = last_answer(&format!("{story}\n20s {input}"));
                writeln!(table, "{}", format!("  {input:<58} {answer}").trim_end()).unwrap();
                let answer = last_answer(&format!("{story}\n20s {input}\n20s wakes"));
                assert!(is_rest(&answer), "{name}, {input}: then a wake makes it act: {answer}");
            }
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/group_table.txt");
    if std::env::var_os("UPDATE_SCENARIOS").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), table, "UPDATE_SCENARIOS=1 accepts it");
}

/// What the last line of the story leads to.
fn last_answer(story: &str) -> String {
    let played = GroupScript::play(story);
    let lines: Vec<&str> = played.lines().collect();
    let answers = lines.iter().rev().take_while(|line| line.starts_with(' '));
    let mut answers: Vec<&str> = answers.map(|line| line.trim()).collect();
    answers.reverse();
    answers.join("; ")
}

/// Whether nothing is done: a table that still has to be named is said at each step.
fn is_rest(answer: &str) -> bool {
    let is_quiet = |part: &str| {
        part == "does nothing"
            || part.starts_with("wakes at")
            || part.starts_with("wants the Lease")
    };
    answer.split("; ").all(is_quiet)
}

const MEMBER_STATES: &[(&str, &str)] = &[
    ("it knows nothing", ""),
    ("it has a term and no table", "1s term s1 5"),
    ("it knows a table and has no term", "1s lists v20 page 0 v18 p of 1 eu=a/s1/5#17"),
    ("the page is closed", "1s lists v20 page 0 v18 p of 1 closed\n1s term s1 5"),
    ("it runs a task", RUNS),
    ("the task is revoked and stops", RUNS_AND_REVOKED),
    ("the task is revoked and has stopped", RUNS_AND_STOPPED),
    ("it leaves while a task stops", RUNS_AND_LEAVES),
    ("its term is over while a task runs", RUNS_AND_OVER),
    (
        "its term is over",
        "1s lists v20 page 0 v18 p of 1 eu=a/s1/5#17\n1s term s1 5\n2s over\n3s stopped eu",
    ),
    ("it has a later term", "1s lists v20 page 0 v18 p of 1 eu=a/s1/5#17\n1s term s1 9"),
];

const RUNS: &str = "1s lists v20 page 0 v18 p of 1 eu=a/s1/5#17\n1s term s1 5";
const RUNS_AND_REVOKED: &str = "1s lists v20 page 0 v18 p of 1 eu=a/s1/5#17\n1s term s1 5\n\
    2s sees page 0 v21 p of 1 replaces 18 eu=a/s1/5#17!18";
const RUNS_AND_STOPPED: &str = "1s lists v20 page 0 v18 p of 1 eu=a/s1/5#17\n1s term s1 5\n\
    2s sees page 0 v21 p of 1 replaces 18 eu=a/s1/5#17!18\n3s stopped eu";
const RUNS_AND_LEAVES: &str =
    "1s lists v20 page 0 v18 p of 1 eu=a/s1/5#17\n1s term s1 5\n3s leaves\n4s wakes";
const RUNS_AND_OVER: &str = "1s lists v20 page 0 v18 p of 1 eu=a/s1/5#17\n1s term s1 5\n3s over";

const MEMBER_INPUTS: &[&str] = &[
    "wakes",
    "sees page 0 v30 p of 1 replaces 29 eu=a/s1/5#17",
    "sees page 0 v30 p of 1 replaces 29 eu=a/s1/5#29 us=a/s1/5#29",
    "sees page 0 v30 p of 1 replaces 29 eu=a/s1/5#17!29",
    "sees page 0 v30 p of 1 replaces 29 eu=b/s2/6#29",
    "sees page 0 v30 p of 1 replaces 29 eu=a/s1/9#29",
    "sees page 0 v30 p of 1 replaces 29 eu=a/s9/5#29",
    "sees page 0 v30 p of 1 replaces 2 eu=a/s1/5#2",
    "sees page 0 v30 p of 1 closed",
    "sees page 0 v30 p nonsense",
    "sees page 0 v10 p of 1 eu=a/s1/5#9 us=a/s1/5#9",
    "sees page 0 v30 q of 1 created",
    "sees page 0 v30 q of 1 replaces 29 us=a/s1/5#29",
    "sees page 1 v30 r table p seen 18 us=a/s1/5#29",
    "misses page 0 v30",
    "lists v30",
    "lists v10",
    "term s1 40",
    "term s9 40",
    "over",
    "stopped eu",
    "stopped us",
    "leaves",
    "drains",
    "drains no-more",
];

const ALLOCATOR_STATES: &[(&str, &str)] = &[
    ("it knows nothing", ""),
    ("it leads and knows nothing", "1s leads"),
    ("it knows all and does not lead", KNOWS),
    (
        "there is no table",
        "0s lists seats v20 seat a v18 s1 token 5\n0s lists pages v20\n0s wants eu\n1s leads",
    ),
    ("page 0 is closed", CLOSED),
    ("page 0 is closed and the seats are listed", LISTED),
    ("all is in order", IN_ORDER),
    ("a task is given", GIVES),
    ("a task is revoked", REVOKES),
    ("a seat is not seen", UNSEEN),
    ("a seat is silent", SILENT),
    ("the answer to a write is unknown", UNKNOWN),
    ("page 0 cannot be read", UNREADABLE),
    ("page 0 is gone", GONE),
];

const KNOWS: &str = "0s names p\n0s lists seats v20 seat a v18 s1 token 5 | seat b v17 s2 token 6\n\
    0s lists pages v20 page 0 v19 p of 1 eu=a/s1/5#8\n0s wants eu us";
const CLOSED: &str = "0s names p\n0s lists seats v20 seat a v18 s1 token 5\n\
    0s lists pages v20 page 0 v19 p of 1 closed created\n0s wants eu\n1s leads";
const LISTED: &str = "0s names p\n0s lists seats v20 seat a v18 s1 token 5\n\
    0s lists pages v20 page 0 v19 p of 1 closed created\n0s wants eu\n1s leads\n\
    2s answer seats seat a v18 s1 token 5";
const IN_ORDER: &str = "0s names p\n0s lists seats v20 seat a v18 s1 token 5\n\
    0s lists pages v20 page 0 v19 p of 1 eu=a/s1/5#8\n0s wants eu\n1s leads\n\
    15s sees seat a v22 s1 token 5";
const GIVES: &str = "0s names p\n0s lists seats v20 seat a v18 s1 token 5\n\
    0s lists pages v20 page 0 v19 p of 1 eu=a/s1/5#8\n0s wants eu us\n1s leads\n\
    15s sees seat a v22 s1 token 5";
const REVOKES: &str = "0s names p\n0s lists seats v20 seat a v18 s1 token 5\n\
    0s lists pages v20 page 0 v19 p of 1 eu=a/s1/5#8 us=a/s1/5#8\n0s wants eu\n1s leads\n\
    2s answer stored v21\n15s sees seat a v22 s1 token 5";
const UNSEEN: &str = "0s names p\n0s lists seats v20\n\
    0s lists pages v20 page 0 v19 p of 1 eu=a/s1/5#8\n0s wants eu\n1s leads";
const SILENT: &str = "0s names p\n0s lists seats v20 seat a v18 s1 token 5\n\
    0s lists pages v20 page 0 v19 p of 1 eu=a/s1/5#8\n0s wants eu\n1s leads\n16s wakes";
const UNKNOWN: &str = "0s names p\n0s lists seats v20 seat a v18 s1 token 5\n\
    0s lists pages v20 page 0 v19 p of 1\n0s wants eu\n1s leads\n3s wakes\n\
    15s sees seat a v22 s1 token 5\n15s answer unknown";
const UNREADABLE: &str = "0s names p\n0s lists seats v20 seat a v18 s1 token 5\n\
    0s lists pages v20 page 0 v18 p of 1 eu=a/s1/5#8\n0s sees page 0 v19 p nonsense\n0s wants eu\n1s leads\n\
    15s sees seat a v22 s1 token 5";
const GONE: &str = "0s names p\n0s lists seats v20 seat a v18 s1 token 5\n\
    0s lists pages v20 page 0 v19 p of 1 eu=a/s1/5#8\n0s wants eu\n1s misses page 0 v21\n1s leads\n\
    15s sees seat a v22 s1 token 5";

const ALLOCATOR_INPUTS: &[&str] = &[
    "wakes",
    "leads",
    "rests",
    "wants eu us ap",
    "wants",
    "names p",
    "names",
    "ended a 1",
    "ended a 7",
    "sees page 0 v30 p of 1 replaces 29 eu=a/s1/5#8",
    "sees page 0 v30 p of 1 replaces 29 eu=b/s2/6#29",
    "sees page 0 v30 p of 1 replaces 2 eu=a/s1/5#2",
    "sees page 0 v30 p of 1 closed",
    "sees page 0 v30 p nonsense",
    "sees page 0 v30 q of 1 created",
    "sees page 1 v30 r table p seen 18",
    "misses page 0 v30",
    "lists pages v30",
    "lists pages v10",
    "sees seat a v30 s1 token 5 released 0:30",
    "sees seat a v30 s1 token 5 released 0:30 but eu,us",
    "sees seat a v30 s1 token 5 leaving",
    "sees seat a v30 s1 vacant token 5",
    "sees seat a v30 s1 vacant token 4",
    "sees seat a v30 s1 token 29",
    "sees seat a v30 s9 token 29",
    "sees seat b v30 s2 token 29",
    "misses seat a v30",
    "lists seats v30",
    "answer missing",
    "answer conflict",
    "answer refused",
    "answer unknown",
    "answer deleted",
    "answer page 0 v30 p of 1 replaces 29 eu=a/s1/5#8",
    "answer seat a v30 s1 token 5",
    "answer seats seat a v30 s1 token 5",
];
