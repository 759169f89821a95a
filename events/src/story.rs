//! Stories: what controllers do after someone has written to a workload.
//!
//! The events of a tenant come in blocks. In each block one workload has its turn, and the steps of
//! its story are spread, in order, over some of the block's places. The other places have events
//! that belong to no story. The sequence number alone tells which step an event is, so a story
//! needs no memory: its objects have the names of the block's workload and its revision.

use crate::catalog::Resource::{
    ConfigMaps, CronJobs, DaemonSets, Deployments, EndpointSlices, Endpoints, Events, Jobs, Pods,
    ReplicaSets, Secrets, ServiceAccounts, StatefulSets,
};
use crate::catalog::Subresource::{self, Binding, Status, Token};
use crate::catalog::Verb::{self, Create, Delete, Get, List, Patch, Update};
use crate::catalog::{Choice, Class, Kind, Mix, Resource};

/// The number of consecutive events of a tenant in which one story happens.
pub const BLOCK: u64 = 128;

/// The number of types of workload. Every namespace has several workloads.
pub const TYPES: usize = 16;

/// What happens to a workload, step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    pub steps: Vec<Step>,
    /// How many of every eight places of the block the story takes.
    density: u64,
}

/// One request of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub kind: Kind,
    pub by: By,
    pub on: On,
}

/// Who sends the request of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Human,
    Operator,
    Controller(&'static str),
    Scheduler,
    /// The node that the pod runs on.
    Node,
}

/// The number of the object that a step is about. The object belongs to the revision that the story
/// brings, or to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    New(u32),
    Old(u32),
}

impl Step {
    /// The kind and class of the step, as the shares of a mix count it.
    pub fn choice(&self) -> Choice {
        let class = match self.by {
            By::Human => Class::Human,
            By::Operator => Class::Operator,
            By::Controller(_) | By::Scheduler | By::Node => Class::System,
        };
        Choice { kind: self.kind, class }
    }
}

impl Story {
    /// Returns the step at a place of a block, or `None` if the place belongs to no story. `key` is
    /// the key of the block.
    pub fn step(&self, key: u64, place: u64) -> Option<&Step> {
        let (group, at) = (place / GROUP, place % GROUP);
        // A block has sixteen groups, and each uses four bits of the key.
        let turn = key >> (group * 4) & 0xf;
        let taken = |offset: u64| (turn + offset * 3) % GROUP;
        if !(0..self.density).any(|offset| taken(offset) == at) {
            return None;
        }
        let before = (0..self.density).filter(|&offset| taken(offset) < at).count();
        self.steps.get(usize::try_from(group * self.density).expect("below 128") + before)
    }
}

/// A story takes its places in groups of this many places.
const GROUP: u64 = 8;

/// The stories of all types of workload, in order. [`workload_of`] says what each type is.
pub fn of_mix(mix: Mix) -> [Story; TYPES] {
    let density = match mix {
        Mix::Seed => 2,
        Mix::Cluster => 3,
    };
    std::array::from_fn(|index| {
        let author = if index < 3 || index < 6 && mix == Mix::Cluster { A } else { O };
        let steps = match (workload_of(index), mix) {
            (Deployments, Mix::Seed) => seed_rollout(author),
            (Deployments, Mix::Cluster) => cluster_rollout(author),
            (CronJobs, Mix::Seed) => seed_run(),
            (CronJobs, Mix::Cluster) => cluster_run(),
            (StatefulSets, _) => restart(mix, StatefulSets, "statefulset-controller"),
            (DaemonSets, _) => restart(mix, DaemonSets, "daemon-set-controller"),
            _ => synchronization(mix),
        };
        Story { steps, density }
    })
}

/// Returns the resource that manages a type of workload. Workloads that are only configuration have
/// `ConfigMaps`.
pub fn workload_of(index: usize) -> Resource {
    match index % TYPES {
        0..=8 => Deployments,
        9..=12 => CronJobs,
        13 => StatefulSets,
        14 => DaemonSets,
        _ => ConfigMaps,
    }
}

/// These names are short, so that the tables below can be read as columns.
const A: By = By::Human;
const O: By = By::Operator;
const DEPLOYMENT: By = By::Controller("deployment-controller");
const REPLICAS: By = By::Controller("replicaset-controller");
const SLICES: By = By::Controller("endpointslice-controller");
const ENDPOINTS: By = By::Controller("endpoint-controller");
const CRON: By = By::Controller("cronjob-controller");
const JOB: By = By::Controller("job-controller");
const TTL: By = By::Controller("ttl-after-finished-controller");
const WHOLE: Subresource = Subresource::None;

fn step(by: By, verb: Verb, resource: Resource, subresource: Subresource, on: On) -> Step {
    Step { kind: Kind { verb, resource, subresource }, by, on }
}

/// A rollout of a deployment, as seen where leases, events, replica sets and some other steps are
/// not audited.
fn seed_rollout(author: By) -> Vec<Step> {
    use On::{New, Old};
    let pod = |number: u32| {
        [
            step(REPLICAS, Create, Pods, WHOLE, New(number)),
            step(By::Node, Get, ConfigMaps, WHOLE, New(number)),
            step(By::Node, Get, Secrets, WHOLE, New(number)),
            step(By::Node, Update, Pods, Status, New(number)),
            step(DEPLOYMENT, Update, Deployments, Status, New(0)),
            step(REPLICAS, Delete, Pods, WHOLE, Old(number)),
        ]
    };
    let mut steps = vec![
        step(author, Update, Deployments, WHOLE, New(0)),
        step(DEPLOYMENT, Update, Deployments, Status, New(0)),
    ];
    steps.extend(pod(0));
    steps.push(step(author, Get, Deployments, WHOLE, New(0)));
    steps.extend(pod(1));
    steps.push(step(author, List, Pods, WHOLE, New(0)));
    steps.extend(pod(2));
    steps.extend([
        step(By::Node, Delete, Pods, WHOLE, Old(0)),
        step(By::Node, Delete, Pods, WHOLE, Old(1)),
        step(DEPLOYMENT, Update, Deployments, Status, New(0)),
        step(author, Get, Pods, WHOLE, New(0)),
    ]);
    steps
}

/// A rollout of a deployment with everything that follows from it, as a cluster sees it.
fn cluster_rollout(author: By) -> Vec<Step> {
    use On::{New, Old};
    let pod = |number: u32| {
        [
            step(REPLICAS, Create, Pods, WHOLE, New(number)),
            step(REPLICAS, Create, Events, WHOLE, New(number)),
            step(By::Scheduler, Create, Pods, Binding, New(number)),
            step(REPLICAS, Update, ReplicaSets, Status, New(number)),
            step(By::Node, Patch, Pods, Status, New(number)),
            step(DEPLOYMENT, Update, Deployments, Status, New(0)),
            step(By::Node, Create, Events, WHOLE, New(number)),
            step(By::Node, Patch, Pods, Status, New(number)),
            step(SLICES, Update, EndpointSlices, WHOLE, New(0)),
            step(DEPLOYMENT, Update, ReplicaSets, WHOLE, Old(0)),
            step(REPLICAS, Delete, Pods, WHOLE, Old(number)),
            step(REPLICAS, Update, ReplicaSets, Status, Old(0)),
            step(DEPLOYMENT, Update, Deployments, Status, New(0)),
        ]
    };
    let verb = if author == A { Patch } else { Update };
    let mut steps = vec![
        step(author, verb, Deployments, WHOLE, New(0)),
        step(DEPLOYMENT, Create, ReplicaSets, WHOLE, New(0)),
        step(DEPLOYMENT, Create, Events, WHOLE, New(0)),
    ];
    for number in 0..3 {
        steps.extend(pod(number));
    }
    steps.extend([
        step(By::Node, Create, ServiceAccounts, Token, New(0)),
        step(ENDPOINTS, Update, Endpoints, WHOLE, New(0)),
        step(By::Node, Delete, Pods, WHOLE, Old(0)),
        step(REPLICAS, Update, ReplicaSets, Status, Old(0)),
        step(ENDPOINTS, Update, Endpoints, WHOLE, New(0)),
        step(DEPLOYMENT, Update, Deployments, Status, New(0)),
    ]);
    steps
}

/// A run of a cron job, as seen where events are not audited.
fn seed_run() -> Vec<Step> {
    use On::{New, Old};
    vec![
        step(CRON, Create, Jobs, WHOLE, New(0)),
        step(JOB, Create, Pods, WHOLE, New(0)),
        step(CRON, Update, CronJobs, Status, New(0)),
        step(JOB, Update, Jobs, Status, New(0)),
        step(By::Node, Get, ConfigMaps, WHOLE, New(0)),
        step(By::Node, Get, Secrets, WHOLE, New(0)),
        step(By::Node, Update, Pods, Status, New(0)),
        step(JOB, Update, Jobs, Status, New(0)),
        step(JOB, Update, Jobs, Status, New(0)),
        step(CRON, Update, CronJobs, Status, New(0)),
        step(TTL, Delete, Jobs, WHOLE, Old(0)),
        step(By::Node, Delete, Pods, WHOLE, Old(0)),
    ]
}

/// A run of a cron job, as a cluster sees it.
fn cluster_run() -> Vec<Step> {
    use On::{New, Old};
    vec![
        step(CRON, Create, Jobs, WHOLE, New(0)),
        step(CRON, Create, Events, WHOLE, New(0)),
        step(JOB, Create, Pods, WHOLE, New(0)),
        step(JOB, Create, Events, WHOLE, New(0)),
        step(By::Scheduler, Create, Pods, Binding, New(0)),
        step(CRON, Update, CronJobs, Status, New(0)),
        step(JOB, Update, Jobs, Status, New(0)),
        step(By::Node, Create, ServiceAccounts, Token, New(0)),
        step(By::Node, Patch, Pods, Status, New(0)),
        step(By::Node, Create, Events, WHOLE, New(0)),
        step(By::Node, Patch, Pods, Status, New(0)),
        step(JOB, Update, Jobs, Status, New(0)),
        step(By::Node, Patch, Pods, Status, New(0)),
        step(JOB, Update, Jobs, Status, New(0)),
        step(JOB, Create, Events, WHOLE, New(0)),
        step(TTL, Delete, Jobs, WHOLE, Old(0)),
        step(By::Node, Delete, Pods, WHOLE, Old(0)),
    ]
}

/// A rollout of a stateful set or daemon set, whose controller replaces its pods one after the
/// other.
fn restart(mix: Mix, set: Resource, controller: &'static str) -> Vec<Step> {
    let controller = By::Controller(controller);
    let node = match mix {
        Mix::Seed => Update,
        Mix::Cluster => Patch,
    };
    let mut steps = Vec::new();
    if mix == Mix::Seed {
        steps.push(step(O, Update, set, WHOLE, On::New(0)));
    }
    steps.extend([
        step(controller, Update, set, Status, On::New(0)),
        step(controller, Delete, Pods, WHOLE, On::Old(0)),
        step(controller, Create, Pods, WHOLE, On::New(0)),
        step(By::Node, node, Pods, Status, On::New(0)),
        step(controller, Update, set, Status, On::New(0)),
        step(By::Node, node, Pods, Status, On::New(0)),
        step(controller, Update, set, Status, On::New(0)),
    ]);
    steps
}

/// An operator corrects configuration that differs from the desired state.
fn synchronization(mix: Mix) -> Vec<Step> {
    let on = On::New(0);
    let mut steps = vec![
        step(O, Get, ConfigMaps, WHOLE, on),
        step(O, Update, ConfigMaps, WHOLE, on),
        step(O, Get, Secrets, WHOLE, on),
        step(O, Create, Secrets, WHOLE, on),
    ];
    if mix == Mix::Seed {
        steps.push(step(O, Update, Secrets, WHOLE, on));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::Catalog;

    #[test]
    fn stories_keep_within_the_shares_and_fit_into_a_block() {
        for mix in Mix::ALL {
            for story in of_mix(mix) {
                let places = usize::try_from(BLOCK / GROUP * story.density).unwrap();
                assert!(story.steps.len() <= places, "{mix:?}: {} steps", story.steps.len());
                assert!(
                    story
                        .steps
                        .iter()
                        .all(|step| { mix.shares().iter().any(|(_, kind, _)| *kind == step.kind) })
                );
            }
            // This panics if a story uses more of a request than the mix has.
            Catalog::new(mix);
        }
    }

    #[test]
    fn every_step_of_a_story_has_one_place_and_they_are_in_order() {
        for (key, story) in (0..).zip(of_mix(Mix::Cluster)) {
            let told: Vec<_> = (0..BLOCK).filter_map(|place| story.step(key, place)).collect();
            assert_eq!(told, story.steps.iter().collect::<Vec<_>>());
        }
    }
}
