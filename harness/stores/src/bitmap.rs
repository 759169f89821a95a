//! Sets of numbers as ClickHouse's `groupBitmapState` writes them for `UInt16`.
//!
//! A small set is `0`, a count of one byte and as many numbers of two bytes. A large one is `1`,
//! its size in bytes as LEB128, and a Roaring bitmap in the portable format.
//!
//! Source: ClickHouse, `src/AggregateFunctions/AggregateFunctionGroupBitmapData.h`.

use roaring::{RoaringBitmap, RoaringTreemap};

use runs::leb128;
use runs::ranges::RangeSet;

/// Bytes that are no set of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a set of numbers is cut or not understood: {0}")]
pub struct BitmapError(pub &'static str);

/// Takes one set from the front of `bytes` and adds its numbers to another, each increased by
/// `base`.
///
/// # Errors
///
/// Returns [`BitmapError`] if the bytes end too early or are of another form.
pub fn take_set(bytes: &mut &[u8], base: u64, into: &mut RangeSet) -> Result<(), BitmapError> {
    match take(bytes, 1)? {
        [0] => {
            let count = usize::from(take(bytes, 1)?[0]);
            let numbers = take(bytes, count * 2)?;
            let number = |two: &[u8]| u16::from_le_bytes(two.try_into().expect("two bytes"));
            let mut numbers: Vec<u16> = numbers.chunks_exact(2).map(number).collect();
            numbers.sort_unstable();
            for number in numbers.into_iter().map(u64::from) {
                into.insert(base + number..base + number + 1);
            }
        }
        [1] => {
            let size =
                usize::try_from(take_number(bytes)?).map_err(|_| BitmapError("it is too large"))?;
            let bitmap = RoaringBitmap::deserialize_from(take(bytes, size)?)
                .map_err(|_| BitmapError("it is not a Roaring bitmap"))?;
            add(&bitmap, base, into);
        }
        _ => return Err(BitmapError("its kind is not known")),
    }
    Ok(())
}

/// Returns the numbers of a bitmap as ranges.
pub fn ranges(bitmap: &RoaringTreemap) -> RangeSet {
    let mut set = RangeSet::new();
    for (high, part) in bitmap.bitmaps() {
        add(part, u64::from(high) << 32, &mut set);
    }
    set
}

fn add(bitmap: &RoaringBitmap, base: u64, into: &mut RangeSet) {
    let mut numbers = bitmap.iter();
    while let Some(run) = numbers.next_range() {
        into.insert(base + u64::from(*run.start())..base + u64::from(*run.end()) + 1);
    }
}

/// Takes some bytes from the front.
///
/// # Errors
///
/// Returns [`BitmapError`] if there are not as many.
pub fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Result<&'b [u8], BitmapError> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(BitmapError("it ends too early"))?;
    *bytes = rest;
    Ok(taken)
}

/// Takes a LEB128 number from the front of `bytes`.
///
/// # Errors
///
/// Returns [`BitmapError`] if it ends too early or is too long.
pub fn take_number(bytes: &mut &[u8]) -> Result<u64, BitmapError> {
    leb128::take(bytes).ok_or(BitmapError("a number in it ends too early, or is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server answered to `SELECT groupBitmapState(toUInt16(number)) FROM numbers(100)`.
    const HUNDRED: [u8; 17] =
        [0x01, 0x0f, 0x3b, 0x30, 0, 0, 0x01, 0, 0, 0x63, 0, 0x01, 0, 0, 0, 0x63, 0];

    #[test]
    fn large_and_small_sets_follow_each_other() {
        let small = [0, 2, 7, 1, 5, 0];
        let bytes = [&HUNDRED[..], &small[..]].concat();
        let (mut rest, mut set) = (&bytes[..], RangeSet::new());
        take_set(&mut rest, 1 << 14, &mut set).unwrap();
        take_set(&mut rest, 0, &mut set).unwrap();
        let hundred = 1 << 14..(1 << 14) + 100;
        assert_eq!(set, [5..6, 263..264, hundred].into_iter().collect());
        assert!(rest.is_empty());
    }

    #[test]
    fn a_set_cut_at_any_byte_is_an_error() {
        for length in 0..HUNDRED.len() {
            let cut = take_set(&mut &HUNDRED[..length], 0, &mut RangeSet::new());
            assert!(cut.is_err(), "{length} bytes");
        }
    }

    #[test]
    fn ranges_cross_the_parts_of_a_bitmap() {
        let edge = 1u64 << 32;
        let bitmap: RoaringTreemap = [0, edge - 1, edge, edge + 1].into_iter().collect();
        assert_eq!(ranges(&bitmap), [0..1, edge - 1..edge + 2].into_iter().collect());
    }
}
