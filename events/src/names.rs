//! Names of objects. A name follows from the workload, the revision and the number of the object,
//! in the format of the controller that would create it.

use arrayvec::ArrayString;
use xxhash_rust::xxh3::xxh3_64;

use crate::actor::{Actor, uuid_of};
use crate::catalog::Resource;
use crate::draw::mix;
use crate::identity::Seq;
use crate::prose::decimal;
use crate::timeline::UnixMicros;
use crate::world::{Tenant, Workload};

/// A name of at most 96 bytes. The longest name that is drawn has about 70.
pub type Name = ArrayString<96>;

/// The subject of a request: a workload at some revision, and one of its objects.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'w> {
    pub workload: Workload<'w>,
    /// Counts the rollouts of the workload, or the runs of a cron job.
    pub revision: u64,
    /// The number of the object among the objects of the revision.
    pub number: u32,
    /// The first event of the block that brought the revision, or `None` if that was before the
    /// run.
    pub first: Option<Seq>,
    /// The minute in which the run of a cron job began, which its name contains. It is 0 for other
    /// workloads.
    pub minute: u64,
}

const HASH: u64 = 1 << 40;

/// Objects with this number or a higher one are created and deleted outside of the stories, and
/// have an owner of their own.
pub const PASSING: u32 = 8;

impl Subject<'_> {
    /// A number that no other pod has.
    pub fn pod_key(&self) -> u64 {
        mix(mix(self.workload.key, self.revision), self.number.into())
    }

    /// The node that the pod runs on, from 1.
    pub fn node(&self, tenant: &Tenant) -> u32 {
        1 + u32::try_from(self.pod_key() % u64::from(tenant.nodes)).expect("below a u32")
    }

    /// The letters that a deployment appends to the name of its replica set, and that the names of
    /// the set's pods contain.
    pub fn hash(&self) -> ArrayString<10> {
        let own = if self.is_passing() { u64::from(self.number) } else { 0 };
        letters(mix(mix(self.workload.key, self.revision), HASH ^ own), 10)
    }

    fn is_passing(&self) -> bool {
        self.number >= PASSING
    }

    /// Name of the object that creates the pods.
    pub fn owner(&self) -> Name {
        let mut name = Name::from(self.workload.name).expect("a workload's name is short");
        match self.workload.resource() {
            Resource::CronJobs => {
                let passed = if self.is_passing() { 1 + u64::from(self.number) % 1_000 } else { 0 };
                name.push('-');
                name.push_str(decimal(self.minute - passed, &mut [0; 20]));
            }
            Resource::StatefulSets | Resource::DaemonSets => {}
            _ => {
                name.push('-');
                name.push_str(&self.hash());
            }
        }
        name
    }

    pub fn pod(&self) -> Name {
        let mut name = self.owner();
        name.push('-');
        if self.workload.resource() == Resource::StatefulSets {
            name.push_str(decimal((self.number % 5).into(), &mut [0; 20]));
        } else {
            name.push_str(&letters(self.pod_key(), 5));
        }
        name
    }

    /// Name of the workload with something appended.
    fn with(&self, pieces: &[&str]) -> Name {
        let mut name = Name::from(self.workload.name).expect("a workload's name is short");
        for piece in pieces {
            name.push_str(piece);
        }
        name
    }

    /// Name of one of the workload's objects, or of another object that belongs to it.
    pub fn object(&self, resource: Resource, actor: &Actor, at: UnixMicros) -> Name {
        match resource {
            Resource::Pods => self.pod(),
            Resource::ReplicaSets | Resource::Jobs => self.owner(),
            Resource::Events => self.event(at),
            Resource::ConfigMaps => match actor {
                Actor::Controller(_) => Name::from("kube-root-ca.crt").expect("it is short"),
                Actor::Node(_) if self.pod_key().is_multiple_of(4) => {
                    Name::from("kube-root-ca.crt").expect("it is short")
                }
                _ => self.with(&["-config"]),
            },
            Resource::Secrets => match self.workload.key % 3 {
                0 => self.with(&["-tls"]),
                1 => self.with(&["-db-credentials"]),
                _ => self.release(),
            },
            Resource::EndpointSlices => self.with(&["-", &letters(self.workload.key, 5)]),
            Resource::Roles | Resource::RoleBindings => {
                self.with(&[if self.workload.key.is_multiple_of(2) { "-edit" } else { "-view" }])
            }
            Resource::ServiceAccounts => Name::from("default").expect("it is short"),
            _ => self.with(&[]),
        }
    }

    /// Name of the secret in which helm stores a release.
    fn release(&self) -> Name {
        let mut name = Name::from("sh.helm.release.v1.").expect("it is short");
        name.push_str(self.workload.name);
        name.push_str(".v");
        name.push_str(decimal(self.revision + 1, &mut [0; 20]));
        name
    }

    /// Name of a Kubernetes event: the name of its object and the nanosecond of its first
    /// occurrence.
    fn event(&self, at: UnixMicros) -> Name {
        let mut name = if self.number == 0 { self.owner() } else { self.pod() };
        name.push('.');
        let nanos = u64::try_from(at).unwrap_or(0) * 1_000 + self.pod_key() % 1_000;
        for shift in (0..16).rev() {
            let digit = u32::try_from(nanos >> (shift * 4) & 0xf).expect("one digit");
            name.push(char::from_digit(digit, 16).expect("a digit in base 16"));
        }
        name
    }
}

/// Returns a name that ends in a number.
pub fn numbered(prefix: &str, number: u32) -> Name {
    let mut name = Name::from(prefix).expect("it is short");
    name.push_str(decimal(number.into(), &mut [0; 20]));
    name
}

/// Returns the UID of an object. It is the same for everybody who writes to the object.
pub fn object_uid(tenant: &Tenant, resource: Resource, namespace: &str, name: &str) -> u128 {
    let place = mix(xxh3_64(resource.plural().as_bytes()), xxh3_64(namespace.as_bytes()));
    uuid_of(tenant.key_in(place, xxh3_64(name.as_bytes())))
}

/// Returns random letters of the kind that Kubernetes appends to names.
///
/// Source: `k8s.io/apimachinery/pkg/util/rand`, `SafeEncodeString`.
pub fn letters(mut bits: u64, length: usize) -> ArrayString<10> {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = ArrayString::new();
    for _ in 0..length {
        text.push(char::from(ALPHABET[usize::try_from(bits % 27).expect("below 27")]));
        bits /= 27;
    }
    text
}
