//! The root of a Merkle tree over the identifiers of events, as RFC 6962 (Certificate Transparency)
//! defines it. Pure.
//!
//! Nothing of the tree is kept but the roots of some subtrees, so that a billion leaves need little
//! memory.

use std::ops::Range;

use events::identity::{RunMark, Seq, TenantIndex};
use rayon::prelude::*;
use runs::ranges::RangeSet;
use sha2::{Digest as _, Sha256};

type Hash = [u8; 32];

/// The events of a tree, in the order of its leaves.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    parts: Vec<Part>,
    count: u64,
}

/// Consecutive events of a tenant, and the number of the first one's leaf.
#[derive(Debug)]
struct Part {
    first: u64,
    tenant: TenantIndex,
    seqs: Range<u64>,
}

impl Leaves {
    /// Adds the events of the next tenant.
    pub(crate) fn push(&mut self, tenant: TenantIndex, seqs: &RangeSet) {
        for seqs in seqs.ranges() {
            self.parts.push(Part { first: self.count, tenant, seqs: seqs.clone() });
            self.count += seqs.end - seqs.start;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the root of the tree whose leaves are the 16 bytes of each event's audit ID.
    pub(crate) fn root(&self, mark: RunMark) -> Hash {
        let blocks: Vec<Frontier> = (0..self.count.div_ceil(BLOCK_LEAVES))
            .into_par_iter()
            .map(|block| {
                let first = block * BLOCK_LEAVES;
                let mut frontier = Frontier::default();
                self.visit(first..(first + BLOCK_LEAVES).min(self.count), |tenant, seq| {
                    frontier.push(0, leaf(mark.audit_id(tenant, seq).as_bytes()));
                });
                frontier
            })
            .collect();
        let mut whole = Frontier::default();
        for (level, hash) in blocks.into_iter().flat_map(|block| block.subtrees) {
            whole.push(level, hash);
        }
        whole.root()
    }

    /// Visits some leaves in order.
    fn visit(&self, leaves: Range<u64>, mut visit: impl FnMut(TenantIndex, Seq)) {
        let begun = self.parts.partition_point(|part| part.first <= leaves.start);
        for part in &self.parts[begun.saturating_sub(1)..] {
            if part.first >= leaves.end {
                break;
            }
            let skipped = leaves.start.saturating_sub(part.first);
            let end = part.seqs.end.min(part.seqs.start + (leaves.end - part.first));
            (part.seqs.start + skipped..end).for_each(|seq| visit(part.tenant, Seq(seq)));
        }
    }
}

/// Leaves whose hashes are computed together. A power of two, so that they are a subtree.
const BLOCK_LEAVES: u64 = 1 << 14;

/// The largest complete subtrees of a tree, from left to right, each with its height.
#[derive(Debug, Default)]
struct Frontier {
    subtrees: Vec<(u32, Hash)>,
}

impl Frontier {
    /// Adds the next subtree, which is no higher than those before it.
    fn push(&mut self, mut level: u32, mut hash: Hash) {
        while let Some(&(other, left)) = self.subtrees.last() {
            if other != level {
                break;
            }
            self.subtrees.pop();
            hash = node(&left, &hash);
            level += 1;
        }
        self.subtrees.push((level, hash));
    }

    fn root(self) -> Hash {
        let from_right = self.subtrees.into_iter().rev().map(|(_, hash)| hash);
        let root = from_right.reduce(|right, left| node(&left, &right));
        root.unwrap_or_else(|| Sha256::digest([]).into())
    }
}

fn leaf(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::certificate::statement::hex;

    /// The tree by the words of RFC 6962, section 2.1.
    fn by_the_book(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => leaf(one),
            _ => {
                let left = leaves.len().next_power_of_two() / 2;
                node(&by_the_book(&leaves[..left]), &by_the_book(&leaves[left..]))
            }
        }
    }

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        // Source: google/certificate-transparency, `merkletree/merkle_tree_test.cc`.
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        for (count, expected) in [
            (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            (5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
            (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
        ] {
            let mut frontier = Frontier::default();
            leaves[..count].iter().for_each(|bytes| frontier.push(0, leaf(bytes)));
            assert_eq!(hex(&frontier.root()), expected, "{count} leaves");
        }
    }

    #[test]
    fn blocks_and_gaps_make_no_difference() {
        let mark = RunMark::of(Uuid::from_u128(7));
        for counts in [[0, 0, 1], [BLOCK_LEAVES, 0, 0], [BLOCK_LEAVES - 1, 2, 3 * BLOCK_LEAVES + 5]]
        {
            let (mut leaves, mut all) = (Leaves::default(), Vec::new());
            for (tenant, count) in counts.into_iter().enumerate() {
                let tenant = TenantIndex(u16::try_from(tenant).unwrap());
                let mut seqs = RangeSet::of(0..count + 1);
                seqs.remove(0..1);
                // A gap in the middle, without losing one.
                if count > 10 {
                    seqs.remove(5..8);
                    seqs.insert(count + 1..count + 4);
                }
                let ids = seqs.iter().map(|seq| mark.audit_id(tenant, Seq(seq)));
                all.extend(ids.map(|id| id.as_bytes().to_vec()));
                leaves.push(tenant, &seqs);
            }
            assert_eq!(leaves.count(), u64::try_from(all.len()).unwrap());
            assert_eq!(leaves.root(mark), by_the_book(&all), "{counts:?}");
        }
    }
}
