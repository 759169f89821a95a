//! Laws of the events: what they contain, and that all ways of writing them agree.
#![expect(clippy::unwrap_used, reason = "what is not there fails the test, as it should")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use events::catalog::{Outcome, Resource, Subresource, Verb, outcomes};
use events::event::Event;
use events::identity::{RunMark, Seq, TenantIndex};
use events::mix::{Kind, Mix};
use events::policy::{Level, Policy};
use events::render::{EVENT_BYTES_MAX, Form, METADATA_BYTES_MAX, render, render_received};
use events::rhythm::{Rhythm, is_in_tooth};
use events::row::Columns;
use events::script::{DAY_US, Days, Script, midnight};
use events::timeline::{Arrival, Curve, Stage, Timeline};
use events::world::{Character, Scope, World};
use proptest::prelude::*;
use uuid::Uuid;

const START: i64 = 1_790_000_000_000_000;

fn live(seed: u64, tenants: u16) -> Script {
    live_as(seed, tenants, Character::default())
}

fn of_cluster(policy: Policy) -> Character {
    Character { mix: Mix::Cluster, policy, combs: false }
}

fn live_as(seed: u64, tenants: u16, character: Character) -> Script {
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
    let characters = vec![character; usize::from(tenants)];
    Script::new(mark, World::new(seed, &characters), timelines, Days::Flow)
}

fn rendered(script: &Script, tenant: u16, seq: u64, form: Form) -> Vec<u8> {
    let mut bytes = Vec::new();
    let facts = script.facts(TenantIndex(tenant), Seq(seq)).expect("the plan has it");
    render(&facts, form, &mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn rendered_bytes_are_what_go_would_write_of_the_typed_event(
        seed: u64, tenant in 0u16..30, from in 0u64..150_000, cluster: bool, level in 0usize..3,
    ) {
        let mix = if cluster { Mix::Cluster } else { Mix::Seed };
        let policy = Policy::All(LEVELS[level]);
        let script = live_as(seed, 30, Character { mix, policy, combs: false });
        for seq in from..from + 300 {
            let facts = script.facts(TenantIndex(tenant), Seq(seq)).expect("the plan has it");
            let mut event = Event::of(&facts);
            let bytes = rendered(&script, tenant, seq, Form::Item);
            let expected = event.to_go_json().expect("it serializes");
            prop_assert_eq!(String::from_utf8(bytes), String::from_utf8(expected));
            event.kind = Some("Event".to_owned());
            event.api_version = Some("audit.k8s.io/v1".to_owned());
            let bytes = rendered(&script, tenant, seq, Form::Alone);
            prop_assert_eq!(&bytes, &event.to_go_json().expect("it serializes"));
            let bytes_max = if level == 0 { METADATA_BYTES_MAX } else { EVENT_BYTES_MAX };
            prop_assert!(bytes.len() <= bytes_max, "{} bytes", bytes.len());
            let back: Event = serde_json::from_slice(&bytes).expect("the strict types accept it");
            prop_assert_eq!(back, event);
        }
    }
}

const LEVELS: [Level; 3] = [Level::Metadata, Level::Request, Level::RequestResponse];

#[test]
fn ten_thousand_events_of_each_mix_and_policy_pass_a_strict_decoder() {
    let policies = LEVELS.map(Policy::All).into_iter().chain([Policy::Example]);
    for (mix, policy) in policies.flat_map(|policy| Mix::ALL.map(|mix| (mix, policy))) {
        let script = live_as(11, 20, Character { mix, policy, combs: false });
        for index in 0..10_000 {
            let (tenant, seq) = (u16::try_from(index % 20).unwrap(), index / 20);
            let bytes = rendered(&script, tenant, seq, Form::Alone);
            let event: Event = serde_json::from_slice(&bytes).unwrap();
            assert!(event.to_go_json().unwrap() == bytes, "not canonical: {event:?}");
            assert!(!bytes.iter().any(|byte| b"<>".contains(byte)), "Go escapes these");
        }
    }
}

#[test]
fn the_stage_in_which_a_request_is_received_knows_less() {
    let script = live_as(16, 3, of_cluster(Policy::All(Level::Metadata)));
    for (tenant, seq) in (0..3).flat_map(|tenant| (0..3_000).map(move |seq| (tenant, seq))) {
        let facts = script.facts(TenantIndex(tenant), Seq(seq)).unwrap();
        let mut bytes = Vec::new();
        render_received(&facts, Form::Item, &mut bytes);
        let received: Event = serde_json::from_slice(&bytes).unwrap();
        assert!(received.to_go_json().unwrap() == bytes);
        let complete = Event::of(&facts);
        assert_eq!(received.audit_id, complete.audit_id);
        assert_eq!(received.stage, "RequestReceived");
        assert_eq!(received.stage_timestamp, complete.request_received_timestamp);
        assert!(received.response_status.is_none() && received.annotations.is_empty());
        let uid = received.object_ref.and_then(|of| of.uid);
        assert!(uid.is_none() || facts.subresource == Subresource::Binding);
    }
}

#[test]
fn every_outcome_and_every_kind_of_request_occurs() {
    for mix in Mix::ALL {
        let policy = Policy::All(Level::Metadata);
        let script = live_as(5, 40, Character { mix, policy, combs: false });
        let mut seen = BTreeSet::new();
        let mut kinds = BTreeSet::new();
        for (tenant, seq) in (0..40).flat_map(|tenant| (0..20_000).map(move |seq| (tenant, seq))) {
            let facts = script.facts(TenantIndex(tenant), Seq(seq)).unwrap();
            let (verb, resource, subresource) = (facts.verb, facts.resource, facts.subresource);
            seen.insert((verb, facts.outcome));
            kinds.insert(Kind { verb, resource, subresource });
        }
        let mut expected: BTreeSet<Kind> = mix.shares().iter().map(|(_, kind, _)| *kind).collect();
        // Some of those who get a pod open a shell in it.
        let subresource = Subresource::Exec;
        expected.insert(Kind { verb: Verb::Get, resource: Resource::Pods, subresource });
        assert_eq!(kinds, expected);
        for verb in expected.iter().map(|kind| kind.verb) {
            for (_, outcome) in outcomes(mix, verb).iter().filter(|(share, _)| *share > 10) {
                let plain = *outcome == Outcome::Ok && verb == Verb::Delete;
                assert!(seen.contains(&(verb, *outcome)) || plain, "{verb:?} {outcome:?}");
            }
        }
    }
}

#[test]
fn shares_of_requests_are_those_of_the_mix() {
    for mix in Mix::ALL {
        let policy = Policy::All(Level::Metadata);
        let script = live_as(6, 10, Character { mix, policy, combs: false });
        let total = 200_000u32;
        let mut shares = BTreeMap::new();
        for index in 0..total {
            let (tenant, seq) = (u16::try_from(index % 10).unwrap(), u64::from(index / 10));
            let facts = script.facts(TenantIndex(tenant), Seq(seq)).unwrap();
            let (verb, resource, subresource) = (facts.verb, facts.resource, facts.subresource);
            *shares.entry(Kind { verb, resource, subresource }).or_insert(0u32) += 1;
        }
        let mut distance = 0.0;
        for (share, kind, _) in mix.shares() {
            let seen = f64::from(shares.get(kind).copied().unwrap_or(0)) / f64::from(total);
            distance += (seen - f64::from(*share) / 100_000.0).abs() / 2.0;
        }
        assert!(distance < 0.015, "{mix:?}: total variation {distance}");
    }
}

#[test]
fn leases_are_renewed_in_the_teeth_of_combs_and_shares_stay() {
    let tenant = TenantIndex(0);
    let policy = Policy::All(Level::Metadata);
    let character = Character { mix: Mix::Cluster, policy, combs: true };
    let stage = Stage { duration_us: 2_000_000_000, rate_milli: (50_000, 50_000), tenants: (1, 1) };
    let curve = Curve::of_stages(&[stage], tenant);
    let rhythm = Rhythm { combs: true, bursts: false };
    let timeline = Timeline::live(curve, START, Arrival::Jittered, 1, tenant).with_rhythm(
        rhythm,
        START + 2_000_000_000,
        1,
        tenant,
    );
    let world = World::new(1, &[character]);
    let script = Script::new(RunMark::of(Uuid::nil()), world, vec![timeline], Days::Flow);
    let (mut leases, mut in_teeth) = (0.0, 0.0);
    for seq in 0..100_000 {
        let facts = script.facts(tenant, Seq(seq)).unwrap();
        if facts.resource == Resource::Leases {
            leases += 1.0;
            in_teeth += f64::from(u8::from(is_in_tooth(facts.completed)));
        }
    }
    let share = leases / 100_000.0;
    assert!((share - 0.208f64).abs() < 0.01, "{share}");
    assert!(in_teeth / leases > 0.7, "{in_teeth} of {leases}");
}

/// Returns the events of one tenant, as a reader of its log sees them.
fn log_of(script: &Script, tenant: u16, count: u64) -> Vec<Event> {
    let event = |seq| Event::of(&script.facts(TenantIndex(tenant), Seq(seq)).unwrap());
    (0..count).map(event).collect()
}

#[test]
fn controllers_follow_what_someone_wrote() {
    let script = live_as(12, 1, of_cluster(Policy::All(Level::RequestResponse)));
    let log = log_of(&script, 0, 20_000);
    let of = |event: &Event| event.object_ref.clone().unwrap_or_default();
    let mut rollouts = 0;
    for (index, event) in log.iter().enumerate() {
        let is_rollout = event.verb == "patch" && of(event).resource == "deployments";
        if !is_rollout || event.response_status.as_ref().unwrap().code != 200 {
            continue;
        }
        // After the first write of a story come, in order, the requests of its controllers.
        let (namespace, name) = (of(event).namespace, of(event).name);
        let after: Vec<_> = log[index + 1..]
            .iter()
            .take(140)
            .filter(|event| of(event).namespace == namespace && of(event).name.starts_with(&name))
            .collect();
        let place = |verb: &str, resource: &str, subresource: &str| {
            after.iter().position(|event| {
                let of = of(event);
                event.verb == verb && of.resource == resource && of.subresource == subresource
            })
        };
        let (Some(set), Some(binding)) =
            (place("create", "replicasets", ""), place("create", "pods", "binding"))
        else {
            continue;
        };
        rollouts += 1;
        let bound = of(after[binding]);
        assert!(set < binding && bound.name.starts_with(&of(after[set]).name));
        let running = after[binding..].iter().any(|event| {
            event.verb == "patch"
                && of(event).name == bound.name
                && of(event).subresource == "status"
        });
        assert!(running, "{bound:?}");
    }
    assert!(rollouts > 30, "{rollouts}");
}

#[test]
fn a_pod_is_made_once_used_and_deleted_and_then_gone() {
    let script = live_as(13, 1, of_cluster(Policy::All(Level::Metadata)));
    let mut bound = BTreeMap::new();
    let mut deleted = BTreeSet::new();
    let mut used_after = (0u32, 0u32);
    for event in log_of(&script, 0, 100_000) {
        let Some(of) = event.object_ref.clone() else { continue };
        let code = event.response_status.unwrap().code;
        if of.resource != "pods" || of.name.is_empty() || code >= 300 {
            continue;
        }
        let key = (of.namespace.clone(), of.name.clone());
        match (event.verb.as_str(), of.subresource.as_str()) {
            ("create", "binding") => drop(bound.insert(key, of.uid)),
            // A stateful set creates its pods again under the same names.
            ("create", _) => drop(deleted.remove(&key)),
            ("delete", _) => drop(deleted.insert(key)),
            _ if deleted.contains(&key) => used_after.0 += 1,
            _ if bound.contains_key(&key) => used_after.1 += 1,
            _ => {}
        }
    }
    let (of_the_dead, of_the_living) = used_after;
    assert!(bound.len() > 1_000 && of_the_living > 1_000, "{} {used_after:?}", bound.len());
    assert!(of_the_dead * 100 < of_the_living, "{used_after:?}");
}

#[test]
fn object_versions_grow() {
    let script = live_as(14, 1, of_cluster(Policy::All(Level::RequestResponse)));
    let mut last = BTreeMap::new();
    let mut writes = 0;
    for event in log_of(&script, 0, 30_000) {
        let Some(of) = event.object_ref else { continue };
        let Some(response) = event.response_object else { continue };
        let code = event.response_status.unwrap().code;
        if event.verb != "update" || code != 200 {
            continue;
        }
        let before: u64 = of.resource_version.parse().unwrap();
        let after = response["metadata"]["resourceVersion"].as_str().unwrap();
        let after: u64 = after.parse().unwrap();
        let key = (of.resource, of.namespace, of.name);
        let known = last.insert(key, after).unwrap_or(0);
        assert!(known <= before && before < after, "{known} {before} {after}");
        writes += 1;
    }
    assert!(writes > 5_000, "{writes}");
}

#[test]
fn objects_are_those_that_the_event_is_about() {
    let policy = Policy::All(Level::RequestResponse);
    let script = live_as(15, 3, of_cluster(policy));
    for (tenant, seq) in (0..3).flat_map(|tenant| (0..20_000).map(move |seq| (tenant, seq))) {
        let facts = script.facts(TenantIndex(tenant), Seq(seq)).unwrap();
        let event = Event::of(&facts);
        let Some(of) = event.object_ref else { continue };
        let failed = event.response_status.as_ref().unwrap().status == "Failure";
        let writes = !matches!(facts.verb, Verb::Get | Verb::List | Verb::Watch);
        assert_eq!(event.request_object.is_some(), writes && facts.outcome != Outcome::Forbidden);
        let is_stream = facts.verb == Verb::Watch || facts.subresource == Subresource::Exec;
        assert_eq!(event.response_object.is_none(), is_stream && !failed, "{of:?}");
        let Some(response) = event.response_object else { continue };
        if failed {
            assert_eq!(response["kind"], "Status");
            continue;
        }
        if facts.verb == Verb::List {
            assert!(!response["items"].as_array().unwrap().is_empty());
            continue;
        }
        if response["kind"] != "Status" && facts.subresource != Subresource::Token {
            assert_eq!(response["kind"], facts.resource.kind());
            let name = response["metadata"]["name"].as_str().unwrap();
            assert!(of.name.is_empty() || of.name == name, "{} {name}", of.name);
            if facts.resource != Resource::Nodes && facts.resource != Resource::Namespaces {
                assert_eq!(response["metadata"]["namespace"], of.namespace);
            }
        }
    }
}

#[test]
fn what_is_asked_who_asks_and_where_agree_within_each_event() {
    for mix in Mix::ALL {
        agreement(&live_as(7, 30, Character { mix, policy: Policy::Example, combs: false }));
    }
}

fn agreement(script: &Script) {
    for tenant in 0..30 {
        for seq in 0..2_000 {
            let facts = script.facts(TenantIndex(tenant), Seq(seq)).unwrap();
            let event = Event::of(&facts);
            let Some(reference) = event.object_ref.as_ref() else { continue };
            let status = event.response_status.as_ref().unwrap();
            let path = event.request_uri.split('?').next().unwrap();
            assert!(path.contains(&format!("/{}", reference.resource)), "{path}");
            if !reference.namespace.is_empty() && reference.resource != "namespaces" {
                assert!(path.contains(&format!("/namespaces/{}/", reference.namespace)), "{path}");
            }
            let decision = &event.annotations["authorization.k8s.io/decision"];
            assert_eq!(decision == "forbid", status.code == 403);
            assert_eq!(status.status == "Failure", status.code >= 400);
            assert_eq!(reference.subresource == "status", path.ends_with("/status"));
            let scope = script.world().tenant(facts.tenant.index).scope;
            let named = event.annotations.get("platform.miloapis.com/scope.name");
            let parent = event.user.extra.get("iam.miloapis.com/parent-name");
            assert!(parent.is_none_or(|names| Some(&names[0]) == named));
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
    let script = Script::new(
        mark,
        World::new(1, &[Character::default()]),
        vec![timeline.clone()],
        Days::Apart,
    );
    for day in 0..3 {
        let first = timeline.count_before(start + day * DAY_US);
        for seq in first..first + 50 {
            let facts = script.facts(tenant, Seq(seq)).unwrap();
            assert_eq!(midnight(facts.received), start + day * DAY_US);
            assert!(facts.received <= facts.completed);
        }
    }
}

#[test]
fn in_a_history_people_join_leave_and_go_home() {
    let start = midnight(START) - 90 * DAY_US;
    let tenant = TenantIndex(0);
    let curve = Arc::new(Curve::of_history(90, 0));
    let timeline = Timeline::history(curve, start, 200_000, 3, tenant);
    let world = World::new(3, &[of_cluster(Policy::All(Level::Metadata))]);
    let script = Script::new(RunMark::of(Uuid::nil()), world, vec![timeline], Days::Apart);
    let (mut people, mut credentials) = (BTreeMap::new(), BTreeMap::new());
    let mut at_night = [0u32; 2];
    for event in log_of(&script, 0, 200_000) {
        let is_person = event.user.username.contains('@');
        let at = event.stage_timestamp.0;
        let hour = at.rem_euclid(DAY_US) / (DAY_US / 24);
        at_night[usize::from(is_person)] += u32::from(hour < 4);
        if is_person {
            let user = event.user;
            let seen = people.entry(user.username.clone()).or_insert((at, at));
            seen.1 = at;
            let credential = user.extra["authentication.kubernetes.io/credential-id"].clone();
            let owner = credentials.entry((user.uid, credential)).or_insert(user.username.clone());
            assert_eq!(*owner, user.username, "a successor is someone else");
        }
    }
    let month = 30 * DAY_US;
    let joined = people.values().filter(|(first, _)| *first > start + month).count();
    let left = people.values().filter(|(_, last)| *last < start + 2 * month).count();
    assert!((1..10).contains(&joined) && (1..10).contains(&left), "{joined} {left} {people:?}");
    assert!(people.len() > 20, "{}", people.len());
    assert!(at_night[0] > 20 * at_night[1], "{at_night:?}");
}
