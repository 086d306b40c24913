//! The dashboard: what it says, to whom, and how it looks in a real browser.

mod groups;
mod pages;
mod seen;
#[path = "../support/mod.rs"]
mod support;
