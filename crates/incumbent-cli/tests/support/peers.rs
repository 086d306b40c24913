//! Other people's programs, which are not everywhere.

/// Says that a test is passed over, or fails it where `INCUMBENT_REQUIRE_PEERS` is set.
pub(crate) fn missing(peer: &str, why: &str) {
    let line = format!("skipped: {peer} {why}");
    assert!(std::env::var_os("INCUMBENT_REQUIRE_PEERS").is_none(), "{line}");
    eprintln!("{line}");
}
