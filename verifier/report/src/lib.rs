//! Shows the results of runs: as text, as a page, for CI, compared with another run, and as a table
//! of many runs. It reads the directories of the runs, and asks no server.

pub mod awaited;
mod bounds;
mod columns;
pub mod error;
pub mod figures;
mod rates;
pub mod reconciled;
pub mod records;
pub mod render;
pub mod slowest;
mod stages;
pub mod text;
pub mod thresholds;
pub mod trend;
pub mod versus;

/// The report that is the example in the guide.
#[cfg(test)]
fn example() -> runs::report::Report {
    let guide = include_str!("../../../docs/report.md");
    let text = guide.split("```json").nth(1).unwrap().split("```").next().unwrap();
    serde_json::from_str(text).unwrap()
}
