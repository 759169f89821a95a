-- The table that the pipeline under test writes and the verifier reads.
--
-- Only `event_json` is sent; ClickHouse derives every other column from it at insert. The names and
-- types of those columns are a contract: backfill sends them itself for speed, and the verifier
-- compares them with what each event should have become.
--
-- This is the one-server form. A cluster names ReplicatedReplacingMergeTree as the engine, and
-- `replicated_deduplication_window` replaces its namesake below; all else is the same.
-- The server should run in UTC: partitions and the sort key's hours are cut in its time zone.

CREATE DATABASE IF NOT EXISTS audit;

CREATE TABLE IF NOT EXISTS audit.audit_logs
(
    -- The event as the aggregator wrote it: keys sorted, a few keys added, private addresses gone.
    event_json String CODEC(ZSTD(3)),

    -- When the apiserver received the request. An event without a readable time gets the time of
    -- its insert, so a stored timestamp proves nothing until it is compared with the event.
    timestamp DateTime64(3) MATERIALIZED coalesce(
        parseDateTime64BestEffortOrNull(
            JSONExtractString(event_json, 'requestReceivedTimestamp'), 3),
        now64(3)),

    -- The tenant: Organization, Project, User or global, and its name.
    scope_type LowCardinality(String) MATERIALIZED
        JSONExtractString(event_json, 'annotations', 'platform.miloapis.com/scope.type'),
    scope_name String MATERIALIZED
        JSONExtractString(event_json, 'annotations', 'platform.miloapis.com/scope.name'),

    -- Who asked.
    user String MATERIALIZED JSONExtractString(event_json, 'user', 'username'),
    user_uid String MATERIALIZED JSONExtractString(event_json, 'user', 'uid'),

    -- Which request. Anything that is no UUID becomes the zero UUID, and such rows then fold
    -- into one another.
    audit_id UUID MATERIALIZED toUUIDOrZero(JSONExtractString(event_json, 'auditID')),

    -- What was asked of what, and the answer.
    verb LowCardinality(String) MATERIALIZED JSONExtractString(event_json, 'verb'),
    api_group LowCardinality(String) MATERIALIZED
        JSONExtractString(event_json, 'objectRef', 'apiGroup'),
    resource LowCardinality(String) MATERIALIZED
        JSONExtractString(event_json, 'objectRef', 'resource'),
    namespace LowCardinality(String) MATERIALIZED
        JSONExtractString(event_json, 'objectRef', 'namespace'),
    resource_name String MATERIALIZED JSONExtractString(event_json, 'objectRef', 'name'),
    status_code UInt16 MATERIALIZED
        toUInt16OrZero(JSONExtractString(event_json, 'responseStatus', 'code')),

    -- Ranges of time and of status codes skip whole blocks of granules.
    INDEX idx_timestamp_minmax timestamp TYPE minmax GRANULARITY 4,
    INDEX idx_status_code_minmax status_code TYPE minmax GRANULARITY 4,

    -- Few distinct values: a set per block.
    INDEX idx_verb_set verb TYPE set(10) GRANULARITY 4,
    INDEX idx_status_code_set status_code TYPE set(100) GRANULARITY 4,

    -- Many distinct values: a bloom filter per granule, which answers "surely not here".
    INDEX idx_resource_bloom resource TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX bf_api_resource (api_group, resource) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_verb_resource_bloom (verb, resource) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_user_bloom user TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_user_uid_bloom user_uid TYPE bloom_filter(0.001) GRANULARITY 1,

    -- Whole copies of each part in other orders: by what was touched, across all tenants …
    PROJECTION platform_query_projection
    (
        SELECT * ORDER BY (toStartOfHour(timestamp), timestamp, api_group, resource, audit_id)
    ),
    -- … by the user's name …
    PROJECTION user_query_projection
    (
        SELECT * ORDER BY
            (toStartOfHour(timestamp), timestamp, user, api_group, resource, audit_id)
    ),
    -- … and by the user's identifier, which outlives a renaming.
    PROJECTION user_uid_query_projection
    (
        SELECT * ORDER BY
            (toStartOfHour(timestamp), timestamp, user_uid, api_group, resource, audit_id)
    )
)
-- Rows that are equal in the whole sort key are one event delivered twice: merges, and even a
-- single INSERT, keep the last of them. So a count of rows says little about duplicates.
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (toStartOfHour(timestamp), timestamp, scope_type, scope_name, user, audit_id)
SETTINGS
    -- A merge that folds rows must build the projections anew, else they keep the folded rows.
    deduplicate_merge_projection_mode = 'rebuild',
    -- How many past insert_deduplication_tokens are remembered: a batch that is sent again after a
    -- lost answer is then stored once.
    non_replicated_deduplication_window = 1000;
