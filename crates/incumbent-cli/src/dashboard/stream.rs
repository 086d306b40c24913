//! News of a page, as server-sent events: what is another than before, as HTML.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream;
use incumbent::Lock;
use serde_json::json;
use tokio::sync::watch;

use super::board::{Board, Shown};
use super::frame::Ages;
use super::group_board::GroupName;
use super::page::tr;
use super::timeline::Window;
use super::{Setting, group_page, lock_page, page};
use crate::http::response;

/// Which page.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) window: Window,
    pub(crate) of: Of,
}

/// What a page is about.
#[derive(Clone, Debug)]
pub(crate) enum Of {
    All,
    Lock(Lock),
    /// One group, and which of its tasks.
    Group(GroupName, String),
}

type Boards = watch::Receiver<Arc<Board>>;

/// Who listens.
struct Listener {
    boards: Boards,
    setting: Arc<Setting>,
    subject: Subject,
    sent: Sent,
    hello: Option<Event>,
}

/// All at first, because the listener may have missed something; then what is new.
pub(crate) fn stream(mut boards: Boards, setting: Arc<Setting>, subject: Subject) -> Response {
    boards.mark_changed();
    let hello = Event::default().retry(RETRY).comment("news of elections");
    let listener = Listener { boards, setting, subject, sent: Sent::default(), hello: Some(hello) };
    response::events(stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    }))
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        // A board comes each second, so this is for a collector that hangs, which must not look like news.
        self.boards.changed().await.ok()?;
        let board = self.boards.borrow_and_update().clone();
        Some(self.sent.news(&self.setting, &board, &self.subject))
    }
}

/// What this listener knows.
#[derive(Default)]
struct Sent {
    parts: HashMap<&'static str, String>,
    rows: HashMap<String, Arc<Shown>>,
}

impl Sent {
    /// What it does not know yet, and what time it is on the clocks that the page counts by.
    fn news(&mut self, setting: &Setting, board: &Board, subject: &Subject) -> Event {
        let parts = match &subject.of {
            Of::All => page::parts(setting, board, subject.window),
            Of::Lock(lock) => lock_page::parts(setting, board, lock, subject.window),
            Of::Group(name, filter) => group_page::parts(board, name, filter),
        };
        let mut changed = serde_json::Map::new();
        for part in parts {
            if self.parts.get(part.id) != Some(&part.html) {
                changed.insert(part.id.to_owned(), part.html.clone().into());
                self.parts.insert(part.id, part.html);
            }
        }
        let (rows, gone) = match subject.of {
            Of::All => self.rows(setting, board),
            _ => (Vec::new(), Vec::new()),
        };
        let news = json!({
            "now": board.at.as_millis() as u64,
            "wall": board.now.as_millisecond(),
            "isCut": !board.blind.is_empty(),
            "parts": changed,
            "rows": rows.iter().map(|row| &**row).collect::<Vec<&str>>(),
            "gone": gone,
            "title": format!("{}{}", needy(board), setting.place),
        });
        Event::default().event("news").data(news.to_string())
    }

    /// The rows that are another than before, and those that are no more.
    fn rows(&mut self, setting: &Setting, board: &Board) -> (Vec<Arc<str>>, Vec<String>) {
        let (mut changed, mut there) = (Vec::new(), HashSet::new());
        for row in &board.rows {
            let id = row.view().id.clone();
            let is_known = self.rows.get(&id).is_some_and(|known| Arc::ptr_eq(known, &row.shown));
            if !is_known {
                changed.push(written(&row.shown, setting));
                self.rows.insert(id.clone(), row.shown.clone());
            }
            there.insert(id);
        }
        let gone: Vec<_> = self.rows.keys().filter(|id| !there.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| drop(self.rows.remove(id)));
        (changed, gone)
    }
}

/// A row is written once, for all who listen.
fn written(shown: &Shown, setting: &Setting) -> Arc<str> {
    let write = || tr(&shown.row_view, setting.has_namespaces, Ages::Scripted).into_string().into();
    shown.html.get_or_init(write).clone()
}

fn needy(board: &Board) -> String {
    match board.needy() {
        0 => String::new(),
        needy => format!("({needy}) "),
    }
}

/// A dashboard that is started again is back within seconds.
const RETRY: Duration = Duration::from_secs(1);
