//! Findings about rows that the table deletes because of their age, and about detached parts.

use std::collections::BTreeSet;

use chrono::DateTime;
use events::script::DAY_US;
use events::timeline::UnixMicros;

use crate::facts::{Deleted, TableFacts};
use crate::finding::Findings;
use crate::intent::Intent;

/// Checks whether the TTL deletes events that will be sent.
pub(super) fn expired(table: &TableFacts, intent: &Intent, found: &mut Findings) {
    let Some(ttl) = &table.absent.ttl else { return };
    let rules = ttl.rules.join(", ");
    match table.deleted {
        Deleted::Until(until) => {
            let time = DateTime::from_timestamp_micros(until).unwrap_or_default();
            let what = if intent.history.is_some() { "history" } else { "run" };
            let reason = format!(
                "the table's TTL ({rules}) deletes what was received before {}, and the {what} \
                 begins earlier",
                time.format("%Y-%m-%d %H:%M")
            );
            let left = intent.history.as_ref().map_or(0, |it| (it.end - until) / DAY_US);
            let fix = match left {
                ..=0 => "lengthen it".to_owned(),
                days => format!("give --days {days} at most, or lengthen it"),
            };
            found.block("table", reason, fix);
        }
        Deleted::Nothing => {
            let reason = format!(
                "the table has a TTL ({rules}): rows older than it vanish with merges, and are \
                 missing then"
            );
            found.warn("table", reason, "reconcile before, or remove the TTL for the test");
        }
        Deleted::Untold => {
            let reason = format!(
                "the table has a TTL ({rules}): which days it deletes cannot be told from times \
                 alone"
            );
            found.warn("table", reason, "reconcile before, or remove the TTL for the test");
        }
    }
}

/// Checks whether detached parts, which may be attached again, have rows of the days in question.
pub(super) fn detached(table: &TableFacts, intent: &Intent, found: &mut Findings) {
    let name = &table.name;
    let attach = format!("attach or drop them first (ALTER TABLE {name} ATTACH PARTITION ID '…')");
    let grant = "grant SELECT on system.detached_parts";
    let of_day = |day: &UnixMicros| table.absent.detached_in(&(*day..*day + DAY_US));
    let doubtful: BTreeSet<String> = intent.doubtful_days.iter().flat_map(of_day).collect();
    if !intent.doubtful_days.is_empty() && !table.absent.are_detached_known {
        let reason = "this account cannot see whether parts of the table are detached; their rows \
                      would be there twice once they are attached";
        found.block("table", reason.to_owned(), grant);
    } else if !doubtful.is_empty() {
        let reason = format!(
            "parts of {name} are detached, and their rows would be there twice once they are \
             attached"
        );
        let named: Vec<String> = doubtful.into_iter().collect();
        let fix = format!("{attach}, then reconcile anew; partitions {}", named.join(", "));
        found.block("table", reason, fix);
    } else if let Some(history) = &intent.history {
        let named = table.absent.detached_in(history);
        if !table.absent.are_detached_known {
            let reason = "whether parts of the table are detached cannot be seen: what is missing \
                          later may be in one";
            found.note("table", reason.to_owned(), grant);
        } else if !named.is_empty() {
            let reason = format!(
                "parts of {name} are detached that may have rows of these days: what is missing \
                 later may be in one"
            );
            found.warn("table", reason, format!("{attach}; partitions {}", named.join(", ")));
        }
    }
}
