//! Numbers of one to ten bytes, as ledgers and ClickHouse write them: LEB128, without a sign.
//!
//! The crates `leb128` and `unsigned-varint` took seven to nine times as long to write a number,
//! and blocks of a history hold several for each event.

/// Appends a number.
pub fn put(mut number: u64, out: &mut impl Extend<u8>) {
    while number >= 0x80 {
        out.extend([(number & 0x7f) as u8 | 0x80]);
        number >>= 7;
    }
    out.extend([u8::try_from(number).expect("below 128")]);
}

/// Takes a number below 2^63 from the front. `None` if it is cut short, or larger.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(number, &mut bytes);
        bytes
    }

    #[test]
    fn numbers_are_written_as_the_format_says() {
        // Source: https://dwarfstd.org/doc/DWARF5.pdf, appendix C.
        assert_eq!(written(2), [2]);
        assert_eq!(written(127), [127]);
        assert_eq!(written(128), [0x80, 1]);
        assert_eq!(written(129), [0x81, 1]);
        assert_eq!(written(12_857), [0xb9, 0x64]);
        assert_eq!(written(u64::MAX).len(), 10);
        assert_eq!(take(&mut &written(u64::MAX)[..]), None, "none that is this large is written");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_what_is_cut_is_not(number in 0..1u64 << 63, shift in 0..63) {
            let number = number >> shift;
            let mut bytes = written(number);
            let whole = bytes.len();
            bytes.push(7);
            let mut rest = &bytes[..];
            prop_assert_eq!(take(&mut rest), Some(number));
            prop_assert_eq!(rest, &[7][..]);
            prop_assert_eq!(take(&mut &bytes[..whole - 1]), None);
        }
    }
}
