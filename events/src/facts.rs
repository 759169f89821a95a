//! What one event says, before it is put into words.
//!
//! [`Facts`] are drawn from the seed and the event's coordinates alone. They are told as JSON
//! bytes ([`crate::render`]), as a typed event ([`crate::event`]) and as the columns of a table
//! row ([`crate::row`]); texts that all three need are told here, once.

use arrayvec::ArrayString;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::actor::{Actor, CLIENTS, OPERATORS, uuid_of};
use crate::catalog::{
    self, CONFIGMAPS, CRONJOBS, Class, DAEMONSETS, DEPLOYMENTS, JOBS, Naming, Outcome, PODS,
    ROLEBINDINGS, ROLES, Resource, SECRETS, SERVICES, STATEFULSETS, Verb,
};
use crate::draw::{Draw, mix};
use crate::identity::Seq;
use crate::prose::{Prose, decimal};
use crate::timeline::UnixMicros;
use crate::world::{NAMESPACES, PEOPLE, Tenant, WORKLOADS, World};

/// A name of at most 96 bytes; the longest that is drawn has about 60.
pub type Name = ArrayString<96>;

/// What one event says.
#[derive(Debug, Clone)]
pub struct Facts<'w> {
    pub tenant: &'w Tenant,
    pub audit_id: Uuid,
    pub received: UnixMicros,
    /// When the response was complete: the moment the event is due.
    pub completed: UnixMicros,
    pub actor: Actor<'w>,
    pub verb: Verb,
    pub resource: &'static Resource,
    /// The request is for the object's `status` subresource.
    pub of_status: bool,
    pub namespace: Option<&'w str>,
    /// Name of the object; empty if the request is for a collection, or leaves it to the server.
    pub name: Name,
    pub object_uid: u128,
    pub resource_version: u64,
    pub query: Query,
    pub outcome: Outcome,
    pub pod_security: PodSecurity,
    /// IPv4 addresses the request came through, the client's first.
    pub sources: [Option<[u8; 4]>; 2],
    workload: &'w str,
}

/// The query of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    None,
    /// A page of a list, as kubectl asks for it.
    Page,
    /// The first list of an informer.
    Informer,
    /// A page of one application's objects.
    OfApplication,
    /// The pods of a node.
    OnNode(u32),
    /// One object by its name, as kubelets ask for what their pods mount.
    Named,
    /// A write that names its field manager.
    Managed(&'static str),
    /// A write of kubectl, which also asks for strict validation.
    Validated(&'static str),
}

/// What pod security admission notes on the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodSecurity {
    None,
    Enforced,
    Violated,
}

/// Draws the facts of one event.
pub fn draw_facts<'w>(
    world: &'w World,
    tenant: &'w Tenant,
    seq: Seq,
    audit_id: Uuid,
    due: UnixMicros,
) -> Facts<'w> {
    let mut draw = Draw::new(world.seed(), EVENT_STREAM + u64::from(tenant.index.0), seq.0);
    let verb = draw.pick(&catalog::VERBS);
    let (resource, shares) = draw.pick(catalog::resources(verb));
    let class = draw.pick(&[
        (shares[0], Class::Human),
        (shares[1], Class::Operator),
        (shares[2], Class::System),
    ]);
    let actor = draw_actor(world, tenant, verb, resource, class, &mut draw);
    let place = draw_place(world, tenant, verb, &actor, &mut draw);
    let outcome = draw_outcome(verb, resource, &mut draw);
    let query = draw_query(verb, resource, &actor, &mut draw);
    let workload_index = draw.skewed(WORKLOADS);
    let (workload, key) = world.workload(tenant, place.index, workload_index);
    let key = mix(key, u64::from(resource.plural.as_bytes()[0]) << 8 | resource.kind.len() as u64);
    let full = draw_name(resource, &actor, workload, key, due, &mut draw);
    let named = match verb {
        Verb::List => query == Query::Named,
        Verb::Create => {
            !generates_name(resource, &actor)
                && !matches!(outcome, Outcome::Forbidden | Outcome::BadRequest)
        }
        Verb::Get | Verb::Update | Verb::Delete => true,
    };
    let service_us = draw_service_us(verb, &mut draw);
    Facts {
        tenant,
        audit_id,
        received: due - i64::from(service_us),
        completed: due,
        of_status: verb == Verb::Update && class == Class::System && resource != &CONFIGMAPS,
        namespace: place.namespace,
        name: if named { full } else { Name::new() },
        object_uid: object_uid(tenant, resource, place.namespace, &full),
        resource_version: resource_version(tenant, due),
        query,
        outcome,
        pod_security: draw_pod_security(verb, resource, outcome, &mut draw),
        sources: draw_sources(&actor, &mut draw),
        actor,
        verb,
        resource,
        workload,
    }
}

impl Facts<'_> {
    /// Tells `requestURI`: path and query.
    pub fn uri(&self, out: &mut impl Prose) {
        out.plain(self.resource.path);
        if let Some(namespace) = self.namespace {
            out.plain("/namespaces/");
            out.plain(namespace);
        }
        out.plain("/");
        out.plain(self.resource.plural);
        if matches!(self.verb, Verb::Get | Verb::Update | Verb::Delete) {
            out.plain("/");
            out.plain(&self.name);
        }
        if self.of_status {
            out.plain("/status");
        }
        self.query(out);
    }

    fn query(&self, out: &mut impl Prose) {
        match self.query {
            Query::None => {}
            Query::Page => out.plain("?limit=500"),
            Query::Informer => {
                out.plain("?limit=500");
                out.ampersand();
                out.plain("resourceVersion=0");
            }
            Query::OfApplication => {
                out.plain("?labelSelector=app.kubernetes.io%2Fname%3D");
                out.plain(self.workload);
                out.ampersand();
                out.plain("limit=500");
            }
            Query::OnNode(node) => {
                out.plain("?fieldSelector=spec.nodeName%3Dnode-");
                out.number(node.into());
                out.ampersand();
                out.plain("limit=500");
                out.ampersand();
                out.plain("resourceVersion=0");
            }
            Query::Named => {
                out.plain("?fieldSelector=metadata.name%3D");
                out.plain(&self.name);
                out.ampersand();
                out.plain("resourceVersion=0");
            }
            Query::Managed(manager) => {
                out.plain("?fieldManager=");
                out.plain(manager);
            }
            Query::Validated(manager) => {
                out.plain("?fieldManager=");
                out.plain(manager);
                out.ampersand();
                out.plain("fieldValidation=Strict");
            }
        }
    }

    /// Tells the annotation `authorization.k8s.io/reason`.
    pub fn authorization_reason(&self, out: &mut impl Prose) {
        match (self.outcome, self.actor) {
            (Outcome::Forbidden, Actor::Node(node)) => no_relationship(node, out),
            (Outcome::Forbidden, _) => {}
            _ => self.actor.grant(self.namespace, out),
        }
    }

    /// Name in the details of a failure. Empty if there is none.
    pub fn details_name(&self) -> &str {
        match self.outcome {
            Outcome::NoSuchNamespace => self.namespace.unwrap_or_default(),
            Outcome::NoSuchPath => "",
            _ => &self.name,
        }
    }

    /// Group in the details of an answer. Empty if there is none.
    pub fn details_group(&self) -> &'static str {
        match self.outcome {
            Outcome::NoSuchNamespace | Outcome::NoSuchPath => "",
            _ => self.resource.group,
        }
    }

    /// Kind in the details of an answer: the resource, but for invalid objects, whose kind it is.
    pub fn details_kind(&self) -> &'static str {
        match self.outcome {
            Outcome::NoSuchNamespace => "namespaces",
            Outcome::NoSuchPath => "",
            Outcome::Invalid => self.resource.kind,
            _ => self.resource.plural,
        }
    }

    /// Tells the message of a failed request.
    ///
    /// Source: constructors of `k8s.io/apimachinery/pkg/api/errors`, and
    /// `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go` for 403.
    pub fn message(&self, out: &mut impl Prose) {
        match self.outcome {
            Outcome::Ok | Outcome::Created | Outcome::Deleted => {}
            Outcome::NotFound => {
                self.qualified_resource(out);
                out.plain(" ");
                out.quoted(&self.name);
                out.plain(" not found");
            }
            Outcome::NoSuchPath => out.plain("the server could not find the requested resource"),
            Outcome::NoSuchNamespace => {
                out.plain("namespaces ");
                out.quoted(self.details_name());
                out.plain(" not found");
            }
            Outcome::Forbidden => self.forbidden(out),
            Outcome::Conflict => {
                out.plain("Operation cannot be fulfilled on ");
                self.qualified_resource(out);
                out.plain(" ");
                out.quoted(&self.name);
                out.plain(": the object has been modified; please apply your changes to the ");
                out.plain("latest version and try again");
            }
            Outcome::PreconditionFailed => {
                out.plain("Operation cannot be fulfilled on ");
                self.qualified_resource(out);
                out.plain(" ");
                out.quoted(&self.name);
                out.plain(": the ResourceVersion in the precondition (");
                out.number(self.resource_version);
                out.plain(") does not match the ResourceVersion in record (");
                out.number(self.resource_version + 3);
                out.plain("). The object might have been modified");
            }
            Outcome::AlreadyExists => {
                self.qualified_resource(out);
                out.plain(" ");
                out.quoted(&self.name);
                out.plain(" already exists");
            }
            Outcome::Invalid => self.invalid(out),
            Outcome::BadRequest => {
                out.plain(self.resource.kind);
                out.plain(" in version ");
                out.quoted("v1");
                out.plain(" cannot be handled as a ");
                out.plain(self.resource.kind);
                out.plain(": json: cannot unmarshal number into Go struct field ObjectMeta.");
                out.plain("metadata.labels of type string");
            }
            Outcome::Expired => out.plain("The resourceVersion for the provided list is too old."),
            Outcome::TooManyRequests => {
                out.plain("Too many requests, please try again later.");
            }
            Outcome::InternalError => {
                out.plain("Internal error occurred: ");
                out.plain(INTERNAL_CAUSE);
            }
            Outcome::Unavailable => out.plain("apiserver is shutting down"),
            Outcome::Timeout => {
                out.plain("Timeout: request did not complete within the allotted timeout");
            }
        }
    }

    /// Tells the annotation `pod-security.kubernetes.io/audit-violations`.
    pub fn violation(&self, out: &mut impl Prose) {
        out.plain("would violate PodSecurity ");
        out.quoted("restricted:latest");
        out.plain(": allowPrivilegeEscalation != false (container ");
        out.quoted(self.workload);
        out.plain(" must set securityContext.allowPrivilegeEscalation=false), ");
        out.plain("runAsNonRoot != true (pod or container ");
        out.quoted(self.workload);
        out.plain(" must set securityContext.runAsNonRoot=true)");
    }

    /// Whether `objectRef` bears UID and version: only where the request had a body with them.
    pub fn refers_to_version(&self) -> bool {
        self.verb == Verb::Update && self.outcome != Outcome::Forbidden
    }

    fn forbidden(&self, out: &mut impl Prose) {
        self.qualified_resource(out);
        if !self.name.is_empty() {
            out.plain(" ");
            out.quoted(&self.name);
        }
        out.plain(" is forbidden: User ");
        out.quote();
        self.actor.username(out);
        out.quote();
        out.plain(" cannot ");
        out.plain(self.verb.as_str());
        out.plain(" resource ");
        out.quote();
        out.plain(self.resource.plural);
        out.plain(if self.of_status { "/status" } else { "" });
        out.quote();
        out.plain(" in API group ");
        out.quoted(self.resource.group);
        match self.namespace {
            Some(namespace) => {
                out.plain(" in the namespace ");
                out.quoted(namespace);
            }
            None => out.plain(" at the cluster scope"),
        }
        if let Actor::Node(node) = self.actor {
            out.plain(": ");
            no_relationship(node, out);
        }
    }

    fn invalid(&self, out: &mut impl Prose) {
        out.plain(self.resource.kind);
        if !self.resource.group.is_empty() {
            out.plain(".");
            out.plain(self.resource.group);
        }
        out.plain(" ");
        out.quoted(&self.name);
        out.plain(" is invalid: ");
        out.plain(INVALID_FIELD);
        out.plain(": ");
        self.invalid_cause(out);
    }

    /// Tells why an object is invalid, without the field.
    pub fn invalid_cause(&self, out: &mut impl Prose) {
        out.plain("Invalid value: ");
        out.quoted("-web");
        out.plain(": a valid label must begin with an alphanumeric character");
    }

    /// Tells the resource as errors name it: with its group, if it has one.
    fn qualified_resource(&self, out: &mut impl Prose) {
        out.plain(self.resource.plural);
        if !self.resource.group.is_empty() {
            out.plain(".");
            out.plain(self.resource.group);
        }
    }
}

/// The field of which invalid objects are.
pub const INVALID_FIELD: &str = "metadata.labels";

/// The cause of internal errors.
pub const INTERNAL_CAUSE: &str = "etcdserver: request timed out";

const EVENT_STREAM: u64 = 3 << 32;

fn no_relationship(node: u32, out: &mut impl Prose) {
    out.plain("no relationship found between node 'node-");
    out.number(node.into());
    out.plain("' and this object");
}

fn draw_actor<'w>(
    world: &'w World,
    tenant: &'w Tenant,
    verb: Verb,
    resource: &'static Resource,
    class: Class,
    draw: &mut Draw,
) -> Actor<'w> {
    match class {
        Class::Human => {
            let person = world.person(tenant, draw.skewed(PEOPLE));
            Actor::Person(person, draw.pick(&CLIENTS))
        }
        Class::Operator => {
            let last = u32::try_from(OPERATORS.len()).expect("nine operators");
            Actor::Operator(&OPERATORS[draw.skewed(last) as usize])
        }
        Class::System => system_actor(tenant, verb, resource, draw),
    }
}

/// Returns which part of Kubernetes does this to that resource in a real cluster.
fn system_actor(
    tenant: &Tenant,
    verb: Verb,
    resource: &'static Resource,
    draw: &mut Draw,
) -> Actor<'static> {
    let node = Actor::Node(1 + draw.below(tenant.nodes));
    let controller = Actor::Controller;
    match resource.naming {
        Naming::Pod => match verb {
            Verb::List if draw.chance(1_000) => Actor::Scheduler,
            Verb::Create => draw.pick(&[
                (70, controller("replicaset-controller")),
                (15, controller("job-controller")),
                (10, controller("statefulset-controller")),
                (5, controller("daemon-set-controller")),
            ]),
            Verb::Delete => draw.pick(&[
                (45, controller("replicaset-controller")),
                (35, node),
                (10, controller("job-controller")),
                (10, controller("pod-garbage-collector")),
            ]),
            Verb::Get | Verb::List | Verb::Update => node,
        },
        Naming::ConfigMap if matches!(verb, Verb::Create | Verb::Update) => {
            controller("root-ca-cert-publisher")
        }
        Naming::ConfigMap | Naming::Secret => node,
        Naming::Grant if verb != Verb::List => Actor::Apiserver,
        Naming::Job if verb == Verb::Create => controller("cronjob-controller"),
        Naming::Job if verb == Verb::Delete => draw.pick(&[
            (60, controller("ttl-after-finished-controller")),
            (40, controller("cronjob-controller")),
        ]),
        _ if verb == Verb::List => match resource {
            services if services == &SERVICES => node,
            _ => Actor::ControllerManager,
        },
        _ => controller(controller_of(resource)),
    }
}

fn controller_of(resource: &Resource) -> &'static str {
    match resource {
        it if it == &DEPLOYMENTS => "deployment-controller",
        it if it == &STATEFULSETS => "statefulset-controller",
        it if it == &DAEMONSETS => "daemon-set-controller",
        it if it == &JOBS => "job-controller",
        it if it == &CRONJOBS => "cronjob-controller",
        it if it == &SERVICES => "endpointslice-controller",
        it => {
            debug_assert!([&PODS, &CONFIGMAPS, &SECRETS, &ROLES, &ROLEBINDINGS].contains(&it));
            "generic-garbage-collector"
        }
    }
}

/// Where a request is for: a namespace by index and name, or the whole cluster.
struct Place<'w> {
    index: u32,
    namespace: Option<&'w str>,
}

fn draw_place<'w>(
    world: &'w World,
    tenant: &'w Tenant,
    verb: Verb,
    actor: &Actor<'w>,
    draw: &mut Draw,
) -> Place<'w> {
    let index = draw.skewed(NAMESPACES);
    let whole_cluster = verb == Verb::List
        && match actor {
            Actor::Person(..) => draw.chance(1_500),
            Actor::Operator(_) => draw.chance(6_000),
            Actor::Node(_) => false,
            _ => true,
        };
    let namespace = match actor {
        _ if whole_cluster => None,
        Actor::Operator(operator) if draw.chance(2_000) => Some(operator.namespace),
        Actor::Apiserver => Some("kube-system"),
        _ => Some(world.namespace(tenant, index)),
    };
    Place { index, namespace }
}

fn draw_outcome(verb: Verb, resource: &'static Resource, draw: &mut Draw) -> Outcome {
    match draw.pick(catalog::outcomes(verb)) {
        // Pods and jobs end gracefully: the answer is the object. Others are gone at once.
        Outcome::Ok if verb == Verb::Delete && resource != &PODS && resource != &JOBS => {
            Outcome::Deleted
        }
        outcome => outcome,
    }
}

fn draw_query(verb: Verb, resource: &'static Resource, actor: &Actor, draw: &mut Draw) -> Query {
    match (verb, actor) {
        (Verb::List, Actor::Person(..)) => match draw.below(3) {
            0 => Query::OfApplication,
            _ => Query::Page,
        },
        (Verb::List, Actor::Operator(_)) => match draw.below(3) {
            0 => Query::OfApplication,
            _ => Query::Informer,
        },
        (Verb::List, Actor::Node(node)) => match resource.naming {
            Naming::Pod => Query::OnNode(*node),
            Naming::ConfigMap | Naming::Secret => Query::Named,
            _ => Query::Informer,
        },
        (Verb::List, _) => Query::Informer,
        (Verb::Create, Actor::Person(..)) => match draw.below(2) {
            0 => Query::Validated("kubectl-create"),
            _ => Query::Validated("kubectl-client-side-apply"),
        },
        (Verb::Update, Actor::Person(..)) => Query::Validated("kubectl-replace"),
        (Verb::Create | Verb::Update, Actor::Operator(operator)) if draw.chance(3_000) => {
            Query::Managed(operator.name)
        }
        _ => Query::None,
    }
}

/// Controllers leave the names of their pods to the server; only stateful sets number theirs.
fn generates_name(resource: &'static Resource, actor: &Actor) -> bool {
    resource == &PODS
        && matches!(actor, Actor::Controller(name) if *name != "statefulset-controller")
}

fn draw_name(
    resource: &'static Resource,
    actor: &Actor,
    workload: &str,
    key: u64,
    due: UnixMicros,
    draw: &mut Draw,
) -> Name {
    let mut name = Name::new();
    let mut add = |pieces: &[&str]| pieces.iter().for_each(|piece| name.push_str(piece));
    match resource.naming {
        Naming::Pod if matches!(actor, Actor::Controller("statefulset-controller")) => {
            add(&[workload, "-", ordinal(draw.below(5))]);
        }
        // A replica set's hash lasts as long as a rollout: here, a day.
        Naming::Pod => {
            let rollout = mix(key, u64::try_from(due / DAY_US).unwrap_or(0));
            add(&[workload, "-", &safe(rollout, 10), "-", &safe(draw.bits(), 5)]);
        }
        Naming::Job => {
            let minute = u64::try_from(due / MINUTE_US).unwrap_or(0);
            let mut digits = [0; 20];
            add(&[workload, "-", decimal(minute, &mut digits)]);
        }
        Naming::ConfigMap => match actor {
            Actor::Controller(_) => add(&["kube-root-ca.crt"]),
            Actor::Node(_) if key.is_multiple_of(4) => add(&["kube-root-ca.crt"]),
            Actor::Operator(operator) if key.is_multiple_of(3) => add(&[operator.name, "-state"]),
            _ => add(&[workload, "-config"]),
        },
        Naming::Secret => match key % 3 {
            0 => add(&[workload, "-tls"]),
            1 => add(&[workload, "-db-credentials"]),
            _ => add(&["sh.helm.release.v1.", workload, ".v", ordinal(draw.below(9) + 1)]),
        },
        Naming::Workload => add(&[workload]),
        Naming::Grant => add(&[workload, if key.is_multiple_of(2) { "-edit" } else { "-view" }]),
    }
    name
}

fn ordinal(number: u32) -> &'static str {
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"][number as usize]
}

/// Returns letters as Kubernetes appends them to names.
///
/// Source: `k8s.io/apimachinery/pkg/util/rand`, `SafeEncodeString`.
fn safe(mut bits: u64, length: usize) -> ArrayString<10> {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = ArrayString::new();
    for _ in 0..length {
        text.push(char::from(ALPHABET[usize::try_from(bits % 27).expect("below 27")]));
        bits /= 27;
    }
    text
}

/// An object has one UID, whoever writes to it.
fn object_uid(tenant: &Tenant, resource: &Resource, namespace: Option<&str>, name: &str) -> u128 {
    let place =
        mix(xxh3_64(resource.plural.as_bytes()), xxh3_64(namespace.unwrap_or("").as_bytes()));
    uuid_of(tenant.key_of(place, xxh3_64(name.as_bytes())))
}

/// Object versions of a control plane grow by some twenty a second.
fn resource_version(tenant: &Tenant, due: UnixMicros) -> u64 {
    let since_2020_us = u64::try_from(due - 1_577_836_800_000_000).unwrap_or(0);
    since_2020_us / 50_000 + tenant.key_of(30, 0) % 100_000
}

fn draw_service_us(verb: Verb, draw: &mut Draw) -> u32 {
    let quantiles = catalog::service_time_us(verb);
    let at = draw.below(1_000_000);
    let (index, from, to) = match at {
        0..500_000 => (0, 0, 500_000),
        500_000..950_000 => (1, 500_000, 950_000),
        950_000..990_000 => (2, 950_000, 990_000),
        _ => (3, 990_000, 1_000_000),
    };
    let (low, high) = (u64::from(quantiles[index]), u64::from(quantiles[index + 1]));
    let inside = (high - low) * u64::from(at - from) / (to - u64::from(from));
    u32::try_from(low + inside).expect("between two u32")
}

fn draw_pod_security(
    verb: Verb,
    resource: &'static Resource,
    outcome: Outcome,
    draw: &mut Draw,
) -> PodSecurity {
    let template = [&DEPLOYMENTS, &STATEFULSETS, &DAEMONSETS, &JOBS, &CRONJOBS];
    match verb {
        Verb::Create if outcome != Outcome::Created => PodSecurity::None,
        Verb::Create if resource == &PODS => PodSecurity::Enforced,
        Verb::Create if template.contains(&resource) && draw.chance(3_000) => PodSecurity::Violated,
        _ => PodSecurity::None,
    }
}

/// People come from public addresses, half of them through a proxy; the cluster from its own.
fn draw_sources(actor: &Actor, draw: &mut Draw) -> [Option<[u8; 4]>; 2] {
    let byte = |bits: u64, shift: u32| u8::try_from(bits >> shift & 0xff).expect("one byte");
    let bits = draw.bits();
    match actor {
        Actor::Person(person, _) => {
            let home = u8::try_from(person.index + 10).unwrap_or(u8::MAX);
            let network = if bits & 1 == 0 { [203, 0, 113, home] } else { [198, 51, 100, home] };
            let proxy = [10, 0, byte(bits, 8), byte(bits, 16)];
            [Some(network), (bits & 2 == 0).then_some(proxy)]
        }
        Actor::Operator(_) => [Some([10, 244, byte(bits, 8), byte(bits, 16)]), None],
        Actor::Node(node) => [Some([10, 0, 1, u8::try_from(*node).unwrap_or(u8::MAX)]), None],
        Actor::Controller(_) | Actor::ControllerManager | Actor::Scheduler => {
            [Some([10, 0, 0, 2 + byte(bits, 8) % 3]), None]
        }
        Actor::Apiserver => [Some([127, 0, 0, 1]), None],
    }
}

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 86_400_000_000;
