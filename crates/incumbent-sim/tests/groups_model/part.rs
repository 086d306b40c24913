//! A part of a state, shared between the states in which it is the same.

use std::cell::Cell;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// It remembers its hash, so that a state costs as much as what differs from the one before.
#[derive(Clone)]
pub(crate) struct Part<T>(Rc<(T, Cell<Option<u64>>)>);

impl<T: Hash> Part<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Rc::new((value, Cell::new(None))))
    }

    fn print(&self) -> u64 {
        let (value, print) = &*self.0;
        let known = print.get().unwrap_or_else(|| {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            hasher.finish()
        });
        print.set(Some(known));
        known
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl<T: Clone> DerefMut for Part<T> {
    fn deref_mut(&mut self) -> &mut T {
        let (value, print) = Rc::make_mut(&mut self.0);
        print.set(None);
        value
    }
}

impl<T: Hash> Hash for Part<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.print());
    }
}

impl<T: Hash> PartialEq for Part<T> {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.print() == other.print()
    }
}

impl<T: Hash> Eq for Part<T> {}

impl<T: fmt::Debug> fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.0.fmt(f)
    }
}
