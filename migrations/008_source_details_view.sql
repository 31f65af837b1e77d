-- 008: the tables of every source, precomputed.
--
--   source_details_sources  what anybody may know of a source
--   source_details_live     one row per table, computed when it is read
--   source_details_tables   the same rows, stored: the materialized view
--   source_details_log      sources that changed since the stored rows were computed
--   source_details_refresh_state   which computation of the view the log belongs to
--
-- A reader takes the stored rows of a source that the log does not name, and the live rows of one that it does:
-- exact at every moment, between a commit and the next refresh as well.

-- Dates as the pages have always had them: ISO 8601, UTC, with a numeric offset, whatever the session's settings.
-- NULL for what has no such form: infinity, and years of other than four digits.
CREATE OR REPLACE FUNCTION public.source_details_time(moment timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        CASE
            WHEN moment >= '0001-01-02 00:00:00+00' AND moment < '9999-12-31 00:00:00+00'
                THEN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
        END
$$;

-- The first of two dates that has a form; the epoch where neither has: pages expect a date there.
CREATE OR REPLACE FUNCTION public.source_details_some_time(first timestamptz, second timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        coalesce(
            public.source_details_time(first), public.source_details_time(second), public.source_details_time('epoch')
        )
$$;

-- The facts of a source that anybody may see, in the order in which pages show them. Never its password.
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

-- What a sync learns about a table. Both are additive: programs that do not know them lose nothing.
ALTER TABLE public.table_metadata_list
    ADD COLUMN IF NOT EXISTS is_published boolean NOT NULL DEFAULT true,
    ADD COLUMN IF NOT EXISTS column_order text [];

COMMENT ON COLUMN public.table_metadata_list.is_published IS
'Whether the table was in its source''s publication at the last sync.';
COMMENT ON COLUMN public.table_metadata_list.column_order IS
'The column names in the table''s own order, which the keys of schema_table cannot hold.';

-- The columns that a schema describes, each as pages show it. schema_table is an object keyed by column name, or a
-- list; whatever else stands there counts as no columns. One SELECT, so that the planner puts it in its caller's place.
CREATE OR REPLACE FUNCTION public.source_details_columns(schema_table jsonb)
RETURNS TABLE (ordinal bigint, column_name text, shown json)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        listed.ordinal,
        listed.column_name,
        row_to_json(shown) AS shown
    FROM (
        SELECT
            0::bigint AS ordinal,
            coalesce(pair.value ->> 'column_name', pair.key) AS column_name,
            pair.value AS attributes
        FROM
            jsonb_each(
                CASE WHEN jsonb_typeof(schema_table) = 'object' THEN schema_table ELSE '{}' END
            ) AS pair
        UNION ALL
        SELECT
            item.ordinal,
            item.value ->> 'column_name' AS column_name,
            item.value AS attributes
        FROM
            jsonb_array_elements(
                CASE WHEN jsonb_typeof(schema_table) = 'array' THEN schema_table ELSE '[]' END
            ) WITH ORDINALITY AS item (value, ordinal)
    ) AS listed
    CROSS JOIN LATERAL (
        SELECT
            listed.column_name,
            CASE
                WHEN upper(listed.attributes ->> 'is_nullable') IN ('NO', 'FALSE') THEN 'NO' ELSE 'YES'
            END AS is_nullable,
            upper(coalesce(listed.attributes ->> 'real_data_type', listed.attributes ->> 'data_type'))
                AS real_data_type,
            CASE
                WHEN jsonb_typeof(listed.attributes -> 'numeric_precision') = 'number'
                    THEN listed.attributes -> 'numeric_precision'
            END AS numeric_precision,
            CASE
                WHEN jsonb_typeof(listed.attributes -> 'numeric_scale') = 'number'
                    THEN listed.attributes -> 'numeric_scale'
            END AS numeric_scale,
            coalesce(lower(listed.attributes ->> 'is_primary_key') = 'true', false) AS is_primary_key,
            coalesce(
                lower(listed.attributes ->> 'has_default') = 'true',
                listed.attributes ->> 'default_value' IS NOT NULL
            ) AS has_default,
            listed.attributes ->> 'default_value' AS default_value
    ) AS shown
    WHERE jsonb_typeof(listed.attributes) = 'object' AND listed.column_name IS NOT NULL
$$;

-- One row per table with its share of the response as finished text, so that a read only concatenates.
CREATE OR REPLACE VIEW public.source_details_live AS
SELECT
    t.id AS table_id,
    t.source_id,
    named.table_name COLLATE "C" AS table_name,
    t.is_published,
    versioned.version,
    concat(
        '{"id":', t.id,
        ',"table_name":', to_json(named.table_name),
        ',"version":', versioned.version,
        ',"schema_table":[', described.columns, ']}'
    ) AS fragment
FROM public.table_metadata_list AS t
CROSS JOIN LATERAL (SELECT coalesce(t.table_name, 'Unknown')::text AS table_name) AS named
-- max() reads one entry of idx_history_schema_evolution_table_version_composite, whatever the table's history.
CROSS JOIN LATERAL (
    SELECT
        coalesce(
            (
                SELECT max(h.version_schema)
                FROM public.history_schema_evolution AS h
                WHERE h.table_metadata_list_id = t.id
            ),
            1
        ) AS version
) AS versioned
CROSS JOIN LATERAL (
    SELECT
        string_agg(
            listed.shown::text,
            ',' ORDER BY
                array_position(t.column_order, listed.column_name) NULLS LAST,
                listed.ordinal,
                listed.column_name COLLATE "C"
        ) AS columns
    FROM public.source_details_columns(t.schema_table) AS listed
) AS described;

-- The stored rows, computed at the first refresh: here, the tables are locked. One of them (the lowest id) also says
-- which computation they come from: the snapshot that the refresh read with, and the transaction that ran it. On every
-- row they would make each refresh rewrite the whole view.
CREATE MATERIALIZED VIEW IF NOT EXISTS public.source_details_tables AS
SELECT
    live.table_id,
    live.source_id,
    live.table_name,
    live.is_published,
    live.version,
    live.fragment,
    CASE WHEN lowest.is_this THEN pg_current_snapshot() END AS view_snapshot,
    CASE WHEN lowest.is_this THEN pg_current_xact_id() END AS view_xid
FROM public.source_details_live AS live
CROSS JOIN LATERAL (
    SELECT live.table_id = (SELECT min(t.id) FROM public.table_metadata_list AS t) AS is_this
) AS lowest
WITH NO DATA;

-- REFRESH ... CONCURRENTLY compares by this one; it holds no NULL.
CREATE UNIQUE INDEX IF NOT EXISTS source_details_tables_table_id
    ON public.source_details_tables (table_id);
CREATE INDEX IF NOT EXISTS source_details_tables_source_id
    ON public.source_details_tables (source_id, table_name, table_id);
CREATE INDEX IF NOT EXISTS source_details_tables_view_snapshot
    ON public.source_details_tables ((true)) WHERE view_snapshot IS NOT NULL;

-- Source 0 stands for all of them.
CREATE TABLE IF NOT EXISTS public.source_details_log (
    source_id integer NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source_id, xid)
);

COMMENT ON TABLE public.source_details_log IS
'Sources (0: all) that a transaction changed and that source_details_tables does not show yet. Filled by triggers, pruned by refreshes.';

CREATE TABLE IF NOT EXISTS public.source_details_refresh_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    view_snapshot pg_snapshot,                      -- of the view for which the log was last pruned,
    view_xid xid8,                                  -- and the transaction that computed that view
    refreshed_at timestamptz,
    duration interval NOT NULL DEFAULT '0',         -- of the last refresh by source_details_refresh()
    refreshes bigint NOT NULL DEFAULT 0
);

INSERT INTO public.source_details_refresh_state DEFAULT VALUES ON CONFLICT DO NOTHING;

-- What the last sync of each source saw, so that one that read the source earlier but arrives later is dropped.
CREATE TABLE IF NOT EXISTS public.source_details_sync_state (
    source_id integer PRIMARY KEY REFERENCES public.sources (id) ON DELETE CASCADE,
    incarnation text NOT NULL,                      -- which server: system identifier and timeline
    source_snapshot pg_snapshot NOT NULL,           -- on the source, when its catalogs were read
    synced_at timestamptz NOT NULL,
    number bigint NOT NULL DEFAULT 1                -- of the sync, counted per source
);

