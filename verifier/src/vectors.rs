//! Reads the metrics of the Vectors of a pipeline.

use std::time::Duration;

use clap::Args;
use edges::address::read_page;
use edges::clock::Clock;
use hyper::Uri;
use runs::observation::ClockOffset;

use crate::http::{HttpError, get_dated_text};
use crate::vector::VectorState;

/// Flags for the addresses of the Vectors' metrics.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct VectorArgs {
    /// Address of a Vector's metrics, with its path. Can be given several times, or with commas
    /// between addresses. Name all Vectors of the pipeline: an event that one of them holds is not
    /// lost.
    #[arg(long, env = "VECTOR_METRICS_URL", value_delimiter = ',', value_name = "URL")]
    #[arg(hide_env_values = true, value_parser = read_or_none)]
    vector_metrics: Vec<String>,
}

impl VectorArgs {
    /// The addresses that were given.
    pub(crate) fn urls(&self) -> Vec<String> {
        let given = self.vector_metrics.iter().map(|url| url.trim());
        given.filter(|url| !url.is_empty()).map(str::to_owned).collect()
    }
}

/// Ignores an empty value, because an environment variable may be set and empty.
fn read_or_none(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Ok(String::new()) } else { read_page(text.trim()) }
}

/// The answer of one Vector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) state: VectorState,
    /// `None` if its answer had no date.
    pub(crate) clock: Option<ClockOffset>,
}

/// Reads the metrics of one Vector.
///
/// # Errors
///
/// Returns [`HttpError`] if it does not answer in time.
pub(crate) async fn ask_vector(
    url: &str,
    clock: &Clock,
    limit: Duration,
) -> Result<Told, HttpError> {
    let (text, offset) = get_dated_text(&name(url), url, clock, limit).await?;
    Ok(Told { state: VectorState::parse(&text), clock: offset })
}

/// The name of a Vector in messages, like `vector 127.0.0.1:9598`.
pub(crate) fn name(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    let authority = uri.as_ref().and_then(Uri::authority).map_or(url, |it| it.as_str());
    format!("vector {authority}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_called_by_where_it_is_and_empty_addresses_are_none() {
        assert_eq!(name("http://10.0.0.1:9598/metrics"), "vector 10.0.0.1:9598");
        assert_eq!(name("nowhere at all"), "vector nowhere at all");
        let vector_metrics = ["", " http://a/m ", "http://b/m"].map(str::to_owned).to_vec();
        assert_eq!(VectorArgs { vector_metrics }.urls(), ["http://a/m", "http://b/m"]);
    }
}
