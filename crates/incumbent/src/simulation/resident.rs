//! A process as the world knows it: its machine, and what waits for it until it runs.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::{mpsc, oneshot};

use super::line::{Answer, Broken};
use super::lock::Says;
use super::machine::Machine;
use super::process::Strings;
use super::server::Account;

pub(super) type AnswerTo = oneshot::Sender<Result<Response<Answer>, Broken>>;
/// What a watch shows next; nothing more, where this is none.
pub(super) type Piece = Option<Result<Bytes, Broken>>;
/// Where it goes.
pub(super) type PieceTo = mpsc::UnboundedSender<Result<Bytes, Broken>>;

/// What waits for a process until it runs.
pub(super) enum Parcel {
    Answer(AnswerTo, Result<Response<Answer>, Broken>, Says),
    Piece(PieceTo, Piece, Says),
}

pub(super) struct Process {
    pub(super) name: String,
    /// Its place among the candidates; none of a foreign one.
    pub(super) slot: Option<usize>,
    pub(super) machine: Machine,
    pub(super) account: Account,
    pub(super) strings: Option<Strings>,
    /// It wants to be gone.
    pub(super) aborted: Option<Arc<AtomicBool>>,
    pub(super) inbox: VecDeque<Parcel>,
    /// The tokens and the newest version that it has been shown.
    pub(super) shown: Arc<BTreeSet<u64>>,
    pub(super) newest: u64,
    /// The highest token of a version that was news, and which version that was.
    pub(super) highest: u64,
    newest_ever: u64,
    /// How many requests it has sent since then.
    pub(super) requests: (Duration, u32),
    /// How many requests it has sent at all.
    pub(super) sent: u64,
    /// Nothing of it reaches the server any more.
    pub(super) is_cut_off: bool,
}

impl Process {
    pub(super) fn new(
        name: String,
        slot: Option<usize>,
        account: Account,
        machine: Machine,
    ) -> Self {
        Self {
            name,
            slot,
            machine,
            account,
            strings: None,
            aborted: None,
            inbox: VecDeque::new(),
            shown: Arc::default(),
            newest: 0,
            highest: 0,
            newest_ever: 0,
            requests: (Duration::ZERO, 0),
            sent: 0,
            is_cut_off: false,
        }
    }

    /// Takes what has come, as far as it is still waited for.
    pub(super) fn open_inbox(&mut self, history: u32) {
        while let Some(parcel) = self.inbox.pop_front() {
            let (is_taken, says) = match parcel {
                Parcel::Answer(to, answer, says) => (to.send(answer).is_ok(), says),
                Parcel::Piece(to, Some(piece), says) => (to.send(piece).is_ok(), says),
                Parcel::Piece(_, None, says) => (false, says),
            };
            if is_taken {
                let revision = says.revision.unwrap_or(0);
                if says.history == history {
                    self.newest = self.newest.max(revision);
                }
                if revision > self.newest_ever {
                    self.newest_ever = revision;
                    self.highest = self.highest.max(says.token.unwrap_or(0));
                }
                if let Some(token) = says.token.filter(|token| !self.shown.contains(token)) {
                    Arc::make_mut(&mut self.shown).insert(token);
                }
            }
        }
    }
}
