//! What one event says, before it is put into words.
//!
//! [`Facts`] are drawn from the seed and the event's coordinates alone. They are told as JSON
//! bytes ([`crate::render`]), as a typed event ([`crate::event`]) and as the columns of a table
//! row ([`crate::row`]); texts that all three need are told here, once.

use uuid::Uuid;

use crate::actor::{Actor, uuid_of};
use crate::catalog::{Outcome, Resource, Subresource, Verb};
use crate::names::{Name, Subject, object_uid};
use crate::policy::Level;
use crate::prose::Prose;
use crate::timeline::{Timeline, UnixMicros};
use crate::world::{Tenant, Thing, World};

/// What one event says.
#[derive(Debug, Clone)]
pub struct Facts<'w> {
    pub tenant: &'w Tenant,
    pub audit_id: Uuid,
    pub level: Level,
    pub received: UnixMicros,
    /// When the response was complete: the moment the event is due.
    pub completed: UnixMicros,
    pub actor: Actor<'w>,
    pub verb: Verb,
    pub resource: Resource,
    pub subresource: Subresource,
    pub namespace: Option<&'w str>,
    pub query: Query,
    pub outcome: Outcome,
    pub pod_security: PodSecurity,
    /// IPv4 addresses the request came through, the client's first.
    pub sources: [Option<[u8; 4]>; 2],
    /// Version of the control plane's store once the request is done. It grows with every event.
    pub version: u64,
    /// What the request is about, whatever of it has a name in the request.
    pub subject: Subject<'w>,
    /// Name of the object; empty if nothing that the event tells needs it.
    pub(crate) object_name: Name,
    pub(crate) is_named: bool,
    pub(crate) world: &'w World,
    pub(crate) timeline: &'w Timeline,
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
    /// Whatever the server has at hand.
    Cached,
    /// The client waits no longer than this, in seconds.
    Within(u32),
    /// A watch that ends after this time.
    Watch {
        seconds: u32,
    },
    /// A shell in a pod, which was left after this time.
    Shell {
        seconds: u32,
    },
    /// A write that names its field manager.
    Managed(&'static str),
    /// A write of kubectl, which also asks for strict validation.
    Validated(&'static str),
    /// No resource but one of the paths that clients and probes ask for.
    Path(u32),
}

/// What pod security admission notes on the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodSecurity {
    None,
    Enforced,
    Violated,
}

impl Facts<'_> {
    /// Name of the object as the request has it; empty if the request is for a collection, or
    /// leaves it to the server.
    pub fn name(&self) -> &str {
        if self.is_named { &self.object_name } else { "" }
    }

    /// Tells `requestURI`: path and query.
    pub fn uri(&self, out: &mut impl Prose) {
        if let Query::Path(number) = self.query {
            return self.path(number, out);
        }
        match self.resource.group() {
            "" => out.plain("/api/v1"),
            group => {
                out.plain("/apis/");
                out.plain(group);
                out.plain("/v1");
            }
        }
        if let Some(namespace) = self.namespace
            && !self.resource.is_of_cluster()
        {
            out.plain("/namespaces/");
            out.plain(namespace);
        }
        out.plain("/");
        out.plain(self.resource.plural());
        if self.verb.is_of_one() || self.subresource != Subresource::None {
            out.plain("/");
            out.plain(self.name());
        }
        if self.subresource != Subresource::None {
            out.plain("/");
            out.plain(self.subresource.as_str());
        }
        self.query(out);
    }

    /// Paths that are of no resource: people's programs discover what there is, others probe.
    fn path(&self, number: u32, out: &mut impl Prose) {
        out.plain(match (self.actor, number) {
            (Actor::Apiserver, 0..=3) => "/readyz",
            (Actor::Apiserver, _) => "/livez",
            (_, 0) => "/version?timeout=32s",
            (_, 1 | 2) => "/api?timeout=32s",
            (_, 3 | 4) => "/apis?timeout=32s",
            (_, _) => "/openapi/v3?timeout=32s",
        });
    }

    fn query(&self, out: &mut impl Prose) {
        match self.query {
            Query::None | Query::Path(_) => {}
            Query::Cached => out.plain("?resourceVersion=0"),
            Query::Within(seconds) => {
                out.plain("?timeout=");
                out.number(seconds.into());
                out.plain("s");
            }
            Query::Watch { seconds } => self.watch(seconds, out),
            Query::Shell { .. } => self.shell(out),
            Query::Page => out.plain("?limit=500"),
            Query::Informer => {
                out.plain("?limit=500");
                out.ampersand();
                out.plain("resourceVersion=0");
            }
            Query::OfApplication => {
                out.plain("?labelSelector=app.kubernetes.io%2Fname%3D");
                out.plain(self.subject.workload.name);
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
                out.plain(self.name());
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

    fn watch(&self, seconds: u32, out: &mut impl Prose) {
        out.plain("?allowWatchBookmarks=true");
        out.ampersand();
        out.plain("resourceVersion=");
        out.number(self.version.saturating_sub(u64::from(seconds)));
        out.ampersand();
        out.plain("timeout=");
        out.number(u64::from(seconds / 60));
        out.plain("m");
        out.number(u64::from(seconds % 60));
        out.plain("s");
        out.ampersand();
        out.plain("timeoutSeconds=");
        out.number(seconds.into());
        out.ampersand();
        out.plain("watch=true");
    }

    fn shell(&self, out: &mut impl Prose) {
        out.plain("?command=sh");
        out.ampersand();
        out.plain("container=");
        out.plain(self.subject.workload.name);
        for stream in ["stdin=true", "stdout=true", "tty=true"] {
            out.ampersand();
            out.plain(stream);
        }
    }

    pub fn user_agent(&self, out: &mut impl Prose) {
        self.actor.user_agent(self.resource == Resource::Leases, out);
    }

    /// UID of the object.
    pub fn object_uid(&self) -> u128 {
        let namespace = self.namespace.unwrap_or_default();
        object_uid(self.tenant, self.resource, namespace, &self.object_name)
    }

    /// ID of the token that the request was for, as the annotation
    /// `authentication.kubernetes.io/issued-credential-id` names it.
    pub fn issued_token(&self) -> Option<u128> {
        let issued = self.subresource == Subresource::Token && self.outcome == Outcome::Created;
        issued.then(|| uuid_of(self.tenant.key_of(Thing::Token, self.version)))
    }

    /// Whether the API is one that its users are warned of: `v1` endpoints.
    pub fn is_deprecated(&self) -> bool {
        self.resource == Resource::Endpoints
    }

    /// Tells the annotation `authorization.k8s.io/reason`.
    pub fn authorization_reason(&self, out: &mut impl Prose) {
        match (self.outcome, self.actor) {
            (Outcome::Forbidden, Actor::Node(node)) => no_relationship(node, out),
            (Outcome::Forbidden, _) | (_, Actor::Apiserver) => {}
            _ if self.resource == Resource::None => {
                out.plain("RBAC: allowed by ClusterRoleBinding ");
                out.quoted("system:discovery");
                out.plain(" of ClusterRole ");
                out.quoted("system:discovery");
                out.plain(" to Group ");
                out.quoted("system:authenticated");
            }
            _ => self.actor.grant(self.namespace, out),
        }
    }

    /// Name in the details of a failure. Empty if there is none.
    pub fn details_name(&self) -> &str {
        match self.outcome {
            Outcome::NoSuchNamespace => self.namespace.unwrap_or_default(),
            Outcome::NoSuchPath => "",
            _ => self.name(),
        }
    }

    /// Group in the details of an answer. Empty if there is none.
    pub fn details_group(&self) -> &'static str {
        match self.outcome {
            Outcome::NoSuchNamespace | Outcome::NoSuchPath => "",
            _ => self.resource.group(),
        }
    }

    /// Kind in the details of an answer: the resource, but for invalid objects, whose kind it is.
    pub fn details_kind(&self) -> &'static str {
        match self.outcome {
            Outcome::NoSuchNamespace => "namespaces",
            Outcome::NoSuchPath => "",
            Outcome::Invalid => self.resource.kind(),
            _ => self.resource.plural(),
        }
    }

    /// Tells the message of a failed request.
    ///
    /// Source: constructors of `k8s.io/apimachinery/pkg/api/errors`, and
    /// `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go` for 403.
    pub fn message(&self, out: &mut impl Prose) {
        match self.outcome {
            Outcome::Ok | Outcome::Created | Outcome::Switched | Outcome::Deleted => {}
            Outcome::NotFound => {
                self.qualified_resource(out);
                out.plain(" ");
                out.quoted(self.name());
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
                out.quoted(self.name());
                out.plain(": the object has been modified; please apply your changes to the ");
                out.plain("latest version and try again");
            }
            Outcome::PreconditionFailed => {
                out.plain("Operation cannot be fulfilled on ");
                self.qualified_resource(out);
                out.plain(" ");
                out.quoted(self.name());
                out.plain(": Precondition failed: UID in precondition: ");
                out.id(uuid_of(self.version));
                out.plain(", UID in object meta: ");
                out.id(self.object_uid());
            }
            Outcome::AlreadyExists => {
                self.qualified_resource(out);
                out.plain(" ");
                out.quoted(self.name());
                out.plain(" already exists");
            }
            Outcome::Invalid => self.invalid(out),
            Outcome::BadRequest => {
                out.plain(self.resource.kind());
                out.plain(" in version ");
                out.quoted("v1");
                out.plain(" cannot be handled as a ");
                out.plain(self.resource.kind());
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
        out.quoted(self.subject.workload.name);
        out.plain(" must set securityContext.allowPrivilegeEscalation=false), ");
        out.plain("runAsNonRoot != true (pod or container ");
        out.quoted(self.subject.workload.name);
        out.plain(" must set securityContext.runAsNonRoot=true)");
    }

    /// Whether `objectRef` bears the UID: only where the request had a body with it.
    pub fn refers_to_uid(&self) -> bool {
        self.refers_to_version() || self.subresource == Subresource::Binding
    }

    /// Whether `objectRef` bears the version: only where the request had a body with it.
    pub fn refers_to_version(&self) -> bool {
        self.verb == Verb::Update && self.outcome != Outcome::Forbidden
    }

    /// The version that a request for a change is based on. One that is refused for it is based
    /// on an older one.
    pub fn version_before(&self) -> u64 {
        self.version - if self.outcome == Outcome::Conflict { 7 } else { 1 }
    }

    fn forbidden(&self, out: &mut impl Prose) {
        self.qualified_resource(out);
        if !self.name().is_empty() {
            out.plain(" ");
            out.quoted(self.name());
        }
        out.plain(" is forbidden: User ");
        out.quote();
        self.actor.username(out);
        out.quote();
        out.plain(" cannot ");
        out.plain(self.verb.as_str());
        out.plain(" resource ");
        out.quote();
        out.plain(self.resource.plural());
        if self.subresource != Subresource::None {
            out.plain("/");
            out.plain(self.subresource.as_str());
        }
        out.quote();
        out.plain(" in API group ");
        out.quoted(self.resource.group());
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
        out.plain(self.resource.kind());
        if !self.resource.group().is_empty() {
            out.plain(".");
            out.plain(self.resource.group());
        }
        out.plain(" ");
        out.quoted(self.name());
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
        out.plain(self.resource.plural());
        if !self.resource.group().is_empty() {
            out.plain(".");
            out.plain(self.resource.group());
        }
    }
}

/// The field of which invalid objects are.
pub const INVALID_FIELD: &str = "metadata.labels";

/// The cause of internal errors.
pub const INTERNAL_CAUSE: &str = "etcdserver: request timed out";

fn no_relationship(node: u32, out: &mut impl Prose) {
    out.plain("no relationship found between node 'node-");
    out.number(node.into());
    out.plain("' and this object");
}
