//! The objects in requests and responses, which audit levels above metadata record.
//!
//! Every resource has a template in `events/objects`: an object as the server stores it, with
//! `${slots}` for the parts that differ from object to object. Clients send the same object without
//! the parts that only the server knows. A slot whose name begins with `#` is not a string.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::actor::{Actor, uuid_of};
use crate::catalog::{Outcome, Resource, Subresource, Verb};
use crate::clock_face::write_time;
use crate::facts::{Facts, Query};
use crate::names::{Name, Subject, letters, numbered, object_uid};
use crate::prose::decimal;
use crate::timeline::UnixMicros;
use crate::world::WORKLOADS;

/// Appends the object that the client sent, and returns whether it sent one.
pub(crate) fn write_request(facts: &Facts<'_>, bytes: &mut Vec<u8>) -> bool {
    let objects = &*OBJECTS;
    let template = match (facts.verb, facts.subresource) {
        _ if facts.outcome == Outcome::Forbidden => return false,
        (Verb::Get | Verb::List | Verb::Watch, _) => return false,
        (Verb::Create, Subresource::Binding) => &objects.binding,
        (Verb::Create, Subresource::Token) => &objects.token,
        (Verb::Create, _) if facts.name().is_empty() => &objects.of(facts.resource).unnamed,
        (Verb::Create, _) => &objects.of(facts.resource).created,
        (Verb::Update, _) => &objects.of(facts.resource).updated,
        (Verb::Patch, _) => &objects.of(facts.resource).patch,
        (Verb::Delete, _) => &objects.delete,
    };
    Object::of_request(facts).write(template, bytes);
    true
}

/// Appends the object in the server's answer, if [`answer`] says that it is recorded.
pub(crate) fn write_response(facts: &Facts<'_>, bytes: &mut Vec<u8>) {
    let objects = &*OBJECTS;
    match (facts.verb, facts.subresource) {
        (Verb::Create, Subresource::Token) => {
            Object::of_response(facts).write(&objects.token, bytes);
        }
        (Verb::List, _) => write_list(facts, bytes),
        _ => Object::of_response(facts).write(&objects.of(facts.resource).stored, bytes),
    }
}

/// How a response is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not at all.
    Nothing,
    /// As a status with the contents of `responseStatus`.
    Status,
    Object,
}

/// Returns how the response to a request is recorded.
pub(crate) fn answer(facts: &Facts<'_>) -> Answer {
    match (facts.outcome, facts.verb) {
        _ if facts.resource == Resource::None => Answer::Nothing,
        (Outcome::Ok, Verb::Watch) | (Outcome::Switched, _) => Answer::Nothing,
        (Outcome::Ok | Outcome::Created, _) if facts.subresource != Subresource::Binding => {
            Answer::Object
        }
        _ => Answer::Status,
    }
}

fn write_list(facts: &Facts<'_>, bytes: &mut Vec<u8>) {
    let mut raw = |text: &str| bytes.extend_from_slice(text.as_bytes());
    raw(r#"{"kind":""#);
    raw(facts.resource.kind());
    raw(r#"List","apiVersion":""#);
    raw(facts.resource.api_version());
    raw(r#"","metadata":{"resourceVersion":""#);
    raw(decimal(facts.version, &mut [0; 20]));
    raw(r#""},"items":["#);
    let template = &OBJECTS.of(facts.resource).listed;
    for number in 0..items(facts) {
        if number > 0 {
            bytes.push(b',');
        }
        Object::of_list(facts, number).write(template, bytes);
    }
    bytes.extend_from_slice(b"]}");
}

/// How many objects a list has: those of a namespace, an application or a node.
fn items(facts: &Facts<'_>) -> u32 {
    let per_namespace = match facts.resource {
        Resource::Pods => 30,
        Resource::Deployments | Resource::ReplicaSets | Resource::Services => 7,
        Resource::EndpointSlices | Resource::ConfigMaps | Resource::Secrets => 6,
        Resource::Nodes => return facts.tenant.nodes,
        Resource::Namespaces => return crate::world::NAMESPACES,
        Resource::Events => 12,
        _ => 3,
    };
    match (facts.query, facts.namespace) {
        (Query::Named, _) => 1,
        (Query::OfApplication, _) => 1 + per_namespace / 10,
        (Query::OnNode(_), _) => 12,
        (_, Some(_)) => per_namespace,
        (_, None) => per_namespace * 3,
    }
}

/// One object that is being written.
struct Object<'f, 'w> {
    facts: &'f Facts<'w>,
    subject: Subject<'w>,
    name: Name,
    /// Version of the object: the one that the client last saw, or the one that the server made.
    version: u64,
}

impl<'f, 'w> Object<'f, 'w> {
    fn of_request(facts: &'f Facts<'w>) -> Self {
        let version = facts.version_before();
        Self { facts, subject: facts.subject, name: facts.object_name, version }
    }

    fn of_response(facts: &'f Facts<'w>) -> Self {
        let version = match facts.verb {
            // An object that is only read was written some time before.
            Verb::Get => facts.version - 1 - facts.subject.workload.key % 50,
            _ => facts.version,
        };
        Self { facts, subject: facts.subject, name: facts.object_name, version }
    }

    fn of_list(facts: &'f Facts<'w>, number: u32) -> Self {
        let pods_each = 3;
        let workload = match facts.resource {
            Resource::Pods => facts.subject.workload.number + number / pods_each,
            _ => facts.subject.workload.number + number,
        };
        let of = facts.world.workload(facts.tenant, workload % WORKLOADS, facts.completed);
        let subject = Subject { workload: of, number: number % pods_each, ..facts.subject };
        let name = match facts.resource {
            _ if number == 0 => facts.object_name,
            Resource::Nodes => numbered("node-", number + 1),
            Resource::Namespaces => {
                Name::from(facts.world.namespace(facts.tenant, number)).expect("it is short")
            }
            resource => subject.object(resource, &facts.actor, facts.completed),
        };
        let version = facts.version - 1 - u64::from(number) % 50;
        Self { facts, subject, name, version }
    }

    fn write(&self, template: &Template, bytes: &mut Vec<u8>) {
        for piece in &template.0 {
            match piece {
                Piece::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                Piece::Slot(slot) => self.fill(*slot, bytes),
            }
        }
    }

    fn fill(&self, slot: Slot, bytes: &mut Vec<u8>) {
        let facts = self.facts;
        let subject = &self.subject;
        match slot {
            Slot::Name => raw(&self.name, bytes),
            Slot::Namespace => raw(facts.namespace.unwrap_or("default"), bytes),
            Slot::Workload => raw(subject.workload.name, bytes),
            Slot::Owner => raw(&subject.owner(), bytes),
            Slot::OwnerKind => raw(self.owner_resource().kind(), bytes),
            Slot::OwnerApi => raw(self.owner_resource().api_version(), bytes),
            Slot::Pod => raw(&subject.pod(), bytes),
            Slot::Uid => uuid(self.uid_of(facts.resource, &self.name), bytes),
            Slot::OwnerUid => {
                let owner = self.owner_resource();
                let name = if self.is_owned_whole() { self.workload() } else { subject.owner() };
                uuid(self.uid_of(owner, &name), bytes);
            }
            Slot::WorkloadUid => {
                uuid(self.uid_of(subject.workload.resource(), &self.workload()), bytes);
            }
            Slot::PodUid => uuid(self.uid_of(Resource::Pods, &subject.pod()), bytes),
            Slot::Version => number(self.version, bytes),
            Slot::Generation | Slot::Revision => number(subject.revision + 1, bytes),
            Slot::Part => number(1 + subject.pod_key() % 3, bytes),
            Slot::Created => second(self.created(), bytes),
            Slot::Since => second(self.since(), bytes),
            Slot::Now => second(facts.completed, bytes),
            Slot::CreatedMicro => write_time(self.created(), bytes),
            Slot::NowMicro => write_time(facts.received, bytes),
            Slot::Manager => raw(manager(&facts.actor), bytes),
            slot => self.fill_detail(slot, bytes),
        }
    }

    /// Fills the slots that only some objects have.
    fn fill_detail(&self, slot: Slot, bytes: &mut Vec<u8>) {
        let subject = &self.subject;
        let key = subject.workload.key;
        let pod_key = subject.pod_key();
        let node = subject.node(self.facts.tenant);
        match slot {
            Slot::Hash => raw(&subject.hash(), bytes),
            Slot::Suffix => raw(&letters(pod_key >> 8, 5), bytes),
            Slot::Image => self.image(bytes),
            Slot::Digest => hex(uuid_of(key), uuid_of(key ^ subject.revision), bytes),
            Slot::Container => hex(uuid_of(pod_key), uuid_of(pod_key ^ 1), bytes),
            Slot::Node => raw(&numbered("node-", node), bytes),
            Slot::HostIp => address([10, 0, 1, byte(u64::from(node))], bytes),
            Slot::PodIp => address([10, 244, byte(u64::from(node)), byte(pod_key >> 16)], bytes),
            Slot::ServiceIp => address([10, 96, byte(key), byte(key >> 8)], bytes),
            Slot::Env => environment(key, bytes),
            Slot::Settings => settings(key, subject.revision, bytes),
            Slot::Base64 => base64(uuid_of(key ^ 2), 24 + usize::from(byte(key) / 2), bytes),
            Slot::Base64Short => base64(uuid_of(key ^ 3), 12, bytes),
            Slot::Involved => raw(&self.involved().1, bytes),
            Slot::InvolvedKind => raw(self.involved().0.kind(), bytes),
            Slot::InvolvedApi => raw(self.involved().0.api_version(), bytes),
            Slot::InvolvedUid => {
                let (resource, name) = self.involved();
                uuid(self.uid_of(resource, &name), bytes);
            }
            Slot::Reason => raw(self.reason().0, bytes),
            Slot::EventMessage => {
                raw(self.reason().1, bytes);
                raw(&subject.pod(), bytes);
            }
            _ => unreachable!("all other slots are filled by the caller"),
        }
    }

    fn uid_of(&self, resource: Resource, name: &str) -> u128 {
        let namespace = self.facts.namespace.unwrap_or_default();
        object_uid(self.facts.tenant, resource, namespace, name)
    }

    fn workload(&self) -> Name {
        Name::from(self.subject.workload.name).expect("a workload's name is short")
    }

    /// Whether the workload itself owns its pods, without a replica set or job between them.
    fn is_owned_whole(&self) -> bool {
        matches!(self.subject.workload.resource(), Resource::StatefulSets | Resource::DaemonSets)
    }

    /// The resource that owns the pods of the workload.
    fn owner_resource(&self) -> Resource {
        match self.subject.workload.resource() {
            Resource::CronJobs => Resource::Jobs,
            resource @ (Resource::StatefulSets | Resource::DaemonSets) => resource,
            _ => Resource::ReplicaSets,
        }
    }

    /// When the revision began.
    fn since(&self) -> UnixMicros {
        if self.subject.minute > 0 {
            return i64::try_from(self.subject.minute).expect("minutes are few") * 60_000_000;
        }
        let timeline = self.facts.timeline;
        self.subject.first.and_then(|first| timeline.due(first).ok()).unwrap_or_else(|| {
            let age_s = i64::try_from(self.subject.workload.key % 172_800).expect("two days");
            self.start() - age_s * 1_000_000
        })
    }

    /// When the object was created: with the revision, or some weeks before the run.
    fn created(&self) -> UnixMicros {
        let facts = self.facts;
        let of_revision =
            matches!(facts.resource, Resource::Pods | Resource::ReplicaSets | Resource::Jobs);
        match facts.verb {
            Verb::Create => facts.completed,
            _ if facts.resource == Resource::Events => facts.completed,
            _ if of_revision => self.since(),
            _ => {
                let age_s = i64::try_from(self.subject.workload.key % 5_000_000).expect("weeks");
                self.start() - 172_800_000_000 - age_s * 1_000_000
            }
        }
    }

    fn start(&self) -> UnixMicros {
        let first = crate::identity::Seq(0);
        self.facts.timeline.due(first).unwrap_or(self.facts.completed)
    }

    fn image(&self, bytes: &mut Vec<u8>) {
        raw("registry.example.com/", bytes);
        raw(self.facts.namespace.unwrap_or("default"), bytes);
        raw("/", bytes);
        raw(self.subject.workload.name, bytes);
        raw(":v1.", bytes);
        number(self.subject.revision, bytes);
        raw(".0", bytes);
    }

    /// The object that a Kubernetes event is about.
    fn involved(&self) -> (Resource, Name) {
        match self.subject.number {
            0 => (self.owner_resource(), self.subject.owner()),
            _ => (Resource::Pods, self.subject.pod()),
        }
    }

    fn reason(&self) -> (&'static str, &'static str) {
        match self.facts.actor {
            Actor::Node(_) => ("Started", "Started container of pod: "),
            Actor::Scheduler => ("Scheduled", "Successfully assigned to a node: "),
            _ => ("SuccessfulCreate", "Created pod: "),
        }
    }
}

/// The program that made a change, as `managedFields` and Kubernetes events name it.
fn manager(actor: &Actor) -> &'static str {
    match actor {
        Actor::Person(..) => "kubectl-client-side-apply",
        Actor::Operator(operator) => operator.name,
        Actor::Controller(name) => name,
        Actor::Node(_) => "kubelet",
        Actor::ControllerManager => "kube-controller-manager",
        Actor::Scheduler => "kube-scheduler",
        Actor::Apiserver => "kube-apiserver",
    }
}

/// Writes the environment of a container: a few variables.
fn environment(key: u64, bytes: &mut Vec<u8>) {
    raw(r#"[{"name":"LOG_LEVEL","value":"info"}"#, bytes);
    for index in 0..key % 4 {
        raw(r#",{"name":"FEATURE_"#, bytes);
        number(key >> (index * 8) & 0xff, bytes);
        raw(r#"","value":"enabled"}"#, bytes);
    }
    raw("]", bytes);
}

/// Writes a settings file. Most are short.
fn settings(key: u64, revision: u64, bytes: &mut Vec<u8>) {
    raw("revision=", bytes);
    number(revision, bytes);
    let length = (key >> 32) % 8;
    for index in 0..length * length / 8 {
        raw(r"\nserver.option-", bytes);
        number(index, bytes);
        raw("=", bytes);
        number(key >> index & 0xffff, bytes);
    }
    raw(r"\n", bytes);
}

fn raw(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(text.as_bytes());
}

fn number(number: u64, bytes: &mut Vec<u8>) {
    raw(decimal(number, &mut [0; 20]), bytes);
}

fn uuid(id: u128, bytes: &mut Vec<u8>) {
    let mut text = [0; 36];
    raw(uuid::Uuid::from_u128(id).hyphenated().encode_lower(&mut text), bytes);
}

fn hex(high: u128, low: u128, bytes: &mut Vec<u8>) {
    for half in [high, low] {
        let mut text = [0; 32];
        raw(uuid::Uuid::from_u128(half).simple().encode_lower(&mut text), bytes);
    }
}

fn address(parts: [u8; 4], bytes: &mut Vec<u8>) {
    for (index, part) in parts.into_iter().enumerate() {
        raw(if index == 0 { "" } else { "." }, bytes);
        number(part.into(), bytes);
    }
}

fn byte(bits: u64) -> u8 {
    u8::try_from(bits & 0xff).expect("one byte")
}

fn base64(bits: u128, length: usize, bytes: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = (0..length / 4 * 4).map(|index| {
        let at = bits.rotate_right(u32::try_from(index * 5 % 128).expect("below 128")) & 63;
        ALPHABET[usize::try_from(at).expect("below 64")]
    });
    bytes.extend(letters);
}

/// Appends a moment in the format of `metav1.Time`: in whole seconds.
fn second(at: UnixMicros, bytes: &mut Vec<u8>) {
    write_time(at, bytes);
    bytes.truncate(bytes.len() - ".000000Z".len());
    bytes.push(b'Z');
}

/// JSON with holes.
#[derive(Debug)]
struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Slot(Slot),
}

macro_rules! slots {
    ($($slot:ident $name:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Slot {
            $($slot,)*
        }

        impl Slot {
            fn of(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$slot),)*
                    _ => None,
                }
            }
        }
    };
}

slots! {
    Name "name";
    Namespace "namespace";
    Workload "workload";
    Owner "owner";
    OwnerKind "owner_kind";
    OwnerApi "owner_api";
    Pod "pod";
    Uid "uid";
    OwnerUid "owner_uid";
    WorkloadUid "workload_uid";
    PodUid "pod_uid";
    Version "version";
    Generation "generation";
    Revision "revision";
    Part "part";
    Created "created";
    Since "since";
    Now "now";
    CreatedMicro "created_micro";
    NowMicro "now_micro";
    Manager "manager";
    Hash "hash";
    Suffix "suffix";
    Image "image";
    Digest "digest";
    Container "container";
    Node "node";
    HostIp "host_ip";
    PodIp "pod_ip";
    ServiceIp "service_ip";
    Env "env";
    Settings "settings";
    Base64 "base64";
    Base64Short "base64_short";
    Involved "involved";
    InvolvedKind "involved_kind";
    InvolvedApi "involved_api";
    InvolvedUid "involved_uid";
    Reason "reason";
    EventMessage "event_message";
}

impl Template {
    /// Compiles a value of JSON: `"${#slot}"` becomes a hole, and so does `${slot}` in a string.
    fn compile(value: &Value) -> Self {
        let text = value.to_string();
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("${") {
            let (before, after) = rest.split_at(at);
            let (name, mut after) = after[2..].split_once('}').expect("a slot is closed");
            let mut before = before;
            let name = match name.strip_prefix('#') {
                Some(name) => {
                    before = before.strip_suffix('"').expect("it is a string of its own");
                    after = after.strip_prefix('"').expect("it is a string of its own");
                    name
                }
                None => name,
            };
            pieces.push(Piece::Text(before.to_owned()));
            let slot = Slot::of(name).unwrap_or_else(|| panic!("no slot is called {name}"));
            pieces.push(Piece::Slot(slot));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Self(pieces)
    }
}

/// The forms in which objects of one resource are written.
#[derive(Debug)]
struct Forms {
    /// As the server stores it.
    stored: Template,
    /// As an item of a list.
    listed: Template,
    /// As a client sends it back with changes.
    updated: Template,
    /// As a client sends it when it creates the object.
    created: Template,
    /// The same, but the server chooses the name.
    unnamed: Template,
    /// Only the change, as a patch.
    patch: Template,
}

impl Forms {
    fn of(resource: Resource, patches: &Map<String, Value>) -> Self {
        let stored = parsed(source_of(resource));
        let without = |fields: &[&str], parts: &[&str]| {
            let mut object = stored.clone();
            let top = object.as_object_mut().expect("an object");
            for field in fields {
                top.shift_remove(*field);
            }
            let metadata = top["metadata"].as_object_mut().expect("an object");
            for part in parts {
                metadata.shift_remove(*part);
            }
            Template::compile(&object)
        };
        let servers = ["uid", "resourceVersion", "generation", "creationTimestamp"];
        let new = [&servers[..], &["managedFields"]].concat();
        let has_name = stored["metadata"].get("generateName").is_none();
        let with_status = format!("{}/status", resource.plural());
        let patch = patches.get(&with_status).or_else(|| patches.get(resource.plural()));
        Self {
            stored: Template::compile(&stored),
            listed: without(&["kind", "apiVersion"], &["managedFields"]),
            updated: without(&[], &["managedFields"]),
            created: without(&["status"], &[&new[..], &["generateName"]].concat()),
            unnamed: if has_name {
                without(&["status"], &new)
            } else {
                without(&["status"], &[&new[..], &["name"]].concat())
            },
            patch: Template::compile(patch.unwrap_or(&Value::Object(Map::new()))),
        }
    }
}

/// All templates.
#[derive(Debug)]
struct Objects {
    forms: Vec<Forms>,
    binding: Template,
    token: Template,
    delete: Template,
}

impl Objects {
    fn of(&self, resource: Resource) -> &Forms {
        // The first resource, `Resource::None`, has no objects.
        &self.forms[resource as usize - 1]
    }
}

/// The templates do not change, so all runs share them.
static OBJECTS: LazyLock<Objects> = LazyLock::new(|| {
    let patches = parsed(include_str!("../objects/patches.json"));
    let patches = patches.as_object().expect("an object");
    let others = parsed(include_str!("../objects/others.json"));
    Objects {
        forms: Resource::ALL.iter().map(|resource| Forms::of(*resource, patches)).collect(),
        binding: Template::compile(&others["binding"]),
        token: Template::compile(&others["token"]),
        delete: Template::compile(&others["delete"]),
    }
});

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("the templates are JSON: a test reads all of them")
}

fn source_of(resource: Resource) -> &'static str {
    match resource {
        Resource::None => "{}",
        Resource::Pods => include_str!("../objects/pods.json"),
        Resource::ConfigMaps => include_str!("../objects/configmaps.json"),
        Resource::Secrets => include_str!("../objects/secrets.json"),
        Resource::Services => include_str!("../objects/services.json"),
        Resource::Events => include_str!("../objects/events.json"),
        Resource::Endpoints => include_str!("../objects/endpoints.json"),
        Resource::Nodes => include_str!("../objects/nodes.json"),
        Resource::Namespaces => include_str!("../objects/namespaces.json"),
        Resource::ServiceAccounts => include_str!("../objects/serviceaccounts.json"),
        Resource::Deployments => include_str!("../objects/deployments.json"),
        Resource::ReplicaSets => include_str!("../objects/replicasets.json"),
        Resource::StatefulSets => include_str!("../objects/statefulsets.json"),
        Resource::DaemonSets => include_str!("../objects/daemonsets.json"),
        Resource::Jobs => include_str!("../objects/jobs.json"),
        Resource::CronJobs => include_str!("../objects/cronjobs.json"),
        Resource::Leases => include_str!("../objects/leases.json"),
        Resource::EndpointSlices => include_str!("../objects/endpointslices.json"),
        Resource::Roles => include_str!("../objects/roles.json"),
        Resource::RoleBindings => include_str!("../objects/rolebindings.json"),
    }
}
