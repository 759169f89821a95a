//! What is to be known of the table and its server.

use stores::survey::setting;
use tell::screen::picture::bytes;

use super::super::facts::Facts;
use super::Findings;

/// Whether the table keeps what it is sent, and tells it apart.
pub(super) fn layout(facts: &Facts, found: &mut Findings) {
    let (name, survey) = (&facts.table.name, &facts.table.survey);
    let engine = &survey.engine;
    if !survey.is_merge_tree() && engine != "Distributed" {
        let reason = format!("{name} is of engine {engine}, which does not keep rows as a table");
        found.block("table", reason, "name the table itself with --table");
    }
    if engine.contains("Replacing") {
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
    if survey.engine_full.contains(" TTL ") {
        let reason = format!("{name} has a TTL: rows older than it vanish, and look lost");
        found.warn("table", reason, "reconcile before, or remove the TTL for the test");
    }
    if !survey.is_in_utc() {
        let reason = format!("the server cuts days in {}: partitions do too", survey.timezone);
        found.note("table", reason, "let it run in UTC");
    }
    let missing = facts.table.missing.join(", ");
    let reason = format!("{name} lacks {missing}: they are computed from event_json each time");
    let fix = "name others with --columns, or be patient";
    if ["audit_id", "timestamp"].iter().any(|needed| facts.table.missing.contains(needed)) {
        found.warn("table", reason, fix);
    } else if !missing.is_empty() {
        found.note("table", reason, fix);
    }
}

/// What becomes of inserts that are sent again, and when rows become visible.
pub(super) fn inserts(facts: &Facts, found: &mut Findings) {
    let (survey, settings) = (&facts.table.survey, &facts.table.settings);
    let set = |name: &str| setting(&survey.engine_full, name);
    if !survey.is_replicated() {
        if set("replicated_deduplication_window").is_some() {
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
    let (days, limit) = (u64::from(facts.history_days), survey.max_partitions_per_insert_block);
    if limit > 0 && days > limit {
        let reason = format!(
            "a history of {days} days in one insert is more than the {limit} partitions that an \
             insert may touch: it is refused, and sent again for ever"
        );
        let fix = "replay fewer days, or raise max_partitions_per_insert_block";
        found.block("table", reason, fix);
    }
}

/// Whether there is room for the rows.
pub(super) fn room(facts: &Facts, found: &mut Findings) {
    let (table, load) = (&facts.table, &facts.load);
    let survey = &table.survey;
    let parts = table.parts_of_a_partition_max;
    let (delay, throw) = (survey.parts_to_delay_insert, survey.parts_to_throw_insert);
    let fix = "wait for merges, and let the aggregator send larger batches";
    if throw > 0 && parts >= throw {
        let reason = format!("a partition has {parts} parts, and inserts are refused at {throw}");
        found.block("table", reason, fix);
    } else if delay > 0 && parts * 2 >= delay {
        let reason = format!(
            "a partition has {parts} parts: inserts are slowed down at {delay}, refused at {throw}"
        );
        found.warn("table", reason, fix);
    }
    let is_measured = survey.rows >= ROWS_TELLING && survey.bytes_on_disk > 0;
    let needed = if is_measured {
        let scaled =
            u128::from(survey.bytes_on_disk) * u128::from(load.events) / u128::from(survey.rows);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    } else {
        load.events.saturating_mul(load.event_bytes)
    };
    let free = survey.disk_free_bytes;
    if !survey.is_merge_tree() || needed <= free {
        return;
    }
    let (needed, free) = (bytes(needed), bytes(free));
    let fix = "make room, or run a part of the profile";
    if is_measured {
        let reason = format!("the rows need about {needed} on disk, and {free} are free");
        found.block("table", reason, fix);
    } else {
        let reason = format!("the rows need up to {needed} on disk, and {free} are free");
        found.warn("table", reason, fix);
    }
}

/// So many rows tell what more of them take on disk.
const ROWS_TELLING: u64 = 100_000;
