//! Which users send which requests, and how often: the mixes of requests that control planes see.
//!
//! A mix is a table of shares. Some of its events belong to stories ([`crate::story`]), in which
//! controllers react to what a human or an operator wrote. The other events are drawn one by one
//! from the shares that the stories leave, so that all events together have the shares of the
//! table.

use crate::alias::AliasTable;
use crate::catalog::Resource::{
    self, ConfigMaps, CronJobs, DaemonSets, Deployments, EndpointSlices, Endpoints, Events, Jobs,
    Leases, Namespaces, Nodes, Pods, ReplicaSets, RoleBindings, Roles, Secrets, ServiceAccounts,
    Services, StatefulSets,
};
use crate::catalog::Subresource::{Binding, Status, Token};
use crate::catalog::Verb::{self, Create, Delete, Get, List, Patch, Update, Watch};
pub use crate::catalog::{Choice, Kind, Mix};
use crate::catalog::{Class, Outcome, Subresource as Sub, outcomes};
use crate::draw::Draw;
use crate::rhythm::IN_TEETH_PER_MILLE;
use crate::story::{self, BLOCK, Story};
use crate::timeline::UnixMicros;
use crate::week::people_at;

/// A share in hundred-thousandths, the kind of request that has it, and the percentages of humans,
/// operators and the system among those who send it.
pub type Share = (u32, Kind, [u32; 3]);

impl Mix {
    /// All mixes, in order.
    pub const ALL: [Self; 2] = [Self::Seed, Self::Cluster];

    /// The shares of all kinds of request.
    pub fn shares(self) -> &'static [Share] {
        match self {
            Self::Seed => &SEED,
            Self::Cluster => &CLUSTER,
        }
    }
}

/// What the events of a mix are drawn from.
#[derive(Debug, Clone)]
pub struct Catalog {
    alone: Alone,
    in_teeth: Alone,
    between_teeth: Alone,
    outcomes: [AliasTable<Outcome>; Verb::ALL.len()],
    stories: [Story; story::TYPES],
}

/// The requests that belong to no story.
#[derive(Debug, Clone)]
pub struct Alone {
    all: AliasTable<Choice>,
    of_people: AliasTable<Choice>,
    of_others: AliasTable<Choice>,
    /// The share of people, in units of 2⁻³².
    people: u64,
}

impl Alone {
    fn new(weighted: &Weighted) -> Self {
        let (people, others): (Weighted, Weighted) =
            weighted.iter().partition(|(_, choice)| choice.class == Class::Human);
        let sum = |part: &Weighted| -> u128 { part.iter().map(|(it, _)| u128::from(*it)).sum() };
        let share = (sum(&people) << 32) / sum(weighted);
        Self {
            all: AliasTable::new(weighted),
            of_people: AliasTable::new(&people),
            of_others: AliasTable::new(&others),
            people: u64::try_from(share).expect("less than the whole"),
        }
    }

    /// Picks a request, regardless of the time.
    #[inline]
    pub fn pick(&self, draw: &mut Draw) -> Choice {
        self.all.pick(draw)
    }

    /// Picks a request at a moment of a history, which has working hours. Over a whole week, each
    /// request has the same share as without them.
    #[inline(never)] // Live runs, which are in a hurry, do without.
    pub fn pick_at(&self, at: UnixMicros, draw: &mut Draw) -> Choice {
        let people = self.people * people_at(at) / 1_024;
        let table = if draw.bits() >> 32 < people { &self.of_people } else { &self.of_others };
        table.pick(draw)
    }
}

impl Catalog {
    pub fn new(mix: Mix) -> Self {
        let stories = story::of_mix(mix);
        let left = left_by(&stories, mix);
        let (in_teeth, between_teeth) = combed(&left);
        Self {
            alone: Alone::new(&left),
            in_teeth: Alone::new(&in_teeth),
            between_teeth: Alone::new(&between_teeth),
            outcomes: Verb::ALL.map(|verb| {
                let shares = outcomes(mix, verb).iter();
                let weighted = shares.map(|(share, outcome)| (u64::from(*share), *outcome));
                AliasTable::new(&weighted.collect::<Vec<_>>())
            }),
            stories,
        }
    }

    /// The requests that belong to no story.
    pub fn alone(&self) -> &Alone {
        &self.alone
    }

    /// Returns the same for a run with combs, where leases are renewed in the teeth of the combs.
    /// Over time, each request has the same share as without combs.
    pub fn alone_at(&self, is_in_tooth: bool) -> &Alone {
        if is_in_tooth { &self.in_teeth } else { &self.between_teeth }
    }

    /// How requests of a verb end, by weight.
    pub fn outcomes(&self, verb: Verb) -> &AliasTable<Outcome> {
        &self.outcomes[verb as usize]
    }

    /// The story of a type of workload.
    pub fn story(&self, workload: u32) -> &Story {
        &self.stories[workload as usize % story::TYPES]
    }
}

type Weighted = Vec<(u64, Choice)>;

/// Splits weights into those inside the teeth of combs and those between them. In the teeth, nine
/// of ten requests are leases, if there are enough leases.
fn combed(left: &Weighted) -> (Weighted, Weighted) {
    let is_lease = |choice: &Choice| choice.kind.resource == Leases;
    let sum = |wanted: bool| -> u128 {
        let of_kind = left.iter().filter(|(_, choice)| is_lease(choice) == wanted);
        of_kind.map(|(weight, _)| u128::from(*weight)).sum()
    };
    let (leases, others) = (sum(true), sum(false));
    let teeth = (leases + others) * u128::from(IN_TEETH_PER_MILLE) / 1_000;
    let leases_in = (teeth * 9 / 10).min(leases);
    let others_in = teeth - leases_in;
    let part = |weight: u64, part: u128, whole: u128| {
        u64::try_from(u128::from(weight) * part / whole.max(1)).expect("a part of a weight")
    };
    left.iter()
        .map(|&(weight, choice)| {
            let (inside, whole) =
                if is_lease(&choice) { (leases_in, leases) } else { (others_in, others) };
            let inside = part(weight, inside, whole);
            ((inside, choice), (weight - inside, choice))
        })
        .unzip()
}

/// Returns the weights that are left when the stories have taken their part of the shares.
fn left_by(stories: &[Story; story::TYPES], mix: Mix) -> Weighted {
    let steps_of = |choice: Choice| -> u64 {
        let steps = stories.iter().flat_map(|story| &story.steps);
        steps.filter(|step| step.choice() == choice).count() as u64
    };
    // Each type of story has an equal part of all blocks, and each block BLOCK events.
    let scale = story::TYPES as u64 * BLOCK;
    let left = |&(share, kind, classes): &Share| {
        let whole = u64::from(share);
        [Class::Human, Class::Operator, Class::System].into_iter().zip(classes).map(
            move |(class, percent)| {
                let choice = Choice { kind, class };
                let told = steps_of(choice) * 100 * 100_000;
                let left = (whole * u64::from(percent) * scale).checked_sub(told);
                (left.expect("stories keep within the shares: a test holds it"), choice)
            },
        )
    };
    mix.shares().iter().flat_map(left).filter(|(weight, _)| *weight > 0).collect()
}

const fn of(share: u32, verb: Verb, resource: Resource, classes: [u32; 3]) -> Share {
    (share, Kind { verb, resource, subresource: Sub::None }, classes)
}

const fn part(share: u32, verb: Verb, resource: Resource, subresource: Sub) -> Share {
    (share, Kind { verb, resource, subresource }, [0, 0, 100])
}

/// The shares that the first users of the pipeline asked for. Each verb has the resources and users
/// of real traffic. Where the system updates a workload, it updates the status.
static SEED: [Share; 59] = [
    of(8_800, Get, ConfigMaps, [25, 50, 25]),
    of(8_000, Get, Secrets, [25, 50, 25]),
    of(7_200, Get, Pods, [25, 50, 25]),
    of(5_600, Get, Deployments, [25, 50, 25]),
    of(4_000, Get, Services, [25, 50, 25]),
    of(2_000, Get, Jobs, [25, 50, 25]),
    of(1_600, Get, StatefulSets, [25, 50, 25]),
    of(800, Get, DaemonSets, [25, 50, 25]),
    of(800, Get, CronJobs, [25, 50, 25]),
    of(600, Get, Roles, [25, 50, 25]),
    of(600, Get, RoleBindings, [25, 50, 25]),
    of(10_200, List, Pods, [30, 55, 15]),
    of(4_200, List, ConfigMaps, [30, 55, 15]),
    of(4_200, List, Deployments, [30, 55, 15]),
    of(3_600, List, Services, [30, 55, 15]),
    of(3_000, List, Secrets, [30, 55, 15]),
    of(1_500, List, Jobs, [30, 55, 15]),
    of(1_200, List, StatefulSets, [30, 55, 15]),
    of(900, List, DaemonSets, [30, 55, 15]),
    of(600, List, CronJobs, [30, 55, 15]),
    of(300, List, Roles, [30, 55, 15]),
    of(300, List, RoleBindings, [30, 55, 15]),
    of(1_020, Update, Deployments, [35, 65, 0]),
    part(4_080, Update, Deployments, Status),
    of(3_000, Update, ConfigMaps, [8, 75, 17]),
    part(1_800, Update, Pods, Status),
    of(180, Update, Jobs, [20, 80, 0]),
    part(1_620, Update, Jobs, Status),
    of(240, Update, StatefulSets, [30, 70, 0]),
    part(960, Update, StatefulSets, Status),
    of(750, Update, Secrets, [8, 92, 0]),
    of(150, Update, DaemonSets, [25, 75, 0]),
    part(600, Update, DaemonSets, Status),
    part(450, Update, CronJobs, Status),
    of(105, Update, Services, [40, 60, 0]),
    of(30, Update, Roles, [40, 60, 0]),
    of(15, Update, RoleBindings, [40, 60, 0]),
    of(5_800, Create, Pods, [5, 3, 92]),
    of(1_200, Create, Jobs, [25, 25, 50]),
    of(1_000, Create, ConfigMaps, [40, 45, 15]),
    of(700, Create, Secrets, [40, 60, 0]),
    of(400, Create, Deployments, [60, 40, 0]),
    of(300, Create, Services, [60, 40, 0]),
    of(200, Create, RoleBindings, [50, 50, 0]),
    of(200, Create, Roles, [50, 50, 0]),
    of(100, Create, CronJobs, [70, 30, 0]),
    of(70, Create, StatefulSets, [60, 40, 0]),
    of(30, Create, DaemonSets, [50, 50, 0]),
    of(3_400, Delete, Pods, [10, 12, 78]),
    of(700, Delete, Jobs, [25, 25, 50]),
    of(300, Delete, ConfigMaps, [50, 50, 0]),
    of(250, Delete, Secrets, [50, 50, 0]),
    of(100, Delete, Deployments, [70, 30, 0]),
    of(75, Delete, Services, [60, 40, 0]),
    of(50, Delete, StatefulSets, [60, 40, 0]),
    of(50, Delete, CronJobs, [60, 40, 0]),
    of(40, Delete, RoleBindings, [50, 50, 0]),
    of(25, Delete, Roles, [50, 50, 0]),
    of(10, Delete, DaemonSets, [50, 50, 0]),
];

/// The shares of verbs and of the busiest resources in a capture of a control plane of Kubernetes
/// 1.36, with six nodes, five operators and people at work. What the capture does not break down is
/// spread over the resources that such a control plane serves.
static CLUSTER: [Share; 86] = [
    of(7_800, Get, Leases, [0, 100, 0]),
    of(3_600, Get, ConfigMaps, [40, 35, 25]),
    of(1_600, Get, Pods, [70, 5, 25]),
    of(1_300, Get, Nodes, [35, 0, 65]),
    of(1_400, Get, Secrets, [50, 20, 30]),
    of(1_000, Get, Deployments, [80, 10, 10]),
    of(700, Get, ReplicaSets, [45, 0, 55]),
    of(500, Get, Services, [60, 0, 40]),
    of(500, Get, Endpoints, [0, 0, 100]),
    of(300, Get, EndpointSlices, [0, 0, 100]),
    of(800, Get, Namespaces, [55, 0, 45]),
    of(800, Get, ServiceAccounts, [5, 0, 95]),
    of(400, Get, Jobs, [60, 0, 40]),
    of(300, Get, CronJobs, [50, 0, 50]),
    of(200, Get, StatefulSets, [60, 0, 40]),
    of(100, Get, DaemonSets, [60, 0, 40]),
    of(100, Get, Roles, [40, 0, 60]),
    of(200, Get, RoleBindings, [40, 0, 60]),
    of(1_100, Get, Resource::None, [50, 10, 40]),
    of(800, List, Pods, [60, 25, 15]),
    of(750, List, ConfigMaps, [40, 10, 50]),
    of(300, List, Events, [95, 5, 0]),
    of(300, List, Nodes, [40, 60, 0]),
    of(500, List, Secrets, [35, 40, 25]),
    of(400, List, Services, [45, 5, 50]),
    of(500, List, Deployments, [70, 20, 10]),
    of(200, List, ReplicaSets, [70, 0, 30]),
    of(300, List, Jobs, [60, 20, 20]),
    of(200, List, Namespaces, [70, 10, 20]),
    of(150, List, StatefulSets, [60, 20, 20]),
    of(500, List, EndpointSlices, [0, 0, 100]),
    of(100, List, Roles, [50, 50, 0]),
    of(100, List, RoleBindings, [50, 50, 0]),
    of(250, Watch, Pods, [5, 25, 70]),
    of(250, Watch, ConfigMaps, [0, 30, 70]),
    of(200, Watch, Services, [0, 20, 80]),
    of(200, Watch, Secrets, [0, 30, 70]),
    of(150, Watch, Deployments, [0, 40, 60]),
    of(150, Watch, Nodes, [0, 40, 60]),
    of(100, Watch, EndpointSlices, [0, 0, 100]),
    of(100, Watch, ReplicaSets, [0, 40, 60]),
    of(100, Watch, Namespaces, [0, 40, 60]),
    of(100, Watch, Jobs, [0, 40, 60]),
    of(100, Watch, StatefulSets, [0, 40, 60]),
    of(12_900, Update, Leases, [0, 60, 40]),
    part(7_400, Update, Deployments, Status),
    part(7_200, Update, ReplicaSets, Status),
    of(4_200, Update, EndpointSlices, [0, 0, 100]),
    of(2_400, Update, Endpoints, [0, 0, 100]),
    of(2_600, Update, ReplicaSets, [0, 0, 100]),
    of(2_400, Update, ConfigMaps, [0, 60, 40]),
    of(200, Update, Deployments, [0, 100, 0]),
    part(1_300, Update, Jobs, Status),
    part(600, Update, StatefulSets, Status),
    part(500, Update, CronJobs, Status),
    part(400, Update, DaemonSets, Status),
    part(5_200, Patch, Pods, Status),
    of(1_400, Patch, Events, [0, 0, 100]),
    part(500, Patch, Nodes, Status),
    of(300, Patch, Deployments, [100, 0, 0]),
    of(150, Patch, Jobs, [0, 0, 100]),
    of(150, Patch, ConfigMaps, [100, 0, 0]),
    of(10_300, Create, Events, [0, 5, 95]),
    of(1_700, Create, Pods, [2, 0, 98]),
    part(1_600, Create, Pods, Binding),
    part(1_000, Create, ServiceAccounts, Token),
    of(500, Create, ReplicaSets, [0, 0, 100]),
    of(400, Create, EndpointSlices, [0, 0, 100]),
    of(300, Create, Endpoints, [0, 0, 100]),
    of(300, Create, ConfigMaps, [60, 20, 20]),
    of(400, Create, Jobs, [20, 5, 75]),
    of(200, Create, Secrets, [60, 40, 0]),
    of(100, Create, Leases, [0, 20, 80]),
    of(100, Create, Deployments, [70, 30, 0]),
    of(50, Create, Services, [70, 30, 0]),
    of(130, Create, RoleBindings, [60, 40, 0]),
    of(70, Create, Roles, [60, 40, 0]),
    of(30, Create, CronJobs, [80, 20, 0]),
    of(20, Create, StatefulSets, [80, 20, 0]),
    of(2_400, Delete, Pods, [10, 3, 87]),
    of(300, Delete, Jobs, [10, 0, 90]),
    of(200, Delete, ConfigMaps, [80, 20, 0]),
    of(300, Delete, ReplicaSets, [0, 0, 100]),
    of(100, Delete, Secrets, [70, 30, 0]),
    of(100, Delete, EndpointSlices, [0, 0, 100]),
    of(100, Delete, Deployments, [80, 20, 0]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::week::people_most;

    #[test]
    fn people_leave_room_for_others_when_they_work_most() {
        for catalog in Mix::ALL.map(Catalog::new) {
            for alone in [&catalog.alone, &catalog.in_teeth, &catalog.between_teeth] {
                assert!(alone.people * people_most() / 1_024 < (9 << 32) / 10, "{}", alone.people);
            }
        }
    }
}
