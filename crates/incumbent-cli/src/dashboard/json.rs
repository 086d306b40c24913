//! The same as the pages show, for programs.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Setting;
use super::board::{Board, Row};
use super::group_board::GroupBoard;
use crate::model::format::millis;
use crate::model::format::printable_json;
use crate::model::lock_row;
use crate::model::lock_status::LockStatus;

/// What `/api/state` answers; `at` is the moment on the clock of the survey at which it is asked.
pub(crate) fn all(setting: &Setting, board: &Board, at: Duration) -> String {
    let elections: Value = board.rows.iter().map(|row| election(board, row, at)).collect();
    let blind = board
        .blind
        .iter()
        .map(|(since, why)| json!({ "forMs": millis(at.saturating_sub(*since)), "message": why }));
    let state = json!({
        "server": setting.server,
        "place": setting.place,
        "startedAt": setting.started.to_string(),
        "at": Timestamp::now().to_string(),
        "hasLooked": board.has_looked,
        "canSteer": setting.steering.is_some(),
        "unseen": blind.collect::<Value>(),
        "needAttention": board.needy(),
        "leftOver": board.left_over,
        "elections": elections,
        "groups": board.groups.iter().map(|group| group.json()).collect::<Value>(),
        "groupsLeftOut": board.groups_left_out,
    });
    printable_json(&state.to_string())
}

/// What `/api/lock/NAMESPACE/KIND/NAME` answers: the same for one, with its record.
pub(crate) fn one(board: &Board, row: &Row, at: Duration) -> String {
    let mut election = election(board, row, at);
    election["object"] = row.sighted.view.object.clone();
    printable_json(&election.to_string())
}

/// What `/api/group/NAMESPACE/NAME` answers.
pub(crate) fn group(group: &GroupBoard, at: Duration) -> String {
    let mut all = group.whole_json();
    all["needs"] = group.concerns.iter().map(|concern| concern.json(at)).collect();
    printable_json(&all.to_string())
}

fn election(board: &Board, row: &Row, at: Duration) -> Value {
    let (row_view, sighted) = (row.view(), row.aged(at));
    let mut election = lock_row::json(&sighted, board.now);
    let is_led = LockStatus::of(&sighted, board.now).is_led();
    let terms = board.term_history.terms(&row_view.lock).map(|term| term.json(board.now, is_led));
    let unseen = board.term_history.unseen(&row_view.lock).map(
        |span| json!({ "from": span.from.to_string(), "to": span.to.map(|to| to.to_string()) }),
    );
    let more = json!({
        "page": row_view.path(),
        "unseenForMs": sighted.unseen_for.map(millis),
        "overForMs": sighted.over_for.map(millis),
        "changesLastHour": row_view.changes,
        "needs": row_view.concerns.iter().map(|concern| concern.json(at)).collect::<Value>(),
        "terms": terms.collect::<Value>(),
        "unseen": unseen.collect::<Value>(),
    });
    lock_row::add(&mut election, more);
    election
}
