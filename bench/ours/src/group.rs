//! Members of a group over the crate `incumbent`: each says which tasks it starts, and which it has stopped.
//!
//! `--lock` is the group, and `--candidates` how many members this process has. Each member has a client of its own, as
//! if it were a process of its own, and so sends the same requests over as many connections.

use std::sync::Arc;

use contender::{Error, Flags, Seat};
use incumbent::{Connect, Group, Tasks, Timing};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let flags = Flags::parse()?;
    let timing = Timing::from_lease_duration(flags.lease_duration)?;
    contender::run(&flags, |seat| take_part(flags.clone(), timing, seat)).await
}

async fn take_part(flags: Flags, timing: Timing, seat: Seat) -> Result<(), Error> {
    let tasks = match flags.slots {
        true => Tasks::slots(u16::try_from(flags.tasks)?),
        false => Tasks::named((0..flags.tasks).map(|task| format!("tenant-{task:04}"))),
    };
    let client = Connect::default().kubeconfig(&flags.kubeconfig).client().await?;
    let group = Group::builder(client, flags.namespace, &seat.lock)
        .member(&seat.identity)
        .version(flags.version)
        .tasks(tasks)
        .timing(timing)
        .build()?;
    let work = |task: Arc<incumbent::Task>| {
        let member = seat.identity.clone();
        async move {
            let _running = Running::new(&member, task.name());
            task.revoked().await;
            Ok(())
        }
    };
    group.run_until(seat.asked_to_leave(), work).await?;
    Ok(())
}

/// Says that a task runs, and when it is dropped, that it has stopped.
struct Running<'a> {
    member: &'a str,
    task: &'a str,
}

impl<'a> Running<'a> {
    fn new(member: &'a str, task: &'a str) -> Self {
        contender::report("runs", member, task);
        Self { member, task }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        contender::report("rests", self.member, self.task);
    }
}
