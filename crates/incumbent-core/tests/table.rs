//! Every state met by every input: nothing panics, and what happens is written down.
//!
//! `UPDATE_SCENARIOS=1 cargo test -p incumbent-core` writes `table.txt` anew.

mod support;

use std::fmt::Write as _;
use std::path::Path;

use incumbent_core::{
    Change, Elector, FencingToken, Follow, Input, Now, Observation, Operation, Output, Record,
    Reply, Timing,
};
use support::{OTHER, at, elector, held_by, snapshot};

#[test]
fn each_state_has_an_answer_to_each_input() {
    let mut table = String::new();
    for (name, state) in states() {
        writeln!(table, "{name}").unwrap();
        for (input_name, input) in inputs(&state) {
            let mut elector = state.elector.clone();
            let output = elector.step(state.now, input);
            writeln!(table, "  {input_name:<24} {}", summary(&output, &elector)).unwrap();
            assert_harmless_wake(&mut elector, state.now);
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/table.txt");
    if std::env::var_os("UPDATE_SCENARIOS").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), table, "UPDATE_SCENARIOS=1 accepts it");
}

/// A candidate brought into some state, and what its last write would store.
struct State {
    elector: Elector,
    now: Now,
    sent: Record,
}

impl State {
    fn then(mut self, millis: u64, input: Input) -> Self {
        self.now = at(millis);
        let output = self.elector.step(self.now, input);
        if let Some(Operation::Create(record) | Operation::Replace { record, .. }) =
            output.request.map(|request| request.operation)
        {
            self.sent = record;
        }
        self
    }

    fn written(self, millis: u64, revision: u64) -> Self {
        let stored = snapshot("a", revision, self.sent.clone());
        self.then(millis, Input::Reply(Reply::Written(stored)))
    }
}

fn states() -> Vec<(&'static str, State)> {
    let new = || State {
        elector: elector("john", Timing::default()),
        now: at(0),
        sent: Record::default(),
    };
    let found = |record| Input::Reply(Reply::Found(snapshot("a", 7, record)));
    let watching = || new().then(0, Input::Follow(Follow::Watch));
    let reading = || watching().then(0, Input::Campaign);
    let joining = || reading().then(1, found(held_by("jane", Some(OTHER), 1)));
    let acquiring = || reading().then(1, found(Record::default()));
    let leading = || acquiring().written(2, 8);
    let renewing = || leading().then(4_700, Input::Wake);
    let lost = || leading().then(10_100, Input::Wake);
    vec![
        ("idle, polling", new()),
        ("idle, watching", watching()),
        ("campaigning, reading", reading()),
        ("campaigning, joining", joining()),
        ("campaigning, waiting", joining().written(2, 8)),
        ("campaigning, creating", reading().then(1, Input::Reply(Reply::Missing))),
        ("campaigning, acquiring", acquiring()),
        ("leading", leading()),
        ("leading, renewing", renewing()),
        ("leading, reading", renewing().then(4_800, Input::Reply(Reply::Conflict))),
        ("lost", lost()),
        ("lost, too late", lost().then(14_800, Input::Wake)),
        ("releasing", leading().then(3_000, Input::Release)),
        ("releasing, renewing", renewing().then(4_800, Input::Release)),
        ("releasing, acquiring", acquiring().then(10, Input::Release)),
        ("leaving the line", joining().written(2, 8).then(3, Input::Release)),
    ]
}

fn inputs(state: &State) -> Vec<(&'static str, Input)> {
    let ours = || snapshot("a", 20, state.sent.clone());
    let others = || snapshot("a", 20, held_by("jane", Some(OTHER), 9));
    let vacant = || {
        snapshot(
            "a",
            20,
            Record { last_token: FencingToken(19), transitions: 9, ..Record::default() },
        )
    };
    let other_object = || snapshot("b", 20, Record::default());
    let stale = || snapshot("a", 1, held_by("jane", Some(OTHER), 0));
    let see = |snapshot| Input::Observed(Observation::Present(snapshot));
    vec![
        ("wake", Input::Wake),
        ("campaign", Input::Campaign),
        ("release", Input::Release),
        ("watch opens", Input::Follow(Follow::Watch)),
        ("watch breaks", Input::Follow(Follow::Poll)),
        ("reply: found ours", Input::Reply(Reply::Found(ours()))),
        ("reply: found jane's", Input::Reply(Reply::Found(others()))),
        ("reply: found vacant", Input::Reply(Reply::Found(vacant()))),
        ("reply: found another", Input::Reply(Reply::Found(other_object()))),
        ("reply: missing", Input::Reply(Reply::Missing)),
        ("reply: written", Input::Reply(Reply::Written(ours()))),
        ("reply: conflict", Input::Reply(Reply::Conflict)),
        ("reply: refused", Input::Reply(Reply::Refused { retry_after: None })),
        ("reply: unknown", Input::Reply(Reply::Unknown)),
        ("sees ours", see(ours())),
        ("sees jane's", see(others())),
        ("sees vacant", see(vacant())),
        ("sees another object", see(other_object())),
        ("sees a stale event", see(stale())),
        ("sees it gone", Input::Observed(Observation::Gone { revision: 20 })),
    ]
}

fn summary(output: &Output, elector: &Elector) -> String {
    let change = match &output.change {
        None => "-".to_owned(),
        Some(Change::Started(_)) => "STARTED".to_owned(),
        Some(Change::Renewed(_)) => "renewed".to_owned(),
        Some(Change::Lost(loss)) => format!("LOST {loss:?}"),
        Some(Change::Released(release)) => format!("released {release:?}"),
    };
    let request = match output.request.as_ref().map(|request| &request.operation) {
        None => "-".to_owned(),
        Some(Operation::Read) => "read".to_owned(),
        Some(Operation::Create(_)) => "create".to_owned(),
        Some(Operation::Replace { base, record }) => {
            let holder = record.holder.as_ref().map_or("nobody", |holder| holder.as_str());
            format!("replace v{} by {holder}'s", base.revision)
        }
    };
    let leads = if elector.term().is_some() { "leads" } else { "" };
    format!("{request:<26} {change:<44} {leads}").trim_end().to_owned()
}

/// A wake at any time is harmless: it never starts a term, and never sends twice.
fn assert_harmless_wake(elector: &mut Elector, now: Now) {
    let led = elector.term().is_some();
    let output = elector.step(now, Input::Wake);
    assert_eq!(output.request, None, "a second request at the same moment");
    assert_eq!(elector.term().is_some(), led);
}
