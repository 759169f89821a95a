//! What one event says, before it is written in some format.
//!
//! [`Facts`] are drawn from the seed and the event's coordinates alone. [`crate::render`] writes
//! them as JSON bytes, [`crate::event`] makes a typed event of them, and [`crate::row`] the columns
//! of a table row. Texts that all three need are written here, once.

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
    /// When the response was complete. The event is due at this moment.
    pub completed: UnixMicros,
    pub actor: Actor<'w>,
    pub verb: Verb,
    pub resource: Resource,
    pub subresource: Subresource,
    pub namespace: Option<&'w str>,
    pub query: Query,
    pub outcome: Outcome,
    pub pod_security: PodSecurity,
    /// IPv4 addresses that the request came through, beginning with the client's.
    pub sources: [Option<[u8; 4]>; 2],
    /// Version of the control plane's store after the request. It grows with every event.
    pub version: u64,
    /// The workload and the object that the request is about, whether or not the request names
    /// them.
    pub subject: Subject<'w>,
    /// Name of the object. It is empty if no field of the event needs it.
    pub(crate) object_name: Name,
    pub(crate) is_named: bool,
    pub(crate) world: &'w World,
    pub(crate) timeline: &'w Timeline,
}

/// The query string of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    None,
    /// A page of a list, as kubectl asks for it.
    Page,
    /// The first list of an informer.
    Informer,
    /// One page of the objects of one application.
    OfApplication,
    /// The pods on a node.
    OnNode(u32),
    /// One object, selected by its name: kubelets ask so for the objects that their pods mount.
    Named,
    /// Whatever version the server has in its cache.
    Cached,
    /// The request gives up after this many seconds.
    Within(u32),
    /// A watch that ends after this time.
    Watch {
        seconds: u32,
    },
    /// A shell in a pod, which was closed after this time.
    Shell {
        seconds: u32,
    },
    /// A write that names its field manager.
    Managed(&'static str),
    /// A write by kubectl, which names its field manager and asks for strict validation.
    Validated(&'static str),
    /// No resource, but one of the paths that clients and probes ask for.
    Path(u32),
}

/// What pod security admission writes into the event's annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodSecurity {
    None,
    Enforced,
    Violated,
}

impl Facts<'_> {
    /// Name of the object as the request has it. It is empty if the request is for a collection, or
    /// lets the server choose the name.
    pub fn name(&self) -> &str {
        if self.is_named { &self.object_name } else { "" }
    }

    /// Writes `requestURI`: path and query.
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

    /// Writes a path that belongs to no resource: people's programs discover the API with it,
    /// others probe the server's health.
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

    /// ID of the token that the request created, for the annotation
    /// `authentication.kubernetes.io/issued-credential-id`.
    pub fn issued_token(&self) -> Option<u128> {
        let issued = self.subresource == Subresource::Token && self.outcome == Outcome::Created;
        issued.then(|| uuid_of(self.tenant.key_of(Thing::Token, self.version)))
    }

    /// Whether the server warns users of this API that it is deprecated: only that of `endpoints`.
    pub fn is_deprecated(&self) -> bool {
        self.resource == Resource::Endpoints
    }

    /// Writes the annotation `authorization.k8s.io/reason`.
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

    /// Name in the `details` of a failure, or empty if there is none.
    pub fn details_name(&self) -> &str {
        match self.outcome {
            Outcome::NoSuchNamespace => self.namespace.unwrap_or_default(),
            Outcome::NoSuchPath => "",
            _ => self.name(),
        }
    }

    /// API group in the `details` of an answer, or empty if there is none.
    pub fn details_group(&self) -> &'static str {
        match self.outcome {
            Outcome::NoSuchNamespace | Outcome::NoSuchPath => "",
            _ => self.resource.group(),
        }
    }

    /// Kind in the `details` of an answer. It is the resource's name, but for an invalid object its
    /// kind.
    pub fn details_kind(&self) -> &'static str {
        match self.outcome {
            Outcome::NoSuchNamespace => "namespaces",
            Outcome::NoSuchPath => "",
            Outcome::Invalid => self.resource.kind(),
            _ => self.resource.plural(),
        }
    }

    /// Writes the message of a failed request.
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

    /// Writes the annotation `pod-security.kubernetes.io/audit-violations`.
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

    /// Whether `objectRef` has the UID. It has it only if the request's body had it.
    pub fn refers_to_uid(&self) -> bool {
        self.refers_to_version() || self.subresource == Subresource::Binding
    }

    /// Whether `objectRef` has the version. It has it only if the request's body had it.
    pub fn refers_to_version(&self) -> bool {
        self.verb == Verb::Update && self.outcome != Outcome::Forbidden
    }

    /// The version of the object that a change is based on. A request that ended in a conflict is
    /// based on an older one.
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

    /// Writes why an object is invalid, without the name of the field.
    pub fn invalid_cause(&self, out: &mut impl Prose) {
        out.plain("Invalid value: ");
        out.quoted("-web");
        out.plain(": a valid label must begin with an alphanumeric character");
    }

    /// Writes the resource as error messages name it: with its group, if it has one.
    fn qualified_resource(&self, out: &mut impl Prose) {
        out.plain(self.resource.plural());
        if !self.resource.group().is_empty() {
            out.plain(".");
            out.plain(self.resource.group());
        }
    }
}

/// The field that is wrong in every invalid object.
pub const INVALID_FIELD: &str = "metadata.labels";

/// The cause of internal errors.
pub const INTERNAL_CAUSE: &str = "etcdserver: request timed out";

fn no_relationship(node: u32, out: &mut impl Prose) {
    out.plain("no relationship found between node 'node-");
    out.number(node.into());
    out.plain("' and this object");
}
