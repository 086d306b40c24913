//! Watches on their way from the server to the processes: what they show, when, and how they end.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use incumbent_apiserver::Body;
use tokio::sync::mpsc;

use super::line::{self, Broken, Sent, arrived};
use super::lock::Says;
use super::network::Fate;
use super::resident::{Piece, PieceTo};
use super::world::{Event, World};

/// A watch that the server has open.
pub(super) struct Watch {
    process: usize,
    body: Body,
    to: PieceTo,
    /// Pieces come in the order in which they were sent.
    last: Duration,
    held: Vec<Result<Bytes, Broken>>,
    /// It has to end with 410 when it thaws.
    expires: bool,
    is_over: bool,
    /// Its connection is dead, and neither end knows.
    is_dead: bool,
}

impl World<'_> {
    pub(super) fn open(&mut self, sent: Sent, fate: Fate, answer: Result<Response<Body>, Broken>) {
        let Ok(answer) = answer else { return self.answer_later(sent, fate, Err(Broken)) };
        if !answer.status().is_success() {
            return self.answer_later(sent, fate, Ok(arrived(answer)));
        }
        let (head, body) = answer.into_parts();
        let (to, pieces) = mpsc::unbounded_channel();
        let watch = Watch {
            process: sent.process,
            body,
            to,
            last: self.now + fate.back,
            held: Vec::new(),
            expires: false,
            is_over: false,
            is_dead: false,
        };
        let answer = Response::from_parts(head, line::pieces(pieces));
        self.answer_later(sent, fate, Ok((answer, Says::default())));
        self.watches.push(watch);
        self.show();
    }

    /// Sends what watches have to show by now.
    pub(super) fn show(&mut self) {
        let mut watches = std::mem::take(&mut self.watches);
        for watch in &mut watches {
            let (pieces, is_open) = self.server.shows(&mut watch.body);
            watch.held.extend(pieces);
            watch.is_over |= !is_open;
            self.send_pieces(watch);
        }
        self.keep(watches);
    }

    /// Keeps the watches that continue, and tells of the end of the others.
    fn keep(&mut self, watches: Vec<Watch>) {
        for mut watch in watches {
            let is_over = watch.is_over && watch.held.is_empty() && !watch.is_dead;
            if is_over {
                self.send_piece(&mut watch, None);
            } else if !watch.to.is_closed() {
                self.watches.push(watch);
            }
        }
    }

    fn send_piece(&mut self, watch: &mut Watch, piece: Piece) {
        watch.last = watch.last.max(self.now + self.network.way());
        let says = match &piece {
            Some(Ok(piece)) => Says { history: self.history, ..Says::read(piece) },
            _ => Says::default(),
        };
        let event = Event::Shows(watch.process, watch.to.clone(), piece, says);
        self.push(watch.last, event);
    }

    fn send_pieces(&mut self, watch: &mut Watch) {
        let slot = self.processes[watch.process].slot;
        if watch.is_dead || watch.held.is_empty() && !watch.expires {
            return;
        }
        if let Some((until, expires)) = self.network.is_frozen(self.now, slot) {
            watch.expires |= expires;
            return self.push(until, Event::Thaws);
        }
        if watch.expires {
            watch.held = vec![Ok(Bytes::from_static(EXPIRED))];
            (watch.expires, watch.is_over) = (false, true);
        }
        for piece in std::mem::take(&mut watch.held) {
            self.send_piece(watch, Some(piece));
        }
    }

    /// Breaks, ends or silences the watches of `slot`, or of all.
    pub(super) fn end_watches(&mut self, slot: Option<usize>, how: HowWatchesEnd) {
        let mut watches = std::mem::take(&mut self.watches);
        for watch in &mut watches {
            if slot.is_some() && self.processes[watch.process].slot != slot {
                continue;
            }
            match how {
                HowWatchesEnd::Orderly => watch.is_over = true,
                HowWatchesEnd::Broken => {
                    watch.held = vec![Err(Broken)];
                    self.send_pieces(watch);
                    watch.is_over = true;
                }
                HowWatchesEnd::Unnoticed => watch.is_dead = true,
            }
        }
        self.keep(watches);
    }

    /// How many watches this process has open on a connection that is alive.
    pub(super) fn watches_of(&mut self, process: usize) -> usize {
        self.show();
        let watches = self.watches.iter();
        watches.filter(|watch| watch.process == process && !watch.is_dead).count()
    }

    /// How many watches processes have open.
    pub(super) fn open_watches(&mut self) -> usize {
        self.show();
        self.server.open_watches()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HowWatchesEnd {
    Orderly,
    Broken,
    Unnoticed,
}

const EXPIRED: &[u8] = b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410}}\n";
