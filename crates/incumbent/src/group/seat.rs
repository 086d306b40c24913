//! Holding the seat, and taking part in the election of the allocator.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use incumbent_core::{Identity, Uid};
use tokio::sync::{mpsc, watch};

use super::note::Note;
use crate::candidate::Candidate;
use crate::clock::Clock;
use crate::error::Error;
use crate::leadership::Leadership;

/// What a member wants with its seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing of an earlier term runs: hold it, for the first time or again.
    Hold,
    /// Work runs, so that the seat is kept until it has stopped.
    Keep,
    /// Give it up for good.
    Leave,
}

/// Acquires the seat whenever nothing of an earlier term runs, until the member leaves.
pub(super) async fn hold(
    mut candidate: Candidate,
    mut wish: watch::Receiver<Wish>,
    notes: mpsc::WeakUnboundedSender<Note>,
) {
    let tell = |note: Note| notes.upgrade().is_some_and(|notes| notes.send(note).is_ok());
    loop {
        let wished = wish.wait_for(|wish| *wish != Wish::Keep).await.map(|wish| *wish);
        if !matches!(wished, Ok(Wish::Hold)) {
            break;
        }
        let leadership = tokio::select! {
            biased;
            _ = wish.wait_for(|wish| *wish == Wish::Leave) => break,
            leadership = candidate.campaign() => leadership,
        };
        let leadership = match leadership {
            Ok(leadership) => Arc::new(leadership),
            Err(error) => {
                let _ = tell(Note::Failed(error));
                break;
            }
        };
        let Some(seat) = candidate.views.borrow().uid.clone() else { continue };
        if !tell(Note::Started { seat, leadership: Arc::clone(&leadership) }) {
            break;
        }
        tokio::select! {
            biased;
            _ = wish.wait_for(|wish| *wish == Wish::Leave) => break,
            _ = leadership.lost() => {}
        }
        // The tasks of the term hold the leadership, too: it is given back when the last of them is gone.
        drop(leadership);
        if !tell(Note::Over) {
            break;
        }
    }
    candidate.leave().await;
    let _ = tell(Note::Left);
}

/// Competes to be the allocator until the member leaves. A campaign that fails says nothing about the tasks of this
/// member, so the driver decides what follows. If the member stays, it competes again after `pause`.
pub(super) async fn allocate(
    mut candidate: Candidate,
    mut leaves: watch::Receiver<bool>,
    notes: mpsc::WeakUnboundedSender<Note>,
    clock: Clock,
    pause: Duration,
) {
    let tell = |note: Note| notes.upgrade().is_some_and(|notes| notes.send(note).is_ok());
    loop {
        let has_lasted = async {
            clock.sleep(pause).await;
            let _ = tell(Note::Competes);
        };
        let leadership = tokio::select! {
            biased;
            _ = leaves.wait_for(|leaves| *leaves) => break,
            leadership = compete(&mut candidate, has_lasted) => leadership,
        };
        let leadership = match leadership {
            Ok(leadership) => leadership,
            Err(error) => {
                if !tell(Note::CannotAllocate(error)) {
                    break;
                }
                tokio::select! {
                    biased;
                    _ = leaves.wait_for(|leaves| *leaves) => break,
                    () = clock.sleep(pause) => continue,
                }
            }
        };
        if !tell(Note::Allocates(true)) {
            break;
        }
        let is_leaving = tokio::select! {
            biased;
            _ = leaves.wait_for(|leaves| *leaves) => true,
            _ = leadership.lost() => false,
            _ = leadership.asked_to_hand_over() => false,
        };
        let is_heard = tell(Note::Allocates(false));
        drop(leadership);
        if is_leaving || !is_heard {
            break;
        }
    }
    candidate.leave().await;
}

/// Campaigns, and says once when that has lasted for a while without an error.
async fn compete(
    candidate: &mut Candidate,
    has_lasted: impl Future<Output = ()>,
) -> Result<Leadership, Error> {
    let mut campaign = pin!(candidate.campaign());
    tokio::select! {
        biased;
        leadership = &mut campaign => return leadership,
        () = has_lasted => {}
    }
    campaign.await
}

/// So many of those who wait to allocate time the seats already: the first may die together with the allocator.
const READY: usize = 2;

/// Tells what the allocators' Lease says, until its candidate is gone.
pub(super) async fn look_at_lock(
    candidate_views: watch::Receiver<crate::view::View>,
    own: Identity,
    notes: mpsc::WeakUnboundedSender<Note>,
) {
    let mut views = candidate_views;
    let mut told: Option<(Option<Uid>, bool)> = None;
    loop {
        let now = {
            let view = views.borrow_and_update();
            (view.table.clone(), view.waitlist.iter().take(READY).any(|next| *next == own))
        };
        if told.as_ref() != Some(&now) {
            let (table, is_next) = now.clone();
            let note = Note::Lock { table, is_next };
            if notes.upgrade().is_none_or(|notes| notes.send(note).is_err()) {
                return;
            }
            told = Some(now);
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}
