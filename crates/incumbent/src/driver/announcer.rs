//! Telling others what becomes of the election: followers, the log, metrics, Events and routes.

use incumbent_core::{Elector, FencingToken, Identity, Observed};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::events::Events;
use crate::lock::Lock;
use crate::metrics::{Event, Exchange, Meter};
use crate::route::Routing;
use crate::stored::Stored;
use crate::term::Ending;
use crate::view::View;

pub(crate) struct Announcer {
    views: watch::Sender<View>,
    events: Option<Events>,
    routes: Vec<Routing>,
    meter: Meter,
    /// The term whose end is still to be told.
    untold: Option<FencingToken>,
    /// Whom the log named last as the leader that is followed.
    followed: Option<(Identity, Option<FencingToken>)>,
}

impl Announcer {
    pub(crate) fn new(
        views: watch::Sender<View>,
        events: Option<Events>,
        routes: Vec<Routing>,
        meter: Meter,
    ) -> Self {
        Self { views, events, routes, meter, untold: None, followed: None }
    }

    /// A term has begun.
    pub(super) fn term_began(&mut self, lock: &Lock, token: FencingToken) {
        tracing::info!(%lock, %token, "leading");
        self.meter.tell(lock, Event::TermBegan(token));
        self.meter.tell(lock, Event::LeaderChanged);
        (self.untold, self.followed) = (Some(token), None);
    }

    /// The work of the term may begin.
    pub(super) fn show(&self, token: FencingToken, stored: Option<&Stored>) {
        drop(self.record("became leader", stored));
        for route in &self.routes {
            route.show(token);
        }
    }

    /// The term has ended. The handles end when all who asked for that can see it.
    pub(super) fn term_ended(
        &mut self,
        lock: &Lock,
        ending: Ending,
        stored: Option<&Stored>,
    ) -> Vec<JoinHandle<()>> {
        let mut told: Vec<_> = self.routes.iter().map(Routing::clear).collect();
        if self.tell_end(lock, ending) {
            told.extend(self.record("stopped leading", stored));
        }
        told
    }

    /// Tells that the term has ended; not a second time where it was lost and is then given back.
    pub(super) fn tell_end(&mut self, lock: &Lock, ending: Ending) -> bool {
        let Some(token) = self.untold.take() else { return false };
        tracing::info!(%lock, %token, reason = %ending.reason(), "no longer leading");
        self.meter.tell(lock, Event::TermEnded(ending));
        true
    }

    /// Tells who leads, where that is another than before.
    pub(super) fn publish(&mut self, lock: &Lock, elector: &Elector) {
        self.tell_leader(lock, elector);
        let view = View::of(elector);
        self.views.send_if_modified(|published| {
            let differs = *published != view;
            *published = view;
            differs
        });
    }

    /// Tells who leads instead of this candidate, once.
    fn tell_leader(&mut self, lock: &Lock, elector: &Elector) {
        match elector.observed() {
            Observed::Unknown => {}
            Observed::Vacant | Observed::Held { holder: None, .. } => self.followed = None,
            // Its own term is told when it begins, and one that it left to expire is no news.
            Observed::Held { holder: Some(holder), .. } if holder == elector.config().identity => {}
            Observed::Held { holder: Some(leader), token, .. } => {
                let told = self.followed.as_ref().map(|(leader, token)| (leader, *token));
                if told != Some((&leader, token)) {
                    let known = token.map(tracing::field::display);
                    tracing::info!(%lock, %leader, token = known, "following");
                    self.meter.tell(lock, Event::LeaderChanged);
                    self.followed = Some((leader, token));
                }
            }
        }
    }

    pub(super) fn count(&self, lock: &Lock, exchange: Exchange) {
        self.meter.tell(lock, Event::Request(exchange));
    }

    /// Whether a term has begun whose end is not told.
    pub(super) fn is_in_term(&self) -> bool {
        self.untold.is_some()
    }

    fn record(&self, what: &str, stored: Option<&Stored>) -> Option<JoinHandle<()>> {
        self.events.as_ref().map(|events| events.record(what, stored))
    }
}
