//! Identifiers and times as the clouds make them up.

use jiff::Timestamp;
use rand_core::{OsRng, RngCore as _};

/// `length` random characters of `alphabet`.
pub(super) fn text(alphabet: &[u8], length: usize) -> String {
    (0..length).map(|_| char::from(alphabet[OsRng.next_u32() as usize % alphabet.len()])).collect()
}

/// A token: letters and digits.
pub(super) fn token(length: usize) -> String {
    text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", length)
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(length: usize) -> String {
    text(b"0123456789abcdef", length)
}

/// A random UUID, version 4.
pub(super) fn uuid() -> String {
    let variant = text(b"89ab", 1);
    format!("{}-{}-4{}-{variant}{}-{}", hex(8), hex(4), hex(3), hex(3), hex(12))
}

/// Now, in RFC 3339 with seconds.
pub(super) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
