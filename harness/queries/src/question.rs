//! A question: which events, of whom, from when. It means the same at every door. Pure.

use std::fmt;

use events::row::Columns;
use events::world::{self, Tenant};
use serde_json::{Value, json};
use uuid::Uuid;

pub use plans::filter::{Condition, Filter, IdRange, StatusTest, TextField, TextTest, UnixSeconds};

/// Whose events are asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everybody's.
    Platform,
    Organization(String),
    Project(String),
    /// Those of one user, by UID, in all tenants.
    User(String),
    /// A scope that no server should know: it must not show anything. For probes.
    Stranger {
        kind: String,
        name: String,
    },
}

/// A question for one page of events, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub scope: Scope,
    pub filter: Filter,
    /// The first second in which the request may have been received.
    pub from: UnixSeconds,
    /// The first second that is out of range again. It must be later than `from`, by at most
    /// [`WINDOW_SECONDS_MAX`], and not in the server's future.
    pub until: UnixSeconds,
    /// The most events on a page, from 1 to [`LIMIT_MAX`].
    pub limit: u32,
}

/// The most events that the query API puts on a page.
pub const LIMIT_MAX: u32 = 1_000;

/// The longest period that the query API takes: thirty days.
pub const WINDOW_SECONDS_MAX: i64 = 30 * 24 * 60 * 60;

impl Scope {
    /// A scope of a kind that there is not. A server that shows it anything does not look at the
    /// scope.
    pub fn stranger(name: impl Into<String>) -> Self {
        Self::Stranger { kind: "Nowhere".to_owned(), name: name.into() }
    }

    /// The scope that shows the events of a tenant, or `None` if the API has none: events of users'
    /// own scopes and of the global scope are shown to the platform only.
    pub fn of_tenant(tenant: &Tenant) -> Option<Self> {
        match tenant.scope {
            world::Scope::Organization => Some(Self::Organization(tenant.scope_name.clone())),
            world::Scope::Project => Some(Self::Project(tenant.scope_name.clone())),
            world::Scope::User | world::Scope::Global => None,
        }
    }

    /// Whether an event may be shown to it, by its columns.
    pub fn admits(&self, columns: &Columns) -> bool {
        let is_tenant =
            |kind: &str, name: &str| columns.scope_type == kind && columns.scope_name == name;
        match self {
            Self::Platform => true,
            Self::Organization(name) => is_tenant("Organization", name),
            Self::Project(name) => is_tenant("Project", name),
            Self::User(uid) => !uid.is_empty() && columns.user_uid == *uid,
            Self::Stranger { .. } => false,
        }
    }

    /// Whether any event of a tenant may be shown to it.
    pub fn may_show(&self, tenant: &Tenant) -> bool {
        match self {
            Self::Platform | Self::User(_) => true,
            Self::Stranger { .. } => false,
            Self::Organization(_) | Self::Project(_) => {
                Self::of_tenant(tenant).as_ref() == Some(self)
            }
        }
    }

    /// Kind and name, as the headers of a front proxy have them; `None` for the platform.
    pub fn headers(&self) -> Option<(&str, &str)> {
        match self {
            Self::Platform => None,
            Self::Organization(name) => Some(("Organization", name)),
            Self::Project(name) => Some(("Project", name)),
            Self::User(uid) => Some(("User", uid)),
            Self::Stranger { kind, name } => Some((kind, name)),
        }
    }
}

/// Like `Project/acme-shop`, or `platform`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.headers() {
            None => f.write_str("platform"),
            Some((kind, name)) => write!(f, "{kind}/{name}"),
        }
    }
}

impl Question {
    /// A question for all events of a scope in a period.
    pub fn all(scope: Scope, from: UnixSeconds, until: UnixSeconds, limit: u32) -> Self {
        Self { scope, filter: Filter::default(), from, until, limit }
    }

    /// As records have it, in the words of the query API, so that it can be asked again.
    pub fn to_json(&self) -> Value {
        json!({
            "scope": self.scope.to_string(),
            "filter": self.filter.to_cel(),
            "startTime": self.from.rfc3339(),
            "endTime": self.until.rfc3339(),
            "limit": self.limit,
        })
    }

    /// Whether a request that was received then is in the period.
    pub fn is_in_period(&self, timestamp_ms: i64) -> bool {
        (self.from.millis()..self.until.millis()).contains(&timestamp_ms)
    }

    /// Whether an event belongs to the whole answer, by its columns and its audit ID.
    pub fn admits(&self, columns: &Columns, audit_id: Uuid) -> bool {
        self.is_in_period(columns.timestamp_ms)
            && self.scope.admits(columns)
            && self.filter.holds(columns, audit_id)
    }
}
