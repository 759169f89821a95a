//! A run and its right answers, for tests: computed event by event.

use events::identity::{Seq, TenantIndex};
use events::row::Columns;
use plans::plan::Plan;
use plans::spec::{RunOptions, Span};
use runs::ranges::TenantRanges;
use uuid::Uuid;

use crate::order::{Order, Place};
use crate::page::{Page, Shown};
use crate::question::{Question, Scope, UnixSeconds};

pub(crate) const START: i64 = 1_790_000_000_000_000;

/// A run of ten tenants with watches and shells, some of which take minutes.
pub(crate) fn plan() -> Plan {
    let options = RunOptions::new(Uuid::from_u128(7), START, Span::Live);
    let text = "name: x\nmix: cluster\nstages: [{duration: 20m, rate: 1/s, tenants: 10}]\n";
    Plan::parse(text, "x", options).unwrap()
}

/// A tenant that the API has a scope for.
pub(crate) fn scoped(plan: &Plan) -> (TenantIndex, Scope) {
    let world = plan.script.world();
    let scope = |tenant| Scope::of_tenant(world.tenant(tenant)).map(|scope| (tenant, scope));
    plan.script.tenants().find_map(scope).unwrap()
}

/// All events of a run.
pub(crate) fn all(plan: &Plan) -> TenantRanges {
    let count = |tenant| plan.script.timeline(tenant).count();
    let mut all = TenantRanges::new();
    plan.script.tenants().for_each(|tenant| all.insert(tenant, 0..count(tenant)));
    all
}

/// A question for all of a scope.
pub(crate) fn question(scope: Scope) -> Question {
    let second = |us: i64| UnixSeconds(us / 1_000_000);
    Question::all(scope, second(START).plus(-3_600), second(START).plus(3_600), 100)
}

/// The whole answer to a question, by looking at every event.
pub(crate) fn truth(
    plan: &Plan,
    question: &Question,
    stored: &TenantRanges,
) -> Vec<(Place, TenantIndex, Seq, Shown)> {
    let order = Order::of(&question.scope, &question.filter);
    let mut columns = Columns::default();
    let mut answer = Vec::new();
    for (tenant, seqs) in stored.iter() {
        for seq in seqs.iter().map(Seq) {
            let facts = plan.script.facts(tenant, seq).unwrap();
            columns.fill(&facts);
            if question.admits(&columns, facts.audit_id) {
                let shown = Shown { id: Some(facts.audit_id), received: Some(facts.received) };
                answer.push((order.place(&columns, facts.audit_id), tenant, seq, shown));
            }
        }
    }
    answer.sort_by(|one, other| other.0.cmp(&one.0));
    answer
}

/// A page of some events.
pub(crate) fn page(events: &[Shown], next: Option<&str>) -> Page {
    Page { events: events.to_vec(), next: next.map(str::to_owned), ..Page::default() }
}
