//! What an answer says of one event in full, for a sample: as far as the columns of the table tell.
//! Pure.

use std::collections::BTreeMap;

use events::row::Columns;
use serde::Deserialize;

use crate::page::Page;

/// What an answer says of one event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Content {
    verb: String,
    user: User,
    #[serde(rename = "objectRef")]
    object: Object,
    #[serde(rename = "responseStatus")]
    status: Status,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    uid: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Object {
    api_group: String,
    resource: String,
    namespace: String,
    name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

#[derive(Deserialize)]
struct Answer {
    status: Results,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<Content>,
}

impl Content {
    /// Reads one event of a page in full. `None` if the page has no such event, or has no body, or
    /// the event is of another form.
    pub fn of(page: &Page, index: usize) -> Option<Self> {
        let Answer { status } = serde_json::from_slice(&page.body).ok()?;
        status.results.into_iter().nth(index)
    }

    /// The columns, by name, in which the answer differs from what was sent.
    pub fn differences(&self, sent: &Columns) -> Vec<&'static str> {
        let annotation = |name: &str| {
            let key = format!("platform.miloapis.com/scope.{name}");
            self.annotations.get(&key).map_or("", String::as_str).to_owned()
        };
        let pairs = [
            ("scope_type", annotation("type"), sent.scope_type),
            ("scope_name", annotation("name"), sent.scope_name.as_str()),
            ("user", self.user.username.clone(), sent.user.as_str()),
            ("user_uid", self.user.uid.clone(), sent.user_uid.as_str()),
            ("verb", self.verb.clone(), sent.verb),
            ("api_group", self.object.api_group.clone(), sent.api_group),
            ("resource", self.object.resource.clone(), sent.resource),
            ("namespace", self.object.namespace.clone(), sent.namespace.as_str()),
            ("resource_name", self.object.name.clone(), sent.resource_name.as_str()),
        ];
        let differs = pairs.iter().filter(|(_, shown, sent)| shown != sent);
        let names = differs.map(|(name, ..)| *name);
        names.chain((self.status.code != sent.status_code).then_some("status_code")).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use events::identity::{Seq, TenantIndex};
    use events::render::{Form, render};

    use super::*;
    use crate::page::read_answer;
    use crate::testing::plan;

    #[test]
    fn what_is_shown_is_what_was_sent_in_every_column() {
        let plan = plan();
        let mut columns = Columns::default();
        for tenant in plan.script.tenants() {
            for seq in (0..300).map(Seq) {
                let facts = plan.script.facts(tenant, seq).unwrap();
                columns.fill(&facts);
                let mut body = br#"{"status":{"results":["#.to_vec();
                render(&facts, Form::Item, &mut body);
                body.extend_from_slice(b"]}}");
                let page = read_answer(Bytes::from(body)).unwrap();
                let content = Content::of(&page, 0).unwrap();
                assert_eq!(content.differences(&columns), [""; 0], "{tenant:?} {seq:?}");
                assert_eq!(Content::of(&page, 1), None);
                let mut other = Columns { verb: "other", status_code: 999, ..columns };
                other.user.push('x');
                assert_eq!(content.differences(&other), ["user", "verb", "status_code"]);
                columns = other;
            }
        }
        assert!(plan.script.tenants().any(|tenant| tenant == TenantIndex(9)));
    }
}
