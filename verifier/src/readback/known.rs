//! The runs whose events are known: the one that is read back, and others whose events the table
//! has too. Pure.

use std::iter::once;

use events::script::Script;
use plans::plan::Plan;
use uuid::Uuid;

/// The runs whose events are known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownRuns<'r> {
    /// The run that is read back.
    pub(crate) own: &'r Plan,
    /// Others.
    pub(crate) histories: &'r [Plan],
}

/// Whose event it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The tenant, like `Project/acme-shop`.
    pub(crate) tenant: Option<String>,
    /// The run, if it is not the one that is read back.
    pub(crate) run: Option<Uuid>,
}

impl<'r> KnownRuns<'r> {
    pub(crate) fn script(self) -> &'r Script {
        &self.own.script
    }

    /// All of them, the one that is read back first.
    pub(crate) fn scripts(self) -> Vec<&'r Script> {
        self.plans().map(|plan| &plan.script).collect()
    }

    /// Whose an event is.
    pub(crate) fn owner(self, id: Uuid) -> Owner {
        let located = |(at, plan): (usize, &Plan)| {
            let (tenant, _) = plan.script.locate(id)?;
            let tenant = plan.script.world().tenants().get(usize::from(tenant.0))?;
            let run = (at > 0).then_some(plan.spec.run_id);
            Some(Owner { tenant: Some(tenant.place()), run })
        };
        self.plans().enumerate().find_map(located).unwrap_or_default()
    }

    fn plans(self) -> impl Iterator<Item = &'r Plan> {
        once(self.own).chain(self.histories)
    }
}

#[cfg(test)]
mod tests {
    use events::identity::{Seq, TenantIndex};
    use plans::spec::{RunOptions, Span};

    use super::*;

    fn plan(run: u128) -> Plan {
        let text = "name: x\nstages: [{duration: 20s, rate: 5/s, tenants: 40}]\n";
        let options = RunOptions::new(Uuid::from_u128(run), 1_790_000_000_000_000, Span::Live);
        Plan::parse(text, "x", options).unwrap()
    }

    #[test]
    fn the_owner_of_an_event_is_its_tenant_and_its_run_if_that_is_another_one() {
        let (own, other, stranger) = (plan(1), [plan(2)], plan(3));
        let runs = KnownRuns { own: &own, histories: &other };
        let mut places = Vec::new();
        for tenant in own.script.tenants() {
            let of = |plan: &Plan| runs.owner(plan.script.audit_id(tenant, Seq(3)));
            let (ours, theirs) = (of(&own), of(&other[0]));
            assert_eq!((ours.run, theirs.run), (None, Some(Uuid::from_u128(2))));
            assert_eq!(ours.tenant, theirs.tenant);
            assert_eq!(of(&stranger), Owner::default());
            places.push(ours.tenant.unwrap());
        }
        for form in ["Organization/", "Project/", "User/user-", "global"] {
            assert!(places.iter().any(|place| place.starts_with(form)), "{places:?}");
        }
        let beyond = own.script.audit_id(TenantIndex(999), Seq(0));
        assert_eq!(runs.owner(beyond), Owner::default());
    }
}
