//! Reads `ClickHouse`'s `RowBinary`: strings and counts, one after the other.

use super::answer::Count;
use super::cursor::Key;
use super::page::Row;

/// What is left of an answer.
struct Reader<'a> {
    bytes: &'a [u8],
}

/// Rows of JSON, each followed by `key_words` strings that make its key. `None` if the bytes are
/// cut off.
pub(super) fn rows(bytes: &[u8], key_words: usize) -> Option<Vec<Row>> {
    let mut reader = Reader { bytes };
    let mut rows = Vec::new();
    while !reader.bytes.is_empty() {
        let json = reader.string()?;
        let words: Option<Vec<String>> = (0..key_words).map(|_| reader.string()).collect();
        rows.push(Row { json, key: words.filter(|words| !words.is_empty()).and_then(Key::of_row) });
    }
    Some(rows)
}

/// Rows of one string.
pub(super) fn strings(bytes: &[u8]) -> Option<Vec<String>> {
    rows(bytes, 0).map(|rows| rows.into_iter().map(|row| row.json).collect())
}

/// Rows of a JSON and its digest. `None` if they are not.
pub(super) fn digests(bytes: &[u8]) -> Option<Vec<(String, u64)>> {
    let mut reader = Reader { bytes };
    let mut rows = Vec::new();
    while !reader.bytes.is_empty() {
        rows.push((reader.string()?, reader.string()?.parse().ok()?));
    }
    Some(rows)
}

/// Rows of a value and its count.
pub(super) fn counts(bytes: &[u8]) -> Option<Vec<Count>> {
    let mut reader = Reader { bytes };
    let mut counts = Vec::new();
    while !reader.bytes.is_empty() {
        counts.push(Count { value: reader.string()?, count: reader.number()? });
    }
    Some(counts)
}

impl Reader<'_> {
    fn string(&mut self) -> Option<String> {
        let mut length = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            length |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (text, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(u64::from_le_bytes(*number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_counts_are_read_to_the_end_or_not_at_all() {
        let long = "x".repeat(300);
        let mut bytes = vec![3, b'a', b'b', b'c', 0, 0xac, 0x02];
        bytes.extend_from_slice(long.as_bytes());
        assert_eq!(strings(&bytes).unwrap(), ["abc", "", &long]);
        assert!(strings(&bytes[..bytes.len() - 1]).is_none());
        let mut bytes = vec![1, b'a'];
        bytes.extend_from_slice(&258u64.to_le_bytes());
        let expected = Count { value: "a".to_owned(), count: 258 };
        assert_eq!(counts(&bytes), Some(vec![expected]));
        assert_eq!(counts(&bytes[..9]), None);
    }

    #[test]
    fn a_row_has_its_key_behind_it() {
        let words = ["{}", "-5", "user", "id"];
        let mut bytes = Vec::new();
        for word in words {
            bytes.push(u8::try_from(word.len()).unwrap());
            bytes.extend_from_slice(word.as_bytes());
        }
        let rows = rows(&bytes, 3).unwrap();
        let key = rows[0].key.as_ref().unwrap();
        assert_eq!((key.millis, &*key.columns[0], &*key.audit_id), (-5, "user", "id"));
        assert_eq!(digests(b"\x02{}\x017"), Some(vec![("{}".to_owned(), 7)]));
        assert_eq!(digests(b"\x02{}\x01x"), None);
    }
}
