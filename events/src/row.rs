//! The columns of one event in the table of audit logs.
//!
//! The server derives them from `event_json`. Here they are derived from the facts, so that a
//! loader can send them along, and a checker can see whether a stored row is what was sent.

use crate::facts::Facts;
use crate::prose::Prose;
use crate::world::Scope;

/// The values of the table's materialized columns for one event.
///
/// Composed texts are in buffers that the next row reuses.
#[derive(Debug, Default)]
pub struct Columns {
    pub timestamp_ms: i64,
    pub scope_type: &'static str,
    pub scope_name: String,
    pub user: String,
    /// Empty if the user has no UID.
    pub user_uid: String,
    pub verb: &'static str,
    pub api_group: &'static str,
    pub resource: &'static str,
    pub namespace: String,
    pub resource_name: String,
    pub status_code: u16,
}

impl Columns {
    /// Fills the columns from the facts of an event.
    pub fn fill(&mut self, facts: &Facts<'_>) {
        self.timestamp_ms = facts.received.div_euclid(1_000);
        self.scope_type = facts.tenant.scope.as_str();
        self.scope_name.clear();
        if facts.tenant.scope != Scope::Global {
            self.scope_name.push_str(&facts.tenant.scope_name);
        }
        self.user.clear();
        facts.actor.username(&mut self.user);
        self.user_uid.clear();
        if let Some(uid) = facts.actor.uid(facts.actor.key(facts.tenant)) {
            let mut text = [0; 36];
            self.user_uid.plain(uuid::Uuid::from_u128(uid).hyphenated().encode_lower(&mut text));
        }
        self.verb = facts.verb.as_str();
        self.api_group = facts.resource.group();
        self.resource = facts.resource.plural();
        self.namespace.clear();
        self.namespace.push_str(facts.namespace.unwrap_or_default());
        self.resource_name.clear();
        self.resource_name.push_str(facts.name());
        self.status_code = facts.outcome.code();
    }
}
