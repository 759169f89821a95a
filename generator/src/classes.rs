//! Classes of tenants, whose latencies are told apart.

use events::identity::TenantIndex;
use harness::plan::Groups;

/// Which class each tenant is of. A class is an index into the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Classes {
    names: Vec<String>,
    of_tenant: Vec<u8>,
}

impl Classes {
    /// The groups of tenants that the profile has.
    pub(crate) fn of_groups(groups: &Groups) -> Self {
        Self { names: groups.names.clone(), of_tenant: groups.of_tenant.clone() }
    }

    /// One class of all tenants.
    #[cfg(test)]
    pub(crate) fn one(tenants: usize) -> Self {
        Self { names: vec!["all".to_owned()], of_tenant: vec![0; tenants] }
    }

    /// Two classes, of the even and the odd tenants.
    #[cfg(test)]
    pub(crate) fn two(tenants: usize) -> Self {
        let of_tenant = [0, 1].into_iter().cycle().take(tenants).collect();
        Self { names: vec!["calm".to_owned(), "busy".to_owned()], of_tenant }
    }

    /// The names, by class. There is at least one.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The class of a tenant of the plan.
    pub(crate) fn of(&self, tenant: TenantIndex) -> usize {
        self.of_tenant[usize::from(tenant.0)].into()
    }
}
