//! Where events of another tenant go into a page.

use super::event::{Event, decode};
use super::page::Row;

/// Events that do not belong to the scope, each beside one that does.
#[derive(Debug)]
pub(super) struct Leak {
    /// Audit IDs of hosts, and what is put in behind them.
    pub(super) pairs: Vec<(String, Event)>,
    /// How many rows of the scope itself the page may still have.
    pub(super) own_limit: usize,
}

impl Default for Leak {
    fn default() -> Self {
        Self { pairs: Vec::new(), own_limit: usize::MAX }
    }
}

impl Leak {
    /// Joins hosts and strangers, as many as there are of both. A page keeps its limit and at least
    /// one row of its own, so that pages end where they should.
    pub(super) fn new(hosts: Vec<String>, strangers: &[String], limit: usize) -> Self {
        let strangers = strangers.iter().filter_map(|json| decode(json));
        let pairs: Vec<(String, Event)> =
            hosts.into_iter().zip(strangers).take(limit - 1).collect();
        let own_limit = limit - pairs.len();
        Self { pairs, own_limit }
    }
}

/// The audit IDs of the rows of a page beside which something is to be put.
pub(super) fn hosts(rows: &[Row], limit: usize, mut hit: impl FnMut(&str) -> bool) -> Vec<String> {
    let shown = rows.iter().take(limit).filter_map(|row| decode(&row.json));
    shown.map(|event| event.audit_id).filter(|audit_id| hit(audit_id)).collect()
}

/// Puts each stranger behind its host, if the host is shown and `record` could write it down.
pub(super) fn put_in(
    events: &mut Vec<Event>,
    pairs: Vec<(String, Event)>,
    mut record: impl FnMut(&str) -> bool,
) {
    for (host, stranger) in pairs {
        let at = events.iter().position(|event| event.audit_id == host);
        if let Some(at) = at.filter(|_| record(&stranger.audit_id)) {
            events.insert(at + 1, stranger);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_its_limit_and_one_row_of_its_own() {
        let json = |id: &str| format!(r#"{{"auditID":"{id}"}}"#);
        let rows: Vec<Row> =
            ["a", "b", "c"].iter().map(|id| Row { json: json(id), key: None }).collect();
        let strangers = [json("x"), json("y"), json("z")];
        for (limit, own, expected) in [(1, 1, "a"), (2, 1, "a x"), (3, 1, "a x")] {
            let leak = Leak::new(hosts(&rows, limit, |_| true), &strangers, limit);
            assert_eq!(leak.own_limit, own, "{limit}");
            let shown = rows.iter().take(leak.own_limit);
            let mut events: Vec<Event> = shown.filter_map(|row| decode(&row.json)).collect();
            put_in(&mut events, leak.pairs, |_| true);
            let ids: Vec<&str> = events.iter().map(|event| event.audit_id.as_str()).collect();
            assert_eq!(ids.join(" "), expected);
        }
        let mut events: Vec<Event> = rows.iter().filter_map(|row| decode(&row.json)).collect();
        let leak = Leak::new(hosts(&rows, 3, |id| id == "b"), &strangers, 3);
        assert_eq!(leak.own_limit, 2);
        put_in(&mut events, leak.pairs, |_| false);
        assert_eq!(events.len(), 3, "what is not on record is not done");
    }
}
