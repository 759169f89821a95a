//! Our generator as users who ask, and the page that everybody who asks is answered with.
//!
//! The page never changes, and yet it is a right answer to each of our questions: it has events of
//! the run itself, which were received before the first question is asked, in the order and of the
//! tenant that are asked for. So the generator checks all of it, and finds nothing wrong.

use edges::clock::Clock;
use events::identity::TenantIndex;
use events::render::{Form, render};
use plans::plan::Plan;
use plans::spec::{RunOptions, Span};
use queries::expected::{Expected, Part};
use queries::question::{Question, Scope, UnixSeconds};
use runs::ranges::TenantRanges;
use serde_json::json;
use uuid::Uuid;

use crate::ours::generate;
use crate::peers::{Settings, Sink};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Askers {
    /// So many questions a second.
    Rate(u32),
    /// Users who think between their questions.
    Users(u32),
}

/// What our generator is told to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking {
    pub(crate) askers: Askers,
    pub(crate) settings: Settings,
}

/// What our generator asked, and what it cost.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) queries: u64,
    /// Of the answers alone.
    pub(crate) bytes: u64,
    pub(crate) cpu_s: f64,
    pub(crate) memory_bytes_max: u64,
}

/// Time for the generator to get ready. Its events follow from the start, so the bench sets that.
const LEAD_SECONDS: i64 = 5;
/// Nobody asks before the run is that old.
const QUIET_SECONDS: i64 = 3;
/// Questions end a second before they are asked.
const SHOWN_SECONDS: i64 = QUIET_SECONDS - 1;
const HOUR_SECONDS: i64 = 3_600;

impl Asking {
    /// Runs the generator until all its questions are answered, and rightly. The few events that
    /// it sends besides are part of its cost.
    pub(crate) fn ask(self, sink: &Sink) -> Asked {
        let start = UnixSeconds::of(Clock::system().now()).plus(LEAD_SECONDS);
        let page = self.page(start);
        sink.put_page(&page);
        let (run_id, at) = (RUN_ID.to_string(), start.rfc3339());
        let flags = ["--run-id", &run_id, "--start-at", &at, "--query-api", &sink.url];
        let (run, summary) = generate(&self.profile(), sink, &flags);
        let count = |name: &str| summary["queries"]["counts"][name].as_u64().unwrap();
        let (queries, events) = (count("asked"), u64::from(self.settings.events));
        let [answered, wrong, rows, bytes] = ["answered", "wrong", "rows", "bytes"].map(count);
        assert!(queries > 0 && count("compared") > 0, "{summary:#}");
        assert_eq!([answered, wrong, rows], [queries, 0, queries * events], "{summary:#}");
        assert_eq!(bytes, queries * page.len() as u64, "{summary:#}");
        let (cpu_s, memory_bytes_max) = (run.cpu_s, run.memory_bytes_max);
        Asked { queries, bytes, cpu_s, memory_bytes_max }
    }

    fn profile(self) -> String {
        let Self { askers, settings: Settings { seconds, connections, events } } = self;
        let (nobody, askers) = match askers {
            Askers::Rate(rate) => ("rate: 0/s", format!("rate: {rate}/s")),
            Askers::Users(users) => ("users: 0", format!("users: {users}")),
        };
        let run_seconds = QUIET_SECONDS + i64::from(seconds);
        format!(
            "name: bench\n\
             mix: cluster\n\
             stages: [{{duration: {run_seconds}s, rate: 200/s, tenants: 1}}]\n\
             send: {{lateness_max: 1h}}\n\
             queries:\n  \
             stages: [{{duration: {QUIET_SECONDS}s, {nobody}}}, \
             {{duration: {seconds}s, {askers}}}]\n  \
             connections: {connections}\n  \
             timeout: 5m\n  \
             scopes: {{tenant: 1, platform: 0, complex: 0}}\n  \
             templates:\n  \
             - {{name: reads, scope: tenant, range: 1h, limit: {events},\n     \
             filter: {{verb: {{in: [get, list, watch]}}}}}}\n"
        )
    }

    /// The answer to all questions of a run: the newest events that the first one may be shown.
    fn page(self, start: UnixSeconds) -> Vec<u8> {
        let options = RunOptions::new(RUN_ID, start.micros(), Span::Live);
        let plan = Plan::parse(&self.profile(), "of the bench", options).unwrap();
        let (script, asked) = (&plan.script, &plan.queries.as_ref().unwrap().templates[0]);
        let tenant = TenantIndex(0);
        let scope = Scope::of_tenant(script.world().tenant(tenant));
        let until = start.plus(SHOWN_SECONDS);
        let question = Question {
            scope: scope.expect("the API shows the tenant's events"),
            filter: asked.filter.clone(),
            from: until.plus(-HOUR_SECONDS),
            until,
            limit: asked.limit,
        };
        let mut sent = TenantRanges::new();
        sent.insert(tenant, 0..script.timeline(tenant).count_before(until.micros()));
        let mut expected = Expected::new(script);
        let due = expected.answer(&question, &Part::default(), &sent, u64::MAX).unwrap();
        let events = due.iter().take(asked.limit as usize).map(|due| {
            let facts = script.facts(due.tenant, due.seq).expect("it is planned");
            let mut event = Vec::new();
            render(&facts, Form::Item, &mut event);
            event
        });
        let events: Vec<_> = events.collect();
        assert_eq!(events.len(), asked.limit as usize, "the run begins with too few such events");
        answer(&question, &events)
    }
}

/// A page of events, as the API writes it. There are more, which nobody asks for.
fn answer(question: &Question, events: &[Vec<u8>]) -> Vec<u8> {
    let (from, until) = (question.from.rfc3339(), question.until.rfc3339());
    let filter = question.filter.to_cel();
    let spec = json!({
        "startTime": from, "endTime": until, "filter": filter, "limit": question.limit,
    });
    let head = format!(
        r#"{{"kind":"AuditLogQuery","apiVersion":"activity.miloapis.com/v1alpha1",
        "metadata":{{"name":"auditstorm"}},"spec":{spec},"status":{{"results":["#
    );
    let tail = format!(
        r#"],"continue":"more","effectiveStartTime":"{from}","effectiveEndTime":"{until}"}}}}"#
    );
    [head.as_bytes(), &events.join(&b","[..]), tail.as_bytes()].concat()
}

/// Any will do, because no two runs are in one table here.
const RUN_ID: Uuid = Uuid::from_u128(0x4000_8000_0000_0000_0000);
