//! The kinds of questions that users ask, and what they ask about: values that the plan has. Pure.

use std::ops::Range;

use events::draw::Draw;
use events::identity::{Seq, TenantIndex};
use events::row::Columns;
use events::script::Script;
use events::timeline::UnixMicros;
use plans::queries::{QueryScope, Template};
use plans::query_plan::QueryPlan;
use queries::question::{
    Condition, Filter, Question, Scope, StatusTest, TextField, TextTest, UnixSeconds,
};
use runs::queries::QueryKind;

/// All kinds of questions of a run.
#[derive(Debug)]
pub(crate) struct Kinds {
    names: Vec<QueryKind>,
    all: Vec<Kind>,
    /// Those of each scope, by index.
    of_scope: [Vec<usize>; 3],
    /// Tenants whose events can be asked for on their own, of runs that have events.
    homes: Vec<Home>,
}

/// A tenant that users belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    /// The index of its run among those that are known.
    run: usize,
    tenant: TenantIndex,
}

/// A question, drawn.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Index of its kind.
    pub(crate) kind: usize,
    pub(crate) question: Question,
    /// The most pages to read.
    pub(crate) pages: u32,
}

#[derive(Debug)]
enum Kind {
    Builtin(&'static Builtin),
    Written(Template),
}

/// A built-in kind of question.
struct Builtin {
    name: &'static str,
    scope: QueryScope,
    range_seconds: i64,
    limit: u32,
    pages: u32,
    /// Whether an event is one that the question can be about.
    suits: fn(&Columns) -> bool,
    /// What to ask for, after an event that exists.
    filter: fn(&Columns) -> Vec<Condition>,
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const MINUTES: i64 = 60;
const HOURS: i64 = 60 * MINUTES;
const DAYS: i64 = 24 * HOURS;

const PLAIN: Builtin = Builtin {
    name: "recent-activity",
    scope: QueryScope::Tenant,
    range_seconds: 15 * MINUTES,
    limit: 100,
    pages: 1,
    suits: |_| true,
    filter: |_| Vec::new(),
};
const TENANT: Builtin = Builtin { range_seconds: DAYS, ..PLAIN };
const PLATFORM: Builtin = Builtin { scope: QueryScope::Platform, ..TENANT };
const COMPLEX: Builtin = Builtin { scope: QueryScope::Complex, ..TENANT };

static BUILTIN: [Builtin; 17] = [
    PLAIN,
    Builtin {
        name: "pod-creates",
        filter: |_| [resource("", "pods"), vec![verb("create")]].concat(),
        ..TENANT
    },
    Builtin {
        name: "secret-access",
        range_seconds: 7 * DAYS,
        filter: |_| [resource("", "secrets"), vec![reads()]].concat(),
        ..TENANT
    },
    Builtin { name: "by-user", filter: |event| vec![user(event)], ..TENANT },
    Builtin {
        name: "by-resource",
        suits: |event| !event.resource.is_empty(),
        filter: |event| resource(event.api_group, event.resource),
        ..TENANT
    },
    Builtin { name: "failed-requests", pages: 3, filter: |_| vec![failed()], ..TENANT },
    Builtin { name: "deletions", filter: |_| vec![verb("delete")], ..TENANT },
    Builtin {
        name: "object-history",
        range_seconds: 30 * DAYS,
        suits: |event| !event.resource_name.is_empty(),
        filter: object,
        ..TENANT
    },
    Builtin {
        name: "user-week",
        range_seconds: 7 * DAYS,
        pages: 3,
        filter: |event| vec![user(event)],
        ..TENANT
    },
    Builtin { name: "pods", filter: |_| resource("", "pods"), ..PLATFORM },
    Builtin { name: "deployments", filter: |_| resource("apps", "deployments"), ..PLATFORM },
    Builtin {
        name: "secret-access",
        filter: |_| [resource("", "secrets"), vec![reads()]].concat(),
        ..PLATFORM
    },
    Builtin {
        name: "pod-lifecycle",
        filter: |_| [resource("", "pods"), vec![one_of(&["create", "delete"])]].concat(),
        ..PLATFORM
    },
    Builtin {
        name: "api-group",
        suits: |event| !event.api_group.is_empty(),
        filter: |event| vec![Condition::is(TextField::ApiGroup, event.api_group)],
        ..PLATFORM
    },
    Builtin { name: "errors-across-tenants", pages: 3, filter: |_| vec![failed()], ..COMPLEX },
    Builtin {
        name: "deletions-across-tenants",
        pages: 3,
        filter: |_| vec![verb("delete")],
        ..COMPLEX
    },
    Builtin {
        name: "user-across-tenants",
        // Parts of Kubernetes have the same name in every tenant.
        suits: |event| event.user.starts_with("system:"),
        filter: |event| vec![user(event)],
        ..COMPLEX
    },
];

fn verb(verb: &str) -> Condition {
    Condition::is(TextField::Verb, verb)
}

fn one_of(verbs: &[&str]) -> Condition {
    let test = TextTest::In(verbs.iter().map(|verb| (*verb).to_owned()).collect());
    Condition::Text { field: TextField::Verb, test, is_negated: false }
}

fn reads() -> Condition {
    one_of(&["get", "list", "watch"])
}

fn resource(group: &str, plural: &str) -> Vec<Condition> {
    vec![Condition::is(TextField::ApiGroup, group), Condition::is(TextField::Resource, plural)]
}

fn user(event: &Columns) -> Condition {
    Condition::is(TextField::Username, &event.user)
}

fn failed() -> Condition {
    Condition::Status(StatusTest::AtLeast(400))
}

fn object(event: &Columns) -> Vec<Condition> {
    let mut object = resource(event.api_group, event.resource);
    object.push(Condition::is(TextField::Namespace, &event.namespace));
    object.push(Condition::is(TextField::Name, &event.resource_name));
    object
}

impl Home {
    /// The scope that shows its events.
    pub(crate) fn scope(self, scripts: &[&Script]) -> Option<Scope> {
        Scope::of_tenant(scripts[self.run].world().tenant(self.tenant))
    }
}

impl Kinds {
    /// The kinds of a plan: of each scope its own, if the profile has any, else the built-in ones.
    /// `scripts` are the runs whose events are known: that of the plan, and others before it.
    pub(crate) fn new(plan: &QueryPlan, scripts: &[&Script]) -> Self {
        let is_written = |scope| plan.templates.iter().any(|template| template.scope == scope);
        let builtin = BUILTIN.iter().filter(|kind| !is_written(kind.scope)).map(Kind::Builtin);
        let written = plan.templates.iter().cloned().map(Kind::Written);
        let all: Vec<Kind> = builtin.chain(written).collect();
        let names: Vec<QueryKind> = all.iter().map(Kind::name).collect();
        let of_scope = QueryScope::ALL
            .map(|scope| (0..names.len()).filter(|kind| names[*kind].scope == scope).collect());
        let with_events = scripts.iter().enumerate().filter(|(_, it)| it.planned() > 0);
        let homes = with_events.flat_map(|(run, script)| {
            let tenants = script.world().tenants().iter();
            let scoped = tenants.filter(|tenant| Scope::of_tenant(tenant).is_some());
            scoped.map(move |tenant| Home { run, tenant: tenant.index })
        });
        let homes = homes.collect();
        Self { names, all, of_scope, homes }
    }

    /// Names and scopes of all kinds.
    pub(crate) fn names(&self) -> &[QueryKind] {
        &self.names
    }

    /// Draws whose events somebody asks for when it is one tenant's; `None` if no tenant's events
    /// can be asked for on their own.
    pub(crate) fn home(&self, draw: &mut Draw) -> Option<Home> {
        let homes = u32::try_from(self.homes.len()).expect("at most 65,536 tenants of a run");
        (homes > 0).then(|| self.homes[draw.below(homes) as usize])
    }

    /// Draws a question that is asked now.
    ///
    /// It ends a second ago, because the clock of the server may be behind, and the server answers
    /// nothing about its future.
    pub(crate) fn ask(
        &self,
        (plan, scripts): (&QueryPlan, &[&Script]),
        home: Option<Home>,
        draw: &mut Draw,
        now: UnixMicros,
    ) -> Asked {
        let scope = match plan.scope(draw) {
            QueryScope::Tenant if home.is_none() => QueryScope::Platform,
            scope => scope,
        };
        let home = home.filter(|_| scope == QueryScope::Tenant);
        let of_scope = &self.of_scope[scope as usize];
        let at = draw.below(u32::try_from(of_scope.len()).expect("few kinds"));
        let kind = of_scope[at as usize];
        let whose = match home {
            Some(home) => home.scope(scripts),
            None => Some(Scope::Platform),
        };
        let until = UnixSeconds::of(now).plus(-1);
        let (range_seconds, limit, pages, filter) = match &self.all[kind] {
            Kind::Builtin(builtin) => {
                let range_us = builtin.range_seconds * 1_000_000;
                let event = example(scripts, home, draw, now - range_us..now, builtin.suits);
                let filter = Filter::new((builtin.filter)(&event));
                (builtin.range_seconds, builtin.limit, builtin.pages, filter)
            }
            Kind::Written(Template { range, limit, pages, filter, .. }) => {
                let range_us = i64::try_from(range.get().us()).expect("at most thirty days");
                (range_us / 1_000_000, *limit, *pages, filter.clone())
            }
        };
        let scope = whose.unwrap_or(Scope::Platform);
        let question = Question { scope, filter, from: until.plus(-range_seconds), until, limit };
        Asked { kind, question, pages }
    }
}

impl Kind {
    fn name(&self) -> QueryKind {
        match self {
            Self::Builtin(builtin) => {
                QueryKind { name: builtin.name.to_owned(), scope: builtin.scope }
            }
            Self::Written(template) => {
                QueryKind { name: template.name.clone(), scope: template.scope }
            }
        }
    }
}

/// Draws an event of a period, of one tenant or of any, that a question can be about. If none is
/// found soon, it is one that the question finds nothing about, or little.
fn example(
    scripts: &[&Script],
    home: Option<Home>,
    draw: &mut Draw,
    period: Range<UnixMicros>,
    suits: fn(&Columns) -> bool,
) -> Columns {
    let mut columns = Columns::default();
    for _ in 0..EXAMPLES_MAX {
        let Home { run, tenant } = home.unwrap_or_else(|| anybody(scripts, draw));
        let timeline = scripts[run].timeline(tenant);
        let [first, end] = [period.start, period.end].map(|moment| timeline.count_before(moment));
        let seq = first + draw.bits() % (end - first).max(1);
        if let Ok(facts) = scripts[run].facts(tenant, Seq(seq)) {
            columns.fill(&facts);
        }
        if suits(&columns) {
            break;
        }
    }
    columns
}

/// Draws a tenant of any run, whether or not it has a scope of its own.
fn anybody(scripts: &[&Script], draw: &mut Draw) -> Home {
    let below = |count: usize, draw: &mut Draw| {
        draw.below(u32::try_from(count).expect("few runs, and at most 65,536 tenants"))
    };
    // Of a single run nothing is drawn.
    let run = if scripts.len() == 1 { 0 } else { below(scripts.len(), draw) as usize };
    let tenant = below(scripts[run].world().tenants().len(), draw);
    Home { run, tenant: TenantIndex(u16::try_from(tenant).expect("at most 65,536 tenants")) }
}

const EXAMPLES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use plans::plan::Plan;
    use plans::query_plan::Asker;
    use plans::spec::{RunOptions, Span};
    use uuid::Uuid;

    use super::*;

    const START: UnixMicros = 1_790_000_000_000_000;

    fn plan(queries: &str) -> Plan {
        let text = format!(
            "name: x\nmix: cluster\nstages: [{{duration: 60s, rate: 20/s, tenants: 20}}]\n\
             queries:\n  stages: [{{duration: 60s, users: 5}}]\n{queries}"
        );
        let options = RunOptions::new(Uuid::from_u128(7), START, Span::Live);
        Plan::parse(&text, "x", options).unwrap()
    }

    /// The first questions of somebody, thirty seconds into the run.
    fn asked(plan: &Plan, count: u64) -> Vec<Asked> {
        let queries = plan.queries.as_ref().unwrap();
        let scripts = [&plan.script];
        let kinds = Kinds::new(queries, &scripts);
        let home = kinds.home(&mut queries.draw(Asker::User(3), u64::MAX));
        let ask = |number| {
            let mut draw = queries.draw(Asker::User(3), number);
            kinds.ask((queries, &scripts), home, &mut draw, START + 30_000_000)
        };
        (0..count).map(ask).collect()
    }

    #[test]
    fn names_are_unique_in_their_scope_and_every_kind_is_asked() {
        let plan = plan("");
        let queries = plan.queries.as_ref().unwrap();
        let kinds = Kinds::new(queries, &[&plan.script]);
        let names: BTreeSet<_> =
            kinds.names().iter().map(|kind| (kind.scope, kind.name.as_str())).collect();
        assert_eq!(names.len(), BUILTIN.len());
        let found: BTreeSet<usize> = asked(&plan, 500).iter().map(|asked| asked.kind).collect();
        assert_eq!(found.len(), BUILTIN.len());
    }

    #[test]
    fn the_same_plan_asks_the_same_and_a_user_stays_with_one_tenant() {
        let first = asked(&plan(""), 200);
        let again = asked(&plan(""), 200);
        let questions =
            |all: &[Asked]| all.iter().map(|it| it.question.clone()).collect::<Vec<_>>();
        assert_eq!(questions(&first), questions(&again));
        let scopes: BTreeSet<_> = first.iter().map(|it| it.question.scope.clone()).collect();
        assert_eq!(scopes.len(), 2, "{scopes:?}");
        let until = UnixSeconds::of(START + 29_000_000);
        assert!(first.iter().all(|it| it.question.until == until));
    }

    #[test]
    fn what_is_asked_for_exists() {
        let plan = plan("");
        let mut columns = Columns::default();
        let asked = asked(&plan, 300);
        let is_found = |asked: &&Asked| {
            plan.script.tenants().any(|tenant| {
                (0..600).any(|seq| {
                    let Ok(facts) = plan.script.facts(tenant, Seq(seq)) else { return false };
                    columns.fill(&facts);
                    asked.question.admits(&columns, facts.audit_id)
                })
            })
        };
        let found = asked.iter().filter(is_found).count();
        assert!(found > 250, "{found} of 300 find something");
    }

    #[test]
    fn users_belong_to_tenants_of_all_runs_that_have_events() {
        let (plan, earlier) = (plan(""), plan(""));
        let text = "name: x\nstages: [{duration: 60s, rate: 0/s, tenants: 20}]\n\
                    queries: {stages: [{duration: 60s, users: 5}]}\n";
        let options = RunOptions::new(Uuid::from_u128(8), START, Span::Live);
        let alone = Plan::parse(text, "x", options).unwrap();
        let runs_of = |scripts: &[&Script]| -> BTreeSet<usize> {
            let queries = plan.queries.as_ref().unwrap();
            let kinds = Kinds::new(queries, scripts);
            let homes = (0..200).map(|user| kinds.home(&mut queries.draw(Asker::User(user), 0)));
            homes.map(|home| home.unwrap().run).collect()
        };
        assert_eq!(runs_of(&[&plan.script, &earlier.script]), BTreeSet::from([0, 1]));
        assert_eq!(runs_of(&[&alone.script, &earlier.script]), BTreeSet::from([1]));
    }

    #[test]
    fn what_a_question_is_about_lies_in_its_period() {
        let plan = plan("");
        let queries = plan.queries.as_ref().unwrap();
        let scripts = [&plan.script];
        let period = START + 20_000_000..START + 30_000_000;
        for number in 0..100 {
            let mut draw = queries.draw(Asker::Anybody, number);
            let columns = example(&scripts, None, &mut draw, period.clone(), |_| true);
            // An event is due when its request ends, and a few requests take long.
            assert!(columns.timestamp_ms < period.end / 1_000, "{}", columns.timestamp_ms);
            let is_in = columns.timestamp_ms >= period.start / 1_000 - 2_000;
            assert!(is_in || columns.verb == "watch", "{columns:?}");
        }
    }

    #[test]
    fn a_scope_with_questions_of_its_own_asks_these_alone() {
        let plan = plan(
            "  templates:\n  - {name: mine, scope: complex, range: 10m, limit: 7, pages: 2, \
             filter: {verb: {in: [get, list]}, status: {at_least: 400}}}\n",
        );
        let queries = plan.queries.as_ref().unwrap();
        let kinds = Kinds::new(queries, &[&plan.script]);
        let complex: Vec<_> =
            kinds.names().iter().filter(|kind| kind.scope == QueryScope::Complex).collect();
        assert_eq!(complex.len(), 1);
        let mine = asked(&plan, 300).into_iter().find(|it| kinds.names()[it.kind].name == "mine");
        let Asked { question, pages, .. } = mine.unwrap();
        assert_eq!((question.limit, pages, question.scope), (7, 2, Scope::Platform));
        assert_eq!(question.until.0 - question.from.0, 600);
        let cel = question.filter.to_cel();
        assert_eq!(cel, "responseStatus.code >= 400 && verb in ['get', 'list']");
    }
}
