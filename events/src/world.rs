//! The tenants of a run: who they are, and what exists in them.
//!
//! A tenant is one simulated control plane with its own scope, company, people, namespaces and
//! nodes. Its objects are not stored anywhere: name and UID of the n-th workload of a namespace are
//! hashes of its coordinates, so that all events about it agree.

use std::sync::Arc;

use crate::draw::{Draw, mix};
use crate::identity::TenantIndex;
use crate::mix::{Catalog, Mix};
use crate::policy::{Level, Policy};
use crate::story::{TYPES, workload_of};
use crate::timeline::UnixMicros;
use crate::vocabulary::Vocabulary;
use crate::week::week_of;

/// Everything that events take their names from.
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
    /// Mail domain of the tenant's people.
    pub domain: String,
    pub nodes: u32,
    pub character: Character,
    /// Number of the story block that contains the tenant's first event: see [`crate::scene`].
    pub(crate) first_block: u64,
    /// Version of the tenant's store before its first event.
    pub(crate) first_version: u64,
    catalog: Arc<Catalog>,
    key: u64,
    /// The part of a key that depends only on the kind of thing.
    keys: [u64; Thing::COUNT],
}

/// Kinds of things of which a tenant has many. Each thing has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    Person,
    Team,
    Namespace,
    Workload,
    /// A turn of a workload: a block of events.
    Turn,
    /// A token that was issued.
    Token,
    /// A person in their role as a user of the API server. The variants below are the other users.
    PersonAsUser,
    OperatorAsUser,
    ControllerAsUser,
    NodeAsUser,
    PartAsUser,
}

impl Thing {
    const COUNT: usize = Self::PartAsUser as usize + 1;
}

/// What a control plane does, and how much of it its audit policy records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Character {
    pub mix: Mix,
    pub policy: Policy,
    /// Whether its events follow combs: see [`crate::rhythm`].
    pub combs: bool,
}

impl Default for Character {
    fn default() -> Self {
        Self { mix: Mix::Seed, policy: Policy::All(Level::Metadata), combs: false }
    }
}

/// The scope that events belong to, as the platform annotates it.
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
    /// Counts the people who hold one position after the other; 0 if one person holds it all the
    /// time.
    pub term: u32,
    pub first: &'w str,
    pub last: &'w str,
    pub domain: &'w str,
    pub team: &'w str,
}

impl World {
    /// Makes the tenants of a run. `characters` has one entry for each, in order.
    pub fn new(seed: u64, characters: &[Character]) -> Self {
        let words = Vocabulary::new(seed);
        let catalogs = Mix::ALL.map(|mix| (mix, Arc::new(Catalog::new(mix))));
        let catalog_of = |mix: Mix| {
            let (_, catalog) = catalogs.iter().find(|(own, _)| *own == mix).expect("all are there");
            Arc::clone(catalog)
        };
        let tenants = characters
            .iter()
            .enumerate()
            .map(|(index, character)| {
                let index = u16::try_from(index).expect("a plan has at most 65,536 tenants");
                let catalog = catalog_of(character.mix);
                Tenant::new(seed, TenantIndex(index), *character, catalog, &words)
            })
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

    /// Returns the person who holds a position at some time. One position in four passes to
    /// somebody else after some months, on a Monday, because people join and leave.
    pub fn person<'w>(&'w self, tenant: &'w Tenant, index: u32, at: UnixMicros) -> Person<'w> {
        let place = tenant.key_of(Thing::Person, index.into());
        let (term, key) = if place >> 62 == 0 { term_of(place, at) } else { (0, place) };
        Person {
            index,
            term,
            first: word(&self.words.first_names, key),
            last: word(&self.words.last_names, key >> 32),
            domain: &tenant.domain,
            team: word(&self.words.teams, tenant.key_of(Thing::Team, u64::from(index) % TEAMS)),
        }
    }

    pub fn namespace<'w>(&'w self, tenant: &Tenant, index: u32) -> &'w str {
        word(&self.words.namespaces, tenant.key_of(Thing::Namespace, index.into()))
    }

    /// Returns the workload that has a number at some time. One in four is replaced by another
    /// after some days, as previews and campaigns are.
    pub fn workload<'w>(&'w self, tenant: &Tenant, number: u32, at: UnixMicros) -> Workload<'w> {
        let mut key = tenant.key_of(Thing::Workload, number.into());
        if key.is_multiple_of(4) {
            let days = 3 + (key >> 8) % 18;
            let born_us = i64::try_from((key >> 20) % DAY_US).expect("less than a day");
            let term = (at + born_us).div_euclid(i64::try_from(days * DAY_US).expect("some days"));
            key = mix(key, u64::try_from(term).unwrap_or(0));
        }
        let namespace = number / WORKLOADS_IN_NAMESPACE;
        Workload { number, namespace, name: word(&self.words.workloads, key), key }
    }
}

/// Something that runs in a namespace, with everything that belongs to it.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'w> {
    pub number: u32,
    /// Index of its namespace.
    pub namespace: u32,
    pub name: &'w str,
    /// A number that no other workload has, not even one that has the same `number` at another
    /// time.
    pub key: u64,
}

impl Workload<'_> {
    /// The resource that manages the workload.
    pub fn resource(&self) -> crate::catalog::Resource {
        workload_of(self.number as usize)
    }
}

/// How many people, namespaces and workloads a tenant has.
pub const PEOPLE: u32 = 24;
pub const NAMESPACES: u32 = 8;
pub const WORKLOADS: u32 = NAMESPACES * WORKLOADS_IN_NAMESPACE;
const WORKLOADS_IN_NAMESPACE: u32 = 12;
const DAY_US: u64 = 86_400_000_000;

// Each type of workload has its turn equally often.
const _: () = assert!((WORKLOADS as usize).is_multiple_of(TYPES));

const TEAMS: u64 = 5;
const TENANT: u64 = 10 << 32;

impl Tenant {
    fn new(
        seed: u64,
        index: TenantIndex,
        character: Character,
        catalog: Arc<Catalog>,
        words: &Vocabulary,
    ) -> Self {
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
                let subject = word(&words.subjects, draw.bits());
                format!("{subject}-{:06x}", draw.bits() >> 40)
            }
            Scope::User => format!("user-{:012x}", draw.bits() >> 16),
            Scope::Global => String::new(),
        };
        let nodes = 3 + draw.below(10);
        let domain = format!("{company}.example.com");
        let keys = std::array::from_fn(|thing| mix(key, thing as u64));
        let first_block = mix(key, FIRST_BLOCK) % u64::from(WORKLOADS);
        let first_version = mix(key, FIRST_VERSION) % 100_000_000;
        Self {
            index,
            scope,
            scope_name,
            domain,
            nodes,
            character,
            first_block,
            first_version,
            catalog,
            key,
            keys,
        }
    }

    /// Its scope with its name, like `Project/acme-shop`.
    pub fn place(&self) -> String {
        let parts = [self.scope.as_str(), &self.scope_name];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    /// What the tenant's events are drawn from.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Returns the key of a thing of this tenant. It is the same in all events.
    #[inline]
    pub fn key_of(&self, thing: Thing, index: u64) -> u64 {
        mix(self.keys[thing as usize], index)
    }

    /// Returns the key of an object, from the place that it is in and its name.
    pub fn key_in(&self, place: u64, name: u64) -> u64 {
        mix(mix(self.key, place), name)
    }
}

const FIRST_BLOCK: u64 = 100;
const FIRST_VERSION: u64 = 101;

/// For a position that passes from person to person: returns the number of the current holder, and
/// their key.
#[inline(never)]
fn term_of(place: u64, at: UnixMicros) -> (u32, u64) {
    let weeks = 9 + (place >> 8) % 26;
    let term = (week_of(at) + (place >> 20) % weeks) / weeks;
    (u32::try_from(term).unwrap_or(u32::MAX), mix(place, term))
}

fn word(list: &[String], key: u64) -> &str {
    &list[usize::try_from(key % list.len() as u64).expect("less than a length")]
}
