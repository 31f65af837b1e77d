-- name: details
-- One source's page as finished bytes in pieces, and the names of its published tables, in one round trip: a row for
-- each fragment, and last one with the facts, as JSON, that are computed while the others are read. No such row for an
-- unknown id. Exact at its own snapshot: the stored rows if the log does not name the source and belongs to these very
-- rows, the live rows otherwise. Only one of the two branches runs (one-time filters).
-- names: the tables that the source publishes now; NULL: those that the last sync found published.
-- kept_*: the fragments that the caller has; those are neither computed nor sent. A fragment depends on its table's row,
-- of which `row_version` tells one from another in this epoch, and on its version.
WITH
-- include: source_text

state AS MATERIALIZED (
    SELECT
        NOT EXISTS (SELECT FROM public.source_details_log AS l WHERE l.source_id IN (%(id)s::int, 0))
        AND EXISTS (
            SELECT
            FROM public.source_details_tables AS v
            CROSS JOIN public.source_details_refresh_state AS s
            WHERE
                v.view_snapshot IS NOT NULL
                AND v.view_snapshot::text = s.view_snapshot::text
                AND v.view_xid = s.view_xid
        ) AS view_is_current,
        refreshed.snapshot,
        refreshed.epoch,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next
    FROM (
        -- include: refreshed
    ) AS refreshed
),

-- include: kept

known_tables AS (
    SELECT
        v.table_id,
        v.table_name,
        v.is_published,
        v.version,
        seen.row_version,
        CASE WHEN k.table_id IS NULL THEN v.fragment END AS fragment
    FROM public.source_details_tables AS v
    INNER JOIN public.source_details_registered AS r ON r.id = v.table_id AND r.source_id = v.source_id
    CROSS JOIN LATERAL (
        -- A row that the refresh did not see (a write that fired no trigger, or of columns that pages do not show) is not
        -- the one that the stored text was made of. An xid has 32 bits; its epoch is that of the present, or the one
        -- before.
        SELECT r.row_version::text::bigint AS row_version, s.snapshot, s.next
        FROM state AS s
    ) AS x
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN
                    pg_visible_in_snapshot(
                        (x.row_version + ((x.next - x.row_version) / 4294967296) * 4294967296)::text::xid8, x.snapshot
                    )
                    THEN x.row_version
            END AS row_version
    ) AS seen
    LEFT JOIN kept AS k ON k.table_id = v.table_id AND k.version = v.version AND k.row_version = seen.row_version
    WHERE v.source_id = %(id)s::int AND (SELECT s.view_is_current FROM state AS s)
    UNION ALL
    -- include: live_tables
    AND NOT (SELECT s.view_is_current FROM state AS s)
),

-- include: page

-- name: session_settings
-- A page waits 50 ms for a lock, then it is read without the view, which a plain REFRESH may lock for long. Dates that
-- the platform stores without a zone are UTC, whatever the server's zone. A page is planned once per connection:
-- planning takes longer than running it, and no values of its parameters need another plan. The role or its database may
-- have other defaults: with a higher isolation a statement fails beside a concurrent writer, and transaction_timeout (from
-- 17 on) ends the session of one that the service would end itself. From some 15,000 tables on PostgreSQL would compile a
-- page's statement each time, for 0.1 s and more.
SELECT
    set_config('lock_timeout', '50ms', false),
    set_config('jit', 'off', false),
    set_config('TimeZone', 'UTC', false),
    set_config('plan_cache_mode', 'force_generic_plan', false),
    set_config('default_transaction_isolation', 'read committed', false),
    CASE
        WHEN current_setting('transaction_timeout', true) IS NOT NULL THEN set_config('transaction_timeout', '0', false)
    END

-- name: transaction_settings
-- The same for one transaction; its isolation is set as it begins.
SELECT
    set_config('lock_timeout', '50ms', true),
    set_config('jit', 'off', true),
    set_config('TimeZone', 'UTC', true),
    set_config('plan_cache_mode', 'force_generic_plan', true),
    CASE
        WHEN current_setting('transaction_timeout', true) IS NOT NULL THEN set_config('transaction_timeout', '0', true)
    END

-- name: wait_for_locks
-- For a statement that may wait while another program alters or truncates a table.
SET LOCAL lock_timeout = '2s'

-- name: details_live
-- The same page without the materialized view: while an operator's plain REFRESH locks the view, or while it is empty
-- (REFRESH ... WITH NO DATA).
WITH
-- include: source_text

state AS MATERIALIZED (
    SELECT
        false AS view_is_current,
        refreshed.epoch
    FROM (
        -- include: refreshed
    ) AS refreshed
),

-- include: kept

known_tables AS (
    -- include: live_tables
),

-- include: page

-- name: kept
-- Part of the two above: the fragments that the caller has; none from another epoch.
kept AS MATERIALIZED (
    SELECT k.table_id, k.version, k.row_version
    FROM unnest(%(kept_ids)s::int [], %(kept_versions)s::int [], %(kept_row_versions)s::bigint [])
        AS k (table_id, version, row_version)
    WHERE (SELECT s.epoch FROM state AS s) = %(kept_epoch)s::text
),

-- name: refreshed
-- Part of the two above: the snapshot of the stored rows, and the epoch in which a row's number names one text. Another
-- server, or another start of it, may have given the number to another row. Other functions make another text of the row.
SELECT
    s.view_snapshot AS snapshot,
    concat(extract(EPOCH FROM pg_postmaster_start_time()), ' ', current_database(), ' ', s.epoch_xid) AS epoch
FROM (SELECT) AS page
LEFT JOIN public.source_details_refresh_state AS s ON true

-- name: live_tables
-- Part of the two above: the source's tables, computed now. What the caller has is not computed.
SELECT
    v.table_id,
    v.table_name,
    v.is_published,
    v.version,
    v.row_version::text::bigint AS row_version,
    CASE WHEN k.table_id IS NULL THEN v.fragment END AS fragment
FROM public.source_details_live AS v
LEFT JOIN kept AS k
    ON k.table_id = v.table_id AND k.version = v.version AND k.row_version = v.row_version::text::bigint
WHERE v.source_id = %(id)s::int

-- name: source_text
-- Part of the two above: the source's own facts. Never its password.
source_text AS MATERIALIZED (
    SELECT row_to_json(s)::text AS body
    FROM public.source_details_sources AS s
    WHERE s.id = %(id)s::int
),

-- name: page
-- Part of the two above: the rest of the page.
placed AS MATERIALIZED (
    SELECT
        k.*,
        -- Its place on the page, if it is there.
        row_number() OVER (PARTITION BY k.is_shown ORDER BY k.name, k.table_id) AS ordinal
    FROM (
        SELECT
            k.*,
            CASE
                WHEN %(names)s::text [] IS NULL THEN k.is_published
                ELSE k.table_name IN (SELECT unnest(%(names)s::text []) COLLATE "C")
            END AS is_shown,
            public.source_details_plain_name(k.table_name) AS name
        FROM known_tables AS k
    ) AS k
),

tables AS (
    -- In the order of the page. A row_version of NULL is one not to be kept.
    SELECT
        coalesce(array_agg(p.table_id ORDER BY p.ordinal), '{}') AS ids,
        coalesce(array_agg(p.version ORDER BY p.ordinal), '{}') AS versions,
        coalesce(array_agg(p.row_version ORDER BY p.ordinal), '{}') AS row_versions
    FROM placed AS p
    WHERE p.is_shown
),

registered AS (
    SELECT
        count(*) AS registered,
        coalesce(array_agg(p.table_name) FILTER (WHERE NOT p.is_shown), '{}') AS unpublished_names,
        coalesce(array_agg(p.table_name) FILTER (WHERE p.is_published), '{}') AS published_names,
        CASE WHEN %(names)s::text [] IS NOT NULL THEN coalesce(array_agg(p.table_name), '{}') END AS registered_names
    FROM placed AS p
),

wal_text AS (
    SELECT row_to_json(shown)::text AS body
    FROM (
        SELECT
            w.wal_lsn,
            w.wal_position,
            public.source_details_time(w.last_wal_received) AS last_wal_received,
            public.source_details_time(w.last_transaction_time) AS last_transaction_time,
            w.replication_slot_name,
            w.replication_lag_bytes,
            w.total_wal_size,
            sized.wal_bytes AS wal_size_bytes,
            public.source_details_wal_class(sized.wal_bytes) AS wal_threshold_status,
            coalesce(w.status, 'ACTIVE') AS status,
            w.error_message,
            w.id,
            w.source_id,
            (SELECT t.body::json FROM source_text AS t) AS source,
            public.source_details_some_time(w.created_at, w.updated_at) AS created_at,
            public.source_details_some_time(w.updated_at, w.created_at) AS updated_at
        FROM public.wal_monitor AS w
        CROSS JOIN LATERAL (SELECT public.source_details_wal_bytes(w.total_wal_size) AS wal_bytes) AS sized
        WHERE w.source_id = %(id)s::int
        ORDER BY w.id
        LIMIT 1
    ) AS shown
),

destination_names AS (
    SELECT coalesce(json_agg(d.name ORDER BY d.name COLLATE "C"), '[]')::text AS body
    FROM (
        SELECT DISTINCT d.name
        FROM public.pipelines AS p
        INNER JOIN public.pipelines_destination AS pd ON pd.pipeline_id = p.id
        INNER JOIN public.destinations AS d ON d.id = pd.destination_id
        WHERE p.source_id = %(id)s::int
    ) AS d
),

facts AS (
    SELECT
        concat(
            '{"source":', s.body,
            ',"wal_monitor":', coalesce((SELECT w.body FROM wal_text AS w), 'null'),
            ',"tables":['
        ) AS before_tables,
        concat('],"destinations":', d.body) AS after_tables,
        t.*,
        r.*,
        state.epoch,
        EXISTS (
            SELECT
            FROM public.pipelines AS p
            INNER JOIN public.pipelines_destination AS pd ON pd.pipeline_id = p.id
            WHERE p.source_id = %(id)s::int AND p.status <> 'PAUSE'
        ) AS is_carried,
        state.view_is_current,
        -- Something moved to or from this source, and a transaction of that time is still running: what it changed below
        -- the row that moved may be notified of elsewhere. Such a page is kept nowhere (migrations/present/04_notify.sql).
        NOT EXISTS (
            SELECT
            FROM public.source_details_log AS l
            WHERE
                l.source_id IN (%(id)s::int, 0)
                AND l.is_unsettled
                AND (l.horizon IS NULL OR l.horizon > pg_snapshot_xmin(pg_current_snapshot()))
        ) AS is_settled,
        public.source_details_time(statement_timestamp()) AS as_of,
        public.source_details_health_facts(%(id)s::int) AS health_facts,
        -- include: connection_columns
    FROM source_text AS s
    INNER JOIN public.sources AS c ON c.id = %(id)s::int
    CROSS JOIN tables AS t
    CROSS JOIN registered AS r
    CROSS JOIN destination_names AS d
    CROSS JOIN state
    -- include: locked_first
)

-- A fragment that the caller has is not sent.
SELECT
    p.ordinal,
    convert_to(p.fragment, 'UTF8') AS fragment,
    NULL::bytea AS facts
FROM placed AS p
WHERE p.is_shown AND p.fragment IS NOT NULL
UNION ALL
SELECT
    NULL,
    NULL,
    convert_to(row_to_json(f)::text, 'UTF8')
FROM facts AS f

-- name: locked_first
-- Part of every statement that calls source_details_health_facts, source_details_wal_class or
-- source_details_wal_thresholds. They read these tables in the statement's snapshot. Named here, the tables are locked
-- before that snapshot is taken: one that ALTER TABLE rewrites during the wait would look empty (PostgreSQL manual, MVCC,
-- Caveats).
CROSS JOIN (
    SELECT
        EXISTS (SELECT FROM public.rosetta_setting_configuration) AS has_thresholds,
        EXISTS (SELECT FROM public.wal_monitor) AS has_monitor
) AS locked_first
