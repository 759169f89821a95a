//! The sections of a report that need answers of the stores.

use events::event::MicroTime;
use events::identity::Seq;
use events::script::Script;
use runs::report::fates::{Fates, Forgotten};
use runs::report::{Environment, FINDINGS_MAX, Fault, Finding, StreamReport};
use stores::jetstream::AuditStream;

use crate::compare::StreamMemory;
use crate::jetstream::StreamArrivals;

/// The section about the stream.
pub fn of_stream(stream: &StreamArrivals) -> StreamReport {
    let forgotten = match stream.memory {
        StreamMemory::Whole => None,
        StreamMemory::Partial(why) => Some(why),
    };
    StreamReport {
        messages: stream.by_tenant.values().map(|arrivals| arrivals.count).sum(),
        without_id: stream.without_id,
        evicted: forgotten == Some(Forgotten::Evicted),
        forgotten,
    }
}

/// This machine, and the servers that answered.
pub fn environment(clickhouse_version: String, stream: Option<&AuditStream>) -> Environment {
    Environment {
        clickhouse_version,
        nats_version: stream.map(AuditStream::server_version),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
        operating_system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

/// Lists the events that have a finding, up to [`FINDINGS_MAX`], and counts the rest.
pub fn findings(script: &Script, fates: &[Fates]) -> (Vec<Finding>, u64) {
    let mut listed = Vec::new();
    let mut left_out = 0;
    for (tenant, fates) in script.tenants().zip(fates) {
        let lost = fates.lost.iter().map(|(cause, seqs)| (Fault::Lost, Some(*cause), seqs));
        let others = [
            (Fault::DuplicatedInStream, None, &fates.duplicated_in_stream),
            (Fault::DuplicatedInTable, None, &fates.duplicated_in_table),
            (Fault::Corrupted, None, &fates.corrupted),
            (Fault::Misplaced, None, &fates.misplaced),
            (Fault::Unexpected, None, &fates.unexpected),
        ];
        for (fault, cause, seqs) in lost.chain(others) {
            let room = FINDINGS_MAX - listed.len();
            left_out += seqs.count().saturating_sub(room as u64);
            listed.extend(seqs.iter().take(room).map(|seq| Finding {
                fault,
                cause,
                tenant: tenant.0,
                seq,
                audit_id: script.audit_id(tenant, Seq(seq)),
                due: script.timeline(tenant).due(Seq(seq)).ok().map(MicroTime),
            }));
        }
    }
    (listed, left_out)
}
