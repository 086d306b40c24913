//! What every SQL store does with a fence.

use crate::page::{snippet, snippet_without};
use crate::program::Session;
use crate::rule::{Race, history, is_obeyed};

/// A database with the tables of the page, and a history of what is written into them.
pub(crate) trait Database: Sized {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;
    /// Changes nothing and prints nothing.
    const NOTHING: &'static str;
    /// A value that differs from the one before.
    const ANY_VALUE: &'static str;

    /// `None` where the store is not installed.
    fn create() -> Option<Self>;

    /// One connection, whose fence is raised by this statement.
    fn connect_with(&self, raise: &str) -> Session;

    /// Raises the fence by `statement`, which the connection was made with.
    fn raise(statement: &str, token: u64) -> String;

    /// Writes the row that has a token.
    fn row(token: u64, value: &str) -> String;

    /// One connection, whose fence is raised as the page says.
    fn connect(&self) -> Session {
        self.connect_with(&snippet("raise"))
    }
}

/// One transaction as the page says: raise, go on only if a row comes back.
pub(crate) fn transact<D: Database>(session: &mut Session, token: u64, change: &str) -> bool {
    transact_with::<D>(session, &snippet("raise"), token, change)
}

/// The tests that every SQL store has to pass.
macro_rules! stories {
    ($database:ty: $($story:ident)*) => {
        $(
            #[test]
            fn $story() {
                crate::sql::$story::<$database>();
            }
        )*
    };
    ($database:ty) => {
        crate::sql::stories! {
            $database:
            a_transaction_that_raises_the_fence_obeys_the_rule
            a_row_with_a_token_obeys_the_rule
            the_history_of_many_who_write_at_once_never_falls
            without_its_condition_the_history_falls
        }
    };
}
pub(crate) use stories;

fn transact_with<D: Database>(
    session: &mut Session,
    raise: &str,
    token: u64,
    change: &str,
) -> bool {
    let raised = session.ask(&format!("{};\n{}", D::BEGIN, D::raise(raise, token)));
    let is_ours = raised == token.to_string();
    assert!(is_ours || raised.is_empty(), "{raised}");
    let end = if is_ours { format!("{change}; COMMIT;") } else { "ROLLBACK;".to_owned() };
    assert_eq!(session.ask(&end), "");
    is_ours
}

pub(crate) fn write_row<D: Database>(session: &mut Session, token: u64, value: &str) -> bool {
    let written = session.ask(&D::row(token, value));
    assert!(written.is_empty() || written == token.to_string(), "{written}");
    !written.is_empty()
}

pub(crate) fn a_transaction_that_raises_the_fence_obeys_the_rule<D: Database>() {
    let Some(database) = D::create() else { return };
    let (mut writer, mut reader) = (database.connect(), database.connect());
    is_obeyed(
        |token, value| {
            let change = format!("UPDATE plan SET value = '{value}'");
            transact::<D>(&mut writer, token, &change)
        },
        || Some(reader.ask("SELECT value FROM plan;")).filter(|value| !value.is_empty()),
    );
}

pub(crate) fn a_row_with_a_token_obeys_the_rule<D: Database>() {
    let Some(database) = D::create() else { return };
    let (mut writer, mut reader) = (database.connect(), database.connect());
    is_obeyed(
        |token, value| write_row::<D>(&mut writer, token, value),
        || Some(reader.ask("SELECT value FROM setting;")).filter(|value| !value.is_empty()),
    );
}

pub(crate) fn the_history_of_many_who_write_at_once_never_falls<D: Database>() {
    let Some(database) = D::create() else { return };
    let sessions = || (0..6).map(|_| database.connect());
    let mut reader = database.connect();
    let mut history = |source| {
        let ask = format!("SELECT token FROM history WHERE source = '{source}' ORDER BY at;");
        history(&reader.ask(&ask))
    };

    let change = &format!("UPDATE plan SET value = {}", D::ANY_VALUE);
    let writers =
        sessions().map(|mut session| move |token| transact::<D>(&mut session, token, change));
    Race::run(40, writers.collect()).went_well(&history("fence"));
    let writers =
        sessions().map(|mut session| move |token| write_row::<D>(&mut session, token, "x"));
    Race::run(40, writers.collect()).went_well(&history("setting"));
}

pub(crate) fn without_its_condition_the_history_falls<D: Database>() {
    let Some(database) = D::create() else { return };
    let careless = &snippet_without("raise", "WHERE", "WHERE");
    let sessions = (0..3).map(|_| database.connect_with(careless));
    let writers = sessions.map(|mut session| {
        move |token| transact_with::<D>(&mut session, careless, token, D::NOTHING)
    });
    let race = Race::run(40, writers.collect());
    let mut reader = database.connect_with(careless);
    race.went_wrong(&history(&reader.ask("SELECT token FROM history ORDER BY at;")));
}
