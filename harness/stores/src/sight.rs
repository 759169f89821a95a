//! What may hide rows of a table from the account that is used: a list of settings, and what
//! follows from their values. Pure, except for [`read`].
//!
//! An event that was not seen is only absent if nothing hid it. All queries send harmless values of
//! the settings. A setting that the account may not change, and anything else that may hide rows,
//! is reported as [`Hidden`]. The proof is a count: the account must see as many rows as the parts
//! contain that were read.

pub mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::Effect::{Breaks, Hides, HidesShards, Stops};

/// A way in which rows may be hidden, because it was not excluded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hidden {
    /// A clause: `the setting limit leaves rows out, …`.
    pub what: String,
    /// What excludes it, in the imperative: `use an account without it`.
    pub remedy: String,
}

impl Hidden {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// Settings with their values, as the server reports them.
pub type Values = BTreeMap<String, String>;

/// A setting that influences the answers to queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    pub name: &'static str,
    /// The value with which it has no effect.
    pub harmless: &'static str,
    effect: Effect,
}

/// The effect of a setting if its value is not the harmless one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It leaves rows out, or changes the form of the answer.
    Hides,
    /// Like [`Hides`], but only for tables whose rows are on other servers.
    HidesShards,
    /// It ends a query early and without an error at one of these limits.
    Breaks(&'static [&'static str]),
    /// It ends a query with an error.
    Stops,
}

/// Every setting that may hide rows or stop a check.
///
/// Source: `ClickHouse`, `src/Core/Settings.cpp`.
pub const SETTINGS: [Setting; 57] = [
    setting("limit", "0", Hides),
    setting("offset", "0", Hides),
    setting("additional_result_filter", "", Hides),
    setting("additional_table_filters", "{}", Hides),
    setting("use_query_cache", "0", Hides),
    setting("final", "0", Hides),
    setting("apply_deleted_mask", "1", Hides),
    setting("apply_mutations_on_fly", "0", Hides),
    setting("apply_patch_parts", "1", Hides),
    setting("ignore_cold_parts_seconds", "0", Hides),
    setting("partial_result_on_first_cancel", "0", Hides),
    setting("allow_experimental_parallel_reading_from_replicas", "0", Hides),
    setting("enable_parallel_replicas", "0", Hides),
    setting("aggregate_functions_null_for_empty", "0", Hides),
    setting("extremes", "0", Hides),
    setting("skip_unavailable_shards", "0", HidesShards),
    setting("optimize_skip_unused_shards", "0", HidesShards),
    setting("distributed_group_by_no_merge", "0", HidesShards),
    setting("fallback_to_stale_replicas_for_distributed_queries", "0", HidesShards),
    setting("max_replica_delay_for_distributed_queries", "5", HidesShards),
    setting("read_overflow_mode", "throw", Breaks(&["max_rows_to_read", "max_bytes_to_read"])),
    setting(
        "read_overflow_mode_leaf",
        "throw",
        Breaks(&["max_rows_to_read_leaf", "max_bytes_to_read_leaf"]),
    ),
    setting("group_by_overflow_mode", "throw", Breaks(&["max_rows_to_group_by"])),
    setting("sort_overflow_mode", "throw", Breaks(&["max_rows_to_sort", "max_bytes_to_sort"])),
    setting("result_overflow_mode", "throw", Breaks(&["max_result_rows", "max_result_bytes"])),
    setting("timeout_overflow_mode", "throw", Breaks(&["max_execution_time"])),
    setting("timeout_overflow_mode_leaf", "throw", Breaks(&["max_execution_time_leaf"])),
    setting("set_overflow_mode", "throw", Breaks(&["max_rows_in_set", "max_bytes_in_set"])),
    setting(
        "distinct_overflow_mode",
        "throw",
        Breaks(&["max_rows_in_distinct", "max_bytes_in_distinct"]),
    ),
    setting("join_overflow_mode", "throw", Breaks(&["max_rows_in_join", "max_bytes_in_join"])),
    setting(
        "transfer_overflow_mode",
        "throw",
        Breaks(&["max_rows_to_transfer", "max_bytes_to_transfer"]),
    ),
    setting("max_rows_to_read", "0", Stops),
    setting("max_bytes_to_read", "0", Stops),
    setting("max_rows_to_read_leaf", "0", Stops),
    setting("max_bytes_to_read_leaf", "0", Stops),
    setting("max_rows_to_group_by", "0", Stops),
    setting("max_rows_to_sort", "0", Stops),
    setting("max_bytes_to_sort", "0", Stops),
    setting("max_result_rows", "0", Stops),
    setting("max_result_bytes", "0", Stops),
    setting("max_execution_time", "0", Stops),
    setting("max_execution_time_leaf", "0", Stops),
    setting("max_estimated_execution_time", "0", Stops),
    setting("min_execution_speed", "0", Stops),
    setting("min_execution_speed_bytes", "0", Stops),
    setting("max_rows_in_set", "0", Stops),
    setting("max_bytes_in_set", "0", Stops),
    setting("max_rows_in_distinct", "0", Stops),
    setting("max_bytes_in_distinct", "0", Stops),
    setting("max_rows_to_transfer", "0", Stops),
    setting("max_bytes_to_transfer", "0", Stops),
    setting("max_columns_to_read", "0", Stops),
    setting("max_partitions_to_read", "-1", Stops),
    setting("force_primary_key", "0", Stops),
    setting("force_index_by_date", "0", Stops),
    setting("force_data_skipping_indices", "", Stops),
    setting("force_optimize_projection", "0", Stops),
];

/// Settings that are always sent, whatever value the server reports. For the first three, the
/// server reports the value that is left for the query that asks, which is none.
pub(crate) const ALWAYS: [&str; 4] =
    ["limit", "offset", "additional_result_filter", "use_query_cache"];

const fn setting(name: &'static str, harmless: &'static str, effect: Effect) -> Setting {
    Setting { name, harmless, effect }
}

impl Setting {
    fn is_harmless(self, value: &str) -> bool {
        let is_number = |text: &str, number: f64| text.parse() == Ok(number);
        value == self.harmless || self.harmless.parse().is_ok_and(|number| is_number(value, number))
    }
}

/// Which settings an account must send, given the values that it has.
pub(crate) fn to_send(values: &Values) -> Vec<Setting> {
    let is_needed = |it: &Setting| {
        let value = values.get(it.name);
        ALWAYS.contains(&it.name) || value.is_some_and(|value| !it.is_harmless(value))
    };
    SETTINGS.into_iter().filter(is_needed).collect()
}

/// Where the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// In parts of the server that is asked.
    Here,
    /// On other servers, or in other tables.
    Elsewhere,
}

/// Finds the settings that may hide rows, given the values that are in force.
pub(crate) fn in_force(values: &Values, rows: Whereabouts) -> Vec<Hidden> {
    let hidden = |it: Setting| {
        let value = values.get(it.name).filter(|value| !it.is_harmless(value))?;
        let name = it.name;
        let told = if value.is_empty() { name.to_owned() } else { format!("{name}={value}") };
        let what = match it.effect {
            Stops => return None,
            HidesShards if rows == Whereabouts::Here => return None,
            Hides | HidesShards => format!("the setting {told} of this account may hide rows"),
            Breaks(limits) => {
                let limit = limits.iter().find(|limit| is_limited(values, limit))?;
                format!(
                    "the setting {told} of this account ends a query without an error at \
                     {limit}={}",
                    values[*limit]
                )
            }
        };
        let remedy = format!("use an account without it, or let this one set {name}");
        Some(Hidden::new(what, remedy))
    };
    SETTINGS.into_iter().filter_map(hidden).collect()
}

/// Names the limits that end queries with an error, with their values.
pub(crate) fn limits_in_force(values: &Values) -> Vec<String> {
    let limit = |it: Setting| {
        let value = values.get(it.name).filter(|value| !it.is_harmless(value))?;
        (it.effect == Stops).then(|| format!("{}={value}", it.name))
    };
    SETTINGS.into_iter().filter_map(limit).collect()
}

fn is_limited(values: &Values, name: &str) -> bool {
    let limit = SETTINGS.iter().find(|it| it.name == name);
    let harmless = limit.copied().unwrap_or(setting("", "0", Stops));
    values.get(name).is_some_and(|value| !harmless.is_harmless(value))
}

/// Returns the limit of the account that caused an error, by the server's error code.
///
/// Source: `ClickHouse`, `src/Common/ErrorCodes.cpp`: `TOO_MANY_ROWS`, `TIMEOUT_EXCEEDED`,
/// `TOO_SLOW`, `TOO_MANY_COLUMNS`, `SET_SIZE_LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`,
/// `MEMORY_LIMIT_EXCEEDED`, `INDEX_NOT_USED`, `TOO_MANY_BYTES`, `TOO_MANY_ROWS_OR_BYTES`,
/// `TOO_MANY_PARTITIONS`.
pub fn limit_of(code: u32) -> Option<&'static str> {
    Some(match code {
        158 => "the setting max_rows_to_read",
        159 => "the setting max_execution_time",
        160 => "the setting max_estimated_execution_time or min_execution_speed",
        161 => "the setting max_columns_to_read",
        191 => "the setting max_rows_in_set",
        201 => "a quota",
        241 => "the setting max_memory_usage, or the server's own memory",
        277 => "the setting force_primary_key or force_index_by_date",
        307 => "the setting max_bytes_to_read",
        396 => "the setting max_result_rows, max_result_bytes or max_rows_to_group_by",
        565 => "the setting max_partitions_to_read",
        _ => return None,
    })
}

/// Rows of a table, counted in two ways while it did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows in the parts, as the server reports them.
    pub has: u64,
    /// Rows among them that a lightweight DELETE has masked, so that no reader sees them.
    pub masked: u64,
    /// Rows that the account saw.
    pub seen: u64,
}

impl RowCounts {
    /// How many rows the account should see.
    pub fn expected(&self) -> u64 {
        self.has.saturating_sub(self.masked)
    }

    /// Whether the account sees fewer rows than there are.
    pub fn hide(&self) -> bool {
        self.seen < self.expected()
    }

    /// Describes the rows that the account does not see. `policy` is the condition of a row policy
    /// that applies to the account, if one is known.
    pub fn hidden(&self, policy: Option<&str>) -> Option<Hidden> {
        let (expected, seen) = (self.expected(), self.seen);
        let mut what = format!("the server has {expected} rows, this account sees {seen}");
        if let Some(policy) = policy {
            what = format!("{what}: a row policy lets it see those with {policy}");
        }
        let remedy = "use an account that no row policy and no filter of its profile applies to";
        self.hide().then(|| Hidden::new(what, remedy))
    }
}

/// The kind of an engine, as far as it matters for counting rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// The rows are in parts of the server that is asked.
    MergeTree,
    /// The same, and other servers have them too.
    Replicated,
    /// The rows are on the servers of a cluster.
    Distributed,
    /// Any other engine: rows are kept in another way, or somewhere else.
    Other,
}

impl EngineKind {
    /// Finds the kind by the name of the engine. An unknown name counts as a wrapper of other
    /// tables.
    pub fn of(engine: &str) -> Self {
        match engine {
            "Distributed" => Self::Distributed,
            _ if !engine.ends_with("MergeTree") => Self::Other,
            _ if engine.starts_with("Replicated") || engine.starts_with("Shared") => {
                Self::Replicated
            }
            _ => Self::MergeTree,
        }
    }

    /// Where its rows are.
    pub fn rows(self) -> Whereabouts {
        match self {
            Self::MergeTree | Self::Replicated => Whereabouts::Here,
            Self::Distributed | Self::Other => Whereabouts::Elsewhere,
        }
    }
}

/// Whether a table of this engine keeps every row that it is sent: no merge folds any, and no row
/// is of another table.
pub fn keeps_every_row(engine: &str) -> bool {
    matches!(engine, "MergeTree" | "ReplicatedMergeTree" | "SharedMergeTree")
}

/// The state of a replica, as it reports it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaState {
    /// It learns of no new inserts.
    pub is_cut_off: bool,
    /// Inserts of other replicas that it knows of, but does not have.
    pub inserts_in_queue: u64,
    /// Seconds that it is behind.
    pub delay_s: u64,
    /// Entries of the common log that it has not looked at.
    pub log_behind: u64,
}

impl ReplicaState {
    /// Describes rows that other replicas have and this one does not.
    pub fn hidden(&self, server: &str) -> Option<Hidden> {
        let Self { is_cut_off, inserts_in_queue, delay_s, log_behind } = *self;
        let what = if is_cut_off {
            format!("the replica {server} has lost its Keeper, so it gets no new rows")
        } else if inserts_in_queue + delay_s + log_behind > 0 {
            format!(
                "the replica {server} is behind: {inserts_in_queue} inserts wait in its queue, \
                 {log_behind} entries of the log are missing in it, and it is {delay_s} s late"
            )
        } else {
            return None;
        };
        let remedy = "wait until system.replicas shows no delay, or let this account do \
                      SYSTEM SYNC REPLICA, and check again";
        Some(Hidden::new(what, remedy))
    }
}

/// Reports answers that came from more than one server.
pub fn several_servers<'n>(names: impl IntoIterator<Item = &'n String>) -> Option<Hidden> {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    let what =
        format!("answers of one check came from {} servers: {}", names.len(), names.join(", "));
    let remedy = "name one of them with --clickhouse, instead of a load balancer";
    (names.len() > 1).then(|| Hidden::new(what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &[(&str, &str)]) -> Values {
        text.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn check(given: &[(&str, &str)], rows: Whereabouts, expected: &[&str]) {
        let hidden = in_force(&values(given), rows);
        let told: Vec<&str> = hidden.iter().map(|it| it.what.as_str()).collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (what, expected) in told.iter().zip(expected) {
            assert!(what.contains(expected), "{what}");
        }
    }

    #[test]
    fn every_setting_that_hides_rows_is_told_by_its_name_and_the_others_are_not() {
        use super::Whereabouts::{Elsewhere, Here};
        check(&[], Here, &[]);
        check(&[("limit", "0"), ("use_query_cache", "0"), ("final", "0")], Here, &[]);
        check(&[("limit", "5")], Here, &["setting limit=5 of"]);
        check(&[("additional_table_filters", "{'a':'b'}")], Here, &["additional_table_filters="]);
        check(&[("use_query_cache", "1")], Here, &["use_query_cache=1"]);
        // A mode without a limit has no effect, and a limit without a mode ends the query with an
        // error.
        check(&[("read_overflow_mode", "break")], Here, &[]);
        check(&[("max_rows_to_read", "7"), ("read_overflow_mode", "throw")], Here, &[]);
        let both = [("read_overflow_mode", "break"), ("max_rows_to_read", "7")];
        check(
            &both,
            Here,
            &["read_overflow_mode=break of this account ends a query without an \
                             error at max_rows_to_read=7"],
        );
        let any = [("group_by_overflow_mode", "any"), ("max_rows_to_group_by", "9")];
        check(&any, Here, &["group_by_overflow_mode=any"]);
        let timeout = [("timeout_overflow_mode", "break"), ("max_execution_time", "0.5")];
        check(&timeout, Here, &["max_execution_time=0.5"]);
        let join = [("join_overflow_mode", "break"), ("max_rows_in_join", "9")];
        check(&join, Here, &["max_rows_in_join=9"]);
        // Settings for shards have no effect on a table whose rows are on this server.
        check(&[("skip_unavailable_shards", "1")], Here, &[]);
        check(&[("skip_unavailable_shards", "1")], Elsewhere, &["skip_unavailable_shards=1"]);
    }

    #[test]
    fn what_is_not_harmless_is_sent_and_what_cannot_be_read_always() {
        let names = |given: &[(&str, &str)]| -> Vec<_> {
            to_send(&values(given)).into_iter().map(|it| it.name).collect()
        };
        let always = ["limit", "offset", "additional_result_filter", "use_query_cache"];
        assert_eq!(names(&[]), always);
        let harmless: Vec<_> = SETTINGS.iter().map(|it| (it.name, it.harmless)).collect();
        assert_eq!(names(&harmless), always);
        let more = names(&[("max_execution_time", "60"), ("skip_unavailable_shards", "1")]);
        assert_eq!(more[4..], ["skip_unavailable_shards", "max_execution_time"]);
    }

    #[test]
    fn rows_that_are_there_and_not_seen_are_hidden_but_for_masked_ones() {
        let check = |has, masked, seen, expected| {
            let hidden = RowCounts { has, masked, seen }.hidden(None);
            assert_eq!(hidden.map(|it| it.what).as_deref(), expected);
        };
        check(10, 0, 10, None);
        check(10, 3, 7, None);
        check(10, 3, 6, Some("the server has 7 rows, this account sees 6"));
        check(10, 0, 0, Some("the server has 10 rows, this account sees 0"));
        let policy = RowCounts { has: 2, masked: 0, seen: 1 }.hidden(Some("verb != 'get'"));
        assert!(policy.unwrap().what.ends_with("lets it see those with verb != 'get'"));
    }

    #[test]
    fn a_replica_that_lags_hides_rows_and_one_that_has_all_does_not() {
        let check = |state: ReplicaState, expected: Option<&str>| {
            let hidden = state.hidden("one");
            assert_eq!(hidden.is_some(), expected.is_some(), "{hidden:?}");
            assert!(hidden.is_none_or(|it| it.what.contains(expected.unwrap())));
        };
        let well = ReplicaState::default();
        check(well, None);
        check(ReplicaState { is_cut_off: true, ..well }, Some("one has lost its Keeper"));
        check(ReplicaState { delay_s: 7, ..well }, Some("it is 7 s late"));
        check(ReplicaState { inserts_in_queue: 2, ..well }, Some("2 inserts wait"));
        check(ReplicaState { log_behind: 3, ..well }, Some("3 entries"));
    }

    #[test]
    fn answers_of_one_server_are_of_one_moment_and_of_several_are_not() {
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(several_servers(&names[..1]), None);
        assert!(several_servers(&names).unwrap().what.ends_with("2 servers: a, b"));
    }

    #[test]
    fn only_plain_engines_keep_every_row() {
        let check = |engine: &str, kind, keeps| {
            assert_eq!(
                (EngineKind::of(engine), keeps_every_row(engine)),
                (kind, keeps),
                "{engine}"
            );
        };
        check("MergeTree", EngineKind::MergeTree, true);
        check("ReplicatedMergeTree", EngineKind::Replicated, true);
        check("SharedMergeTree", EngineKind::Replicated, true);
        check("ReplacingMergeTree", EngineKind::MergeTree, false);
        check("ReplicatedReplacingMergeTree", EngineKind::Replicated, false);
        check("Distributed", EngineKind::Distributed, false);
        for other in ["View", "Buffer", "Merge", "Null", "MaterializedView", "Memory", ""] {
            check(other, EngineKind::Other, false);
        }
    }
}
