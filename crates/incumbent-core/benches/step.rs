//! What one step of the election takes: for a leader that renews, and for one that waits and sees it.
//!
//! `cargo bench -p incumbent-core`; in instructions, `bench/instructions`.

use std::time::Duration;

use divan::Bencher;
use incumbent_core::{
    Config, Elector, FencingToken, Follow, HolderInfo, Identity, Input, Instant, Now, Observation,
    Operation, Output, Record, Reply, Session, Snapshot, Stamp, Timing, Uid, Version, WallTime,
};

fn main() {
    divan::main();
}

/// A renewal: the wake-up that sends it, and the answer.
#[divan::bench]
fn renewal_by_the_leader(bencher: Bencher<'_, '_>) {
    let mut leader = Candidate::new(1);
    leader.acquire();
    bencher.bench_local(|| leader.renew());
}

/// The same renewal, as a watch shows it to a candidate that waits.
#[divan::bench]
fn renewal_seen_by_a_candidate(bencher: Bencher<'_, '_>) {
    let (mut leader, mut waiting) = (Candidate::new(1), Candidate::new(2));
    leader.acquire();
    waiting.stored = leader.stored.clone();
    waiting.campaign();
    let mut renewed = leader.renew();
    bencher.bench_local(|| {
        renewed.version.revision += 1;
        let beat = WallTime::from_unix_micros(renewed.version.revision as i64);
        renewed.record.renewed = Some(Stamp::At(beat));
        waiting.step(Input::Observed(Observation::Present(renewed.clone())))
    });
}

/// An elector, and the server as far as it is needed: one object, whose writes all succeed.
struct Candidate {
    elector: Elector,
    millis: u64,
    stored: Option<Snapshot>,
}

impl Candidate {
    fn new(session: u128) -> Self {
        let elector = Elector::new(Config {
            timing: Timing::default(),
            identity: Identity::new(format!("candidate-{session}")).expect("it is a name"),
            session: Session(session),
            token_floor: FencingToken(0),
            priority: 0,
            holder_info: HolderInfo::default(),
        });
        Self { elector, millis: 1000, stored: None }
    }

    fn acquire(&mut self) {
        self.campaign();
        assert!(self.stored.as_ref().is_some_and(|stored| stored.record.holder.is_some()));
    }

    fn campaign(&mut self) {
        self.settle(Input::Follow(Follow::Watch));
        self.settle(Input::Campaign);
    }

    /// Answers what follows from this for a second: long enough to lead, or to stand in line.
    fn settle(&mut self, input: Input) {
        let mut output = self.step(input);
        for _ in 0..10 {
            let input = match output.request {
                Some(request) => Input::Reply(self.serve(request.operation)),
                None => Input::Wake,
            };
            self.millis += 100;
            output = self.step(input);
        }
        assert!(output.request.is_none(), "it has settled");
    }

    fn renew(&mut self) -> Snapshot {
        self.millis += 5000;
        let output = self.step(Input::Wake);
        let request = output.request.expect("it is time to renew");
        let reply = self.serve(request.operation);
        let _ = self.step(Input::Reply(reply));
        self.stored.clone().expect("it was written")
    }

    fn step(&mut self, input: Input) -> Output {
        let instant = Instant::new(Duration::from_millis(self.millis));
        let wall = WallTime::from_unix_micros(self.millis as i64 * 1000);
        self.elector.step(Now { instant, wall }, input)
    }

    fn serve(&mut self, operation: Operation) -> Reply {
        let (base, record): (u64, Record) = match operation {
            Operation::Read => {
                return self.stored.clone().map_or(Reply::Missing, Reply::Found);
            }
            Operation::Create(record) => (1, record),
            Operation::Replace { base, record } => (base.revision, record),
        };
        let version = Version { uid: Uid("u".to_owned()), revision: base + 1 };
        let written = Snapshot { version, record };
        self.stored = Some(written.clone());
        Reply::Written(written)
    }
}
