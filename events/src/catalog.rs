//! Who does what to which resource, how often, and how it ends: the `seed` mix.
//!
//! Its shares are those of human traffic and of audit policies that leave out leases and events:
//! get 40, list 30, update 15, create 10, delete 5 percent. Within each verb, resources, kinds of
//! user and status codes follow captures of real clusters; a pair of verb and resource is only
//! given to those who do such a thing in a real cluster.

/// What was asked of the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Get,
    List,
    Update,
    Create,
    Delete,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Update => "update",
            Self::Create => "create",
            Self::Delete => "delete",
        }
    }
}

/// A resource type of the Kubernetes API, all of version v1.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    pub plural: &'static str,
    pub kind: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Path of the group and version.
    pub path: &'static str,
    pub naming: Naming,
}

/// How objects of a resource are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Naming {
    Pod,
    Job,
    ConfigMap,
    Secret,
    Workload,
    Grant,
}

macro_rules! resources {
    ($($name:ident $plural:literal $kind:literal $group:literal $path:literal $naming:ident;)*) => {
        $(pub static $name: Resource = Resource {
            plural: $plural, kind: $kind, group: $group, path: $path, naming: Naming::$naming,
        };)*
    };
}

resources! {
    PODS "pods" "Pod" "" "/api/v1" Pod;
    CONFIGMAPS "configmaps" "ConfigMap" "" "/api/v1" ConfigMap;
    SECRETS "secrets" "Secret" "" "/api/v1" Secret;
    SERVICES "services" "Service" "" "/api/v1" Workload;
    DEPLOYMENTS "deployments" "Deployment" "apps" "/apis/apps/v1" Workload;
    STATEFULSETS "statefulsets" "StatefulSet" "apps" "/apis/apps/v1" Workload;
    DAEMONSETS "daemonsets" "DaemonSet" "apps" "/apis/apps/v1" Workload;
    JOBS "jobs" "Job" "batch" "/apis/batch/v1" Job;
    CRONJOBS "cronjobs" "CronJob" "batch" "/apis/batch/v1" Workload;
    ROLES "roles" "Role" "rbac.authorization.k8s.io" "/apis/rbac.authorization.k8s.io/v1" Grant;
    ROLEBINDINGS "rolebindings" "RoleBinding" "rbac.authorization.k8s.io"
        "/apis/rbac.authorization.k8s.io/v1" Grant;
}

/// Kinds of user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Human,
    Operator,
    System,
}

/// Verbs, in percent.
pub const VERBS: [(u32, Verb); 5] =
    [(40, Verb::Get), (30, Verb::List), (15, Verb::Update), (10, Verb::Create), (5, Verb::Delete)];

/// Resources by verb, in thousandths, each with its share of humans, operators and the system.
pub fn resources(verb: Verb) -> &'static [(u32, (&'static Resource, [u32; 3]))] {
    match verb {
        Verb::Get => &GET,
        Verb::List => &LIST,
        Verb::Update => &UPDATE,
        Verb::Create => &CREATE,
        Verb::Delete => &DELETE,
    }
}

type Row = (u32, (&'static Resource, [u32; 3]));

static GET: [Row; 11] = [
    (220, (&CONFIGMAPS, [25, 50, 25])),
    (200, (&SECRETS, [25, 50, 25])),
    (180, (&PODS, [25, 50, 25])),
    (140, (&DEPLOYMENTS, [25, 50, 25])),
    (100, (&SERVICES, [25, 50, 25])),
    (50, (&JOBS, [25, 50, 25])),
    (40, (&STATEFULSETS, [25, 50, 25])),
    (20, (&DAEMONSETS, [25, 50, 25])),
    (20, (&CRONJOBS, [25, 50, 25])),
    (15, (&ROLES, [25, 50, 25])),
    (15, (&ROLEBINDINGS, [25, 50, 25])),
];

static LIST: [Row; 11] = [
    (340, (&PODS, [30, 55, 15])),
    (140, (&CONFIGMAPS, [30, 55, 15])),
    (140, (&DEPLOYMENTS, [30, 55, 15])),
    (120, (&SERVICES, [30, 55, 15])),
    (100, (&SECRETS, [30, 55, 15])),
    (50, (&JOBS, [30, 55, 15])),
    (40, (&STATEFULSETS, [30, 55, 15])),
    (30, (&DAEMONSETS, [30, 55, 15])),
    (20, (&CRONJOBS, [30, 55, 15])),
    (10, (&ROLES, [30, 55, 15])),
    (10, (&ROLEBINDINGS, [30, 55, 15])),
];

/// The system's updates of workloads are updates of their status.
static UPDATE: [Row; 11] = [
    (340, (&DEPLOYMENTS, [7, 13, 80])),
    (200, (&CONFIGMAPS, [8, 75, 17])),
    (120, (&PODS, [0, 0, 100])),
    (120, (&JOBS, [2, 8, 90])),
    (80, (&STATEFULSETS, [6, 14, 80])),
    (50, (&SECRETS, [8, 92, 0])),
    (50, (&DAEMONSETS, [5, 15, 80])),
    (30, (&CRONJOBS, [0, 0, 100])),
    (7, (&SERVICES, [40, 60, 0])),
    (2, (&ROLES, [40, 60, 0])),
    (1, (&ROLEBINDINGS, [40, 60, 0])),
];

static CREATE: [Row; 11] = [
    (580, (&PODS, [5, 3, 92])),
    (120, (&JOBS, [25, 25, 50])),
    (100, (&CONFIGMAPS, [40, 45, 15])),
    (70, (&SECRETS, [40, 60, 0])),
    (40, (&DEPLOYMENTS, [60, 40, 0])),
    (30, (&SERVICES, [60, 40, 0])),
    (20, (&ROLEBINDINGS, [50, 50, 0])),
    (20, (&ROLES, [50, 50, 0])),
    (10, (&CRONJOBS, [70, 30, 0])),
    (7, (&STATEFULSETS, [60, 40, 0])),
    (3, (&DAEMONSETS, [50, 50, 0])),
];

static DELETE: [Row; 11] = [
    (680, (&PODS, [10, 12, 78])),
    (140, (&JOBS, [25, 25, 50])),
    (60, (&CONFIGMAPS, [50, 50, 0])),
    (50, (&SECRETS, [50, 50, 0])),
    (20, (&DEPLOYMENTS, [70, 30, 0])),
    (15, (&SERVICES, [60, 40, 0])),
    (10, (&STATEFULSETS, [60, 40, 0])),
    (10, (&CRONJOBS, [60, 40, 0])),
    (8, (&ROLEBINDINGS, [50, 50, 0])),
    (5, (&ROLES, [50, 50, 0])),
    (2, (&DAEMONSETS, [50, 50, 0])),
];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    Ok,
    Created,
    /// A delete that answers with a status instead of the object.
    Deleted,
    NotFound,
    /// The path itself is not served.
    NoSuchPath,
    /// The namespace to create in does not exist.
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

    /// `reason` of the status object; `None` where the request succeeded.
    ///
    /// Source: constructors of `k8s.io/apimachinery/pkg/api/errors`.
    pub fn reason(self) -> Option<&'static str> {
        Some(match self {
            Self::Ok | Self::Created | Self::Deleted => return None,
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

/// How requests of a verb end, in ten-thousandths.
pub fn outcomes(verb: Verb) -> &'static [(u32, Outcome)] {
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

/// Time a request takes in the API server, in µs at the quantiles 0, 0.5, 0.95, 0.99 and 1.
pub fn service_time_us(verb: Verb) -> [u32; 5] {
    match verb {
        Verb::Get => [400, 1_300, 3_900, 11_000, 40_000],
        Verb::List => [400, 1_200, 9_700, 60_000, 250_000],
        Verb::Update => [900, 2_900, 17_000, 40_000, 120_000],
        Verb::Create => [800, 2_500, 14_000, 31_000, 100_000],
        Verb::Delete => [1_500, 5_200, 32_000, 78_000, 200_000],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Verb; 5] = [Verb::Get, Verb::List, Verb::Update, Verb::Create, Verb::Delete];

    #[test]
    fn all_shares_add_up() {
        assert_eq!(VERBS.iter().map(|(share, _)| share).sum::<u32>(), 100);
        for verb in ALL {
            assert_eq!(resources(verb).iter().map(|(n, _)| n).sum::<u32>(), 1_000, "{verb:?}");
            assert_eq!(outcomes(verb).iter().map(|(n, _)| n).sum::<u32>(), 10_000, "{verb:?}");
            for (_, (resource, classes)) in resources(verb) {
                assert_eq!(classes.iter().sum::<u32>(), 100, "{verb:?} {}", resource.plural);
            }
        }
    }

    #[test]
    fn kinds_of_user_have_about_their_published_share_of_each_verb() {
        // Humans, operators, system, in percent.
        let published = [[25, 50, 25], [30, 55, 15], [5, 30, 65], [20, 20, 60], [20, 20, 60]];
        for (verb, published) in ALL.into_iter().zip(published) {
            let mut shares = [0u32; 3];
            for (weight, (_, classes)) in resources(verb) {
                for (share, class) in shares.iter_mut().zip(classes) {
                    *share += weight * class;
                }
            }
            for (share, published) in shares.iter().zip(published) {
                let difference = (share / 1_000).abs_diff(published);
                assert!(difference <= 4, "{verb:?}: {shares:?}, published {published}");
            }
        }
    }
}
