//! How much of a request an audit policy records.

use crate::catalog::{Resource, Subresource};

/// How much an event records of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Who did what to what, when, and how it ended.
    Metadata,
    /// Also the object in the request.
    Request,
    /// Also the objects in request and response.
    RequestResponse,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// Which requests are audited at which level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// All requests at the same level.
    All(Level),
    /// The example policy in the Kubernetes documentation. Pods are audited with request and
    /// response. Their status, all secrets and all config maps are audited without either; but
    /// config maps in kube-system with the request. The rest of the core group is audited with the
    /// request, and everything else without. Requests that the policy leaves out (discovery under
    /// `/api*` and `/version`) do not occur.
    ///
    /// Source: kubernetes/website, `content/en/examples/audit/audit-policy.yaml`.
    Example,
}

impl Policy {
    pub fn level(
        self,
        resource: Resource,
        subresource: Subresource,
        namespace: Option<&str>,
    ) -> Level {
        if let Self::All(level) = self {
            return level;
        }
        match (resource, subresource) {
            (Resource::Pods, Subresource::None) => Level::RequestResponse,
            (Resource::Pods, Subresource::Status) | (Resource::None | Resource::Secrets, _) => {
                Level::Metadata
            }
            (Resource::ConfigMaps, _) if namespace == Some("kube-system") => Level::Request,
            (Resource::ConfigMaps, _) => Level::Metadata,
            (resource, _) if resource.group().is_empty() => Level::Request,
            _ => Level::Metadata,
        }
    }
}
