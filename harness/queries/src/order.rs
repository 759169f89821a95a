//! The order in which a server shows events: newest first, and by which columns within one
//! millisecond. Pure.

use events::row::Columns;
use uuid::Uuid;

use crate::question::{Filter, Scope};

/// Which columns decide the order within a millisecond. It depends on scope and filter.
///
/// Source: the Activity server, `internal/storage/clickhouse.go` at 2660e4bf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// API group, resource, ID.
    ByResource,
    /// User, API group, resource, ID.
    ByUser,
    /// User, ID.
    OfTenant,
}

/// The place of an event in an order. The answer shows larger places first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub timestamp_ms: i64,
    columns: [String; 3],
    /// ClickHouse compares the second half of a UUID first.
    id: (u64, u64),
}

impl Order {
    /// The order of the answers to questions with this scope and filter.
    pub fn of(scope: &Scope, filter: &Filter) -> Self {
        match scope {
            Scope::Organization(_) | Scope::Project(_) => Self::OfTenant,
            Scope::Platform | Scope::Stranger { .. } if is_about_users(&filter.to_cel()) => {
                Self::ByUser
            }
            Scope::Platform | Scope::Stranger { .. } | Scope::User(_) => Self::ByResource,
        }
    }

    /// The columns between time and ID that differ between the rows of one answer.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::ByResource => &["api_group", "resource"],
            Self::ByUser => &["user", "api_group", "resource"],
            Self::OfTenant => &["user"],
        }
    }

    /// The place of an event.
    pub fn place(self, columns: &Columns, audit_id: Uuid) -> Place {
        let (user, group, resource) = (columns.user.as_str(), columns.api_group, columns.resource);
        let columns_of = match self {
            Self::ByResource => [group, resource, ""],
            Self::ByUser => [user, group, resource],
            Self::OfTenant => [user, "", ""],
        };
        let (high, low) = audit_id.as_u64_pair();
        Place {
            timestamp_ms: columns.timestamp_ms,
            columns: columns_of.map(str::to_owned),
            id: (low, high),
        }
    }
}

/// The server looks for words in the filter's text.
fn is_about_users(cel: &str) -> bool {
    let has = |word: &str| cel.contains(word);
    ["user.username", "user.groups", "user.uid"].into_iter().any(has)
        || has("user") && (has("==") || has("!="))
}
