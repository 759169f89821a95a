//! Digests of what was sent. Computing all events of a run takes longer than reading a table of
//! them. A plan does not change, so later checks reuse what an earlier one has computed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;

use edges::exit::chain;
use events::identity::{Seq, TenantIndex};
use events::row::Columns;
use events::script::Script;
use plans::plan::Plan;
use rayon::prelude::*;
use runs::ranges::RangeSet;
use runs::run_dir::RunDir;
use serde::{Deserialize, Serialize};
use stores::stored::{Arrivals, STRETCH_BITS, Stretch, Sums};
use uuid::Uuid;

use crate::digest::{digest, has_tenant};

/// The digests of what a run sent, by tenant and stretch.
///
/// The digests of whole stretches are kept in the run's directory. A wrong one costs time, but
/// cannot give a wrong result: wherever a digest differs from the table's, each row is compared
/// with the plan.
#[derive(Debug)]
pub struct Expected<'r> {
    dir: &'r RunDir,
    plan: &'r Plan,
    kept: Sums,
    /// Called with a message if the digests cannot be kept.
    story: fn(&str),
}

/// The format of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    of: Origin,
    digests: Vec<(Stretch, u64)>,
}

/// Identifies what the digests were computed from. Another version may make other events.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    tool_version: String,
    run_id: Uuid,
    stretch_bits: u32,
}

impl<'r> Expected<'r> {
    /// Reads the digests that an earlier check of the run has kept. A file that cannot be read, or
    /// that another version or run wrote, is ignored.
    pub fn open(dir: &'r RunDir, plan: &'r Plan, story: fn(&str)) -> Self {
        let text = fs::read(dir.file(FILE)).unwrap_or_default();
        let kept = serde_json::from_slice(&text).ok();
        let kept = kept.filter(|kept: &Kept| kept.of == Origin::of(plan));
        let digests = kept.map(|kept| kept.digests).unwrap_or_default();
        Self { dir, plan, kept: digests.into_iter().collect(), story }
    }

    /// The script whose events the digests are of.
    pub fn script(&self) -> &'r Script {
        &self.plan.script
    }

    /// Returns the digests that the rows of some events have if they are stored as they were sent.
    /// Events that the run does not have are ignored.
    pub fn digests(&mut self, held: &BTreeMap<TenantIndex, Arrivals>) -> Sums {
        let script = self.script();
        let ours = held.iter().filter(|(tenant, _)| has_tenant(script, **tenant));
        let stretches: BTreeMap<Stretch, RangeSet> = ours
            .flat_map(|(tenant, arrivals)| {
                let known = arrivals.seqs.intersection(&RangeSet::of(planned(script, *tenant)));
                by_stretch(&known).into_iter().map(|(part, seqs)| ((tenant.0, part), seqs))
            })
            .collect();
        let whole: BTreeSet<Stretch> = stretches
            .iter()
            .filter(|(stretch, seqs)| **seqs == all_of(script, **stretch))
            .map(|(stretch, _)| *stretch)
            .collect();
        let digests: Sums = stretches
            .par_iter()
            .map_init(Columns::default, |columns, part| {
                let kept = self.kept.get(part.0).filter(|_| whole.contains(part.0));
                let digest = kept.copied().unwrap_or_else(|| sum(script, part, columns));
                (*part.0, digest)
            })
            .collect();
        if whole.iter().any(|stretch| !self.kept.contains_key(stretch)) {
            self.kept.extend(whole.into_iter().map(|stretch| (stretch, digests[&stretch])));
            self.keep();
        }
        digests
    }

    /// Writes the digests for later checks. If that fails, later checks compute them again.
    fn keep(&self) {
        let digests = self.kept.iter().map(|(stretch, digest)| (*stretch, *digest)).collect();
        let kept = self.dir.write_json(FILE, &Kept { of: Origin::of(self.plan), digests });
        if let Err(error) = kept {
            (self.story)(&format!("the digests are not kept: {}", chain(&error)));
        }
    }
}

impl Origin {
    fn of(plan: &Plan) -> Self {
        Self {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            run_id: plan.spec.run_id,
            stretch_bits: STRETCH_BITS,
        }
    }
}

const FILE: &str = "digests.json";

fn planned(script: &Script, tenant: TenantIndex) -> Range<u64> {
    0..script.timeline(tenant).count()
}

/// Splits a set at the borders of stretches.
fn by_stretch(seqs: &RangeSet) -> BTreeMap<u64, RangeSet> {
    let mut parts: BTreeMap<u64, RangeSet> = BTreeMap::new();
    for range in seqs.ranges() {
        let mut start = range.start;
        while start < range.end {
            let stretch = start >> STRETCH_BITS;
            let end = range.end.min((stretch + 1) << STRETCH_BITS);
            parts.entry(stretch).or_default().insert(start..end);
            start = end;
        }
    }
    parts
}

/// Returns all events that the run has in a stretch.
pub(crate) fn all_of(script: &Script, (tenant, stretch): Stretch) -> RangeSet {
    let all = (stretch << STRETCH_BITS)..(stretch + 1) << STRETCH_BITS;
    RangeSet::of(all).intersection(&RangeSet::of(planned(script, TenantIndex(tenant))))
}

/// Returns the sum of the digests of some events of a stretch, as they were sent.
pub(crate) fn sum(
    script: &Script,
    (stretch, seqs): (&Stretch, &RangeSet),
    columns: &mut Columns,
) -> u64 {
    let tenant = TenantIndex(stretch.0);
    let mut walk = script.timeline(tenant).walk();
    let digests = seqs.iter().map(Seq).map(|seq| {
        let due = walk.due(seq).expect("below the tenant's count");
        columns.fill(&script.facts_due(tenant, seq, due));
        digest(tenant, seq, columns)
    });
    digests.fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use plans::spec::{RunOptions, Span};

    use super::*;

    /// Makes two tenants with a whole stretch each, and a few events more.
    fn plan() -> Plan {
        let text = "name: x\nstages: [{duration: 10s, rate: 2000/s, tenants: 2}]\n";
        let start = 1_760_000_000_000_000;
        Plan::parse(text, "x", RunOptions::new(Uuid::from_u128(7), start, Span::Live)).unwrap()
    }

    fn held(plan: &Plan) -> BTreeMap<TenantIndex, Arrivals> {
        let arrivals = |tenant| Arrivals {
            seqs: RangeSet::of(planned(&plan.script, tenant)),
            ..Arrivals::default()
        };
        plan.script.tenants().map(|tenant| (tenant, arrivals(tenant))).collect()
    }

    #[test]
    fn whole_stretches_are_computed_once() {
        let place = tempfile::tempdir().unwrap();
        let plan = plan();
        let dir = RunDir::create(place.path(), &plan.spec).unwrap();
        let digests = || Expected::open(&dir, &plan, |_| {}).digests(&held(&plan));
        let computed = digests();
        assert_eq!(computed.len(), 4);
        assert_eq!(digests(), computed);
        let text = fs::read_to_string(dir.file(FILE)).unwrap();
        let one = computed[&(1, 0)];
        let check = |text: &str, expected: u64| {
            fs::write(dir.file(FILE), text).unwrap();
            assert_eq!(digests()[&(1, 0)], expected, "{text}");
        };
        check(&text.replace(&one.to_string(), "5"), 5);
        check(
            &text.replace(env!("CARGO_PKG_VERSION"), "0.0.1").replace(&one.to_string(), "5"),
            one,
        );
        check(&text[..text.len() / 2], one);
        check("", one);
    }

    #[test]
    fn a_stretch_that_is_not_whole_is_computed_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let plan = plan();
        let dir = RunDir::create(place.path(), &plan.spec).unwrap();
        let mut part = held(&plan);
        part.get_mut(&TenantIndex(1)).unwrap().seqs = RangeSet::of(1..40_000_000);
        let before = Expected::open(&dir, &plan, |_| {}).digests(&part);
        assert!(!Expected::open(&dir, &plan, |_| {}).kept.contains_key(&(1, 0)));
        let all = Expected::open(&dir, &plan, |_| {}).digests(&held(&plan));
        assert_ne!(before[&(1, 0)], all[&(1, 0)]);
        assert_eq!(Expected::open(&dir, &plan, |_| {}).digests(&part), before);
        let first = sum(&plan.script, (&(1, 0), &RangeSet::of(0..1)), &mut Columns::default());
        assert_eq!(before[&(1, 0)].wrapping_add(first), all[&(1, 0)]);
    }
}
