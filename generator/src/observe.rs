//! What is shown and served of a run while it goes on, and what is exported at its end.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use edges::address::read_listen;
use edges::shutdown::Shutdown;
use plans::plan::{Classes, Plan};
use plans::profile::Profile;
use runs::tally::Tally;
use tell::exporter::MetricsServer;
use tell::output::tell;

use crate::error::GeneratorError;
use crate::metrics::{Metrics, TenantSeries};
use crate::progress::{Shown, Telling};
use crate::query_metrics::QueryMetrics;
use crate::summary_export::SummaryExport;
use crate::view::{About, Moment};
use runs::queries::QueryHistograms;
use runs::record::Summary;

/// Flags for output while a run goes on, and after it.
#[derive(Debug, Args)]
pub(crate) struct Observe {
    /// Prints the summary as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Prints only errors and the summary.
    #[arg(long)]
    quiet: bool,
    /// Serves metrics for Prometheus at this address, under /metrics. Port 0 chooses a free port.
    #[arg(long, value_name = "ADDR", value_parser = read_listen)]
    metrics: Option<SocketAddr>,
    /// Also serves metrics for each of the first thousand tenants.
    #[arg(long, requires = "metrics")]
    metrics_per_tenant: bool,
    /// Also writes the summary to this file, in the format of k6's --summary-export.
    #[arg(long, value_name = "FILE")]
    summary_export: Option<PathBuf>,
}

impl Observe {
    /// Whether only errors and the summary are printed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Makes ready what was asked for.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError`] if the address cannot be bound or the file cannot be written.
    pub(crate) async fn begin(
        &self,
        plan: &Plan,
        profile: &Profile,
        shutdown: Shutdown,
    ) -> Result<Observers, GeneratorError> {
        let export = self.summary_export.as_deref().map(SummaryExport::stage).transpose()?;
        let metrics = match self.metrics {
            Some(address) => Some(self.serve(address, plan).await?),
            None => None,
        };
        let telling = match (self.quiet, self.json) {
            (true, _) => Telling::Nothing,
            // If the summary is for a program, the progress is too, so there is no screen.
            (false, true) => Telling::Lines,
            (false, false) => Telling::Screen,
        };
        // This comes last, because nothing else may write to standard error from here on.
        let progress = Shown::begin(telling, About::new(plan, profile), shutdown);
        Ok(Observers { progress, metrics, export })
    }

    async fn serve(&self, address: SocketAddr, plan: &Plan) -> Result<Served, GeneratorError> {
        let apart = self.metrics_per_tenant;
        let series = if apart { TenantSeries::Apart } else { TenantSeries::None };
        let queries = plan.queries.as_ref().map(|_| QueryMetrics::default());
        let (metrics, registry) = Metrics::new(series, queries);
        let server = MetricsServer::start(address, registry)
            .await
            .map_err(|source| GeneratorError::Metrics { address, source })?;
        if !self.quiet {
            tell(format_args!("metrics on http://{}/metrics", server.address()));
        }
        Ok(Served { metrics, _server: server })
    }
}

/// Everything that shows or serves a run.
#[derive(Debug)]
pub struct Observers {
    progress: Shown,
    metrics: Option<Served>,
    export: Option<SummaryExport>,
}

/// Metrics, and the server that they are read from.
#[derive(Debug)]
struct Served {
    metrics: Metrics,
    _server: MetricsServer,
}

impl Observers {
    /// Nobody.
    pub fn none() -> Self {
        Self { progress: Shown::Nothing, metrics: None, export: None }
    }

    /// Shows one more second.
    pub(crate) fn tell(&mut self, moment: &Moment<'_>) {
        if let Some(Served { metrics, .. }) = &self.metrics {
            metrics.tell(moment);
        }
        self.progress.tell(moment);
    }

    /// Shows the end, and gives the terminal back.
    ///
    /// # Errors
    ///
    /// Returns [`GeneratorError::SummaryExport`] if the file cannot be written.
    pub(crate) fn finish(
        self,
        summary: &Summary,
        total: &Tally,
        classes: &Classes,
        asked: Option<&QueryHistograms>,
    ) -> Result<(), GeneratorError> {
        if let Some(Served { metrics, .. }) = &self.metrics {
            metrics.finish(summary.unsent);
        }
        match self.export {
            Some(export) => export.write(summary, total, classes, asked),
            None => Ok(()),
        }
    }
}
