//! Random values: uids, tokens, generated names.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A random uid, version 4.
pub(crate) fn uid() -> String {
    let mut bytes: [u8; 16] = bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = |range: std::ops::Range<usize>| -> String {
        bytes[range].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    format!("{}-{}-{}-{}-{}", hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16))
}

/// A bearer token that cannot be guessed.
pub(crate) fn token() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<32>())
}

/// Five letters and digits without vowels, as upstream appends to a `generateName`.
pub(crate) fn suffix() -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    bytes::<5>()
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}

/// A number below `bound`, from the thread's generator, which tests can seed. Not for secrets.
pub(crate) fn below(bound: u64) -> u64 {
    fastrand::u64(..bound)
}

fn bytes<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    // Without random bytes every token could be guessed, so the server must not continue.
    getrandom::fill(&mut bytes).expect("the system's source of randomness works");
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_uid_says_that_it_is_random() {
        let uid = super::uid();
        assert_eq!(uid.len(), 36);
        assert_eq!(&uid[14..15], "4");
        assert!("89ab".contains(&uid[19..20]));
    }
}
