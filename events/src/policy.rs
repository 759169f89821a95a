//! How much of a request an audit policy writes down.

use crate::catalog::{Resource, Subresource};

/// How much an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Who did what to what, when, and how it ended.
    Metadata,
    /// With the object of the request.
    Request,
    /// With the objects of request and response.
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

/// Which level requests are audited at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// All at one level.
    All(Level),
    /// The example of the Kubernetes documentation: pods with request and response, their status
    /// and all secrets and config maps without either (in kube-system, config maps with the
    /// request), the rest of the core group with the request, all else without. What it leaves out
    /// altogether (discovery under `/api*` and `/version`) does not occur.
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
