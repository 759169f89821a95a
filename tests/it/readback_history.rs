//! Reads a run back whose table has the events of another known run too.

use std::collections::BTreeSet;
use std::fs;

use events::identity::RunMark;
use runs::run_dir::RunDir;
use uuid::Uuid;

use crate::readback::{expect, findings, found, read_back, text, victims};
use crate::stack::{Stack, wait_until};

/// Sends 400 events of so many tenants into a run directory, and waits until all are stored.
fn send(stack: &Stack, out: &str, tenants: u32, stored: u32) {
    let rate = 100 / tenants;
    let path = stack.path(&format!("{out}.yaml"));
    let profile = format!(
        "name: {out}\nstages: [{{duration: 4s, rate: {rate}/s, tenants: {tenants}}}]\n\
         send: {{batch_events: 100, batch_age: 200ms, lateness_max: 30s}}\nthresholds: {{}}\n"
    );
    fs::write(&path, profile).unwrap();
    stack.generate(path.to_str().unwrap(), out);
    wait_until("all events are stored", || {
        stack.ask("SELECT count() FROM audit.audit_logs") == stored.to_string()
    });
}

#[test]
fn events_of_another_run_that_are_leaked_are_told_with_their_tenant_and_run() {
    let stack = Stack::up(&["--query-api", "--fault", "leak:0.05"]);
    send(&stack, "earlier", 10, 400);
    // The events of others that can be leaked to its only tenant are those of the earlier run.
    send(&stack, "run", 1, 800);
    // Without its plan, all that is known of them is their time.
    let unknown = read_back(&stack, &[]);
    expect(&unknown, 1, "lossy", &["out_of_order"]);
    let leaked = victims(&stack, "leak");
    assert!(leaked.len() > 3, "{leaked:?}");
    assert!(unknown.1["totals"]["foreign"].as_u64() >= Some(leaked.len() as u64), "{}", unknown.1);

    let known = read_back(&stack, &["--history", "earlier"]);
    expect(&known, 1, "lossy", &["leaked"]);
    let leaked = victims(&stack, "leak");
    assert_eq!(found(&known.1, "leaked"), leaked);
    assert_eq!(known.1["totals"]["readable"], 400);
    // Tenants of the same name are one tenant to the reader: their events are rightly shown.
    let foreign = known.1["totals"]["foreign"].as_u64();
    assert!(foreign > Some(0) && foreign < unknown.1["totals"]["foreign"].as_u64(), "{}", known.1);
    let (_, plan) = RunDir::open(&stack.path("earlier")).unwrap();
    let (world, mark) = (plan.script.world(), RunMark::of(plan.spec.run_id));
    let mut tenants = BTreeSet::new();
    for finding in findings(&known.1) {
        let id: Uuid = text(&finding["audit_id"]).parse().unwrap();
        let (tenant, _) = mark.locate(id).unwrap();
        let owner = (text(&finding["tenant"]), text(&finding["run"]));
        assert_eq!(owner, (world.tenant(tenant).place(), plan.spec.run_id.to_string()));
        assert_ne!(owner.0, text(&finding["scope"]));
        tenants.insert(owner.0);
    }
    let output = stack.run("auditstorm-verifier", &["readback", "run", "--history", "earlier"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let of = |tenant: &String| format!(" of {tenant} of run {} in ", plan.spec.run_id);
    assert!(tenants.iter().any(|tenant| told.contains(&of(tenant))), "{told}");

    let args = ["readback", "run", "--history", "earlier", "--history", "elsewhere"];
    let refused = stack.run("auditstorm-verifier", &args);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("there is no run in elsewhere"), "{told}");
}
