//! How much of a request an audit policy writes down.

use crate::catalog::Resource;

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
    /// The example of the Kubernetes documentation: pods with request and response, secrets and
    /// config maps without either, the rest of the core group with the request, all else without.
    ///
    /// Source: kubernetes/website, `content/en/examples/audit/audit-policy.yaml`.
    Example,
}

impl Policy {
    pub fn level(self, resource: Resource) -> Level {
        match self {
            Self::All(level) => level,
            Self::Example => match resource {
                Resource::Pods => Level::RequestResponse,
                Resource::None | Resource::ConfigMaps | Resource::Secrets => Level::Metadata,
                resource if resource.group().is_empty() => Level::Request,
                _ => Level::Metadata,
            },
        }
    }
}
