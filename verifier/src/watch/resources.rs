//! What the parts of the pipeline use: as a Prometheus knows it, or as the kernel does.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use edges::address::read_page;
use events::timeline::UnixMicros;
use hyper::Uri;
use runs::observation::ResourceUse;
use serde_json::Value;

use super::processes::Processes;
use crate::error::VerifyError;
use crate::http::{HttpError, get_text};

/// Flags that say where resources are read.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Resources")]
pub struct ResourceArgs {
    /// Address of a Prometheus that knows what the parts of the pipeline use.
    #[arg(long, value_name = "URL", value_parser = read_page)]
    prometheus: Option<String>,
    /// `PromQL` for the cores that each part keeps busy; the values of its labels name the part.
    #[arg(long, value_name = "PROMQL", requires = "prometheus", default_value = CPU_QUERY)]
    cpu_query: String,
    /// `PromQL` for the memory of each part, in bytes.
    #[arg(long, value_name = "PROMQL", requires = "prometheus", default_value = MEMORY_QUERY)]
    memory_query: String,
    /// Directory of a sandbox on this machine, whose processes are looked at.
    #[arg(long, value_name = "DIR", conflicts_with = "prometheus")]
    sandbox: Option<PathBuf>,
}

/// Processes that tell of themselves, by job; else containers, by pod.
const CPU_QUERY: &str = "sum by (job) (rate(process_cpu_seconds_total[1m])) or \
     sum by (pod) (rate(container_cpu_usage_seconds_total{container!=\"\"}[1m]))";
const MEMORY_QUERY: &str = "sum by (job) (process_resident_memory_bytes) or \
     sum by (pod) (container_memory_working_set_bytes{container!=\"\"})";

/// Where resources are read.
#[derive(Debug)]
pub enum Meter {
    Prometheus { cpu_url: String, memory_url: String },
    Sandbox(Processes),
    None,
}

impl Meter {
    /// Takes what the flags name.
    ///
    /// # Errors
    ///
    /// Returns [`VerifyError::NoSandbox`] if there is no sandbox in the directory named.
    pub fn new(args: &ResourceArgs) -> Result<Self, VerifyError> {
        Ok(match (&args.prometheus, &args.sandbox) {
            (Some(url), _) => Self::Prometheus {
                cpu_url: query_url(url, &args.cpu_query),
                memory_url: query_url(url, &args.memory_query),
            },
            (None, Some(dir)) => Self::Sandbox(Processes::of(dir)?),
            (None, None) => Self::None,
        })
    }

    /// Reads what each part used since the last time; nothing at the first.
    ///
    /// # Errors
    ///
    /// Returns [`HttpError`] if Prometheus does not answer in time, or not as expected.
    pub(crate) async fn read(
        &mut self,
        now: UnixMicros,
        limit: Duration,
    ) -> Result<Vec<ResourceUse>, HttpError> {
        match self {
            Self::Prometheus { cpu_url, memory_url } => {
                let (cpu, memory) =
                    tokio::try_join!(get_text(cpu_url, limit), get_text(memory_url, limit))?;
                let answer = |url: &str, fact| HttpError::Answer { url: without_query(url), fact };
                let cpu = parse_vector(&cpu).map_err(|fact| answer(cpu_url, fact))?;
                let memory = parse_vector(&memory).map_err(|fact| answer(memory_url, fact))?;
                Ok(joined(&cpu, &memory))
            }
            Self::Sandbox(processes) => Ok(processes.read(Path::new("/proc"), now)),
            Self::None => Ok(Vec::new()),
        }
    }
}

fn query_url(prometheus: &str, query: &str) -> String {
    let mut url = format!("{}/api/v1/query?query=", prometheus.trim_end_matches('/'));
    for byte in query.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(byte));
            }
            _ => write!(url, "%{byte:02X}").expect("a string takes what is written to it"),
        }
    }
    url
}

fn without_query(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    format!("Prometheus at {host}")
}

/// Reads the answer to a query: values by what names them, in order.
fn parse_vector(text: &str) -> Result<Vec<(String, f64)>, String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let series = answer["data"]["result"].as_array().ok_or("it has no result")?;
    let mut values = Vec::new();
    for one in series {
        let labels = one["metric"].as_object().ok_or("a series has no labels")?;
        let names: Vec<&str> = labels
            .iter()
            .filter(|(label, _)| *label != "__name__")
            .filter_map(|(_, value)| value.as_str())
            .collect();
        let value = one["value"][1].as_str().and_then(|value| value.parse().ok());
        let value: f64 = value.ok_or("a series has no value; ask for an instant vector")?;
        values.push((names.join(" "), value));
    }
    values.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(values)
}

/// Puts both values of each part together.
fn joined(cpu: &[(String, f64)], memory: &[(String, f64)]) -> Vec<ResourceUse> {
    let of = |values: &[(String, f64)], part: &str| {
        values.iter().find(|(name, _)| name == part).map_or(0.0, |(_, value)| value.max(0.0))
    };
    let mut parts: Vec<&String> = cpu.iter().chain(memory).map(|(part, _)| part).collect();
    parts.sort();
    parts.dedup();
    let resource = |part: &String| ResourceUse {
        part: part.clone(),
        cpu_cores: of(cpu, part),
        memory_bytes: whole(of(memory, part)),
    };
    parts.into_iter().map(resource).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and bytes are exact in an f64"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_part_of_an_address() {
        let url = query_url("http://h:9090/", "sum by (job) (x{a!=\"\"}[1m])");
        let expected = "http://h:9090/api/v1/query?query=\
                        sum%20by%20%28job%29%20%28x%7Ba%21%3D%22%22%7D%5B1m%5D%29";
        assert_eq!(url, expected);
    }

    #[test]
    fn both_answers_of_a_prometheus_are_put_together() {
        let answer = |values: &[(&str, &str)]| {
            let series = values.iter().map(|(job, value)| {
                format!(r#"{{"metric": {{"job": "{job}"}}, "value": [1790000000.1, "{value}"]}}"#)
            });
            let series: Vec<_> = series.collect();
            format!(r#"{{"status": "success", "data": {{"result": [{}]}}}}"#, series.join(","))
        };
        let cpu = parse_vector(&answer(&[("nats", "0.25"), ("clickhouse", "1.5")])).unwrap();
        let memory = parse_vector(&answer(&[("clickhouse", "1e9"), ("vector", "5")])).unwrap();
        let part = |part: &str, cpu_cores, memory_bytes| ResourceUse {
            part: part.to_owned(),
            cpu_cores,
            memory_bytes,
        };
        let expected =
            [part("clickhouse", 1.5, 1_000_000_000), part("nats", 0.25, 0), part("vector", 0.0, 5)];
        assert_eq!(joined(&cpu, &memory), expected);
        assert!(parse_vector("<html>").is_err());
        assert!(parse_vector("{}").unwrap_err().contains("no result"));
    }
}
