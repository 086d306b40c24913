//! Who a candidate is: its name, and the number that tells two processes of one name apart.

use std::fmt;

/// The name of a candidate, as people read it. Never empty.
///
/// It decides nothing by itself: two processes may be given the same one by mistake. What decides is
/// the [`Session`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(String);

impl Identity {
    /// The identity of this name, or `None` where the name is empty.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        (!name.is_empty()).then_some(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number drawn at random once per start of a process. It distinguishes processes of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session(pub u128);
