//! Writes the pages of a reconciled run, and replaces those of an earlier check.

use std::path::Path;

use report::reconciled::read_report;
use report::records::RunRecords;
use report::render::{FILES, Written, write};
use report::thresholds::evaluate;
use runs::run_dir::RunDir;

use crate::earlier::Earlier;
use crate::error::VerifyError;
use crate::recorded::Recorded;

/// Writes all files of a run's report, to the run's directories or to another. Returns for each
/// file whether it was written. `story` is called with messages about data that is missing in them.
///
/// # Errors
///
/// Returns [`VerifyError`] if the run was not reconciled by this version, or a file cannot be
/// read.
pub fn write_pages(
    run: &Recorded,
    out: Option<&Path>,
    story: fn(&str),
) -> Result<Vec<Written>, VerifyError> {
    let own = || run.dirs.iter().map(RunDir::path).collect();
    let places = out.map_or_else(own, |out| vec![out]);
    let earlier: Vec<_> =
        places.iter().map(|place| Earlier::set_aside(place, &FILES, story)).collect();
    let mut report = read_report(run.dirs[0].path())?;
    let mut records = RunRecords::read(&run.dirs, &run.plan)?;
    records.find_awaited(&run.plan, &report);
    for shard in &run.shards_missing {
        story(&format!("the seconds of shard {} are not shown; name its directory too", shard + 1));
    }
    // A watch may have ended after the run was reconciled.
    report.thresholds = evaluate(&run.plan.thresholds, &records, &report.totals);
    let mut all = Vec::new();
    for (place, earlier) in places.into_iter().zip(&earlier) {
        let files = write(place, &FILES, &report, &records, &run.plan);
        files.iter().filter(|(_, it)| it.is_ok()).for_each(|(name, _)| earlier.forget(name));
        all.extend(files);
    }
    Ok(all)
}
