//! The one rule, for whichever store.

use std::thread;

/// What every store does with tokens. `write` says whether it was taken.
pub(crate) fn is_obeyed(
    mut write: impl FnMut(u64, &str) -> bool,
    mut read: impl FnMut() -> Option<String>,
) {
    // Beyond 2^53, where a floating-point number does not tell neighbours apart.
    const LARGE: u64 = (1 << 53) + 1;
    let writes = [
        (100, "the first write", true),
        (100, "the same leader again", true),
        (99, "an older one", false),
        (101, "a newer one", true),
        (100, "the first, late", false),
        (1000, "one digit more", true),
        (999, "one digit less", false),
        (LARGE, "a large one", true),
        (LARGE - 1, "one less", false),
        (i64::MAX as u64, "the largest", true),
    ];
    let mut stored = None;
    for (token, value, is_taken) in writes {
        assert_eq!(write(token, value), is_taken, "{value} ({token})");
        if is_taken {
            stored = Some(value.to_owned());
        }
        assert_eq!(read(), stored, "after {value} ({token})");
    }
}

/// What was taken of the writes of many who write at once.
pub(crate) struct Race {
    taken: Vec<u64>,
    refused: usize,
}

impl Race {
    /// Each writes so often, under one token after the other: higher ones by and by, now and then a lower.
    pub(crate) fn run<W: FnMut(u64) -> bool + Send>(rounds: u64, writers: Vec<W>) -> Self {
        let mut race = Self { taken: Vec::new(), refused: 0 };
        thread::scope(|scope| {
            let start = |(number, mut write): (u64, W)| {
                scope.spawn(move || {
                    let mut chance = fastrand::Rng::with_seed(number);
                    let tokens = (0..rounds).map(|round| 100 + 10 * round + chance.u64(..60));
                    tokens.map(|token| (token, write(token))).collect::<Vec<_>>()
                })
            };
            let writers: Vec<_> = (0..).zip(writers).map(start).collect();
            for (token, is_taken) in writers.into_iter().flat_map(|writer| writer.join().unwrap()) {
                match is_taken {
                    true => race.taken.push(token),
                    false => race.refused += 1,
                }
            }
        });
        race.taken.sort_unstable();
        race
    }

    /// `history` is what the store took, in its own order.
    pub(crate) fn went_well(&self, history: &[u64]) {
        let mut sorted = history.to_vec();
        sorted.sort_unstable();
        assert_eq!(self.taken, sorted, "what the writers were told is what was written");
        assert!(history.is_sorted(), "the history falls: {history:?}");
        assert!(self.refused > 0 && self.taken.len() > 5, "there was no race");
    }

    /// Nothing was refused, and the history shows it: the test would have noticed.
    pub(crate) fn went_wrong(&self, history: &[u64]) {
        assert_eq!((self.refused, self.taken.len()), (0, history.len()));
        assert!(!history.is_sorted());
    }
}

/// A history as it was printed: a token a line.
pub(crate) fn history(printed: &str) -> Vec<u64> {
    printed.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{printed}"))).collect()
}
