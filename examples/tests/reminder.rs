//! `reminder`: three replicas, of which the one that leads is killed.

use std::time::Duration;

use crate::stage::{Process, Stage, within};

const REMINDER: &str = env!("CARGO_BIN_EXE_reminder");
const PERIOD: i64 = 1000;

/// The replicas, and each tick that one of them has sent, in the order in which they came in here.
struct Replicas {
    stage: Stage,
    running: Vec<Process>,
    sent: Vec<i64>,
}

impl Replicas {
    fn start(&mut self) {
        self.running.push(self.stage.start(REMINDER, &["1"]));
    }

    /// Waits until so many more were sent. Returns the replica that sent the last.
    async fn more(&mut self, count: usize) -> usize {
        let enough = self.sent.len() + count;
        loop {
            for (at, replica) in self.running.iter_mut().enumerate() {
                let ticks = replica.news().into_iter().map(|line| line.parse::<i64>().unwrap());
                self.sent.extend(ticks);
                if self.sent.len() >= enough {
                    return at;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_tick_is_sent_once_whichever_replica_is_killed() {
    let stage = Stage::new().await;
    let mut replicas = Replicas { stage, running: Vec::new(), sent: Vec::new() };
    (0..3).for_each(|_| replicas.start());
    const KILLS: i64 = 3;
    for _ in 0..KILLS {
        let leader = within(replicas.more(3)).await;
        replicas.running[leader].kill();
        // What it printed before it died counts.
        let rest = replicas.running.remove(leader).rest().await;
        replicas.sent.extend(rest.iter().map(|line| line.parse::<i64>().unwrap()));
        replicas.start();
    }
    within(replicas.more(3)).await;
    let ticks = replicas.sent;
    assert!(ticks.is_sorted_by(|one, next| one < next), "none is sent twice: {ticks:?}");
    // A replica that is killed in the middle leaves its tick in doubt. Nothing else is missing.
    let expected = (ticks[ticks.len() - 1] - ticks[0]) / PERIOD + 1;
    let missing = expected - i64::try_from(ticks.len()).unwrap();
    assert!((0..=KILLS).contains(&missing), "{missing} are missing: {ticks:?}");
}
