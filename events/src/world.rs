//! The tenants of a run: who they are, and what exists in them.
//!
//! A tenant is one simulated control plane with its own scope, company, people, namespaces and
//! nodes. Its objects are not stored anywhere: name and UID of the n-th workload of a namespace
//! are hashes of its coordinates, so that every event about it agrees.

use crate::draw::{Draw, mix};
use crate::identity::TenantIndex;
use crate::vocabulary::Vocabulary;

/// All that events take their names from.
#[derive(Debug, Clone)]
pub struct World {
    words: Vocabulary,
    tenants: Vec<Tenant>,
    seed: u64,
}

/// One simulated control plane.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub index: TenantIndex,
    pub scope: Scope,
    /// Name of the organization, project or user; empty in the global scope.
    pub scope_name: String,
    /// Mail domain of its people.
    pub domain: String,
    pub nodes: u32,
    key: u64,
}

/// Whose events these are, as the platform annotates them.
///
/// Source: `platform.miloapis.com/scope.type`, set by the platform's API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Organization,
    Project,
    User,
    Global,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "Organization",
            Self::Project => "Project",
            Self::User => "User",
            Self::Global => "global",
        }
    }

    /// API group of the scope's own kind, as `iam.miloapis.com/parent-api-group` has it.
    pub fn api_group(self) -> &'static str {
        match self {
            Self::Organization | Self::Project => "resourcemanager.miloapis.com",
            Self::User => "iam.miloapis.com",
            Self::Global => "",
        }
    }
}

/// A human of a tenant.
#[derive(Debug, Clone, Copy)]
pub struct Person<'w> {
    pub index: u32,
    pub first: &'w str,
    pub last: &'w str,
    pub domain: &'w str,
    pub team: &'w str,
}

impl World {
    pub fn new(seed: u64, tenants: u32) -> Self {
        let words = Vocabulary::new(seed);
        let tenants = (0..tenants)
            .map(|index| u16::try_from(index).expect("a plan has at most 65,536 tenants"))
            .map(|index| Tenant::new(seed, TenantIndex(index), &words))
            .collect();
        Self { words, tenants, seed }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    pub fn tenant(&self, index: TenantIndex) -> &Tenant {
        &self.tenants[usize::from(index.0)]
    }

    pub fn person<'w>(&'w self, tenant: &'w Tenant, index: u32) -> Person<'w> {
        let key = tenant.key_of(PERSON, index.into());
        Person {
            index,
            first: word(&self.words.first_names, key),
            last: word(&self.words.last_names, key >> 32),
            domain: &tenant.domain,
            team: word(&self.words.teams, tenant.key_of(TEAM, u64::from(index) % TEAMS)),
        }
    }

    pub fn namespace<'w>(&'w self, tenant: &Tenant, index: u32) -> &'w str {
        word(&self.words.namespaces, tenant.key_of(NAMESPACE, index.into()))
    }

    /// Returns the name of a workload, and the key that tells it from all others.
    pub fn workload<'w>(&'w self, tenant: &Tenant, namespace: u32, index: u32) -> (&'w str, u64) {
        let key = mix(tenant.key_of(WORKLOAD, namespace.into()), index.into());
        (word(&self.words.workloads, key), key)
    }
}

/// People, namespaces and workloads per tenant and namespace.
pub const PEOPLE: u32 = 24;
pub const NAMESPACES: u32 = 8;
pub const WORKLOADS: u32 = 12;

const TEAMS: u64 = 5;
const TENANT: u64 = 10 << 32;
const PERSON: u64 = 1;
const TEAM: u64 = 2;
const NAMESPACE: u64 = 3;
const WORKLOAD: u64 = 4;

impl Tenant {
    fn new(seed: u64, index: TenantIndex, words: &Vocabulary) -> Self {
        let key = mix(mix(seed, TENANT), index.0.into());
        let mut draw = Draw::new(key, 0, 0);
        let scope = draw.pick(&[
            (70, Scope::Project),
            (15, Scope::Organization),
            (5, Scope::User),
            (10, Scope::Global),
        ]);
        let company = word(&words.companies, draw.bits());
        let scope_name = match scope {
            Scope::Organization => format!("{company}-{:04x}", draw.bits() >> 48),
            Scope::Project => {
                format!("{}-{:06x}", word(&words.workloads, draw.bits()), draw.bits() >> 40)
            }
            Scope::User => format!("user-{:012x}", draw.bits() >> 16),
            Scope::Global => String::new(),
        };
        let nodes = 3 + draw.below(10);
        Self { index, scope, scope_name, domain: format!("{company}.example.com"), nodes, key }
    }

    /// Returns the key of a thing of this tenant: the same in all its events.
    pub fn key_of(&self, kind: u64, index: u64) -> u64 {
        mix(mix(self.key, kind), index)
    }
}

fn word(list: &[String], key: u64) -> &str {
    &list[usize::try_from(key % list.len() as u64).expect("less than a length")]
}
