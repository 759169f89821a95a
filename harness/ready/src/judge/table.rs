//! Findings about the table and its server.

use stores::survey::setting;
use tell::screen::picture::bytes;

use crate::facts::TableFacts;
use crate::finding::{Findings, Rank};
use crate::intent::{Intent, bytes_on_disk};

/// Checks whether the table keeps all rows apart, its clock, and its columns.
pub(super) fn layout(table: &TableFacts, intent: &Intent, found: &mut Findings) {
    let (name, survey) = (&table.name, &table.survey);
    let engine = &survey.engine;
    if !survey.is_merge_tree() && engine != "Distributed" {
        let reason = format!("{name} is of engine {engine}, which does not keep rows as a table");
        found.block("table", reason, "name the table itself with --table");
    }
    if intent.piped.is_some() && engine.contains("Replacing") {
        let reason = format!(
            "{engine} folds rows with equal sorting keys into one: of duplicates, only those that \
             are still apart can be found"
        );
        found.note("table", reason, "read \"no duplicates\" as \"none visible\"");
    }
    if survey.replica_is_readonly {
        let reason = "the replica is read-only: it takes no inserts".to_owned();
        found.block("table", reason, "see system.replicas, and its Keeper");
    }
    if intent.history.as_ref().is_some_and(|history| history.end > survey.now_us) {
        let reason = "the history ends in the server's future".to_owned();
        found.block("table", reason, "give an earlier --now, or set the server's clock right");
    }
    if !survey.is_in_utc() {
        let zone = &survey.timezone;
        let reason = format!("the server cuts days in {zone}: a day is in two partitions");
        found.note("table", reason, "let it run in UTC");
    }
    columns(table, found);
    if !table.copies.is_empty() {
        let drop = |name: &String| format!("DROP TABLE {name} SYNC");
        let drops: Vec<_> = table.copies.iter().map(drop).collect();
        let reason = "a probe that was killed, or goes on, has left tables".to_owned();
        found.note("table", reason, drops.join("; "));
    }
}

/// Checks whether columns are missing, and whether nothing fills others.
fn columns(table: &TableFacts, found: &mut Findings) {
    let missing = table.missing.join(", ");
    let reason =
        format!("{} lacks {missing}: they are computed from event_json each time", table.name);
    let fix = "name others with --columns, or be patient";
    if ["audit_id", "timestamp"].iter().any(|needed| table.missing.contains(needed)) {
        found.warn("table", reason, fix);
    } else if !missing.is_empty() {
        found.note("table", reason, fix);
    }
    if !table.unfilled.is_empty() {
        let reason = format!("nothing fills {}", table.unfilled.join(", "));
        found.note("table", reason, "name the event's columns with --columns");
    }
}

/// Checks what this account may do and see.
pub(super) fn account(table: &TableFacts, intent: &Intent, found: &mut Findings) {
    let survey = &table.survey;
    if intent.bulk.is_some() {
        if survey.account_is_readonly {
            let reason = "the account may only read".to_owned();
            found.block("account", reason, "name another with --clickhouse-user");
        }
        if !survey.takes_materialized {
            let reason = "materialized columns cannot be sent: the server computes them, more \
                          slowly"
                .to_owned();
            let fix = "let the account set insert_allow_materialized_columns";
            found.note("account", reason, fix);
        }
    }
    for hidden in &table.standing.hidden {
        let reason =
            format!("{}: what it does not see cannot be proven to be missing", hidden.what);
        found.warn("account", reason, &*hidden.remedy);
    }
    if !table.standing.limits.is_empty() {
        let reason = format!(
            "limits of this account end long queries: {}; a large table is then read a partition \
             at a time, or not at all",
            table.standing.limits.join(", ")
        );
        found.note("account", reason, "let it set them, or ask as an account without them");
    }
}

/// Checks what the server does with repeated inserts of the aggregator, and when their rows become
/// visible.
pub(super) fn inserts(table: &TableFacts, intent: &Intent, found: &mut Findings) {
    if intent.piped.is_none() {
        return;
    }
    let (survey, settings) = (&table.survey, &table.settings);
    replication(table, found);
    if survey.is_merge_tree() && survey.deduplication_window == 0 {
        let reason = "the server remembers no inserts: one that is sent again after a lost answer \
                      is stored twice"
            .to_owned();
        let window = if survey.is_replicated() { "" } else { "non_" };
        let fix = format!("set {window}replicated_deduplication_window, to 1000 for instance");
        found.warn("table", reason, fix);
    } else if !settings.deduplicates {
        let window = survey.deduplication_window;
        let reason = format!(
            "insert_deduplicate is off for this account: a window of {window} inserts has no effect"
        );
        found.note("table", reason, "turn it on for the aggregator's account");
    }
    match (settings.is_async, settings.waits_for_async) {
        (false, _) => {}
        (true, true) => {
            let reason = "inserts of this account are asynchronous: rows become visible once the \
                          server's own batch is full or old enough"
                .to_owned();
            found.note("table", reason, "expect it in freshness, or set async_insert to 0");
        }
        (true, false) => {
            let reason = "inserts of this account are answered before they are in the table: a \
                          server that dies loses them"
                .to_owned();
            found.warn("table", reason, "set wait_for_async_insert to 1");
        }
    }
}

/// Settings that only replicated tables use.
fn replication(table: &TableFacts, found: &mut Findings) {
    let survey = &table.survey;
    if survey.is_replicated() {
        return;
    }
    if setting(&survey.engine_full, "replicated_deduplication_window").is_some() {
        let reason = format!(
            "replicated_deduplication_window has no effect: {} is not replicated",
            survey.engine
        );
        found.warn("table", reason, "set non_replicated_deduplication_window");
    }
    if !matches!(survey.insert_quorum.as_str(), "" | "0" | "1") {
        let reason = format!(
            "insert_quorum = {} has no effect: {} is not replicated",
            survey.insert_quorum, survey.engine
        );
        found.note("table", reason, "take it away, or replicate the table");
    }
}

/// Checks how many partitions an insert touches, and how many parts there will be.
pub(super) fn partitions(table: &TableFacts, intent: &Intent, found: &mut Findings) {
    let survey = &table.survey;
    let (days, limit) = (intent.replayed_days, survey.max_partitions_per_insert_block);
    if limit > 0 && days > limit {
        let reason = format!(
            "a history of {days} days in one insert is more than the {limit} partitions that an \
             insert may touch: it is refused, and sent again for ever"
        );
        let fix = "replay fewer days, or raise max_partitions_per_insert_block";
        found.block("table", reason, fix);
    }
    // Each day is at least one partition, and each partition has at least one part.
    let (parts, limit) = (survey.parts + intent.days(), survey.max_parts_in_total);
    if limit > 0 && parts > limit {
        let reason = format!("the table would have {parts} parts or more, and may have {limit}");
        found.block("table", reason, "send fewer days, or raise max_parts_in_total");
    }
    let parts = table.parts_of_a_partition_max;
    let (delay, throw) = (survey.parts_to_delay_insert, survey.parts_to_throw_insert);
    let fix = "wait for merges, and let inserts have more rows";
    if throw > 0 && parts >= throw {
        let reason = format!("a partition has {parts} parts, and inserts are refused at {throw}");
        // A loader waits for merges; an aggregator does not.
        let rank = if intent.piped.is_some() { Rank::Blocker } else { Rank::Warning };
        found.add(rank, "table", reason, fix);
    } else if delay > 0 && parts * 2 >= delay {
        let reason = format!(
            "a partition has {parts} parts: inserts are slowed down at {delay}, refused at {throw}"
        );
        found.warn("table", reason, fix);
    }
}

/// Checks the free disk space. If several servers share the rows, the fullest one decides.
pub(super) fn room(tables: &[TableFacts], intent: &Intent, found: &mut Findings) {
    let own = tables.iter().filter(|table| table.survey.is_merge_tree());
    let Some(fullest) = own.min_by_key(|table| table.survey.disk_free_bytes) else { return };
    let surveys = tables.iter().map(|table| &table.survey);
    let measured = bytes_on_disk(intent.events(), intent.probed, surveys);
    let (needed, free) =
        (measured.unwrap_or_else(|| intent.bytes()), fullest.survey.disk_free_bytes);
    if needed <= free {
        return;
    }
    found.turn_to(Some(&fullest.url));
    let about = if measured.is_some() { "about" } else { "up to" };
    let reason =
        format!("the rows need {about} {} on disk, and {} are free", bytes(needed), bytes(free));
    // An estimate is not enough to refuse a load.
    let is_certain = measured.is_some() && tables.len() == 1;
    let rank = if is_certain { Rank::Blocker } else { Rank::Warning };
    found.add(rank, "table", reason, "make room, or send less");
}
