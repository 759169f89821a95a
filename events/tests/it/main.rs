//! Laws of the events: what they say, and that all ways of saying it agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use events::catalog::{self, Outcome};
use events::event::Event;
use events::identity::{RunMark, Seq, TenantIndex};
use events::render::{EVENT_BYTES_MAX, Form, render};
use events::row::Columns;
use events::script::{DAY_US, Days, Script, midnight};
use events::timeline::{Arrival, Curve, Stage, Timeline};
use events::world::{Scope, World};
use proptest::prelude::*;
use uuid::Uuid;

const START: i64 = 1_790_000_000_000_000;

fn live(seed: u64, tenants: u16) -> Script {
    let stage = Stage {
        duration_us: 1_000_000_000,
        rate_milli: (100_000, 300_000),
        tenants: (tenants.into(), tenants.into()),
    };
    let timelines = (0..tenants)
        .map(TenantIndex)
        .map(|tenant| {
            let curve = Curve::of_stages(&[stage], tenant);
            Timeline::live(curve, START, Arrival::Jittered, seed, tenant)
        })
        .collect();
    let mark = RunMark::of(Uuid::from_u128(seed.into()));
    Script::new(mark, World::new(seed, tenants.into()), timelines, Days::Flow)
}

fn rendered(script: &Script, tenant: u16, seq: u64, form: Form) -> Vec<u8> {
    let mut bytes = Vec::new();
    let facts = script.facts(TenantIndex(tenant), Seq(seq)).expect("the plan has it");
    render(&facts, form, &mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn rendered_bytes_are_what_go_would_write_of_the_typed_event(
        seed: u64, tenant in 0u16..30, from in 0u64..150_000,
    ) {
        let script = live(seed, 30);
        for seq in from..from + 500 {
            let facts = script.facts(TenantIndex(tenant), Seq(seq)).expect("the plan has it");
            let mut event = Event::of(&facts);
            let bytes = rendered(&script, tenant, seq, Form::Item);
            let expected = event.to_go_json().expect("it serializes");
            prop_assert_eq!(String::from_utf8(bytes), String::from_utf8(expected));
            event.kind = Some("Event".to_owned());
            event.api_version = Some("audit.k8s.io/v1".to_owned());
            let bytes = rendered(&script, tenant, seq, Form::Alone);
            prop_assert_eq!(&bytes, &event.to_go_json().expect("it serializes"));
            prop_assert!(bytes.len() <= EVENT_BYTES_MAX, "{} bytes", bytes.len());
            let back: Event = serde_json::from_slice(&bytes).expect("the strict types accept it");
            prop_assert_eq!(back, event);
        }
    }
}

#[test]
fn every_outcome_and_every_resource_of_the_catalog_occurs() {
    let script = live(5, 40);
    let mut outcomes = BTreeSet::new();
    let mut pairs = BTreeSet::new();
    for tenant in 0..40 {
        for seq in 0..20_000 {
            let facts = script.facts(TenantIndex(tenant), Seq(seq)).unwrap();
            outcomes.insert(facts.outcome);
            pairs.insert((facts.verb, facts.resource.plural));
        }
    }
    let expected: BTreeSet<Outcome> = catalog::VERBS
        .iter()
        .flat_map(|(_, verb)| catalog::outcomes(*verb))
        .map(|(_, outcome)| *outcome)
        .chain([Outcome::Deleted])
        .collect();
    assert_eq!(outcomes, expected);
    assert_eq!(pairs.len(), 5 * 11);
}

#[test]
fn shares_of_verbs_and_resources_are_the_catalogs() {
    let script = live(6, 10);
    let total = 200_000u32;
    let mut shares = BTreeMap::new();
    for seq in 0..total / 10 {
        for tenant in 0..10 {
            let facts = script.facts(TenantIndex(tenant), Seq(seq.into())).unwrap();
            *shares.entry((facts.verb, facts.resource.plural)).or_insert(0u32) += 1;
        }
    }
    let mut distance = 0.0;
    for (percent, verb) in catalog::VERBS {
        for (per_mille, (resource, _)) in catalog::resources(verb) {
            let expected = f64::from(percent * per_mille) / 100_000.0;
            let seen = shares.get(&(verb, resource.plural)).copied().unwrap_or(0);
            distance += (f64::from(seen) / f64::from(total) - expected).abs() / 2.0;
        }
    }
    assert!(distance < 0.01, "total variation {distance}");
}

#[test]
fn what_is_asked_who_asks_and_where_agree_within_each_event() {
    let script = live(7, 30);
    for tenant in 0..30 {
        for seq in 0..2_000 {
            let facts = script.facts(TenantIndex(tenant), Seq(seq)).unwrap();
            let event = Event::of(&facts);
            let reference = event.object_ref.as_ref().unwrap();
            let status = event.response_status.as_ref().unwrap();
            let path = event.request_uri.split('?').next().unwrap();
            assert!(path.contains(&format!("/{}", reference.resource)), "{path}");
            if !reference.namespace.is_empty() {
                assert!(path.contains(&format!("/namespaces/{}/", reference.namespace)), "{path}");
            }
            let decision = &event.annotations["authorization.k8s.io/decision"];
            assert_eq!(decision == "forbid", status.code == 403);
            assert_eq!(status.status == "Failure", status.code >= 400);
            assert_eq!(reference.subresource == "status", path.ends_with("/status"));
            let scope = script.world().tenant(facts.tenant.index).scope;
            let named = event.annotations.get("platform.miloapis.com/scope.name");
            let parent = event.user.extra.get("iam.miloapis.com/parent-name");
            assert_eq!(named, parent.map(|names| &names[0]));
            assert_eq!(named.is_none(), scope == Scope::Global);
            assert!(facts.received < facts.completed);
        }
    }
}

#[test]
fn an_object_has_one_uid_and_a_user_one_credential() {
    let script = live(8, 3);
    let mut uids = BTreeMap::new();
    let mut users = BTreeMap::new();
    for tenant in 0..3 {
        for seq in 0..50_000 {
            let facts = script.facts(TenantIndex(tenant), Seq(seq)).unwrap();
            let event = Event::of(&facts);
            let credential =
                event.user.extra.get("authentication.kubernetes.io/credential-id").cloned();
            let user = (tenant, event.user.username.clone());
            let known = users.entry(user.clone()).or_insert((event.user.uid, credential.clone()));
            assert_eq!(*known, (event.user.uid, credential), "{user:?}");
            let reference = event.object_ref.unwrap();
            if let Some(uid) = reference.uid {
                let key = (tenant, reference.resource, reference.namespace, reference.name);
                assert_eq!(*uids.entry(key.clone()).or_insert(uid), uid, "{key:?}");
            }
        }
    }
    assert!(uids.len() > 500 && users.len() > 100, "{} {}", uids.len(), users.len());
}

#[test]
fn columns_are_the_fields_of_the_event() {
    let script = live(9, 20);
    let mut columns = Columns::default();
    for tenant in 0..20 {
        for seq in 0..2_000 {
            let facts = script.facts(TenantIndex(tenant), Seq(seq)).unwrap();
            columns.fill(&facts);
            let event = Event::of(&facts);
            let reference = event.object_ref.unwrap();
            let annotation = |key: &str| event.annotations.get(key).cloned().unwrap_or_default();
            assert_eq!(columns.timestamp_ms, event.request_received_timestamp.0 / 1_000);
            assert_eq!(columns.scope_type, annotation("platform.miloapis.com/scope.type"));
            assert_eq!(columns.scope_name, annotation("platform.miloapis.com/scope.name"));
            assert_eq!(columns.user, event.user.username);
            let uid = event.user.uid.map(|uid| uid.to_string()).unwrap_or_default();
            assert_eq!(columns.user_uid, uid);
            assert_eq!(columns.verb, event.verb);
            assert_eq!(columns.api_group, reference.api_group);
            assert_eq!(columns.resource, reference.resource);
            assert_eq!(columns.namespace, reference.namespace);
            assert_eq!(columns.resource_name, reference.name);
            assert_eq!(columns.status_code, event.response_status.unwrap().code);
        }
    }
}

#[test]
fn a_history_keeps_to_its_days() {
    let curve = Arc::new(Curve::of_history(3, 0));
    let start = midnight(START);
    let tenant = TenantIndex(0);
    let timeline = Timeline::history(curve, start, 300_000, 1, tenant);
    let mark = RunMark::of(Uuid::nil());
    let script = Script::new(mark, World::new(1, 1), vec![timeline.clone()], Days::Apart);
    for day in 0..3 {
        let first = timeline.count_before(start + day * DAY_US);
        for seq in first..first + 50 {
            let facts = script.facts(tenant, Seq(seq)).unwrap();
            assert_eq!(midnight(facts.received), start + day * DAY_US);
            assert!(facts.received <= facts.completed);
        }
    }
}
