//! Our generator as a program, and the making of its events alone.

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;

use events::identity::{Seq, TenantIndex};
use events::render::{Form, LIST_END, LIST_START, render};
use events::script::Script;
use plans::plan::Plan;
use plans::spec::{RunOptions, Span};
use serde_json::Value;
use tempfile::NamedTempFile;
use uuid::Uuid;

use crate::peers::{Settings, Sink};
use crate::process::{Process, Run, thread_cpu_s};

/// What our generator is told to post.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Events per second of each tenant.
    pub(crate) rate: u32,
    pub(crate) tenants: u32,
    pub(crate) settings: Settings,
}

/// What our generator posted, and what it cost.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) events: u64,
    /// Of the bodies alone.
    pub(crate) bytes: u64,
    pub(crate) cpu_s: f64,
    pub(crate) memory_bytes_max: u64,
}

impl Ours {
    /// Runs the generator until all events are acknowledged.
    pub(crate) fn post(sink: &Sink, load: Load) -> Self {
        let (run, summary) = generate(&load.profile(), sink, &[]);
        let number = |name: &str| summary[name].as_u64().unwrap();
        let events = number("planned");
        assert_eq!(number("acknowledged"), events, "{summary:#}");
        Self {
            events,
            bytes: number("bytes"),
            cpu_s: run.cpu_s,
            memory_bytes_max: run.memory_bytes_max,
        }
    }
}

/// Runs our generator with a profile and some flags until all is done. What it records on disk is
/// part of its cost. That it may be late is no matter here: its costs are measured, not its times.
pub(crate) fn generate(profile: &str, sink: &Sink, flags: &[&str]) -> (Run, Value) {
    let place = tempfile::tempdir().unwrap();
    let (file, out) = (place.path().join("profile.yaml"), place.path().join("run"));
    std::fs::write(&file, profile).unwrap();
    let (file, out, events) = (file.to_str().unwrap(), out.to_str().unwrap(), sink.events());
    let args = ["run", file, "--webhook", &events, "--out", out, "--json", "--no-self-test"];
    let program = Path::new(env!("CARGO_BIN_EXE_auditstorm-generator"));
    let run = Process::start(program, &[&args[..], flags].concat(), &[]).finish();
    let summary = serde_json::from_str(&run.stdout).unwrap();
    (run, summary)
}

impl Load {
    /// Batches close when they are full, unless the settings leave it to the defaults.
    fn profile(self) -> String {
        let Self { rate, tenants, settings: Settings { seconds, connections, events } } = self;
        format!(
            "name: bench\n\
             stages: [{{duration: {seconds}s, rate: {rate}/s, tenants: {tenants}}}]\n\
             send: {{batch_events: {events}, connections: {connections}, lateness_max: 1h}}\n"
        )
    }

    /// A body for wrk: a list of the first events of a tenant, or one event, as long as most.
    pub(crate) fn body(self) -> NamedTempFile {
        let script = self.script();
        let mut bodies: Vec<Vec<u8>> = (0..self.batches().min(99))
            .map(|batch| {
                let mut body = Vec::new();
                self.fill(&script, TenantIndex(0), batch, &mut body);
                body
            })
            .collect();
        bodies.sort_by_key(Vec::len);
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&bodies[bodies.len() / 2]).unwrap();
        file
    }

    /// The CPU time of making all events into bodies, on one thread, and posting none.
    pub(crate) fn making_cpu_s(self) -> f64 {
        let script = self.script();
        let before_s = thread_cpu_s();
        let mut body = Vec::new();
        for batch in 0..self.batches() {
            for tenant in script.tenants() {
                body.clear();
                self.fill(&script, tenant, batch, &mut body);
                black_box(&body);
            }
        }
        thread_cpu_s() - before_s
    }

    /// Full batches of each tenant.
    fn batches(self) -> u64 {
        u64::from(self.rate * self.settings.seconds / self.settings.events)
    }

    /// Fills a body with a batch of a tenant's events, as a lane of the generator does.
    fn fill(self, script: &Script, tenant: TenantIndex, batch: u64, body: &mut Vec<u8>) {
        let events = u64::from(self.settings.events);
        let seqs = batch * events..(batch + 1) * events;
        let alone = events == 1;
        body.extend_from_slice(if alone { b"" } else { LIST_START });
        for seq in seqs.clone() {
            if seq > seqs.start {
                body.push(b',');
            }
            let facts = script.facts(tenant, Seq(seq)).expect("it is planned");
            render(&facts, if alone { Form::Alone } else { Form::Item }, body);
        }
        body.extend_from_slice(if alone { b"\n" } else { LIST_END });
    }

    fn script(self) -> Script {
        let text = self.profile();
        let options = RunOptions::new(Uuid::nil(), 1_790_000_000_000_000, Span::Live);
        Plan::parse(&text, "of the bench", options).unwrap().script
    }
}
