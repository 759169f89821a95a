//! Draws one event: who does what to which object, and how the request ends.

use uuid::Uuid;

use crate::actor::{Actor, CLIENTS, OPERATORS};
use crate::catalog::{self, Class, Outcome, Resource, Subresource, Verb};
use crate::draw::Draw;
use crate::facts::{Facts, PodSecurity, Query};
use crate::identity::Seq;
use crate::mix::Kind;
use crate::names::{Name, PASSING, Subject, numbered};
use crate::policy::{Level, Policy};
use crate::rhythm::is_in_tooth;
use crate::story::{BLOCK, By, On, Step};
use crate::timeline::{Timeline, UnixMicros};
use crate::week::Days;
use crate::world::{NAMESPACES, PEOPLE, Tenant, Thing, WORKLOADS, World};

/// Draws the facts of one event from the seed and its coordinates alone.
pub(crate) fn draw_facts<'w>(
    world: &'w World,
    tenant: &'w Tenant,
    timeline: &'w Timeline,
    seq: Seq,
    audit_id: Uuid,
    due: UnixMicros,
    days: Days,
) -> Facts<'w> {
    let mut draw = Draw::new(world.seed(), EVENT_STREAM + u64::from(tenant.index.0), seq.0);
    let moment = Moment { world, tenant, timeline, due, days, turn: Turn::of(tenant, seq) };
    let cast = match moment.step() {
        Some(step) => moment.cast_of(step, &mut draw),
        None => moment.cast_alone(&mut draw),
    };
    let Cast { kind, actor, subject, in_story } = cast;
    let outcome = draw_outcome(tenant, kind, &actor, in_story, &mut draw);
    let subject = moment.as_of(outcome, kind, subject);
    let query = fit(draw_query(kind, &actor, &mut draw), outcome, tenant);
    let place = moment.place(kind, &actor, &subject, &mut draw);
    let is_named = is_named(kind, &actor, query, outcome);
    let level = tenant.character.policy.level(kind.resource, kind.subresource, place);
    let object_name = if is_named || level > Level::Metadata {
        moment.name(kind, &actor, &subject)
    } else {
        Name::new()
    };
    Facts {
        world,
        tenant,
        timeline,
        audit_id,
        level,
        received: due - draw_service_us(kind.verb, query, &mut draw),
        completed: due,
        namespace: place,
        object_name,
        is_named,
        version: tenant.first_version + seq.0,
        query,
        outcome,
        pod_security: draw_pod_security(kind, outcome, &mut draw),
        sources: draw_sources(&actor, &mut draw),
        actor,
        verb: kind.verb,
        resource: kind.resource,
        subresource: kind.subresource,
        subject,
    }
}

const EVENT_STREAM: u64 = 3 << 32;

/// Who sends which request about what.
struct Cast<'w> {
    kind: Kind,
    actor: Actor<'w>,
    subject: Subject<'w>,
    in_story: bool,
}

/// The position of an event in the turns of a tenant's workloads.
#[derive(Clone, Copy)]
struct Turn {
    /// Number of the block, counted from the first turn of the first workload, which may be before
    /// the run.
    block: u64,
    /// Number of the block that the run begins with.
    first_block: u64,
    place: u64,
}

impl Turn {
    fn of(tenant: &Tenant, seq: Seq) -> Self {
        let first_block = tenant.first_block;
        Self { block: first_block + seq.0 / BLOCK, first_block, place: seq.0 % BLOCK }
    }

    /// The workload whose turn it is.
    fn workload(self) -> u32 {
        let turn = self.block % u64::from(WORKLOADS) * STRIDE % u64::from(WORKLOADS);
        u32::try_from(turn).expect("below the number of workloads")
    }

    /// The number of the revision that a workload has before this block.
    fn revision_before(self, workload: u32) -> u64 {
        let first_turn = u64::from(workload) * STRIDE_INVERSE % u64::from(WORKLOADS);
        match self.block.checked_sub(first_turn + 1) {
            Some(since) => since / u64::from(WORKLOADS) + 1,
            None => 0,
        }
    }

    /// The first event of the block that brought a revision, or `None` if that was before the run.
    fn first_of(self, workload: u32, revision: u64) -> Option<Seq> {
        let first_turn = u64::from(workload) * STRIDE_INVERSE % u64::from(WORKLOADS);
        let block = revision.checked_sub(1)? * u64::from(WORKLOADS) + first_turn;
        block.checked_sub(self.first_block).map(|blocks| Seq(blocks * BLOCK))
    }
}

/// From block to block the turn moves on by this many workloads, so that neighbours do not follow
/// each other.
const STRIDE: u64 = 35;
const STRIDE_INVERSE: u64 = 11;
const _: () = assert!(STRIDE * STRIDE_INVERSE % WORKLOADS as u64 == 1);

/// Everything that an event is drawn from, except the random draws.
struct Moment<'w, 't> {
    world: &'w World,
    tenant: &'w Tenant,
    timeline: &'t Timeline,
    due: UnixMicros,
    days: Days,
    turn: Turn,
}

impl<'w> Moment<'w, '_> {
    /// The step of a story that this event is, or `None` if it belongs to no story.
    fn step(&self) -> Option<&'w Step> {
        let story = self.tenant.catalog().story(self.turn.workload());
        story.step(self.tenant.key_of(Thing::Turn, self.turn.block), self.turn.place)
    }

    fn subject(&self, workload: u32, revision: u64, number: u32) -> Subject<'w> {
        let first = self.turn.first_of(workload, revision);
        let workload = self.world.workload(self.tenant, workload, self.due);
        let minute = match workload.resource() {
            Resource::CronJobs => self.minute(first, workload.key),
            _ => 0,
        };
        Subject { workload, revision, number, first, minute }
    }

    /// The minute in which a run of a cron job began.
    fn minute(&self, first: Option<Seq>, key: u64) -> u64 {
        let began = first.and_then(|first| self.timeline.due(first).ok());
        // A cron job's run from before the first event began at some minute of the day before it.
        let began = began.unwrap_or_else(|| {
            let before_us = i64::try_from(key % 1_440).expect("minutes of a day") * 60_000_000;
            self.timeline.due(Seq(0)).unwrap_or(self.due) - before_us
        });
        u64::try_from(began / 60_000_000).unwrap_or(0)
    }

    fn cast_of(&self, step: &Step, draw: &mut Draw) -> Cast<'w> {
        let workload = self.turn.workload();
        let old = self.turn.revision_before(workload);
        let subject = match step.on {
            On::New(number) => self.subject(workload, old + 1, number),
            On::Old(number) => self.subject(workload, old, number),
        };
        let actor = match step.by {
            By::Human => self.person(&mut self.block_draw()),
            By::Operator => operator(&mut self.block_draw()),
            By::Controller(name) => Actor::Controller(name),
            By::Scheduler => Actor::Scheduler,
            By::Node => Actor::Node(subject.node(self.tenant)),
        };
        // Both branches take the same number of draws, so that the event's later draws are the same
        // whoever acts.
        draw.bits();
        Cast { kind: step.kind, actor, subject, in_story: true }
    }

    /// Draws that are the same in the whole block, because one person is its author.
    fn block_draw(&self) -> Draw {
        Draw::new(self.tenant.key_of(Thing::Turn, self.turn.block), 1, 0)
    }

    fn cast_alone(&self, draw: &mut Draw) -> Cast<'w> {
        let catalog = self.tenant.catalog();
        let table = if self.tenant.character.combs {
            catalog.alone_at(is_in_tooth(self.due))
        } else {
            catalog.alone()
        };
        let choice = match self.days {
            Days::Flow => table.pick(draw),
            Days::Apart => table.pick_at(self.due, draw),
        };
        let mut kind = choice.kind;
        let start = draw.skewed(NAMESPACES) * (WORKLOADS / NAMESPACES)
            + draw.skewed(WORKLOADS / NAMESPACES);
        let workload = (start..start + WORKLOADS)
            .map(|number| number % WORKLOADS)
            .find(|number| suits(crate::story::workload_of(*number as usize), kind.resource))
            .expect("there is a workload of every type");
        let revision = self.turn.revision_before(workload);
        // An object that a story created exists until a story deletes it, so this event is about
        // another.
        let is_passing = matches!(kind.verb, Verb::Create | Verb::Delete);
        let number = if is_passing { PASSING + draw.below(100_000) } else { draw.skewed(3) };
        let subject = self.subject(workload, revision, number);
        let actor = match choice.class {
            Class::Human => {
                let person = self.person(draw);
                if opens_shell(kind, &person, draw) {
                    kind.subresource = Subresource::Exec;
                }
                person
            }
            Class::Operator => operator(draw),
            Class::System => self.system_actor(kind, &subject, draw),
        };
        Cast { kind, actor, subject, in_story: false }
    }

    fn person(&self, draw: &mut Draw) -> Actor<'w> {
        let person = self.world.person(self.tenant, draw.skewed(PEOPLE), self.due);
        Actor::Person(person, draw.pick(&CLIENTS))
    }

    /// An object that is not found is one that the last rollout deleted.
    fn as_of(&self, outcome: Outcome, kind: Kind, subject: Subject<'w>) -> Subject<'w> {
        let gone = outcome == Outcome::NotFound
            && matches!(kind.resource, Resource::Pods | Resource::ReplicaSets | Resource::Jobs);
        if !gone {
            return subject;
        }
        self.subject(subject.workload.number, subject.revision.saturating_sub(1), subject.number)
    }

    /// Returns which part of Kubernetes sends this request in a real cluster.
    fn system_actor(&self, kind: Kind, subject: &Subject, draw: &mut Draw) -> Actor<'w> {
        let node = Actor::Node(subject.node(self.tenant));
        let owner = Actor::Controller(controller_of(subject.workload.resource()));
        match (kind.resource, kind.verb) {
            (Resource::None | Resource::Roles | Resource::RoleBindings, _) => Actor::Apiserver,
            (Resource::Leases, _) => draw.pick(&[
                (30, Actor::ControllerManager),
                (30, Actor::Scheduler),
                (40, Actor::Node(1 + draw_node(self.tenant, subject))),
            ]),
            (Resource::Pods, verb) => pod_actor(verb, kind.subresource, node, owner, draw),
            (Resource::Events, _) => draw.pick(&[(35, node), (25, Actor::Scheduler), (40, owner)]),
            (Resource::Nodes, Verb::Patch)
            | (Resource::ServiceAccounts, Verb::Create)
            | (Resource::Services, Verb::List | Verb::Watch) => node,
            (Resource::Nodes, Verb::Get) => {
                draw.pick(&[(60, node), (40, Actor::Controller("node-controller"))])
            }
            (Resource::Nodes, _) => draw.pick(&[(50, Actor::Scheduler), (50, node)]),
            (Resource::Namespaces, Verb::Get) => Actor::Controller("namespace-controller"),
            (Resource::ConfigMaps, Verb::Create | Verb::Update) => {
                Actor::Controller("root-ca-cert-publisher")
            }
            (Resource::ConfigMaps | Resource::Secrets, _) => node,
            (Resource::ServiceAccounts, _) | (_, Verb::List | Verb::Watch) => {
                Actor::ControllerManager
            }
            (Resource::Jobs, Verb::Create) => Actor::Controller("cronjob-controller"),
            (Resource::Jobs, Verb::Delete) => draw.pick(&[
                (60, Actor::Controller("ttl-after-finished-controller")),
                (40, Actor::Controller("cronjob-controller")),
            ]),
            (Resource::Jobs, Verb::Patch) => Actor::Controller("generic-garbage-collector"),
            (Resource::ReplicaSets, Verb::Get) => Actor::Controller("replicaset-controller"),
            (Resource::ReplicaSets, _) if kind.subresource == Subresource::Status => {
                Actor::Controller("replicaset-controller")
            }
            (resource, _) => Actor::Controller(controller_of(resource)),
        }
    }

    /// Returns the namespace of a request, or `None` if it has none.
    fn place(
        &self,
        kind: Kind,
        actor: &Actor<'w>,
        subject: &Subject<'w>,
        draw: &mut Draw,
    ) -> Option<&'w str> {
        let own = || self.world.namespace(self.tenant, subject.workload.namespace);
        match (kind.resource, actor) {
            (Resource::None | Resource::Nodes, _) => None,
            // The API server treats a namespace as being in itself, but not in a list.
            (Resource::Namespaces, _) => kind.verb.is_of_one().then(own),
            (Resource::Leases, Actor::Node(_)) => Some("kube-node-lease"),
            (Resource::Leases, Actor::Operator(operator)) => Some(operator.namespace),
            (Resource::Leases, _) => Some("kube-system"),
            (Resource::ConfigMaps, Actor::Operator(operator)) if kind.verb.is_of_one() => {
                Some(operator.namespace)
            }
            _ if is_for_all(kind.verb, actor, draw) => None,
            (_, Actor::Apiserver) => Some("kube-system"),
            _ => Some(own()),
        }
    }

    /// Returns the name of the object that a request is for, or would be for.
    fn name(&self, kind: Kind, actor: &Actor<'w>, subject: &Subject<'w>) -> Name {
        let named = |text: &str| Name::from(text).expect("it is short");
        match (kind.resource, actor) {
            (Resource::None, _) => Name::new(),
            (Resource::Nodes | Resource::Leases, Actor::Node(number)) => numbered("node-", *number),
            (Resource::Nodes, _) => numbered("node-", subject.node(self.tenant)),
            (Resource::Namespaces, _) => {
                named(self.world.namespace(self.tenant, subject.workload.namespace))
            }
            (Resource::Leases, Actor::Scheduler) => named("kube-scheduler"),
            (Resource::Leases, Actor::Operator(operator)) => joined(operator.name, "-leader"),
            (Resource::Leases, _) => named("kube-controller-manager"),
            (Resource::ConfigMaps, Actor::Operator(operator)) if kind.verb.is_of_one() => {
                joined(operator.name, "-state")
            }
            (resource, _) => subject.object(resource, actor, self.due),
        }
    }
}

/// Whether a person who gets a pod opens a shell in it. Since kubectl 1.31, that request is a GET.
fn opens_shell(kind: Kind, actor: &Actor, draw: &mut Draw) -> bool {
    match (kind.verb, kind.resource, actor) {
        (Verb::Get, Resource::Pods, Actor::Person(_, client)) => {
            client.opens_shells() && draw.chance(SHELLS_PER_MYRIAD)
        }
        _ => false,
    }
}

/// How many of the pods that people get they open a shell in: one in twenty-five.
const SHELLS_PER_MYRIAD: u32 = 400;

fn pod_actor<'w>(
    verb: Verb,
    subresource: Subresource,
    node: Actor<'w>,
    owner: Actor<'w>,
    draw: &mut Draw,
) -> Actor<'w> {
    let owner = match owner {
        Actor::Controller("deployment-controller") => Actor::Controller("replicaset-controller"),
        Actor::Controller("cronjob-controller") => Actor::Controller("job-controller"),
        owner => owner,
    };
    match verb {
        Verb::Create if subresource == Subresource::Binding => Actor::Scheduler,
        Verb::Create => owner,
        Verb::Delete => {
            draw.pick(&[(55, owner), (35, node), (10, Actor::Controller("pod-garbage-collector"))])
        }
        Verb::List | Verb::Watch => draw.pick(&[(10, Actor::Scheduler), (90, node)]),
        Verb::Get | Verb::Update | Verb::Patch => node,
    }
}

/// Draws a node regardless of the pods on it, because all kubelets renew their leases.
fn draw_node(tenant: &Tenant, subject: &Subject) -> u32 {
    u32::try_from(subject.pod_key() >> 32).expect("half of a u64") % tenant.nodes
}

fn joined(left: &str, right: &str) -> Name {
    let mut name = Name::from(left).expect("it is short");
    name.push_str(right);
    name
}

/// Whether a list or watch is for all namespaces.
fn is_for_all(verb: Verb, actor: &Actor, draw: &mut Draw) -> bool {
    matches!(verb, Verb::List | Verb::Watch)
        && match actor {
            Actor::Person(..) => draw.chance(1_500),
            Actor::Operator(_) => draw.chance(6_000),
            Actor::Node(_) => false,
            _ => true,
        }
}

fn operator(draw: &mut Draw) -> Actor<'static> {
    let last = u32::try_from(OPERATORS.len()).expect("nine operators");
    Actor::Operator(&OPERATORS[draw.skewed(last) as usize])
}

/// Whether a workload of this type has objects of a resource.
fn suits(workload: Resource, resource: Resource) -> bool {
    match resource {
        Resource::Deployments | Resource::ReplicaSets => workload == Resource::Deployments,
        Resource::Jobs | Resource::CronJobs => workload == Resource::CronJobs,
        Resource::StatefulSets | Resource::DaemonSets => workload == resource,
        Resource::Pods => workload != Resource::ConfigMaps,
        _ => true,
    }
}

fn controller_of(resource: Resource) -> &'static str {
    match resource {
        Resource::Deployments | Resource::ReplicaSets => "deployment-controller",
        Resource::StatefulSets => "statefulset-controller",
        Resource::DaemonSets => "daemon-set-controller",
        Resource::Jobs => "job-controller",
        Resource::CronJobs => "cronjob-controller",
        Resource::Services | Resource::EndpointSlices => "endpointslice-controller",
        Resource::Endpoints => "endpoint-controller",
        _ => "generic-garbage-collector",
    }
}

/// Draws how the request ends. The steps of a story succeed, but its writes may end in a conflict.
fn draw_outcome(
    tenant: &Tenant,
    kind: Kind,
    actor: &Actor,
    in_story: bool,
    draw: &mut Draw,
) -> Outcome {
    let drawn = tenant.catalog().outcomes(kind.verb).pick(draw);
    let is_allowed = matches!(
        actor,
        Actor::Controller(_) | Actor::ControllerManager | Actor::Scheduler | Actor::Apiserver
    );
    let possible = match drawn {
        _ if kind.resource == Resource::None => false,
        Outcome::Ok | Outcome::Created => true,
        Outcome::Conflict => !in_story || matches!(kind.verb, Verb::Update | Verb::Patch),
        _ if in_story => false,
        Outcome::Forbidden => !is_allowed && kind.subresource != Subresource::Token,
        Outcome::AlreadyExists | Outcome::Invalid => {
            kind.subresource == Subresource::None && !generates_name(kind.resource, actor)
        }
        _ => true,
    };
    match (possible.then_some(drawn), kind.verb) {
        (None, Verb::Create) => Outcome::Created,
        // Pods and jobs are deleted gracefully: the answer is the object. Other objects are gone at
        // once.
        (None | Some(Outcome::Ok), Verb::Delete)
            if !matches!(kind.resource, Resource::Pods | Resource::Jobs) =>
        {
            Outcome::Deleted
        }
        (None | Some(Outcome::Ok), Verb::Get) if kind.subresource == Subresource::Exec => {
            Outcome::Switched
        }
        (outcome, _) => outcome.unwrap_or(Outcome::Ok),
    }
}

fn draw_query(kind: Kind, actor: &Actor, draw: &mut Draw) -> Query {
    let bits = draw.below(6);
    match (kind.verb, kind.resource, actor) {
        (Verb::Get, Resource::None, _) => Query::Path(bits),
        (Verb::Get, Resource::Pods, Actor::Person(..)) if kind.subresource == Subresource::Exec => {
            Query::Shell { seconds: 2 + draw.skewed(SHELL_SECONDS_MAX) }
        }
        (_, Resource::Leases, Actor::ControllerManager | Actor::Scheduler) => Query::Within(5),
        (_, Resource::Leases, Actor::Node(_)) => Query::Within(10),
        (Verb::Get, Resource::Nodes, Actor::Node(_) | Actor::Controller(_)) => Query::Cached,
        (Verb::Watch, ..) => Query::Watch { seconds: 300 + draw.below(300) },
        (Verb::List, _, Actor::Person(..) | Actor::Operator(_)) if bits < 2 => Query::OfApplication,
        (Verb::List, _, Actor::Person(..)) => Query::Page,
        (Verb::List, Resource::Pods, Actor::Node(node)) => Query::OnNode(*node),
        (Verb::List, Resource::ConfigMaps | Resource::Secrets, Actor::Node(_)) => Query::Named,
        (Verb::List, ..) => Query::Informer,
        (Verb::Create, _, Actor::Person(..)) if bits < 3 => Query::Validated("kubectl-create"),
        (Verb::Update, _, Actor::Person(..)) => Query::Validated("kubectl-replace"),
        (Verb::Patch, Resource::Deployments, Actor::Person(..)) => {
            Query::Managed(["kubectl-rollout", "kubectl-set", "kubectl-patch"][bits as usize % 3])
        }
        (Verb::Create | Verb::Patch, _, Actor::Person(..)) => {
            Query::Validated("kubectl-client-side-apply")
        }
        (Verb::Create | Verb::Update, _, Actor::Operator(operator)) if bits < 2 => {
            Query::Managed(operator.name)
        }
        _ => Query::None,
    }
}

const SHELL_SECONDS_MAX: u32 = 1_800;

/// Changes a query that does not fit how the request ends, or that the audit policy leaves out.
fn fit(query: Query, outcome: Outcome, tenant: &Tenant) -> Query {
    match query {
        // The version in the server's cache cannot be too old.
        Query::Informer if outcome == Outcome::Expired => Query::Page,
        // The policy leaves out the requests in which clients discover groups and versions.
        Query::Path(_) if tenant.character.policy == Policy::Example => Query::Path(5),
        query => query,
    }
}

/// Whether the server chooses the name. Controllers let it name their pods; only stateful sets
/// number theirs.
fn generates_name(resource: Resource, actor: &Actor) -> bool {
    resource == Resource::Pods
        && matches!(actor, Actor::Controller(name) if *name != "statefulset-controller")
}

/// Whether `objectRef` has the name of the object.
fn is_named(kind: Kind, actor: &Actor, query: Query, outcome: Outcome) -> bool {
    match kind.verb {
        Verb::List | Verb::Watch => query == Query::Named,
        Verb::Create if kind.subresource != Subresource::None => true,
        Verb::Create => {
            !generates_name(kind.resource, actor)
                && !matches!(outcome, Outcome::Forbidden | Outcome::BadRequest)
        }
        Verb::Get | Verb::Update | Verb::Patch | Verb::Delete => kind.resource != Resource::None,
    }
}

fn draw_service_us(verb: Verb, query: Query, draw: &mut Draw) -> i64 {
    let watched_us = match query {
        Query::Watch { seconds } | Query::Shell { seconds } => i64::from(seconds) * 1_000_000,
        _ => 0,
    };
    let quantiles = catalog::service_time_us(verb);
    // The limits of each part are constants, so that no division is by a variable.
    let took_us = match draw.below(1_000_000) {
        at @ 0..500_000 => between(quantiles[0], quantiles[1], at, 500_000),
        at @ 500_000..950_000 => between(quantiles[1], quantiles[2], at - 500_000, 450_000),
        at @ 950_000..990_000 => between(quantiles[2], quantiles[3], at - 950_000, 40_000),
        at => between(quantiles[3], quantiles[4], at - 990_000, 10_000),
    };
    watched_us + i64::from(took_us)
}

/// Interpolates between `low` and `high`, as `at` goes from 0 to `length`.
#[inline]
fn between(low: u32, high: u32, at: u32, length: u32) -> u32 {
    let part = u64::from(high - low) * u64::from(at) / u64::from(length);
    low + u32::try_from(part).expect("at most high - low")
}

fn draw_pod_security(kind: Kind, outcome: Outcome, draw: &mut Draw) -> PodSecurity {
    let creates = kind.verb == Verb::Create && outcome == Outcome::Created;
    match kind.resource {
        Resource::Pods if creates && kind.subresource == Subresource::None => PodSecurity::Enforced,
        resource if creates && resource.has_pods() && draw.chance(3_000) => PodSecurity::Violated,
        _ => PodSecurity::None,
    }
}

/// People come from public addresses, half of them through a proxy. The cluster's own parts come
/// from its addresses.
fn draw_sources(actor: &Actor, draw: &mut Draw) -> [Option<[u8; 4]>; 2] {
    let byte = |bits: u64, shift: u32| u8::try_from(bits >> shift & 0xff).expect("one byte");
    let bits = draw.bits();
    match actor {
        Actor::Person(person, _) => {
            let home = u8::try_from(person.index + 10).unwrap_or(u8::MAX);
            let network = if bits & 1 == 0 { [203, 0, 113, home] } else { [198, 51, 100, home] };
            let proxy = [10, 0, byte(bits, 8), byte(bits, 16)];
            [Some(network), (bits & 2 == 0).then_some(proxy)]
        }
        Actor::Operator(_) => [Some([10, 244, byte(bits, 8), byte(bits, 16)]), None],
        Actor::Node(node) => [Some([10, 0, 1, u8::try_from(*node).unwrap_or(u8::MAX)]), None],
        Actor::Controller(_) | Actor::ControllerManager | Actor::Scheduler => {
            [Some([10, 0, 0, 2 + byte(bits, 8) % 3]), None]
        }
        Actor::Apiserver => [Some([127, 0, 0, 1]), None],
    }
}
