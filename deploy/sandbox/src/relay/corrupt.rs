//! Changes one field of an event to another value that looks right.

use serde_json::Value;

use super::transform::Event;
use crate::fault_log::Change;

/// Changes exactly one of the fields that the table has as a column. Draw and event decide which
/// and to what. Never the auditID or a time: such an event would be lost, not corrupted.
pub(super) fn corrupt(event: &mut Event, draw: u64) -> Option<Change> {
    let present: Vec<&Field> =
        FIELDS.iter().filter(|field| find(event, field.path).is_some()).collect();
    let (field_draw, value_draw) = (draw >> 32, draw & 0xffff_ffff);
    let field = present.get(pick(field_draw, present.len())?)?;
    let value = find(event, field.path)?;
    let others: Vec<Value> = field.others(value).collect();
    let to = others.get(pick(value_draw, others.len())?)?.clone();
    let from = std::mem::replace(value, to.clone());
    Some(Change { field: field.name, from, to })
}

struct Field {
    name: &'static str,
    path: &'static [&'static str],
    values: Values,
}

enum Values {
    Words(&'static [&'static str]),
    Codes(&'static [u16]),
}

const FIELDS: [Field; 6] = [
    Field {
        name: "user.username",
        path: &["user", "username"],
        values: Values::Words(&[
            "alice@example.com",
            "bob@example.com",
            "system:kube-scheduler",
            "system:serviceaccount:kube-system:job-controller",
        ]),
    },
    Field {
        name: "verb",
        path: &["verb"],
        values: Values::Words(&["get", "list", "create", "update", "patch", "delete"]),
    },
    Field {
        name: "objectRef.resource",
        path: &["objectRef", "resource"],
        values: Values::Words(&["pods", "configmaps", "secrets", "deployments", "services"]),
    },
    Field {
        name: "objectRef.namespace",
        path: &["objectRef", "namespace"],
        values: Values::Words(&["default", "kube-system", "production", "staging"]),
    },
    Field {
        name: "objectRef.name",
        path: &["objectRef", "name"],
        values: Values::Words(&["api-server", "database", "frontend", "worker-0"]),
    },
    Field {
        name: "responseStatus.code",
        path: &["responseStatus", "code"],
        values: Values::Codes(&[200, 201, 403, 404, 409, 500]),
    },
];

impl Field {
    fn others(&self, present: &Value) -> impl Iterator<Item = Value> {
        let values: Vec<Value> = match self.values {
            Values::Words(words) => words.iter().map(|word| (*word).into()).collect(),
            Values::Codes(codes) => codes.iter().map(|code| (*code).into()).collect(),
        };
        values.into_iter().filter(move |value| value != present)
    }
}

fn find<'a>(event: &'a mut Event, path: &[&str]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(event.get_mut(*first)?, |value, key| value.get_mut(*key))
}

fn pick(draw: u64, count: usize) -> Option<usize> {
    let rest = draw.checked_rem(count as u64)?;
    usize::try_from(rest).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn event() -> Event {
        let Value::Object(event) = json!({
            "auditID": "a",
            "verb": "get",
            "user": { "username": "alice@example.com" },
            "objectRef": { "resource": "pods", "namespace": "default" },
            "responseStatus": { "code": 200 },
            "requestReceivedTimestamp": "2026-03-01T12:00:00.250000Z",
        }) else {
            unreachable!()
        };
        event
    }

    #[test]
    fn exactly_one_present_field_is_changed_and_told() {
        let mut changed = BTreeSet::new();
        for draw in 0..200_u64 {
            let draw = draw.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut corrupted = event();
            let change = corrupt(&mut corrupted, draw).unwrap();
            assert_ne!(change.from, change.to);
            assert_ne!(corrupted, event());
            let path: Vec<&str> = change.field.split('.').collect();
            assert_eq!(*find(&mut corrupted, &path).unwrap(), change.to);
            *find(&mut corrupted, &path).unwrap() = change.from;
            assert_eq!(corrupted, event(), "more than {} was changed", change.field);
            changed.insert(change.field);
        }
        let all =
            ["objectRef.namespace", "objectRef.resource", "responseStatus.code", "user.username"];
        assert_eq!(changed, all.into_iter().chain(["verb"]).collect());
    }

    #[test]
    fn the_same_draw_makes_the_same_change() {
        let (mut one, mut two) = (event(), event());
        assert_eq!(corrupt(&mut one, 12345), corrupt(&mut two, 12345));
        assert_eq!(corrupt(&mut Event::new(), 12345), None);
    }
}
