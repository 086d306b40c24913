//! Which overlaps are outside of what is promised (`docs/guarantees.md`, "What is not guaranteed"): each is
//! bound to the term that it befalls and to the candidates that may profit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::judge::Term;

/// Something that was done to the lock, or to a clock.
#[derive(Clone, Debug)]
pub(super) struct Upset {
    pub(super) at: Duration,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// Deleted: who never saw the term that was running leads at once.
    Deleted,
    /// Given a shorter lease: who had not been shown the longer one waits for the shorter. By process, the tokens
    /// that it had been shown.
    Shortened { shown: Vec<Arc<BTreeSet<u64>>> },
    /// An old state came back. Neither do these know better, for the newest was not shown to them yet.
    WentBack { behind: BTreeSet<usize> },
    /// An old state came back that one of those who are behind takes for its own, and gives up.
    WentBackToOneBehind,
    /// Made free in the leader's name.
    Vacated,
    /// The name was taken out, which candidates of other programs take for free.
    NameCleared,
    /// The clock of this process stood still.
    Froze { process: usize },
}

#[derive(Default)]
pub(super) struct Upsets(pub(super) Vec<Upset>);

impl Upsets {
    /// Why `later` may work at `at` beside `earlier`, which was granted before it.
    pub(super) fn excuse(
        &self,
        earlier: &Term,
        later: &Term,
        at: Duration,
    ) -> Option<&'static str> {
        let befell = |upset: &&Upset| (earlier.granted..=at).contains(&upset.at);
        self.0.iter().filter(befell).find_map(|upset| upset.explains(earlier, later))
    }
}

impl Upset {
    fn explains(&self, earlier: &Term, later: &Term) -> Option<&'static str> {
        let was_before_it = self.at <= later.granted;
        let is_unknown = earlier.token.is_none_or(|token| !later.shown.contains(&token));
        let is_foreign = later.token.is_none();
        let (explains, excuse) = match &self.what {
            What::Deleted => (was_before_it && is_unknown, "excused: a newcomer to a deleted lock"),
            What::Shortened { shown } => {
                let shown = shown.get(later.process);
                let knew = |token| shown.is_some_and(|shown| shown.contains(&token));
                let explains = earlier.token.is_none_or(|token| !knew(token));
                (was_before_it && explains, "excused: a newcomer to a shortened lease")
            }
            What::WentBack { behind } => {
                let explains = is_unknown || behind.contains(&later.process);
                (was_before_it && explains, "excused: an old state, for one that is behind")
            }
            What::WentBackToOneBehind => {
                (was_before_it, "excused: an old state, given up as its own")
            }
            What::Vacated => (was_before_it, "excused: made vacant by hand"),
            What::NameCleared => {
                let explains = is_foreign || earlier.token.is_none();
                (was_before_it && explains, "excused: a name taken out, for another program")
            }
            What::Froze { process } => {
                (*process == earlier.process, "excused: a clock that stood still")
            }
        };
        // Candidates of other programs remember nothing: a new record that they know is the old one to them.
        let explains = explains || (is_foreign && was_before_it && self.is_of_the_lock());
        explains.then_some(excuse)
    }

    fn is_of_the_lock(&self) -> bool {
        !matches!(self.what, What::Froze { .. })
    }
}
