//! Verbs and resources of the Kubernetes API, kinds of request for them, and how requests end.

/// The verb of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Watch,
    Update,
    Patch,
    Create,
    Delete,
}

impl Verb {
    /// All verbs, in order.
    pub const ALL: [Self; 7] =
        [Self::Get, Self::List, Self::Watch, Self::Update, Self::Patch, Self::Create, Self::Delete];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Create => "create",
            Self::Delete => "delete",
        }
    }

    /// Whether the request names one object.
    pub fn is_of_one(self) -> bool {
        matches!(self, Self::Get | Self::Update | Self::Patch | Self::Delete)
    }
}

macro_rules! resources {
    ($($name:ident $plural:literal $kind:literal $group:literal;)*) => {
        /// A resource type of the Kubernetes API. All are of version v1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Resource {
            /// No resource: paths like `/readyz`.
            None,
            $($name,)*
        }

        impl Resource {
            /// All resources, in order, without [`Resource::None`].
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Plural, kind and API group.
            const fn names(self) -> (&'static str, &'static str, &'static str) {
                match self {
                    Self::None => ("", "", ""),
                    $(Self::$name => ($plural, $kind, $group),)*
                }
            }
        }
    };
}

resources! {
    Pods "pods" "Pod" "";
    ConfigMaps "configmaps" "ConfigMap" "";
    Secrets "secrets" "Secret" "";
    Services "services" "Service" "";
    Events "events" "Event" "";
    Endpoints "endpoints" "Endpoints" "";
    Nodes "nodes" "Node" "";
    Namespaces "namespaces" "Namespace" "";
    ServiceAccounts "serviceaccounts" "ServiceAccount" "";
    Deployments "deployments" "Deployment" "apps";
    ReplicaSets "replicasets" "ReplicaSet" "apps";
    StatefulSets "statefulsets" "StatefulSet" "apps";
    DaemonSets "daemonsets" "DaemonSet" "apps";
    Jobs "jobs" "Job" "batch";
    CronJobs "cronjobs" "CronJob" "batch";
    Leases "leases" "Lease" "coordination.k8s.io";
    EndpointSlices "endpointslices" "EndpointSlice" "discovery.k8s.io";
    Roles "roles" "Role" "rbac.authorization.k8s.io";
    RoleBindings "rolebindings" "RoleBinding" "rbac.authorization.k8s.io";
}

impl Resource {
    /// Name in paths and in `objectRef`; empty if there is no resource.
    pub fn plural(self) -> &'static str {
        self.names().0
    }

    pub fn kind(self) -> &'static str {
        self.names().1
    }

    /// API group; empty for the core group.
    pub fn group(self) -> &'static str {
        self.names().2
    }

    /// `apiVersion` of its objects.
    pub fn api_version(self) -> &'static str {
        match self.group() {
            "" => "v1",
            "apps" => "apps/v1",
            "batch" => "batch/v1",
            "coordination.k8s.io" => "coordination.k8s.io/v1",
            "discovery.k8s.io" => "discovery.k8s.io/v1",
            _ => "rbac.authorization.k8s.io/v1",
        }
    }

    /// Whether the resource is cluster-scoped: its objects are in no namespace.
    pub fn is_of_cluster(self) -> bool {
        matches!(self, Self::None | Self::Nodes | Self::Namespaces)
    }

    /// Whether its objects contain a pod template.
    pub fn has_pods(self) -> bool {
        matches!(
            self,
            Self::Deployments
                | Self::ReplicaSets
                | Self::StatefulSets
                | Self::DaemonSets
                | Self::Jobs
                | Self::CronJobs
        )
    }
}

/// A subresource: a part of an object that has its own path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subresource {
    None,
    Status,
    Binding,
    Token,
    Exec,
}

impl Subresource {
    /// Name in paths and in `objectRef`; empty if the request is for the whole object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Status => "status",
            Self::Binding => "binding",
            Self::Token => "token",
            Self::Exec => "exec",
        }
    }
}

/// Kinds of user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Human,
    Operator,
    System,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    Ok,
    Created,
    /// The server switched the connection to another protocol.
    Switched,
    /// A delete was answered with a status instead of the object.
    Deleted,
    NotFound,
    /// The server does not serve this path.
    NoSuchPath,
    /// The object was to be created in a namespace that does not exist.
    NoSuchNamespace,
    Forbidden,
    Conflict,
    AlreadyExists,
    PreconditionFailed,
    Invalid,
    BadRequest,
    Expired,
    TooManyRequests,
    InternalError,
    Unavailable,
    Timeout,
}

impl Outcome {
    /// HTTP status code.
    pub fn code(self) -> u16 {
        match self {
            Self::Switched => 101,
            Self::Ok | Self::Deleted => 200,
            Self::Created => 201,
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound | Self::NoSuchPath | Self::NoSuchNamespace => 404,
            Self::Conflict | Self::AlreadyExists | Self::PreconditionFailed => 409,
            Self::Expired => 410,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// `reason` of the status object, or `None` if the request succeeded.
    ///
    /// Source: constructors of `k8s.io/apimachinery/pkg/api/errors`.
    pub fn reason(self) -> Option<&'static str> {
        Some(match self {
            Self::Ok | Self::Created | Self::Switched | Self::Deleted => return None,
            Self::NotFound | Self::NoSuchPath | Self::NoSuchNamespace => "NotFound",
            Self::Forbidden => "Forbidden",
            Self::Conflict | Self::PreconditionFailed => "Conflict",
            Self::AlreadyExists => "AlreadyExists",
            Self::Invalid => "Invalid",
            Self::BadRequest => "BadRequest",
            Self::Expired => "Expired",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::Unavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
        })
    }
}

/// Which users, verbs and resources events have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mix {
    /// Human traffic, operators and controllers, under an audit policy that leaves out leases and
    /// events: get 40, list 30, update 15, create 10, delete 5 percent.
    Seed,
    /// What a busy control plane sees with everything audited: leases, status updates, events,
    /// patches and watches.
    Cluster,
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    pub verb: Verb,
    pub resource: Resource,
    pub subresource: Subresource,
}

/// A kind of request, and the kind of user who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Choice {
    pub kind: Kind,
    pub class: Class,
}

/// How requests of a verb end in a mix, in ten-thousandths.
///
/// In the mix `cluster` they are the status codes by verb in a capture of a busy control plane of
/// Kubernetes 1.36, where two operators lacked permissions. In the mix `seed` every kind of failure
/// has a visible share.
pub fn outcomes(mix: Mix, verb: Verb) -> &'static [(u32, Outcome)] {
    match mix {
        Mix::Seed => seed_outcomes(verb),
        Mix::Cluster => cluster_outcomes(verb),
    }
}

fn seed_outcomes(verb: Verb) -> &'static [(u32, Outcome)] {
    match verb {
        Verb::Get => &[
            (9_620, Outcome::Ok),
            (280, Outcome::NotFound),
            (60, Outcome::Forbidden),
            (10, Outcome::TooManyRequests),
            (20, Outcome::InternalError),
            (5, Outcome::Unavailable),
            (5, Outcome::Timeout),
        ],
        Verb::List => &[
            (9_750, Outcome::Ok),
            (180, Outcome::Forbidden),
            (10, Outcome::Expired),
            (10, Outcome::NoSuchPath),
            (20, Outcome::TooManyRequests),
            (20, Outcome::InternalError),
            (10, Outcome::Timeout),
        ],
        Verb::Watch => &[
            (9_790, Outcome::Ok),
            (150, Outcome::Forbidden),
            (30, Outcome::Expired),
            (30, Outcome::TooManyRequests),
        ],
        Verb::Patch => &[
            (9_720, Outcome::Ok),
            (120, Outcome::NotFound),
            (60, Outcome::Invalid),
            (50, Outcome::Conflict),
            (30, Outcome::Forbidden),
            (20, Outcome::InternalError),
        ],
        Verb::Update => &[
            (9_570, Outcome::Ok),
            (300, Outcome::Conflict),
            (40, Outcome::NotFound),
            (30, Outcome::Forbidden),
            (30, Outcome::Invalid),
            (20, Outcome::InternalError),
            (10, Outcome::Unavailable),
        ],
        Verb::Create => &[
            (9_460, Outcome::Created),
            (250, Outcome::AlreadyExists),
            (130, Outcome::Forbidden),
            (80, Outcome::Invalid),
            (30, Outcome::NoSuchNamespace),
            (10, Outcome::BadRequest),
            (10, Outcome::TooManyRequests),
            (30, Outcome::InternalError),
        ],
        Verb::Delete => &[
            (9_420, Outcome::Ok),
            (450, Outcome::NotFound),
            (60, Outcome::Forbidden),
            (40, Outcome::PreconditionFailed),
            (30, Outcome::InternalError),
        ],
    }
}

fn cluster_outcomes(verb: Verb) -> &'static [(u32, Outcome)] {
    match verb {
        Verb::Get => &[
            (9_476, Outcome::Ok),
            (460, Outcome::NotFound),
            (60, Outcome::Forbidden),
            (2, Outcome::InternalError),
            (2, Outcome::Timeout),
        ],
        Verb::List => &[
            (8_196, Outcome::Ok),
            (1_800, Outcome::Forbidden),
            (2, Outcome::Expired),
            (2, Outcome::Timeout),
        ],
        Verb::Watch => &[(6_690, Outcome::Ok), (3_300, Outcome::Forbidden), (10, Outcome::Expired)],
        Verb::Update => &[
            (9_696, Outcome::Ok),
            (280, Outcome::Conflict),
            (20, Outcome::NotFound),
            (2, Outcome::InternalError),
            (2, Outcome::Unavailable),
        ],
        Verb::Patch => &[
            (9_848, Outcome::Ok),
            (110, Outcome::NotFound),
            (20, Outcome::Conflict),
            (20, Outcome::Forbidden),
            (2, Outcome::InternalError),
        ],
        Verb::Create => &[
            (9_678, Outcome::Created),
            (240, Outcome::Forbidden),
            (60, Outcome::AlreadyExists),
            (20, Outcome::Invalid),
            (2, Outcome::InternalError),
        ],
        Verb::Delete => &[(9_378, Outcome::Ok), (600, Outcome::NotFound), (22, Outcome::Forbidden)],
    }
}

/// How long a request takes in the API server, in µs at the quantiles 0, 0.5, 0.95, 0.99 and 1. For
/// a watch, the time that the client asked for in its URI is added.
pub fn service_time_us(verb: Verb) -> [u32; 5] {
    match verb {
        Verb::Get | Verb::Watch => [400, 1_300, 3_900, 11_000, 40_000],
        Verb::List => [400, 1_200, 9_700, 60_000, 250_000],
        Verb::Update => [900, 2_900, 17_000, 40_000, 120_000],
        Verb::Patch => [1_200, 4_400, 16_000, 31_000, 110_000],
        Verb::Create => [800, 2_500, 14_000, 31_000, 100_000],
        Verb::Delete => [1_500, 5_200, 32_000, 78_000, 200_000],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_of_outcomes_add_up() {
        for mix in [Mix::Seed, Mix::Cluster] {
            for verb in Verb::ALL {
                let sum: u32 = outcomes(mix, verb).iter().map(|(share, _)| share).sum();
                assert_eq!(sum, 10_000, "{mix:?} {verb:?}");
            }
        }
    }
}
