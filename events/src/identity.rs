//! The audit ID of an event carries its own coordinates.
//!
//! An ID looks like any random version 4 UUID, but its 122 free bits are a bijection of
//!
//! ```text
//! run tag 24 bits | tenant 16 bits | seq 40 bits | run check 42 bits
//! ```
//!
//! Whoever sees an ID (in a NATS header, or in a ClickHouse column) can therefore say which event
//! of which tenant it is, and whether it belongs to this run at all. Tag and check together are 66
//! bits that belong to the run; a foreign ID matches them once in 7·10¹⁹ times.
//!
//! The bijection is a Feistel network over the two halves of the UUID, as they lie in memory: 60
//! free bits in the first half and 62 in the second. Its round function is ClickHouse's
//! `intHash64`, so the server itself can undo it: [`RunMark::location_sql`] is the same decoding in
//! SQL.

use uuid::Uuid;

/// The highest tenant count a run can have: an ID has 16 bits for the tenant.
pub const TENANTS_MAX: u32 = 1 << 16;

/// One more than the highest sequence number of a tenant: an ID has 40 bits for it.
pub const SEQ_END: u64 = 1 << 40;

/// The index of a tenant (a simulated control plane) in a run, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantIndex(pub u16);

/// The number of an event of a tenant, counted from 0 in the order of due times. It is less than
/// [`SEQ_END`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// The bits that all IDs of one run share: 24 bits of tag and 42 bits of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunMark {
    tag: u64,
    check: u64,
}

impl RunMark {
    /// Derives the mark of a run from all 128 bits of its run ID.
    pub fn of(run_id: Uuid) -> Self {
        let (high, low) = run_id.as_u64_pair();
        let mixed = int_hash_64(high ^ int_hash_64(low));
        Self { tag: mixed >> (64 - TAG_BITS), check: int_hash_64(mixed ^ low) & CHECK_MASK }
    }

    /// Returns the audit ID of an event of this run.
    pub fn audit_id(self, tenant: TenantIndex, seq: Seq) -> Uuid {
        debug_assert!(seq.0 < SEQ_END, "a sequence number has 40 bits");
        let mut first = self.tag << (TENANT_BITS + SEQ_BITS - SEQ_LOW_BITS)
            | u64::from(tenant.0) << (SEQ_BITS - SEQ_LOW_BITS)
            | seq.0 >> SEQ_LOW_BITS;
        let mut second = (seq.0 & SEQ_LOW_MASK) << CHECK_BITS | self.check;
        second ^= round(0, first) & SECOND_MASK;
        first ^= round(1, second) & FIRST_MASK;
        second ^= round(2, first) & SECOND_MASK;
        first ^= round(3, second) & FIRST_MASK;
        let high = (first >> 12) << 16 | VERSION_4 | (first & 0xfff);
        Uuid::from_u64_pair(high, VARIANT_RFC | second)
    }

    /// Returns which event of this run has this audit ID, or `None` if it is not of this run.
    pub fn locate(self, id: Uuid) -> Option<(TenantIndex, Seq)> {
        let (high, low) = id.as_u64_pair();
        if high & VERSION_MASK != VERSION_4 || low & !SECOND_MASK != VARIANT_RFC {
            return None;
        }
        let mut first = (high >> 16) << 12 | (high & 0xfff);
        let mut second = low & SECOND_MASK;
        first ^= round(3, second) & FIRST_MASK;
        second ^= round(2, first) & SECOND_MASK;
        first ^= round(1, second) & FIRST_MASK;
        second ^= round(0, first) & SECOND_MASK;
        let tag = first >> (TENANT_BITS + SEQ_BITS - SEQ_LOW_BITS);
        if tag != self.tag || second & CHECK_MASK != self.check {
            return None;
        }
        let tenant = (first >> (SEQ_BITS - SEQ_LOW_BITS)) & 0xffff;
        let seq = (first & SEQ_HIGH_MASK) << SEQ_LOW_BITS | second >> CHECK_BITS;
        Some((TenantIndex(u16::try_from(tenant).expect("masked to 16 bits")), Seq(seq)))
    }

    /// Returns [`Self::locate`] as SQL over a column of type `UUID`.
    pub fn location_sql(self, column: &str) -> LocationSql {
        location_sql(column, self)
    }
}

/// The parts of a ClickHouse query that decode a column of audit IDs.
///
/// Use it as `WITH {with} SELECT {tenant}, {seq} … WHERE {is_ours}`. `tenant` has the type
/// `UInt16`, and `seq` has `UInt64`. Both are meaningful only where `is_ours` is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationSql {
    pub with: String,
    pub tenant: &'static str,
    pub seq: &'static str,
    pub is_ours: String,
}

fn location_sql(column: &str, mark: RunMark) -> LocationSql {
    let round = |index: usize, half: &str| format!("intHash64(bitXor({half}, {}))", KEYS[index]);
    let with = [
        // A UUID is two little-endian numbers in memory; the first half of its text comes first.
        format!("reinterpretAsUInt64({column}) AS id_high"),
        format!("toUInt64(toUInt128({column})) AS id_low"),
        "bitOr(bitShiftLeft(bitShiftRight(id_high, 16), 12), bitAnd(id_high, 4095)) AS first_4"
            .to_owned(),
        format!("bitAnd(id_low, {SECOND_MASK}) AS second_4"),
        format!("bitXor(first_4, bitAnd({}, {FIRST_MASK})) AS first_3", round(3, "second_4")),
        format!("bitXor(second_4, bitAnd({}, {SECOND_MASK})) AS second_2", round(2, "first_3")),
        format!("bitXor(first_3, bitAnd({}, {FIRST_MASK})) AS first_0", round(1, "second_2")),
        format!("bitXor(second_2, bitAnd({}, {SECOND_MASK})) AS second_0", round(0, "first_0")),
    ]
    .join(", ");
    // All conditions are in one expression, so that the server computes them without branches.
    let is_ours = format!(
        "bitOr(bitOr(bitXor(bitShiftRight(first_0, {}), {}), \
         bitXor(bitAnd(second_0, {CHECK_MASK}), {})), \
         bitOr(bitXor(bitAnd(id_high, {VERSION_MASK}), {VERSION_4}), \
         bitXor(bitShiftRight(id_low, 62), 2))) = 0",
        TENANT_BITS + SEQ_BITS - SEQ_LOW_BITS,
        mark.tag,
        mark.check,
    );
    LocationSql {
        with,
        tenant: "toUInt16(bitAnd(bitShiftRight(first_0, 20), 65535))",
        seq: "bitOr(bitShiftLeft(bitAnd(first_0, 1048575), 20), bitShiftRight(second_0, 42))",
        is_ours,
    }
}

/// ClickHouse's `intHash64`: the finalizer of MurmurHash3, applied to the argument XOR a constant.
///
/// Source: ClickHouse, `src/Common/HashTable/Hash.h` and `src/Functions/FunctionsHashing.h`.
pub fn int_hash_64(value: u64) -> u64 {
    let mut x = value ^ 0x4cf2_d2ba_ae6d_a887;
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

const TAG_BITS: u32 = 24;
const TENANT_BITS: u32 = 16;
const SEQ_BITS: u32 = 40;
const SEQ_LOW_BITS: u32 = 20;
const CHECK_BITS: u32 = 42;
const SEQ_LOW_MASK: u64 = (1 << SEQ_LOW_BITS) - 1;
const SEQ_HIGH_MASK: u64 = (1 << (SEQ_BITS - SEQ_LOW_BITS)) - 1;
const CHECK_MASK: u64 = (1 << CHECK_BITS) - 1;
const FIRST_MASK: u64 = (1 << 60) - 1;
const SECOND_MASK: u64 = (1 << 62) - 1;
const VERSION_MASK: u64 = 0xf000;
const VERSION_4: u64 = 0x4000;
const VARIANT_RFC: u64 = 1 << 63;

/// One key for each round: the first fractional digits of pi. The keys must differ, but need not be
/// secret.
const KEYS: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

fn round(index: usize, half: u64) -> u64 {
    int_hash_64(half ^ KEYS[index])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::draw::Draw;

    fn mark() -> RunMark {
        RunMark::of(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef))
    }

    #[test]
    fn int_hash_64_is_the_servers() {
        // SELECT intHash64(toUInt64(1))
        assert_eq!(int_hash_64(1), 10_577_349_846_663_553_072);
    }

    #[test]
    fn a_million_coordinates_round_trip_and_no_id_repeats() {
        let mut draw = Draw::new(7, 0, 0);
        let mut seen = HashSet::new();
        for index in 0..1_000_000u64 {
            let mark = RunMark::of(Uuid::from_u64_pair(draw.bits(), draw.bits()));
            let tenant = TenantIndex(u16::try_from(draw.bits() >> 48).unwrap());
            // Half of them are small and dense, as in real runs; the others are anywhere.
            let seq = Seq(if index % 2 == 0 { index / 2 } else { draw.bits() % SEQ_END });
            let id = mark.audit_id(tenant, seq);
            assert_eq!(mark.locate(id), Some((tenant, seq)), "{id}");
            assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
            assert!(seen.insert(id), "{id} was made twice");
        }
    }

    #[test]
    fn a_dense_block_of_one_run_has_no_id_twice() {
        let mut seen = HashSet::new();
        for tenant in 0..100 {
            for seq in 0..10_000 {
                assert!(seen.insert(mark().audit_id(TenantIndex(tenant), Seq(seq))));
            }
        }
    }

    #[test]
    fn foreign_ids_are_never_taken_for_ours() {
        let mut draw = Draw::new(8, 0, 0);
        for _ in 0..1_000_000 {
            let bytes = u128::from(draw.bits()) << 64 | u128::from(draw.bits());
            let foreign = uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid();
            assert_eq!(mark().locate(foreign), None, "{foreign}");
        }
        assert_eq!(mark().locate(Uuid::nil()), None);
    }

    #[test]
    fn an_id_with_any_bit_flipped_is_foreign() {
        for seq in 0..1_000 {
            let id = mark().audit_id(TenantIndex(3), Seq(seq)).as_u128();
            for bit in 0..128 {
                assert_eq!(mark().locate(Uuid::from_u128(id ^ (1 << bit))), None);
            }
        }
    }

    #[test]
    fn runs_do_not_recognise_each_others_ids() {
        let other = RunMark::of(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdee));
        assert_eq!(other.locate(mark().audit_id(TenantIndex(0), Seq(0))), None);
    }

    #[test]
    fn every_free_bit_is_set_in_half_of_consecutive_ids() {
        let ids_count = 100_000u32;
        let mut set = [0u32; 128];
        for seq in 0..u64::from(ids_count) {
            let id = mark().audit_id(TenantIndex(1), Seq(seq)).as_u128();
            for (bit, count) in set.iter_mut().enumerate() {
                *count += u32::from(id >> bit & 1 == 1);
            }
        }
        // Six standard deviations of a fair coin, each of which is sqrt(n)/2.
        let tolerance = 6 * ids_count.isqrt() / 2;
        for (bit, &count) in set.iter().enumerate() {
            let fixed = (76..80).contains(&bit) || (62..64).contains(&bit);
            assert!(fixed || count.abs_diff(ids_count / 2) < tolerance, "bit {bit}: {count}");
        }
    }

    #[test]
    fn every_pair_of_ascii_hex_digits_is_equally_likely() {
        // Chi-square over the 256 values of each byte without fixed bits.
        let ids_count = 256_000u32;
        let mut counts = vec![[0u32; 256]; 16];
        for seq in 0..u64::from(ids_count) {
            for (at, &byte) in
                mark().audit_id(TenantIndex(2), Seq(seq)).as_bytes().iter().enumerate()
            {
                counts[at][usize::from(byte)] += 1;
            }
        }
        for (at, counts) in counts.iter().enumerate().filter(|(at, _)| *at != 6 && *at != 8) {
            let expected = f64::from(ids_count) / 256.0;
            let chi: f64 =
                counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
            // With 255 degrees of freedom the mean is 255, and six standard deviations are 6 ·
            // 22.6.
            assert!((120.0..391.0).contains(&chi), "byte {at}: chi-square {chi}");
        }
    }
}
