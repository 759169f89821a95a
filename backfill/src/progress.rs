//! How a load goes, for people and for Prometheus.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use edges::clock::{Clock, micros};
use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tell::exporter::{MetricsServer, process_registry};
use tell::output::{Held, hold, tell};

use crate::bulk::BulkEvent;
use crate::counted::LoadEvent;
use crate::error::BackfillError;
use crate::pulse::Pulse;
use crate::replay::{Doing, ReplayProgress};

/// Shows what happens, on a terminal as a bar, elsewhere by a line every ten seconds, and counts it
/// for Prometheus.
pub struct Progress {
    /// What is shown, and how fast it goes. It draws nothing itself.
    bar: ProgressBar,
    picture: Option<Picture>,
    /// It is to be drawn as soon as there is something to show.
    is_drawn: bool,
    /// Events that were in the table at the start.
    done: u64,
    clock: Clock,
    next_line: i64,
    /// Events that are known to be taken.
    known: u64,
    is_shown: bool,
    metrics: Metrics,
}

impl Progress {
    /// Starts where `done` of `planned` events are in the table.
    pub fn start(planned: u64, done: u64, clock: Clock, is_shown: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(planned), ProgressDrawTarget::hidden());
        let is_drawn = is_shown && std::io::stderr().is_terminal();
        bar.set_position(done);
        // What was done before says nothing of how fast it goes now.
        bar.reset_eta();
        let metrics = Metrics::default();
        metrics.planned.set(i64::try_from(planned).unwrap_or(i64::MAX));
        metrics.confirmed.inc_by(done);
        let next_line = clock.now() + micros(LINE_INTERVAL);
        Self {
            bar,
            picture: None,
            is_drawn,
            done,
            clock,
            next_line,
            known: done,
            is_shown,
            metrics,
        }
    }

    /// Takes what happened.
    pub fn take(&mut self, event: LoadEvent<'_>) {
        match event {
            LoadEvent::Bulk(BulkEvent::Confirmed { inserted, found }) => {
                // What was found was not inserted again.
                self.metrics.inserts.inc_by(u64::from(*inserted > 0));
                self.count_known(inserted + found);
            }
            LoadEvent::Bulk(BulkEvent::Failed(failure, _)) => {
                self.metrics.failed.get_or_create(&Reason { reason: failure.name() }).inc();
            }
            LoadEvent::Bulk(BulkEvent::Pulse(pulse)) => {
                self.metrics.see(*pulse);
                let memory = BinaryBytes(pulse.memory_bytes);
                let message = format!("{} parts, server {memory}", pulse.parts);
                self.show(&message);
            }
            LoadEvent::Replaying(state) => self.take_replay(state),
            LoadEvent::Replayed { acknowledged: events } | LoadEvent::Found { events } => {
                self.count_known(events);
            }
        }
    }

    /// Takes rows that were written to a file.
    pub fn write(&mut self, rows: u64) {
        self.bar.inc(rows);
        self.show("written");
    }

    /// Takes how far a replay is. What it acknowledges is shown at once, and counted at its end.
    fn take_replay(&mut self, state: &ReplayProgress) {
        let doing = match state.doing {
            Doing::Sending => "sending",
            Doing::WaitingForRoom => "waiting for the consumer",
            Doing::WaitingForWebhook => "refused by the webhook, trying again",
            Doing::Draining => "waiting until all is read",
        };
        let message = format!("{doing}, {} on their way", state.fill.events());
        self.bar.set_position(self.known + state.acknowledged);
        self.show(&message);
    }

    fn count_known(&mut self, events: u64) {
        self.known += events;
        self.metrics.confirmed.inc_by(events);
        self.bar.set_position(self.known);
    }

    fn show(&mut self, message: &str) {
        if std::mem::take(&mut self.is_drawn) {
            let planned = self.bar.length().unwrap_or(0);
            self.picture = Picture::start(planned, self.done);
        }
        if let Some(picture) = &self.picture {
            picture.show(self.bar.position(), message);
        }
        self.write_line(message);
    }

    /// Where nobody sees a bar, a line now and then tells that it goes on.
    fn write_line(&mut self, message: &str) {
        if !self.is_shown || std::io::stderr().is_terminal() || self.clock.now() < self.next_line {
            return;
        }
        self.next_line = self.clock.now() + micros(LINE_INTERVAL);
        let (done, planned) = (self.bar.position(), self.bar.length().unwrap_or(0));
        tell(format_args!(
            "{done} of {planned} events, {:.0}/s, {message}, about {} s left",
            self.bar.per_sec(),
            self.bar.eta().as_secs()
        ));
    }

    /// Serves its metrics for Prometheus, if an address is given, and tells where.
    ///
    /// # Errors
    ///
    /// Returns [`BackfillError::Metrics`] if the address cannot be had.
    pub async fn serve(
        &self,
        address: Option<SocketAddr>,
    ) -> Result<Option<MetricsServer>, BackfillError> {
        let Some(address) = address else { return Ok(None) };
        let mut registry = process_registry();
        self.metrics.register(&mut registry);
        let server = MetricsServer::start(address, registry).await;
        let server = server.map_err(|source| BackfillError::Metrics { address, source })?;
        tell(format_args!("metrics on http://{}/metrics", server.address()));
        Ok(Some(server))
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        (self.picture, self.is_drawn) = (None, false);
    }
}

/// The bar on a terminal, drawn by a thread of its own: one that takes nothing (Ctrl-S) costs
/// pictures and does not hold up the load.
struct Picture {
    /// Hung up when nothing more is to be drawn.
    views: Option<SyncSender<(u64, String)>>,
    /// Hangs up when drawing is over.
    drawing: Receiver<()>,
    /// What is told meanwhile would spoil the bar, and is written after it.
    _held: Held,
}

impl Picture {
    /// Starts to draw; without a thread, there is no picture.
    fn start(planned: u64, done: u64) -> Option<Self> {
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is valid");
        let (views, shown) = sync_channel::<(u64, String)>(1);
        let (says, drawing) = sync_channel(1);
        let held = hold();
        let draw = move || {
            let _hangs_up: SyncSender<()> = says;
            let bar = ProgressBar::new(planned).with_style(style).with_position(done);
            // What was done before says nothing of how fast it goes now.
            bar.reset_eta();
            for (position, message) in shown {
                bar.set_position(position);
                bar.set_message(message);
            }
            bar.finish_and_clear();
        };
        let thread = std::thread::Builder::new().name("bar".to_owned());
        thread.spawn(draw).ok().map(|_| Self { views: Some(views), drawing, _held: held })
    }

    fn show(&self, position: u64, message: &str) {
        if let Some(views) = &self.views {
            views.try_send((position, message.to_owned())).ok();
        }
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        self.views = None;
        self.drawing.recv_timeout(LAG_MAX).ok();
    }
}

/// How long a terminal is waited for.
const LAG_MAX: Duration = Duration::from_secs(1);

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
