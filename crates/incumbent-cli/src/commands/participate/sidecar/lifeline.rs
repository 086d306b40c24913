//! The application's sign of life: a connection that it holds open.

use std::sync::Arc;

use tokio::sync::watch;

/// How many are open, and how often the last one has closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    open: usize,
    ended: u64,
}

/// Counts the open lifelines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifelines(Arc<watch::Sender<Count>>);

/// One that is open; dropped when its connection closes.
#[derive(Debug)]
pub(crate) struct Lifeline(Lifelines);

impl Lifelines {
    /// Counts one more, unless there are too many.
    pub(crate) fn hold(&self) -> Option<Lifeline> {
        let has_room = self.0.send_if_modified(|count| {
            let has_room = count.open < MOST;
            count.open += usize::from(has_room);
            has_room
        });
        has_room.then(|| Lifeline(self.clone()))
    }

    pub(crate) fn is_held(&self) -> bool {
        self.0.borrow().open > 0
    }

    /// How often the last one has closed.
    pub(crate) fn ended(&self) -> u64 {
        self.0.borrow().ended
    }

    /// Waits until one is open.
    pub(crate) async fn held(&self) {
        self.wait_for(|count| count.open > 0).await;
    }

    /// Waits until the last one has closed more often than that.
    pub(crate) async fn ended_since(&self, ended: u64) {
        self.wait_for(|count| count.ended > ended).await;
    }

    /// Waits until whether one is open, or how often the last one has closed, is something else.
    pub(crate) async fn differ_from(&self, is_held: bool, ended: u64) {
        self.wait_for(|count| (count.open > 0) != is_held || count.ended != ended).await;
    }

    async fn wait_for(&self, is_so: impl FnMut(&Count) -> bool) {
        // The sender is in this very struct, so it cannot be gone.
        let _ = self.0.subscribe().wait_for(is_so).await;
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| {
            count.open -= 1;
            count.ended += u64::from(count.open == 0);
        });
    }
}

/// An application has one, and a second while it reconnects.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_that_closes_is_the_end() {
        let lifelines = Lifelines::default();
        assert!(!lifelines.is_held());
        let (first, second) = (lifelines.hold().unwrap(), lifelines.hold().unwrap());
        drop(first);
        assert_eq!((lifelines.is_held(), lifelines.ended()), (true, 0));
        drop(second);
        assert_eq!((lifelines.is_held(), lifelines.ended()), (false, 1));
    }

    #[test]
    fn there_are_only_so_many() {
        let lifelines = Lifelines::default();
        let held: Vec<_> = (0..MOST).map(|_| lifelines.hold().unwrap()).collect();
        assert!(lifelines.hold().is_none());
        drop(held);
        assert!(lifelines.hold().is_some());
    }
}
