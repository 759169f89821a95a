//! How long a pipeline takes to recover after a load. Pure.

use edges::clock::seconds;
use events::timeline::UnixMicros;
use runs::observation::Observation;
use serde::{Deserialize, Serialize};

/// How long a pipeline took until nothing waited in it any more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovered {
    /// From the end of the load to the first look at which nothing waited, with none after it at
    /// which something did.
    After { seconds: f64 },
    /// Something still waited at the last look, so long after the load.
    NotIn { seconds: f64 },
}

/// What may wait in a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Also samples that are not visible yet.
    Samples,
    /// Events were lost, so samples may never become visible: they do not count.
    NoSamples,
}

/// Finds out how long a pipeline took to recover after a load that ended at `end`. `None` without
/// any look after that.
///
/// Something waits if a sample is not visible, the consumer has not acknowledged a message, an
/// acknowledged event is not in the stream, or a Vector holds an event. A look at which a server
/// did not answer shows nothing, so something may wait.
pub(crate) fn recovery(
    end: UnixMicros,
    looks: &[Observation],
    counted: Waiting,
) -> Option<Recovered> {
    let after: Vec<&Observation> = looks.iter().filter(|look| look.at.0 >= end).collect();
    let last = after.last()?;
    let since = |look: &Observation| seconds(look.at.0 - end);
    let waiting = after.iter().rposition(|look| does_wait(look, counted));
    Some(match waiting.map_or(Some(0), |at| Some(at + 1).filter(|at| *at < after.len())) {
        Some(first) => Recovered::After { seconds: since(after[first]) },
        None => Recovered::NotIn { seconds: since(last) },
    })
}

fn does_wait(look: &Observation, counted: Waiting) -> bool {
    let Some(stream) = look.stream else { return true };
    let consumer = stream.consumer.map_or(0, |it| it.pending + it.unacknowledged);
    let held: u64 = look.held.iter().map(|held| held.events).sum();
    let backlog = look.backlog_min.unwrap_or(0);
    let samples = if counted == Waiting::Samples { look.freshness.waiting } else { 0 };
    look.table.is_none() || samples + consumer + held + backlog > 0
}

#[cfg(test)]
mod tests {
    use events::event::MicroTime;
    use runs::observation::{ConsumerSeen, Freshness, StreamSeen, TableSeen};

    use super::*;

    fn look(second: i64, pending: u64, waiting: u64) -> Observation {
        let consumer = Some(ConsumerSeen { pending, ..ConsumerSeen::default() });
        Observation {
            at: MicroTime(second * 1_000_000),
            stream: Some(StreamSeen { consumer, ..StreamSeen::default() }),
            table: Some(TableSeen::default()),
            freshness: Freshness { waiting, ..Freshness::default() },
            clocks: Vec::new(),
            resources: Vec::new(),
            backlog_min: Some(0),
            held: Vec::new(),
        }
    }

    #[test]
    fn a_pipeline_has_recovered_when_nothing_waits_in_it_any_more() {
        #[track_caller]
        fn check(looks: &[Observation], expected: Option<Recovered>) {
            assert_eq!(recovery(10_000_000, looks, Waiting::Samples), expected);
        }
        let after = |seconds| Some(Recovered::After { seconds });
        check(&[look(9, 0, 0)], None);
        check(&[look(9, 5, 0), look(10, 0, 0)], after(0.0));
        check(&[look(10, 5, 0), look(11, 0, 1), look(12, 0, 0), look(13, 0, 0)], after(2.0));
        check(&[look(10, 0, 0), look(11, 1, 0), look(12, 0, 0)], after(2.0));
        check(&[look(10, 0, 0), look(14, 1, 0)], Some(Recovered::NotIn { seconds: 4.0 }));
        let silent = Observation { table: None, ..look(12, 0, 0) };
        check(&[look(11, 0, 0), silent.clone()], Some(Recovered::NotIn { seconds: 2.0 }));
        check(&[silent, look(13, 0, 0)], after(3.0));
        let lossy = [look(11, 1, 3), look(12, 0, 3)];
        check(&lossy, Some(Recovered::NotIn { seconds: 2.0 }));
        assert_eq!(recovery(10_000_000, &lossy, Waiting::NoSamples), after(2.0));
    }
}
