-- What pages show, computed when it is read. The materialized view (008) stores the rows of source_details_live.

-- The columns of a source that anyone may see, in the order in which pages show them. Never its password.
CREATE OR REPLACE VIEW public.source_details_sources AS
SELECT
    public.source_details_some_time(s.created_at, s.updated_at) AS created_at,
    public.source_details_some_time(s.updated_at, s.created_at) AS updated_at,
    s.name,
    s.pg_host,
    s.pg_port,
    s.pg_database,
    s.pg_username,
    s.publication_name,
    s.replication_name,
    s.id,
    s.is_publication_enabled,
    s.is_replication_enabled,
    public.source_details_time(s.last_check_replication_publication) AS last_check_replication_publication,
    s.total_tables
FROM public.sources AS s;

-- Every registered table: the platform's table_metadata_list holds those of schema public, by their plain names;
-- source_details_other_tables holds the others, as schema.table. `key` tells all tables of a source apart: it is the
-- name, quoted if it is that of a public table with a dot or a double quote. `row_version` changes with every write of it.
CREATE OR REPLACE VIEW public.source_details_registered AS
SELECT
    t.id,
    t.source_id,
    'public' AS schema_name,
    t.table_name::text AS table_name,
    CASE
        WHEN t.table_name ~ '[."]' THEN '"' || replace(t.table_name, '"', '""') || '"' ELSE t.table_name::text
    END AS key,
    t.schema_table,
    t.is_published,
    t.column_order,
    t.at_source,
    t.xmin AS row_version
FROM public.table_metadata_list AS t
UNION ALL
SELECT
    o.id,
    o.source_id,
    o.schema_name,
    o.table_name,
    o.table_name AS key,
    o.schema_table,
    o.is_published,
    o.column_order,
    o.at_source,
    o.xmin AS row_version
FROM public.source_details_other_tables AS o;

-- Every version of every registered table.
CREATE OR REPLACE VIEW public.source_details_versions AS
SELECT
    h.table_metadata_list_id AS table_id,
    h.version_schema AS version,
    h.changes_type,
    h.schema_table_old,
    h.schema_table_new,
    h.at_source,
    h.created_at
FROM public.history_schema_evolution AS h
UNION ALL
SELECT
    o.table_metadata_list_id AS table_id,
    o.version_schema AS version,
    o.changes_type,
    o.schema_table_old,
    o.schema_table_new,
    o.at_source,
    o.created_at
FROM public.source_details_other_versions AS o;

-- One row per table, with its part of the response as finished text, so that a read only concatenates. `table_name` is
-- the table's key. Within an epoch (03_refresh.sql) the text depends on the row of that `row_version`, and
-- on `version`, alone: readers keep it.
CREATE OR REPLACE VIEW public.source_details_live AS
SELECT
    t.id AS table_id,
    t.source_id,
    coalesce(t.key, 'Unknown') COLLATE "C" AS table_name,
    t.is_published,
    versioned.version,
    concat(
        '{"id":', t.id,
        ',"table_name":', to_json(coalesce(t.table_name, 'Unknown')),
        ',"version":', versioned.version,
        ',"schema_table":[', described.columns,
        ']',
        CASE WHEN t.at_source IS NOT NULL OR t.schema_name <> 'public'
            THEN concat(
                ',"schema_name":', to_json(t.schema_name),
                ',"replication":', coalesce(t.at_source -> 'replication', 'null')
            )
        END,
        '}'
    ) AS fragment,
    t.row_version
FROM public.source_details_registered AS t
-- max() reads one entry of idx_history_schema_evolution_table_version_composite, however long the table's history is.
CROSS JOIN LATERAL (
    SELECT
        greatest(
            (
                SELECT max(h.version)
                FROM public.source_details_versions AS h
                WHERE h.table_id = t.id
            ),
            1
        ) AS version
    -- Looked up once, though it is named more than once.
    OFFSET 0
) AS versioned
-- A sync stores the finished text of the columns as well; it holds while schema_table is what the sync recorded.
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN t.at_source ->> 'of' = md5(t.schema_table::text) THEN t.at_source ->> 'shown'
            ELSE (
                SELECT
                    string_agg(
                        listed.shown::text,
                        ',' ORDER BY
                            array_position(t.column_order, listed.column_name) NULLS LAST,
                            listed.ordinal,
                            listed.column_name COLLATE "C"
                    )
                FROM public.source_details_columns(public.source_details_schema(t.schema_table, t.at_source)) AS listed
            )
        END AS columns
) AS described;

-- What the health of a source is judged by (service/sources/health.py), as one object; NULL for an unknown id, and if a
-- table or a right is missing: a page does not need it. With its owner's rights, since not every reader has those.
CREATE OR REPLACE FUNCTION public.source_details_health_facts(wanted integer) RETURNS json
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        SELECT
            json_build_object(
                'id', s.id,
                'publication_name', s.publication_name,
                'replication_name', s.replication_name,
                'pg_username', s.pg_username,
                'is_publication_enabled', s.is_publication_enabled,
                'is_replication_enabled', s.is_replication_enabled,
                -- A sync or a program of the platform has looked: the flags are false until then.
                'is_known',
                y.synced_at IS NOT NULL
                OR s.last_check_replication_publication IS NOT NULL
                OR s.is_publication_enabled
                OR s.is_replication_enabled,
                'looked_age_s',
                public.source_details_age(greatest(y.synced_at, s.last_check_replication_publication)),
                'seen', y.seen,
                'is_set_back',
                coalesce((y.seen ->> 'set_back_at')::timestamptz > clock_timestamp() - interval '1 day', false),
                'failures', coalesce(failing.failures, 0),
                'failing_since', public.source_details_time(failing.failing_since),
                'last_error', failing.last_error,
                'monitor', (
                    SELECT
                        json_build_object(
                            'status', coalesce(w.status, 'ACTIVE'),
                            'error_message', w.error_message,
                            'threshold',
                            public.source_details_wal_class(public.source_details_wal_bytes(w.total_wal_size)),
                            'age_s', public.source_details_age(greatest(w.updated_at, w.last_wal_received))
                        )
                    FROM public.wal_monitor AS w
                    WHERE w.source_id = s.id
                    ORDER BY w.id
                    LIMIT 1
                ),
                -- What the WAL monitor concludes from its history, if it has looked lately.
                'outlook', (
                    SELECT row_to_json(newest)
                    FROM (
                        SELECT
                            round(l.lag_s::numeric, 1) AS lag_s,
                            round(l.lag_most_s::numeric, 1) AS lag_most_s,
                            round(l.lost_in_s) AS lost_in_s,
                            round(l.rate_bytes) AS rate_bytes,
                            round(l.rate_over_s) AS rate_over_s,
                            l.is_disk_limit,
                            l.held_by
                        FROM public.source_details_lag AS l
                        WHERE l.source_id = s.id AND l.seen_at > clock_timestamp() - interval '5 minutes'
                        ORDER BY l.seen_at DESC
                        LIMIT 1
                    ) AS newest
                ),
                'unpublished', (
                    SELECT coalesce(json_agg(t.key ORDER BY t.key COLLATE "C"), '[]')
                    FROM public.source_details_registered AS t
                    WHERE t.source_id = s.id AND NOT t.is_published
                )
            )
        FROM public.sources AS s
        LEFT JOIN public.source_details_sync_state AS y ON y.source_id = s.id
        LEFT JOIN public.source_details_schedule AS failing
            -- A manual sync may have succeeded since.
            ON failing.source_id = s.id AND failing.failing_since > coalesce(y.synced_at, '-infinity')
        WHERE s.id = wanted
    );
EXCEPTION
    WHEN undefined_table OR undefined_column OR insufficient_privilege THEN
        RETURN NULL;
END
$$;

COMMENT ON TABLE public.source_details_lag IS
'Replication lag of each source as source_details'' WAL monitor saw it: all of a day, a part of a week.';
