//! Go's URL-safe base64 with padding: the same bytes, and the same complaints.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

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
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut quantum: Vec<u8> = Vec::with_capacity(4);
    for (index, (offset, byte)) in source.iter().enumerate() {
        if *byte == b'=' {
            check_padding(text, &source, index, quantum.len())?;
            push(&mut out, &quantum);
            return Ok(out);
        }
        quantum.push(sextet(*byte).ok_or(*offset)?);
        if quantum.len() == 4 {
            push(&mut out, &quantum);
            quantum.clear();
        }
    }
    if quantum.is_empty() { Ok(out) } else { Err(text.len() - quantum.len()) }
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

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

fn push(out: &mut Vec<u8>, sextets: &[u8]) {
    let bits = sextets.iter().fold(0u32, |bits, sextet| bits << 6 | u32::from(*sextet));
    let bits = bits << (6 * (4 - sextets.len()));
    let bytes = bits.to_be_bytes();
    out.extend_from_slice(&bytes[1..=(sextets.len() * 6 / 8)]);
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
