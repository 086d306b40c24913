//! Whether this member takes tasks: that depends on whether there is an application to work on them.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::args::Lifeline;
use super::super::lifeline::Lifelines;

pub(crate) struct Health {
    pub(crate) lifelines: Lifelines,
    pub(crate) lifeline: Lifeline,
    /// How often the application has given a permit back.
    pub(crate) given_back: watch::Receiver<u64>,
    /// For how long this member takes no tasks after the application has gone, or has given a permit back.
    pub(crate) stay_away: Duration,
    pub(crate) healthy: watch::Sender<bool>,
}

/// A pause that begins again each time that something happens.
#[derive(Debug)]
struct Pause {
    /// How often it has happened.
    times: u64,
    until: Option<Instant>,
}

impl Health {
    /// Keeps up with the application.
    pub(crate) async fn keep(mut self) {
        let mut gone = Pause::new(self.lifelines.ended());
        let mut without_permit = Pause::new(*self.given_back.borrow());
        loop {
            let is_held = self.lifelines.is_held();
            gone.look(self.lifelines.ended(), self.stay_away);
            without_permit.look(*self.given_back.borrow_and_update(), self.stay_away);
            if is_held {
                gone.until = None;
            }
            let is_there = match self.lifeline {
                Lifeline::Required => is_held,
                Lifeline::Optional => gone.is_over(),
            };
            let is_healthy = is_there && without_permit.is_over();
            self.healthy
                .send_if_modified(|known| std::mem::replace(known, is_healthy) != is_healthy);
            tokio::select! {
                () = self.lifelines.differ_from(is_held, gone.times) => {}
                Ok(()) = self.given_back.changed() => {}
                () = gone.over() => {}
                () = without_permit.over() => {}
            }
        }
    }
}

impl Pause {
    fn new(times: u64) -> Self {
        Self { times, until: None }
    }

    fn look(&mut self, times: u64, pause: Duration) {
        if std::mem::replace(&mut self.times, times) != times {
            self.until = Some(Instant::now() + pause);
        }
        self.until = self.until.filter(|until| *until > Instant::now());
    }

    fn is_over(&self) -> bool {
        self.until.is_none()
    }

    async fn over(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    struct Scene {
        lifelines: Lifelines,
        given_back: watch::Sender<u64>,
        healthy: watch::Receiver<bool>,
    }

    impl Scene {
        fn start(lifeline: Lifeline) -> Self {
            let (lifelines, given_back) = (Lifelines::default(), watch::Sender::new(0));
            let (healthy, shown) = watch::channel(lifeline == Lifeline::Optional);
            let health = Health {
                lifelines: lifelines.clone(),
                lifeline,
                given_back: given_back.subscribe(),
                stay_away: LEASE,
                healthy,
            };
            tokio::spawn(health.keep());
            Self { lifelines, given_back, healthy: shown }
        }

        /// After so many seconds.
        async fn is_healthy(&self, seconds: u64) -> bool {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            *self.healthy.borrow()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_lifeline_is_required_tasks_are_taken_only_while_one_is_open() {
        let scene = Scene::start(Lifeline::Required);
        assert!(!scene.is_healthy(100).await);
        let held = scene.lifelines.hold();
        assert!(scene.is_healthy(1).await);
        drop(held);
        assert!(!scene.is_healthy(1).await);
        assert!(!scene.is_healthy(100).await);
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_application_has_gone_others_get_its_tasks_for_a_lease() {
        let scene = Scene::start(Lifeline::Optional);
        assert!(scene.is_healthy(1).await, "none was there");
        let held = scene.lifelines.hold();
        assert!(scene.is_healthy(100).await);
        drop(held);
        assert!(!scene.is_healthy(14).await);
        assert!(scene.is_healthy(2).await, "it may come without a lifeline");
        drop(scene.lifelines.hold());
        assert!(!scene.is_healthy(1).await);
        let _held = scene.lifelines.hold();
        assert!(scene.is_healthy(1).await, "it is there again");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_permit_was_given_back_others_go_first() {
        let scene = Scene::start(Lifeline::Required);
        let _held = scene.lifelines.hold();
        assert!(scene.is_healthy(1).await);
        scene.given_back.send_modify(|times| *times += 1);
        assert!(!scene.is_healthy(14).await);
        assert!(scene.is_healthy(2).await);
    }
}
