//! Events to standard output: what a run would send, in the order in which it is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

use events::identity::Seq;
use events::render::{Form, render};
use events::script::Script;

/// Writes the first `count` events of a script as lines of JSON, in the order of their due times.
///
/// # Errors
///
/// Returns the error of the writer. A reader that has gone away is one.
pub fn emit(script: &Script, count: u64, mut out: impl Write) -> io::Result<()> {
    let next = |tenant, seq| {
        let due = script.timeline(tenant).due(Seq(seq)).ok()?;
        Some(Reverse((due, tenant, seq)))
    };
    let mut heads: BinaryHeap<_> = script.tenants().filter_map(|tenant| next(tenant, 0)).collect();
    let mut line = Vec::new();
    for _ in 0..count {
        let Some(Reverse((_, tenant, seq))) = heads.pop() else { break };
        heads.extend(next(tenant, seq + 1));
        line.clear();
        let facts = script.facts(tenant, Seq(seq)).expect("it has a due time");
        render(&facts, Form::Alone, &mut line);
        line.push(b'\n');
        out.write_all(&line)?;
    }
    out.flush()
}
