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

    /// The place of a row: its time, its values of [`Self::columns`], and its ID. `None` if it has
    /// another number of values.
    pub fn place_of_row(self, timestamp_ms: i64, values: &[String], id: Uuid) -> Option<Place> {
        let mut columns = <[String; 3]>::default();
        let own = columns.get_mut(..values.len())?;
        own.clone_from_slice(values);
        let (high, low) = id.as_u64_pair();
        let is_whole = values.len() == self.columns().len();
        is_whole.then_some(Place { timestamp_ms, columns, id: (low, high) })
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

impl Place {
    pub fn audit_id(&self) -> Uuid {
        let (low, high) = self.id;
        Uuid::from_u64_pair(high, low)
    }
}

/// The server looks for words in the filter's text.
fn is_about_users(cel: &str) -> bool {
    let has = |word: &str| cel.contains(word);
    ["user.username", "user.groups", "user.uid"].into_iter().any(has)
        || has("user") && (has("==") || has("!="))
}
