//! Decides what is read back: which scopes, and which events each of them must show.

use std::collections::BTreeMap;

use edges::shutdown::Stop;
use events::draw::Draw;
use events::identity::TenantIndex;
use events::timeline::UnixMicros;
use queries::question::{Scope, UnixSeconds};
use runs::ranges::{RangeSet, TenantRanges};
use stores::clickhouse::ClickHouse;
use stores::stored::Arrivals;

use super::unit::{CLOCK_SECONDS, Unit, readable_period};
use crate::error::VerifyError;
use crate::patience::Patience;
use crate::recorded::Recorded;
use crate::scan::scan_ids;

/// Which tenants are read back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    /// The most tenants; `None` for all.
    pub tenants_max: Option<u32>,
    /// The share of the tenants, from 0 to 1, which the run's seed chooses.
    pub share: f64,
    /// Whether the platform is asked for the events of tenants whose events nobody else can see.
    pub with_platform: bool,
}

/// What is read back.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) units: Vec<Unit>,
    /// Stored events of other tenants.
    pub(super) not_asked: u64,
}

/// What is known to be there of a tenant's events.
struct Known {
    stored: RangeSet,
    doubled: RangeSet,
    not_stored: u64,
}

/// Chooses the scopes, and asks the table what is stored of them.
pub(super) async fn plan_units(
    run: &Recorded,
    table: Option<&ClickHouse>,
    chosen: &Chosen,
    patience: &mut Patience,
) -> Result<Choice, VerifyError> {
    let script = &run.plan.script;
    wait_for_end(run.plan.end, patience).await?;
    let held = match table {
        Some(table) => Some(scan_ids(table, script, ROWS_AT_ONCE, patience).await?),
        None => None,
    };
    let now = patience.clock.now();
    let period = readable_period(script, (run.plan.start, run.plan.end), now);
    let mut units: BTreeMap<Scope, Unit> = BTreeMap::new();
    let (mut not_asked, mut asked) = (0, 0);
    for tenant in script.tenants() {
        // An event that is due by then was received by then.
        let due = script.timeline(tenant).count_before(period.1.micros());
        let Known { stored, doubled, not_stored } = known(run, tenant, held.as_ref(), due);
        let of_tenant = Scope::of_tenant(script.world().tenant(tenant));
        let scope = match of_tenant {
            Some(scope) => is_chosen(chosen, script.world().seed(), tenant).then_some(scope),
            None => chosen.with_platform.then_some(Scope::Platform),
        };
        let is_platform = scope == Some(Scope::Platform);
        let has_room = is_platform || chosen.tenants_max.is_none_or(|max| asked < max);
        let Some(scope) = scope.filter(|_| has_room) else {
            not_asked += stored.count();
            continue;
        };
        asked += u32::from(!is_platform);
        let unit = units.entry(scope.clone()).or_insert_with(|| Unit {
            scope,
            stored: TenantRanges::new(),
            not_stored: 0,
            doubled: TenantRanges::new(),
            period,
        });
        unit.stored.insert_all(tenant, &stored);
        unit.doubled.insert_all(tenant, &doubled);
        unit.not_stored += not_stored;
    }
    Ok(Choice { units: units.into_values().collect(), not_asked })
}

/// Waits until the last second of a run that has just ended can be asked for.
async fn wait_for_end(end: UnixMicros, patience: &mut Patience) -> Result<(), VerifyError> {
    let clock = patience.clock;
    let past = UnixSeconds::of(end).plus(1 + CLOCK_SECONDS).micros();
    if past - clock.now() > END_WAIT_US_MAX {
        return Ok(());
    }
    tokio::select! {
        () = clock.sleep_until(past) => Ok(()),
        () = patience.shutdown.asked(Stop::Drain) => Err(VerifyError::Stopped),
    }
}

/// A run that ends later than that is read up to now.
const END_WAIT_US_MAX: i64 = 10_000_000;

fn is_chosen(chosen: &Chosen, seed: u64, tenant: TenantIndex) -> bool {
    let draw = Draw::new(seed, SAMPLE_STREAM, tenant.0.into()).bits();
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more bits than a float has")]
    let at = (draw >> 11) as f64 / (1_u64 << 53) as f64;
    at < chosen.share
}

const SAMPLE_STREAM: u64 = 11 << 32;

/// What is there of a tenant's first `due` events: what the table has of them, or else what was
/// acknowledged. What was spoiled on purpose is left out.
fn known(
    run: &Recorded,
    tenant: TenantIndex,
    held: Option<&BTreeMap<TenantIndex, Arrivals>>,
    due: u64,
) -> Known {
    let account = &run.ledger.accounts[usize::from(tenant.0)];
    let due = RangeSet::of(0..due);
    let judged = |seqs: &RangeSet| due.intersection(&seqs.difference(&account.spoiled));
    let acknowledged = judged(&account.acknowledged);
    let Some(held) = held else {
        return Known { stored: acknowledged, doubled: due, not_stored: 0 };
    };
    let (stored, doubled) = held.get(&tenant).map_or_else(Default::default, |arrivals| {
        (judged(&arrivals.seqs), judged(&arrivals.repeated))
    });
    let not_stored = acknowledged.difference(&stored).count();
    Known { stored, doubled, not_stored }
}

/// Partitions with this many rows are read together.
const ROWS_AT_ONCE: u64 = 50_000_000;
