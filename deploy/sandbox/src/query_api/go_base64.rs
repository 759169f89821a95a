//! Go's URL-safe base64 with padding: the same bytes, and the same complaints.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE};

/// Ignores surplus bits, as Go does.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Bytes as text.
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE.encode(bytes)
}

/// Text as bytes. Line ends are skipped, and surplus bits ignored.
///
/// # Errors
///
/// Returns the offset of the byte that Go calls illegal.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, usize> {
    let source: Vec<(usize, u8)> =
        text.bytes().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n')).collect();
    check(text, &source)?;
    let bytes: Vec<u8> = source.iter().map(|(_, byte)| *byte).collect();
    Ok(LENIENT.decode(bytes).expect("it was checked"))
}

/// Fails at the first illegal byte. The library counts the offset of some of them differently.
fn check(text: &str, source: &[(usize, u8)]) -> Result<(), usize> {
    let mut pending = 0;
    for (index, (offset, byte)) in source.iter().enumerate() {
        if *byte == b'=' {
            return check_padding(text, source, index, pending);
        }
        let is_legal = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !is_legal {
            return Err(*offset);
        }
        pending = (pending + 1) % 4;
    }
    if pending == 0 { Ok(()) } else { Err(text.len() - pending) }
}

/// Fails unless what begins with the first `=` is the padding that `pending` characters need.
fn check_padding(
    text: &str,
    source: &[(usize, u8)],
    index: usize,
    pending: usize,
) -> Result<(), usize> {
    let mut end = index + 1;
    match pending {
        0 | 1 => return Err(source[index].0),
        2 => match source.get(end) {
            None => return Err(text.len()),
            Some((offset, byte)) if *byte != b'=' => return Err(offset - 1),
            Some(_) => end += 1,
        },
        _ => {}
    }
    source.get(end).map_or(Ok(()), |(offset, _)| Err(*offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_their_text() {
        for bytes in [&b""[..], b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc"] {
            assert_eq!(decode(&encode(bytes)).as_deref(), Ok(bytes));
        }
        assert_eq!(decode("aGVs\nbG8=").unwrap(), b"hello");
        assert_eq!(decode("YR==").unwrap(), b"a", "surplus bits are ignored");
    }

    #[test]
    fn the_illegal_byte_is_the_one_that_go_names() {
        for (text, offset) in [
            ("x", 0),
            ("%%%", 0),
            ("aGVsbG8", 4),
            ("ab%d", 2),
            ("aGVs+A==", 4),
            ("=", 0),
            ("a===", 1),
            ("YQ=", 3),
            ("YQ=x", 2),
            ("YQ==x", 4),
            ("YWI=YWI=", 4),
        ] {
            assert_eq!(decode(text), Err(offset), "{text}");
        }
    }
}
