//! How a load goes, for people and for Prometheus.

use std::io::IsTerminal as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use harness::clock::{Clock, micros};
use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::bulk::BulkEvent;
use crate::pulse::Pulse;

/// What a load has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that are in the table by an insert of this process.
    pub inserted: u64,
    /// Events that were looked for, and were in the table already.
    pub found: u64,
    /// Inserts that were confirmed.
    pub inserts: u64,
    /// Inserts that failed and were gone after.
    pub failed_inserts: u64,
    /// Parts of the table, at the last look.
    pub parts: u64,
}

/// Counts what happens and shows it: on a terminal as a bar, elsewhere a line every ten seconds.
pub struct Progress {
    counts: Counts,
    pulse: Pulse,
    bar: ProgressBar,
    clock: Clock,
    next_line: i64,
    is_shown: bool,
    metrics: Metrics,
}

impl Progress {
    /// Starts where `done` of `planned` events are in the table.
    pub fn start(planned: u64, done: u64, clock: Clock, is_shown: bool) -> Self {
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is valid");
        let bar = ProgressBar::new(planned).with_style(style);
        if !is_shown {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_position(done);
        // What was done before says nothing of how fast it goes now.
        bar.reset_eta();
        let metrics = Metrics::default();
        metrics.planned.set(i64::try_from(planned).unwrap_or(i64::MAX));
        metrics.confirmed.inc_by(done);
        let next_line = clock.now() + micros(LINE_INTERVAL);
        Self {
            counts: Counts::default(),
            pulse: Pulse::default(),
            bar,
            clock,
            next_line,
            is_shown,
            metrics,
        }
    }

    pub fn counts(&self) -> Counts {
        Counts { parts: self.pulse.parts, ..self.counts }
    }

    /// Takes what happened.
    pub fn take(&mut self, event: BulkEvent) {
        match event {
            BulkEvent::Confirmed { inserted, found } => {
                self.counts.inserted += inserted;
                self.counts.found += found;
                self.counts.inserts += 1;
                self.metrics.confirmed.inc_by(inserted + found);
                self.metrics.inserts.inc();
                self.bar.inc(inserted + found);
            }
            BulkEvent::Failed(failure) => {
                self.counts.failed_inserts += 1;
                self.metrics.failed.get_or_create(&Reason { reason: failure.name() }).inc();
            }
            BulkEvent::Pulse(pulse) => {
                self.pulse = pulse;
                self.metrics.see(pulse);
                self.bar.set_message(format!(
                    "{} parts, server {}",
                    pulse.parts,
                    BinaryBytes(pulse.memory_bytes)
                ));
                self.write_line();
            }
        }
    }

    /// Where nobody sees a bar, a line now and then tells that it goes on.
    #[expect(clippy::print_stderr, reason = "the story of a load, for who reads its log")]
    fn write_line(&mut self) {
        if !self.is_shown || std::io::stderr().is_terminal() || self.clock.now() < self.next_line {
            return;
        }
        self.next_line = self.clock.now() + micros(LINE_INTERVAL);
        let (done, planned) = (self.bar.position(), self.bar.length().unwrap_or(0));
        eprintln!(
            "{done} of {planned} events, {:.0}/s, {} parts, server {}, about {} s left",
            self.bar.per_sec(),
            self.pulse.parts,
            BinaryBytes(self.pulse.memory_bytes),
            self.bar.eta().as_secs()
        );
    }

    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[derive(Debug, Default)]
struct Metrics {
    planned: Gauge,
    confirmed: Counter,
    inserts: Counter,
    failed: Family<Reason, Counter>,
    parts: Gauge<u64, AtomicU64>,
    parts_in_partition_max: Gauge<u64, AtomicU64>,
    memory_bytes: Gauge<u64, AtomicU64>,
}

impl Metrics {
    fn see(&self, pulse: Pulse) {
        self.parts.set(pulse.parts);
        self.parts_in_partition_max.set(pulse.parts_in_partition_max);
        self.memory_bytes.set(pulse.memory_bytes);
    }

    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("auditstorm_backfill");
        registry.register("events_planned", "Events of the history", self.planned.clone());
        let help = "Events that are known to be in the table";
        registry.register("events_confirmed", help, self.confirmed.clone());
        registry.register("inserts_confirmed", "Inserts that were confirmed", self.inserts.clone());
        let help = "Inserts that failed, whose rows were looked up and sent again";
        registry.register("inserts_failed", help, self.failed.clone());
        registry.register("table_parts", "Parts of the table in use", self.parts.clone());
        let help = "Parts of the partition that has most";
        registry.register(
            "table_parts_per_partition_max",
            help,
            self.parts_in_partition_max.clone(),
        );
        let help = "Memory that the server has in use";
        registry.register("server_memory_bytes", help, self.memory_bytes.clone());
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

const TEMPLATE: &str =
    "{elapsed_precise} {bar:24} {percent:>3}%  {pos}/{len}  {per_sec}  {msg}  {eta} left";
const LINE_INTERVAL: Duration = Duration::from_secs(10);
